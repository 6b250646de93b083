"""One contract for Scorer, RankClient and AsyncRankClient."""

import inspect
import subprocess
import sys
from typing import Any

import numpy as np
import pandas
import pytest

from crossrank import AsyncRankClient, RankClient, RankOptions, Reranker, Scorer
from crossrank.client.messages import score_requests
from crossrank.errors import InvalidRequest

QUERY = "remove duplicates from a list but keep the order"
DOCUMENTS = [
    "def shuffle(items):\n    random.shuffle(items)\n    return items",
    "",
    "def unique(items):\n    return list(dict.fromkeys(items))",
    "größe 日本 🙂",
    "",
]
IDS = ["shuffle", "", "unique", "größe", "again"]
NEEDLE = "def unique(items):\n    return list(dict.fromkeys(items))"
LONG = "The monastery was founded in 1187. " * 70 + (NEEDLE + "\n\n") * 40 + "It burnt down. " * 70


def test_all_have_the_signatures_of_the_protocol() -> None:
    for name in ("rank", "rank_many", "predict"):
        expected = dict(inspect.signature(getattr(Reranker, name)).parameters)
        for implementation in (Scorer, RankClient, AsyncRankClient):
            signature = dict(inspect.signature(getattr(implementation, name)).parameters)
            signature.pop("request_id", None)  # by which feedback names an answer
            assert signature == expected, (implementation, name)


def test_rank_orders_as_predict_scores(reranker: Reranker) -> None:
    scores = reranker.predict([(QUERY, document) for document in DOCUMENTS])
    assert (scores.dtype.name, scores.shape) == ("float32", (len(DOCUMENTS),))
    ranking = reranker.rank(QUERY, DOCUMENTS)
    assert [result["corpus_id"] for result in ranking] == np.argsort(-scores, kind="stable").tolist()
    assert [result["score"] for result in ranking] == np.sort(scores)[::-1].tolist()
    assert ranking[0] == {"corpus_id": 2, "score": float(scores.max())}


def test_results_hold_ids_and_texts_where_asked(reranker: Reranker) -> None:
    whole = reranker.rank(QUERY, DOCUMENTS, ids=IDS, return_documents=True)
    assert all(result["id"] == IDS[result["corpus_id"]] for result in whole)
    assert all(result["text"] == DOCUMENTS[result["corpus_id"]] for result in whole)
    assert all("span" not in result for result in whole)
    assert reranker.rank(QUERY, DOCUMENTS, ids=IDS, top_k=2, return_documents=True) == whole[:2]
    assert len(reranker.rank(QUERY, DOCUMENTS, top_k=99)) == len(DOCUMENTS)


def test_scores_are_of_the_kind_that_is_asked_for(reranker: Reranker, scorer: Scorer) -> None:
    kinds = {kind: reranker.rank(QUERY, DOCUMENTS, score_kind=kind) for kind in (None, "logit", "probability")}
    assert kinds[None] == kinds[scorer.default_kind]
    assert all(0 < result["score"] < 1 for result in kinds["probability"])
    assert [result["corpus_id"] for result in kinds["logit"]] == [
        result["corpus_id"] for result in kinds["probability"]
    ]
    assert kinds["logit"] != kinds["probability"]
    pairs = [(QUERY, DOCUMENTS[result["corpus_id"]]) for result in kinds["probability"]]
    assert reranker.predict(pairs, score_kind="probability").tolist() == [
        result["score"] for result in kinds["probability"]
    ]


def test_a_shorter_pair_loses_text(reranker: Reranker) -> None:
    padded = "The monastery was founded in 1187. " * 10 + NEEDLE
    whole, cut = (reranker.rank(QUERY, [padded], max_length=tokens)[0]["score"] for tokens in (512, 64))
    assert cut < whole
    assert reranker.predict([(QUERY, padded)], max_length=64).tolist() == [cut]


