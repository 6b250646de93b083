"""One contract for Scorer, RankClient and AsyncRankClient."""

import asyncio
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from crossrank import AsyncRankClient, CrossrankError, RankClient, RankedDocument, Reranker, Scorer
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


class Blocking:
    """AsyncRankClient on an event loop of its own."""

    def __init__(self, target: str) -> None:
        async def connect() -> AsyncRankClient:
            return AsyncRankClient(target)

        self._loop = asyncio.new_event_loop()
        self._client = self._loop.run_until_complete(connect())

    def rank(self, query: str, documents: Sequence[str], **options: Any) -> list[RankedDocument]:
        return self._loop.run_until_complete(self._client.rank(query, documents, **options))

    def rank_many(
        self, queries: Sequence[tuple[str, Sequence[str]]], **options: Any
    ) -> Iterator[tuple[int, list[RankedDocument] | CrossrankError]]:
        async def collect() -> list[tuple[int, list[RankedDocument] | CrossrankError]]:
            return [outcome async for outcome in self._client.rank_many(queries, **options)]

        yield from self._loop.run_until_complete(collect())

    def predict(self, pairs: Sequence[tuple[str, str]], **options: Any) -> NDArray[np.float32]:
        return self._loop.run_until_complete(self._client.predict(pairs, **options))

    def close(self) -> None:
        self._loop.run_until_complete(self._client.close())
        self._loop.close()


@pytest.fixture(scope="module")
def scorer() -> Iterator[Scorer]:
    with Scorer.open() as opened:
        yield opened


@pytest.fixture(scope="module", params=["Scorer", "RankClient", "AsyncRankClient"])
def reranker(request: pytest.FixtureRequest, server: str, scorer: Scorer) -> Iterator[Reranker]:
    if request.param == "Scorer":
        yield scorer
    elif request.param == "RankClient":
        with RankClient(server) as client:
            yield client
    else:
        blocking = Blocking(server)
        yield blocking
        blocking.close()


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
        ((QUERY, "one string"), {}, "documents"),
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


@pytest.mark.parametrize(("pair", "field"), [(("", "x"), "pairs[0].query"), ((QUERY, "\ud800"), "pairs[0].document")])
def test_invalid_pairs_are_named(reranker: Reranker, pair: tuple[str, str], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        reranker.predict([pair])
    assert str(refused.value).startswith(f"{field}: ")


def test_the_scores_are_the_same_bit_for_bit(reranker: Reranker, scorer: Scorer) -> None:
    queries = [(QUERY, [*DOCUMENTS, LONG]), ("größe", DOCUMENTS)]
    for query, documents in queries:
        assert reranker.rank(query, documents, long_documents="chunk", ids=None) == scorer.rank(
            query, documents, long_documents="chunk"
        )
