"""Calls whose text is tokenised in several slices."""

import numpy as np
import pytest

from crossrank.client import RankClient
from crossrank.serve.engine import _TOKENIZE_CHARACTERS, _slices


def test_slices_hold_every_pair_once_and_in_order() -> None:
    pairs = [("q", "d" * size) for size in (5, 0, _TOKENIZE_CHARACTERS, 1, _TOKENIZE_CHARACTERS * 2, 7)]
    slices = list(_slices(pairs))
    assert [pair for _, part in slices for pair in part] == pairs
    assert [start for start, _ in slices] == [0, 3, 5]


def test_documents_keep_their_scores_across_slices(server: str) -> None:
    texts = [f"def function_{number}(x): return x + {number} " + "pad " * 700 for number in range(200)]
    assert sum(map(len, texts)) > 2 * _TOKENIZE_CHARACTERS
    with RankClient(server, timeout=120) as client:
        ranked = client.rank("add two numbers", texts, max_length=32)
        alone = client.predict([("add two numbers", text) for text in texts[::20]], max_length=32)
    together = np.zeros(len(texts), dtype=np.float32)
    for result in ranked:
        together[result["corpus_id"]] = result["score"]
    assert len({result["corpus_id"] for result in ranked}) == len(texts)
    assert together[::20].tolist() == pytest.approx(alone.tolist(), abs=0)