def test_the_best_chunk_scores_a_long_document_and_is_named(reranker: Reranker) -> None:
    cut, chunked = (
        {result["corpus_id"]: result for result in reranker.rank(QUERY, [LONG, NEEDLE], long_documents=strategy)}
        for strategy in ("truncate", "chunk")
    )
    assert chunked[0]["score"] > cut[0]["score"]
    assert "span" not in cut[0]
    assert "span" not in chunked[1]
    start, end = chunked[0]["span"]
    assert NEEDLE in LONG[start:end]
    assert end - start < len(LONG)
    assert reranker.predict([(QUERY, LONG)], long_documents="chunk").tolist() == [chunked[0]["score"]]


def test_many_queries_are_ranked_as_alone_and_one_that_fails_leaves_the_others(reranker: Reranker) -> None:
    queries: list[tuple[str, list[str]]] = [(f"{QUERY} {number}", DOCUMENTS[:3]) for number in range(20)]
    queries[3] = ("", DOCUMENTS)
    queries[4] = (QUERY, [])
    queries[5] = (QUERY, ["\ud800"])
    outcomes = dict(reranker.rank_many(queries, top_k=2, score_kind="probability", return_documents=True))
    assert sorted(outcomes) == list(range(20))
    assert outcomes[4] == []
    for index, field in ((3, "query"), (5, "documents[0]")):
        failed = outcomes[index]
        assert isinstance(failed, InvalidRequest) and str(failed).startswith(f"{field}: ")
    for index in (0, 6, 19):
        assert outcomes[index] == reranker.rank(
            *queries[index], top_k=2, score_kind="probability", return_documents=True
        )
    assert list(reranker.rank_many([])) == []


def test_nothing_to_do_gives_nothing(reranker: Reranker) -> None:
    assert reranker.rank(QUERY, []) == []
    empty = reranker.predict([])
    assert (empty.dtype.name, empty.shape) == ("float32", (0,))


