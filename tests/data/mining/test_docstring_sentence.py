import pytest

from crossrank.data.mining.docstring_sentence import first_sentence


@pytest.mark.parametrize(
    ("docstring", "sentence"),
    [
        ("Add values, e.g. two of them. Then stop.", "Add values, e.g. two of them"),
        ("\n    Add values\n    over lines.\n\n    More.", "Add values over lines"),
        ("Add :class:`~a.b.Value` to :func:`the sum <a.sum>`.", "Add Value to the sum"),
        ("Add ``values`` to `this`_ and `that'.", "Add values to this and that"),
        ("Add *all* of **these** to *args.", "Add all of these to *args"),
        ("Add L{values} of [a page](http://x.y/z).", "Add values of a page"),
        ("f(a, b=(1, 2)) -> int\n\nAdd the values.", "Add the values"),
        ("S.f(a[, b]) -> list of str. Add the values.", "Add the values"),
        ("f(a)\nf(a, b)\n\nAdd the values.", "Add the values"),
        ("f -- Add the values.", "Add the values"),
        ("Add the values\n>>> f(1)\n1", "Add the values"),
        ("Add the values\n    :param a: one", "Add the values"),
        ("Add the values\nArgs:\n    a: one", "Add the values"),
        ("Add the values\n--------------\nMore.", "Add the values"),
        ("Add the values of::\n\n    a = 1", "Add the values of"),
        ("Add the values\nReturns nothing else", "Add the values"),
        ("f(", ""),
        ("", ""),
    ],
)
def test_the_first_sentence_is_plain_words(docstring: str, sentence: str) -> None:
    assert first_sentence(docstring, "f") == sentence
