"""Golden pairs: texts whose scores a ranker must give again on the machine that serves it."""

import numpy as np

from crossrank.data.standard_library import standard_library_functions
from crossrank.inference.ranker.manifest import Agreement, GoldenPair
from crossrank.inference.tokens.tokenizer import PairTokenizer
from crossrank.machine import instruction_set

_QUERY = "how do I read the rows of a file"


def golden_pairs(tokenizer: PairTokenizer) -> list[GoldenPair]:
    """Pairs of every kind that has its own way to go wrong, from public text: a manifest is often published.

    Args:
        tokenizer: the ranker's, with its max_length.
    """
    functions = standard_library_functions()
    question, answer = functions[0]
    short = ("add two numbers", "def add(a, b): return a + b")
    fitting, longer = _fitting_and_longer(tokenizer, functions)
    return [
        GoldenPair(kind="short", query=short[0], document=short[1]),
        # A GPU runs it together with the one before, and pads it.
        GoldenPair(kind="padded", query=short[0], document=_shortened(tokenizer, *short)),
        GoldenPair(kind="code", query=question, document=answer[:800]),
        GoldenPair(kind="long", query=_QUERY, document=fitting),
        GoldenPair(kind="truncated", query=_QUERY, document=longer),
        GoldenPair(kind="non-ASCII", query="größte Städte 日本", document="東京は日本の首都である。Größe — мир 🙂"),
        GoldenPair(kind="empty document", query="what is said of nothing", document=""),
    ]


def golden_tolerance(agreement: list[Agreement], *, exact: bool) -> dict[str, float]:
    """How far a golden score may be off, by instruction set.

    In fp32 machines differ by the order of additions. Where a product is rounded to int8, such a difference can tip
    a rounding over; on another instruction set that may reach what rounding itself moves, and no more.

    Args:
        agreement: what the variant was accepted on.
        exact: whether it is fp32.
    """
    largest = max(figures.max_error for figures in agreement)
    if exact:
        return {"any": max(1e-3, 10 * largest)}
    return {instruction_set(): max(1e-2, largest / 4), "any": max(2e-2, largest)}


def _shortened(tokenizer: PairTokenizer, query: str, document: str) -> str:
    """The longest beginning of a document whose pair has fewer tokens."""
    parts = [document[:end] for end in range(len(document), -1, -1)]
    lengths = [len(pair.ids) for pair in tokenizer.encode([(query, part) for part in parts])]
    return next((part for part, length in zip(parts, lengths, strict=True) if length < lengths[0]), "")


def _fitting_and_longer(tokenizer: PairTokenizer, functions: list[tuple[str, str]]) -> tuple[str, str]:
    """About the longest text that the pair with the query has room for, and one of half as many words more."""
    words = [word for _, source in functions for word in source.split()][: 2 * tokenizer.max_length]
    ends = np.unique(np.geomspace(1, tokenizer.max_length, num=64, dtype=int)).tolist()
    encoded = tokenizer.encode([(_QUERY, " ".join(words[:end])) for end in ends])
    fitting = max((end for end, pair in zip(ends, encoded, strict=True) if not pair.truncated), default=1)
    return " ".join(words[:fitting]), " ".join(words[: fitting + fitting // 2 + 1])
