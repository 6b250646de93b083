"""Calls whose text is tokenised in several steps."""

import numpy as np
import pytest

from crossrank.client import RankClient
from crossrank.inference.tokens.texts import BATCH_CHARACTERS


def test_documents_keep_their_scores_across_steps(server: str) -> None:
    texts = [f"def function_{number}(x): return x + {number} " + "pad " * 900 for number in range(200)]
    assert sum(map(len, texts)) > 2 * BATCH_CHARACTERS
    with RankClient(server, timeout=120) as client:
        ranked = client.rank("add two numbers", texts, max_length=200)
        alone = client.predict([("add two numbers", text) for text in texts[::20]], max_length=200)
    together = np.zeros(len(texts), dtype=np.float32)
    for result in ranked:
        together[result["corpus_id"]] = result["score"]
    assert len({result["corpus_id"] for result in ranked}) == len(texts)
    assert together[::20].tolist() == pytest.approx(alone.tolist(), abs=0)
