from textwrap import dedent, indent

import pytest

from crossrank.data.mining.python_functions import PythonFunction, parse_quietly, usable_functions
from tests.support.planted_code import function


def only_function(source: str) -> PythonFunction:
    source = dedent(source)
    found, skipped = usable_functions(source, parse_quietly(source))
    assert not skipped, skipped
    assert len(found) == 1
    return found[0]


def test_only_the_docstring_is_taken_out_of_the_source() -> None:
    found = only_function(
        '''
        class Ä:
            if True:
                @decorated(
                    1)
                @property
                async def f(self,   a):  # é comment
                    # before
                    "Ask for " \\
                        "the ünusual value."  # behind

                    # after
                    text = """
                kept
                      as it is
                    """
                    return  ( text,
                        a )
        '''
    )
    assert found.qualname == "Ä.f"
    assert found.sentence == "Ask for the ünusual value"
    assert found.document == dedent(
        '''\
        @decorated(
            1)
        @property
        async def f(self,   a):  # é comment
            # before
            # behind

            # after
            text = """
                kept
                      as it is
                    """
            return  ( text,
                a )'''
    )


def test_a_docstring_may_share_its_line() -> None:
    source = "def f(a):\n\t'''Ask the first question.''' ; b = a\n\tc = b\n\treturn c\n"
    assert only_function(source).document == "def f(a):\n\tb = a\n\tc = b\n\treturn c"


@pytest.mark.parametrize(
    ("reason", "source"),
    [
        ("no docstring", "def f(a):\n    b = a\n    c = b\n    return c\n"),
        ("fewer than 3 words", function("f", "Add values.")),
        ("more than 40 words", function("f", "Add " + "many " * 40 + "values.")),
        ("does not read as English", function("f", "a_b = c_d(e_f) * [1, 2]")),
        ("does not read as English", function("f", "把所有的 值 加在一起 返回")),
        ("does not read as English", function("f", "Add up all the \\ud800 values.")),
        ("boilerplate", function("f", "See the base class for details.")),
        ("boilerplate", function("f", "Internal helper function only.")),
        ("trivial", function("f", "Add up all the values.", body=["return sum(values)"])),
        ("trivial", function("f", "Add up all the values.", body=["# One.", "# Two.", "", "return sum(values)"])),
        ("trivial", function("f", "Add up all the values.", body=[])),
        ("trivial", function("f", "Add up all the values.", body=["raise TypeError(", "    1,", "    2,", ")"])),
        ("trivial", function("f", "Add up all the values.", body=["return super().f(", "    1,", "    2,", ")"])),
        ("longer than 200 lines", function("f", "Add up all the values.", body=["values += 1"] * 201)),
        ("is a test", function("test_f", "Add up all the values.")),
        ("is a test", "class C:\n" + indent(function("testAdding", "Add up all the values."), "    ")),
        ("dunder", "class C:\n" + indent(function("__add__", "Add up all the values."), "    ")),
        ("overload", "@typing.overload\n" + function("f", "Add up all the values.")),
        ("setter", "class C:\n    @f.setter\n" + indent(function("f", "Add up all the values."), "    ")),
        (
            "repeats its first docstring sentence",
            function("f", "Add up the values.", body=["a = 1", "b = 2", "return 'add up the  values!'"]),
        ),
    ],
)
def test_what_is_no_question_or_no_answer_is_left_out_and_counted(reason: str, source: str) -> None:
    found, skipped = usable_functions(source, parse_quietly(source))
    assert found == []
    assert [count for name, count in skipped.items() if reason in name] == [1]
    assert skipped.total() == 1
