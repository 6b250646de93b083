"""Calls of realistic sizes: a query and a hundred passages of real text, their lengths widely spread."""

import random
from dataclasses import dataclass

import numpy as np

from export.reference import standard_library_functions

# Passages as search systems keep them, about 84 tokens on average with their query. Log-normal, in words.
_MEAN_WORDS = 62
_SPREAD = 0.7
_MOST_WORDS = 300


@dataclass(frozen=True, slots=True)
class RankCall:
    """One query and its documents."""

    query: str
    documents: list[str]


def rank_calls(count: int, documents: int, seed: int) -> list[RankCall]:
    """Calls with text of Python's standard library.

    Args:
        count: how many.
        documents: of each call; no two calls have the same pair.
        seed: of all draws.
    """
    functions = standard_library_functions()
    draw, choose = np.random.default_rng(seed), random.Random(seed)
    calls = []
    for number in range(count):
        query = f"{choose.choice(functions)[0]} ({seed}.{number})"
        sizes = draw.lognormal(np.log(_MEAN_WORDS) - _SPREAD**2 / 2, _SPREAD, size=documents)
        calls.append(
            RankCall(query, [_passage(functions, choose, max(1, min(_MOST_WORDS, int(size)))) for size in sizes])
        )
    return calls


def _passage(functions: list[tuple[str, str]], choose: random.Random, words: int) -> str:
    """So many words from one function on."""
    place = choose.randrange(len(functions))
    found: list[str] = []
    while len(found) < words:
        found.extend(functions[place % len(functions)][1].split(" "))
        place += 1
    return " ".join(found[:words])