@pytest.mark.parametrize(
    ("arguments", "options", "field"),
    [
        (("", ["x"]), {}, "query"),
        (("\ud800", ["x"]), {}, "query"),
        ((QUERY, ["ok", "\udfff"]), {}, "documents[1]"),
        ((QUERY, ["ok", None]), {}, "documents[1]"),
        ((QUERY, ["ok", float("nan")]), {}, "documents[1]"),
        ((QUERY, [b"bytes"]), {}, "documents[0]"),
        ((QUERY, [{"text": "x"}]), {}, "documents[0]"),
        ((QUERY, "one string"), {}, "documents"),
        ((QUERY, {"a": "b"}), {}, "documents"),
        ((QUERY, {"a", "b"}), {}, "documents"),
        ((QUERY, None), {}, "documents"),
        ((QUERY, pandas.DataFrame({"text": ["x"]})), {}, "documents"),
        ((None, ["x"]), {}, "query"),
        ((QUERY, ["x", "y"]), {"ids": "ab"}, "ids"),
        ((QUERY, ["x", "y"]), {"ids": [1, 2]}, "ids[0]"),
        ((QUERY, ["x"]), {"ids": []}, "ids"),
        ((QUERY, ["x"]), {"ids": ["\ud800"]}, "ids[0]"),
        ((QUERY, ["x"]), {"top_k": 0}, "top_k"),
        ((QUERY, ["x"]), {"score_kind": "cosine"}, "score_kind"),
        ((QUERY, ["x"]), {"max_length": 0}, "max_length"),
        ((QUERY, ["x"]), {"max_length": 513}, "max_length"),
        ((QUERY, ["x"]), {"long_documents": "summarise"}, "long_documents"),
    ],
)
def test_invalid_arguments_are_value_errors_that_name_them(
    reranker: Reranker, arguments: tuple[Any, Any], options: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        reranker.rank(*arguments, **options)
    assert str(refused.value).startswith(f"{field}: ")
    assert isinstance(refused.value, ValueError)


@pytest.mark.parametrize(
    ("pairs", "field"),
    [
        ([("", "x")], "pairs[0].query"),
        ([(QUERY, "\ud800")], "pairs[0].document"),
        ([(QUERY, "x"), (QUERY, None)], "pairs[1].document"),
        ([(QUERY, "x", "y")], "pairs[0]"),
        ((QUERY, "x"), "pairs[0]"),
        (("ab", "cd"), "pairs[0]"),
        ("ab", "pairs"),
        ([3], "pairs[0]"),
    ],
)
def test_invalid_pairs_are_named(reranker: Reranker, pairs: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        reranker.predict(pairs)
    assert str(refused.value).startswith(f"{field}: ")


def test_columns_and_arrays_go_by_place(reranker: Reranker) -> None:
    frame = pandas.DataFrame({"query": [QUERY] * len(IDS), "text": DOCUMENTS, "id": IDS}, index=[40, 30, 20, 10, 0])
    expected = reranker.rank(QUERY, DOCUMENTS, ids=IDS, return_documents=True)
    forms: Any = (
        (frame["text"], frame["id"]),
        (np.array(DOCUMENTS), np.array(IDS)),
        (np.array(DOCUMENTS, dtype=object), tuple(IDS)),
        (iter(DOCUMENTS), iter(IDS)),
    )
    for documents, ids in forms:
        assert reranker.rank(QUERY, documents, ids=ids, return_documents=True) == expected
    ((_, many),) = reranker.rank_many([(QUERY, frame["text"])], return_documents=True)
    assert many == reranker.rank(QUERY, DOCUMENTS, return_documents=True)
    scores = reranker.predict([(QUERY, document) for document in DOCUMENTS]).tolist()
    pairs: Any = frame[["query", "text"]]
    assert reranker.predict(pairs).tolist() == scores
    assert reranker.predict(pairs.to_numpy()).tolist() == scores
    assert reranker.predict(list(zip(frame["query"], frame["text"], strict=True))).tolist() == scores
    filtered = frame[frame["id"] != "shuffle"]
    assert reranker.rank(QUERY, filtered["text"], return_documents=True)[0]["text"] == NEEDLE
    assert len(reranker.predict(frame[["query", "text"]][:0])) == 0


def test_a_query_that_is_none_leaves_the_others(reranker: Reranker) -> None:
    queries: Any = [(QUERY, DOCUMENTS[:1]), "ab", (QUERY, None), None]
    outcomes = dict(reranker.rank_many(queries))
    assert outcomes[0] == reranker.rank(QUERY, DOCUMENTS[:1])
    for index, field in ((1, "queries[1]"), (2, "documents"), (3, "queries[3]")):
        assert isinstance(outcomes[index], InvalidRequest) and str(outcomes[index]).startswith(f"{field}: ")


def test_pairs_are_sent_in_parts_that_a_server_takes() -> None:
    pairs = [(QUERY, f"{number} " + "x" * (2 << 20)) for number in range(9)] + [(QUERY, "x")] * 1200
    parts = [list(request.pairs) for request in score_requests("", pairs, RankOptions())]
    assert [(pair.query, pair.document) for part in parts for pair in part] == pairs
    assert max(len(part) for part in parts) <= 500
    assert max(sum(pair.ByteSize() for pair in part) for part in parts) <= 8 << 20
    assert len(parts) <= 7


def test_a_scorer_that_was_opened_before_a_fork_says_so() -> None:
    script = """
import os, signal
from crossrank import Scorer
from crossrank.errors import UsageError
with Scorer.open() as scorer:
    if os.fork() == 0:
        signal.alarm(60)
        try:
            scorer.predict([("a", "b")])
        except UsageError:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_scores_are_the_same_bit_for_bit(reranker: Reranker, scorer: Scorer) -> None:
    queries = [(QUERY, [*DOCUMENTS, LONG]), ("größe", DOCUMENTS)]
    for query, documents in queries:
        assert reranker.rank(query, documents, long_documents="chunk", ids=None) == scorer.rank(
            query, documents, long_documents="chunk"
        )
