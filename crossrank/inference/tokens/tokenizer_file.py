"""`tokenizer.json` as a file: its bounds are checked before the tokenizers library reads it.

The library builds an automaton of the added tokens, and follows whatever a rule says: a token of 5 MB takes it half a
minute, and a rule may replace a letter by a megabyte.
"""

import json
from pathlib import Path
from typing import Any

from crossrank.errors import InvalidRanker

# The multilingual tokenizers have up to seven thousand, for languages and unused places.
_MOST_ADDED = 20_000
# Characters of one added token.
_LONGEST_ADDED = 1000
# Characters of one string of a rule; SentencePiece's table of normal forms is the longest, and has 320,000.
_LONGEST_RULE = 2_000_000
# Replacements, patterns and special tokens are short.
_LONGEST_REPLACEMENT = 1000
_MOST_PARTS = 10_000
_RULES = ("normalizer", "pre_tokenizer", "post_processor", "decoder")


def check_tokenizer(directory: Path) -> None:
    """Refuses a `tokenizer.json` that could take any time or memory; whether it is a tokenizer, its library says.

    Raises:
        InvalidRanker: there is none; it is not JSON; or an added token or a rule is out of bounds.
    """
    try:
        content: Any = json.loads((directory / "tokenizer.json").read_bytes())
    except OSError:
        raise InvalidRanker(f"{directory.name}: tokenizer.json is missing; export the ranker again") from None
    except (ValueError, RecursionError):
        raise InvalidRanker(f"{directory.name}: tokenizer.json is not JSON; export the ranker again") from None
    try:
        _check(content)
    except _OutOfBounds as error:
        raise InvalidRanker(f"{directory.name}: tokenizer.json {error}; export the ranker again") from None


class _OutOfBounds(Exception):
    """What is out of bounds; the message follows the file's name."""


def _check(content: Any) -> None:
    if not isinstance(content, dict):
        raise _OutOfBounds("is not a tokenizer")
    added = content.get("added_tokens") or []
    if not isinstance(added, list) or len(added) > _MOST_ADDED:
        raise _OutOfBounds(f"has more than {_MOST_ADDED} added tokens")
    for token in added:
        if not isinstance(token, dict) or len(str(token.get("content"))) > _LONGEST_ADDED:
            raise _OutOfBounds(f"has an added token of more than {_LONGEST_ADDED} characters")
    for rule in _RULES:
        _check_rule(rule, content.get(rule))


def _check_rule(rule: str, content: Any) -> None:
    """Looks at every string and every list of a rule, with a stack of its own."""
    waiting = [("", content)]
    parts = 0
    while waiting:
        key, part = waiting.pop()
        parts += 1
        longest = _LONGEST_RULE if key == "precompiled_charsmap" else _LONGEST_REPLACEMENT
        if parts > _MOST_PARTS or (isinstance(part, str) and len(part) > longest):
            raise _OutOfBounds(f"has a {rule} that is out of bounds")
        if isinstance(part, dict):
            waiting += [(str(name), value) for name, value in part.items()]
            waiting += [("", str(name)) for name in part]
        elif isinstance(part, list):
            waiting += [(key, value) for value in part]
