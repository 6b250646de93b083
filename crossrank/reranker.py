"""The Reranker protocol, which Scorer and RankClient implement, with its options and the checks of its arguments."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, get_args

from crossrank.errors import CrossrankError, InvalidRequest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crossrank.results import RankedDocument

ScoreKind: TypeAlias = Literal["logit", "probability"]
LongDocumentStrategy: TypeAlias = Literal["truncate", "chunk"]


class Reranker(Protocol):
    """Ranks documents and scores pairs, in this process or on a server.

    `AsyncRankClient` has the same methods, to be awaited.
    """

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        ids: Sequence[str] | None = None,
        top_k: int | None = None,
        score_kind: ScoreKind | None = None,
        max_length: int | None = None,
        long_documents: LongDocumentStrategy = "truncate",
        return_documents: bool = False,
    ) -> "list[RankedDocument]":
        """Orders documents by relevance to a query, best first; equal logits keep the order of the documents.

        Args:
            query: must not be empty.
            documents: may be empty, then so is the result.
            ids: the caller's names of the documents, one for each; they come back in the results.
            top_k: number of results; all by default.
            score_kind: "logit", or "probability" in 0..1; by default what the ranker was trained with.
            max_length: longest pair in tokens; by default, and at most, the ranker's.
            long_documents: "truncate" drops what does not fit; "chunk" scores overlapping chunks of a document, takes
                the best and returns its span.
            return_documents: whether results hold the text of their documents.

        Raises:
            InvalidRequest: an argument is invalid; the message begins with its name.
            CrossrankError: another error of `crossrank.errors`.
        """

    def rank_many(
        self,
        queries: Sequence[tuple[str, Sequence[str]]],
        *,
        top_k: int | None = None,
        score_kind: ScoreKind | None = None,
        max_length: int | None = None,
        long_documents: LongDocumentStrategy = "truncate",
        return_documents: bool = False,
    ) -> "Iterator[tuple[int, list[RankedDocument] | CrossrankError]]":
        """Ranks many queries, each given with its documents; the options are those of `rank`.

        Yields:
            The index of a query in `queries`, and what `rank` returns for it or the error that it raises: one failed
            query leaves the others. Results come as soon as they are ready, in any order.

        Raises:
            InvalidRequest: an option is invalid.
        """

    def predict(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        score_kind: ScoreKind | None = None,
        max_length: int | None = None,
        long_documents: LongDocumentStrategy = "truncate",
    ) -> "NDArray[np.float32]":
        """Scores (query, document) pairs, of which there may be none; the options are those of `rank`.

        Returns:
            float32, shape [len(pairs)].

        Raises:
            CrossrankError: as `rank`.
        """


@dataclass(frozen=True, slots=True)
class RankOptions:
    """The options of one call, valid; the names are those of `Reranker.rank`.

    Raises:
        InvalidRequest: an option is invalid.
    """

    top_k: int | None = None
    score_kind: ScoreKind | None = None
    max_length: int | None = None
    long_documents: LongDocumentStrategy = "truncate"
    return_documents: bool = False

    def __post_init__(self) -> None:
        for name in ("top_k", "max_length"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise InvalidRequest(f"{name}: {number} is below 1")
        if self.score_kind not in (None, *get_args(ScoreKind)):
            raise InvalidRequest(f"score_kind: {self.score_kind!r} is not one of {', '.join(get_args(ScoreKind))}")
        strategies = get_args(LongDocumentStrategy)
        if self.long_documents not in strategies:
            raise InvalidRequest(f"long_documents: {self.long_documents!r} is not one of {', '.join(strategies)}")


def rank_texts(
    query: str, documents: Iterable[str], ids: Iterable[str] | None = None
) -> tuple[list[str], list[str] | None]:
    """The documents and ids of `Reranker.rank` as lists, in the order in which they were given.

    Arrays and pandas' columns go by place, whatever their index says.

    Raises:
        InvalidRequest: the query is empty, something is not a list of strings of valid Unicode, or the ids do not match
            the documents.
    """
    check_text("query", query, may_be_empty=False)
    texts = _listed("documents", documents)
    for index, document in enumerate(texts):
        check_text(f"documents[{index}]", document)
    if ids is None:
        return texts, None
    names = _listed("ids", ids)
    if len(names) != len(texts):
        raise InvalidRequest(f"ids: {len(names)} for {len(texts)} documents")
    for index, name in enumerate(names):
        check_text(f"ids[{index}]", name)
    return texts, names


def pair_texts(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The pairs of `Reranker.predict` as a list, in the order in which they were given.

    Raises:
        InvalidRequest: something is not a (query, document) pair, a query is empty, or a text is not a string of valid
            Unicode.
    """
    listed = []
    for index, pair in enumerate(_listed("pairs", pairs, dimensions=2)):
        query, document = _two(f"pairs[{index}]", pair, "(query, document)")
        check_text(f"pairs[{index}].query", query, may_be_empty=False)
        check_text(f"pairs[{index}].document", document)
        listed.append((query, document))
    return listed


def query_texts(
    queries: Iterable[tuple[str, Iterable[str]]],
) -> Iterator[tuple[int, tuple[str, list[str]] | InvalidRequest]]:
    """The queries of `Reranker.rank_many` with their documents as lists.

    Yields:
        The index of a query, and the query with its documents or what is wrong with them.

    Raises:
        InvalidRequest: they are not a list.
    """
    for index, given in enumerate(_listed("queries", queries)):
        try:
            query, documents = _two(f"queries[{index}]", given, "(query, documents)")
            yield index, (query, rank_texts(query, documents)[0])
        except InvalidRequest as error:
            yield index, error


def _listed(field: str, values: Any, *, dimensions: int = 1) -> list[Any]:
    """A list of what can be iterated in a meaningful order and is not itself one text."""
    if isinstance(values, str | bytes | Mapping | AbstractSet):
        raise InvalidRequest(f"{field}: is one {type(values).__name__}; give a list")
    # Iterating a table of pandas gives the names of its columns.
    values = values.to_numpy() if hasattr(values, "to_numpy") else values
    if getattr(values, "ndim", dimensions) > dimensions:
        raise InvalidRequest(f"{field}: has {values.ndim} dimensions; give one column")
    try:
        return list(values)
    except TypeError:
        raise InvalidRequest(f"{field}: is not a list but {type(values).__name__}") from None


def _two(field: str, value: Any, form: str) -> list[Any]:
    if isinstance(value, str):  # two letters are no pair
        raise InvalidRequest(f"{field}: is one string; give a list of {form}")
    two = _listed(field, value)
    if len(two) != 2:
        raise InvalidRequest(f"{field}: holds {len(two)} values; give {form}")
    return two


def check_text(field: str, text: str, *, may_be_empty: bool = True) -> None:
    """Checks one text: tokenizers and protobuf take UTF-8 and nothing else.

    Raises:
        InvalidRequest: it is not a string, holds a lone surrogate, or is empty where it must not be.
    """
    if not isinstance(text, str):
        raise InvalidRequest(f"{field}: is not a string but {type(text).__name__}")
    if not may_be_empty and not text.strip():
        raise InvalidRequest(f"{field}: must not be empty")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{field}: holds a lone surrogate, which UTF-8 cannot carry") from None
