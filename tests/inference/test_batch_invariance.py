"""The score of a pair depends on nothing but the pair: for every variant, alone, in company and under load."""

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from crossrank.inference.queue.batch_policy import BatchPolicy
from crossrank.inference.queue.scheduler import Scheduler
from crossrank.inference.scorer import Scorer
from crossrank.inference.session import OnnxSession
from crossrank.reranker import RankOptions

if TYPE_CHECKING:
    from crossrank.export.pipeline import ExportReport

# Many equal lengths, so that runs are shared where that is allowed.
PAIRS = [(f"query number {number % 9}", f"text {number} " + "word " * (number % 5)) for number in range(40)]


@pytest.mark.parametrize("workers", [1, 3])
def test_every_variant_scores_a_pair_the_same_alone_in_company_and_under_load(
    tiny: "ExportReport", workers: int
) -> None:
    variants = [trial.graph for trial in tiny.trials if not trial.failure and trial.graph.provider == "cpu"]
    assert len(variants) > 4
    for variant in variants:
        with Scorer.open(tiny.directory, variant=variant.file, workers=workers) as scorer:
            alone = np.concatenate([scorer.predict([pair]) for pair in PAIRS])
            with ThreadPoolExecutor(8) as pool:
                loaded = list(pool.map(scorer.predict, [PAIRS, PAIRS[::-1]] * 8))
        for number, together in enumerate(loaded):
            expected = alone[::-1] if number % 2 else alone
            assert together.tolist() == expected.tolist(), variant.file


def test_a_whole_tensor_scale_does_see_its_company(tiny: "ExportReport") -> None:
    """Else the rule that such a variant runs its pairs alone would be for nothing."""
    with Scorer.open(tiny.directory, variant="qint8_avx512_vnni", workers=1) as scorer:
        assert not scorer.variant.batch_invariant
        encoded = scorer.tokenizer.encode([pair for pair in PAIRS if pair[1].count("word") == 4])
        alone = np.concatenate([scorer.session.run([pair]) for pair in encoded])
        assert scorer.session.run(encoded).tolist() != alone.tolist()


def test_bound_memory_gives_the_same_logits_and_padding_nearly_the_same(tiny: "ExportReport") -> None:
    """What CUDA uses, on the CPU: bound inputs, and runs of near-equal length."""
    with Scorer.open(tiny.directory, variant="onnx/model.onnx", workers=1) as scorer:
        encoded = scorer.tokenizer.encode(PAIRS)
        expected = scorer.score(PAIRS, RankOptions(score_kind="logit")).values
    session = OnnxSession(tiny.directory / "onnx" / "model.onnx", padding_id=0)
    session._bind = True
    scheduler = Scheduler(session.run, workers=2, policy=BatchPolicy(max_tokens=512, padding=0.2))
    assert scheduler.submit(encoded).logits.result(120).tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    scheduler.close()
