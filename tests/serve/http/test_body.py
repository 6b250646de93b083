"""The structure of a body is counted as it arrives, however it is cut."""

import itertools
import json
import re

from hypothesis import given
from hypothesis import strategies as st

from crossrank.serve.http.body import Marks

_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def counted(pieces: list[bytes]) -> int:
    marks = Marks()
    for piece in pieces:
        marks.feed(piece)
    return marks.count


def marks_of(value: object) -> int:
    """What a writer of JSON writes for the value."""
    if isinstance(value, dict):
        return max(len(value), 1) + sum(map(marks_of, value.values()))
    if isinstance(value, list):
        return max(len(value), 1) + sum(map(marks_of, value))
    return 0


@given(_JSON, st.booleans(), st.lists(st.integers(0, 300)))
def test_marks_are_those_of_the_value_however_the_body_is_cut(value: object, ascii_only: bool, cuts: list[int]) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[start:end] for start, end in itertools.pairwise(places)]
    assert counted(pieces) == counted([body]) == marks_of(value)


@given(st.text(alphabet='"\\,[{a'), st.integers(0, 20))
def test_escapes_and_quotes_are_no_marks(text: str, cut: int) -> None:
    body = json.dumps([text]).encode()
    assert counted([body[:cut], body[cut:]]) == 1


def test_an_open_string_full_of_escapes_is_read_once() -> None:
    # Read anew from each of its quotes it would take minutes.
    piece = b'"' + rb"\"" * 200_000
    assert counted([piece, b",", b'"' + b","]) == 1
    assert re.search(rb'"$', piece)
