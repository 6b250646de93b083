import json
import re
from pathlib import Path

import numpy as np
import pytest

from crossrank.client import RankClient
from crossrank.data.eval_set import read_judged_set
from crossrank.errors import UsageError
from crossrank.export.graph.onnx_to_torch import write_cross_encoder
from crossrank.inference.ranker.hub import DEFAULT_RANKER, DEFAULT_SENTENCE
from crossrank.inference.ranker.manifest import read_manifest
from crossrank.inference.scorer import Scorer
from crossrank.models.cross_encoder import open_cross_encoder, predict
from crossrank.serve.local import local_server
from tests.conftest import HELDOUT
from tests.support.commands import crossrank

QUERY = "how do I remove duplicates from a list but keep the order"
DOCUMENTS = [
    "def shuffle(items):\n    random.shuffle(items)\n    return items",
    "def unique(items):\n    return list(dict.fromkeys(items))",
    "The monastery was founded in 1187 and rebuilt after a fire.",
    "def sort_descending(items):\n    return sorted(items, reverse=True)",
]


def test_what_ships_is_small_and_passed_its_gate() -> None:
    assert sum(file.stat().st_size for file in DEFAULT_RANKER.rglob("*") if file.is_file()) <= 35e6
    with Scorer.open(DEFAULT_RANKER) as scorer:  # proves it on its golden pairs
        manifest = read_manifest(DEFAULT_RANKER)
        (variant,) = manifest.variants
        assert scorer.version == manifest.version
        assert scorer.rejected_variants == []
    assert variant.precision == "int8"
    assert variant.batch_invariant
    assert manifest.max_length == 512
    sets = {agreement.data for agreement in variant.agreement}
    assert sets == {"wikiqa", "cosqa", "selqa", "pyfunc"}
    card = (DEFAULT_RANKER / "README.md").read_text(encoding="utf-8")
    assert manifest.version in card
    assert sets <= set(re.findall(r"\w+", card))


def test_rank_takes_it_where_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "documents.jsonl").write_text(
        "".join(json.dumps({"doc_id": str(number), "text": text}) + "\n" for number, text in enumerate(DOCUMENTS))
    )
    outcome = crossrank("rank", QUERY, str(tmp_path / "documents.jsonl"), "--json")
    assert DEFAULT_SENTENCE in outcome.stderr
    assert json.loads(outcome.stdout)[0]["id"] == "1"


def test_serve_takes_it_where_none_is_named() -> None:
    with local_server() as (target, _), RankClient(target) as client:
        results = client.rank(QUERY, DOCUMENTS)
        assert results[0]["corpus_id"] == 1
        (model,) = client.models()
        assert (model.name, model.is_default) == ("default", True)


def test_inspect_and_evaluate_take_it() -> None:
    page = json.loads(crossrank("inspect", "--no-speed", "--json").stdout)
    assert page["directory"] == str(DEFAULT_RANKER)
    evaluation = json.loads(crossrank("evaluate", str(HELDOUT), "--json").stdout)
    assert DEFAULT_RANKER.name in evaluation["systems"]


def test_its_weights_come_back_to_be_fine_tuned(tmp_path: Path) -> None:
    difference = write_cross_encoder(DEFAULT_RANKER, tmp_path / "base")
    judged = read_judged_set(HELDOUT)
    pairs = [(query, text) for query in judged.queries.values() for text in judged.corpus.values()][:60]
    with Scorer.open(DEFAULT_RANKER) as scorer:
        served = scorer.predict(pairs, score_kind="logit")
    logits = predict(open_cross_encoder(str(tmp_path / "base")), pairs)
    # Activations that are not rounded move a logit a little, and an order hardly.
    assert np.abs(logits - served).max() < 0.1 * np.ptp(served)
    assert np.corrcoef(logits, served)[0, 1] > 0.995
    assert difference < 0.1 * np.ptp(served)
    with pytest.raises(UsageError, match="exists"):
        write_cross_encoder(DEFAULT_RANKER, tmp_path / "base")
