import ast
import json
import os
import random
import sysconfig
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent, indent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judgements.judged_set import JudgedSet, read_judged_set
from train.docstring_sentence import first_sentence
from train.mine_code import MiningReport, SplitCounts, mine_code, split_modules
from train.python_functions import PythonFunction, parse_quietly, usable_functions

BODY = ["total = 0", "for value in values:", "    total += {number}", "return total"]


def function(name: str, docstring: str, number: int = 0, body: list[str] | None = None) -> str:
    lines = [line.format(number=number) for line in BODY] if body is None else body
    return f'def {name}(values):\n    """{docstring}"""\n' + indent("\n".join(lines), "    ") + "\n\n\n"


def plant(root: Path, files: Mapping[str, str]) -> Path:
    for name, source in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(source), encoding="utf-8")
    return root


def two_modules(root: Path) -> Path:
    first = function("add", "Add up all the values.", 1) + function("drop", "Drop the second value.", 2)
    return plant(root, {"one.py": first, "two.py": function("keep", "Keep the last value.", 3)})


def sides(out: Path) -> tuple[JudgedSet, JudgedSet]:
    return read_judged_set(out / "train"), read_judged_set(out / "dev")


def only_function(source: str) -> PythonFunction:
    source = dedent(source)
    found, skipped = usable_functions(source, parse_quietly(source))
    assert not skipped, skipped
    assert len(found) == 1
    return found[0]


def assert_sound(report: MiningReport, out: Path) -> None:
    """What holds of every mined set, whatever it was mined from."""
    train, dev = sides(out)
    for judged, counts in ((train, report.train), (dev, report.dev)):
        assert judged.queries.keys() == judged.qrels.keys()
        assert all(
            grades == {query.removeprefix("q:"): 1} and grades.keys() <= judged.corpus.keys()
            for query, grades in judged.qrels.items()
        )
        assert len(judged.queries) == len(judged.corpus) == counts.queries == counts.documents > 0
        for query, text in judged.queries.items():
            assert text.casefold() not in judged.corpus[query.removeprefix("q:")].casefold()
    queries = [*train.queries.values(), *dev.queries.values()]
    documents = [*train.corpus.values(), *dev.corpus.values()]
    assert len(set(queries)) == len(queries)
    assert len(set(documents)) == len(documents)
    for document in documents:
        (node,) = parse_quietly(document).body
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        assert ast.get_docstring(node) is None
    held_out = {name.partition(":")[0].partition(".")[0] for name in dev.corpus}
    assert held_out == set(report.dev_modules)
    assert held_out.isdisjoint(name.partition(":")[0].partition(".")[0] for name in train.corpus)
    of_functions = sum(count for reason, count in report.skipped.items() if reason.startswith("function: "))
    assert report.functions == len(queries) + of_functions


def test_a_docstring_asks_for_its_function(tmp_path: Path) -> None:
    out = tmp_path / "out"
    calls: list[tuple[int, int]] = []
    report = mine_code(
        [two_modules(tmp_path / "src")], out, dev_fraction=0.3, progress=lambda *done: calls.append(done)
    )
    train, dev = sides(out)
    assert train.queries == {"q:one:add": "Add up all the values", "q:one:drop": "Drop the second value"}
    assert train.corpus["one:add"] == (
        "def add(values):\n    total = 0\n    for value in values:\n        total += 1\n    return total"
    )
    assert train.qrels == {"q:one:add": {"one:add": 1}, "q:one:drop": {"one:drop": 1}}
    assert dev.queries == {"q:two:keep": "Keep the last value"}
    assert report == MiningReport(
        train=SplitCounts(1, 2, 2),
        dev=SplitCounts(1, 1, 1),
        files=2,
        functions=3,
        skipped={},
        dev_modules=["two"],
        source_dirs=[str(tmp_path / "src")],
        dev_fraction=0.3,
        seed=0,
    )
    assert calls == [(1, 2), (2, 2)]
    written = json.loads((out / "mining.json").read_text(encoding="utf-8"))
    assert written["train"] == {"modules": 1, "queries": 2, "documents": 2}
    assert written["dev_modules"] == ["two"]
    assert_sound(report, out)


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


def test_files_that_are_not_for_mining_are_left_out_and_counted(tmp_path: Path) -> None:
    root, other = two_modules(tmp_path / "src"), plant(tmp_path / "other", {"far.py": "1"})
    source = function("odd", "Answer an odd question.", 9)
    plant(
        root,
        {
            "pkg/tests/helper.py": source,
            "pkg/test_it.py": source,
            "pkg/it_test.py": source,
            "pkg/conftest.py": source,
            "pkg/idle_test/helper.py": source,
            "wire_pb2.py": source,
            "made.py": "# Generated by a tool.\n" + source,
            "made_too.py": '"""This file was auto-generated, DO NOT EDIT."""\n' + source,
            "broken.py": "def f(:\n" + source,
            "null.py": "\0",
            "cookie.py": "# coding: no-such-codec\n" + source,
            "hex.py": "# coding: hex\n" + source,
            "deep.py": "x = " + "-" * 100_000 + "1",
            "large.py": source + "#" * 1_000_000,
            ".hidden/a.py": source,
            "__pycache__/a.py": source,
            "lib/site-packages/a.py": source,
            "build/a.py": source,
            "env/a.py": source,
            "env/pyvenv.cfg": "",
        },
    )
    (root / "latin.py").write_bytes(b"x = '\xe9'\n")
    (root / "linked.py").symlink_to(other / "far.py")
    (root / "linked").symlink_to(other, target_is_directory=True)
    os.mkfifo(root / "pipe.py")
    report = mine_code([root], tmp_path / "out")
    assert report.skipped == {
        "file: cannot be read, decoded or parsed": 6,
        "directory: hidden, cache, virtual environment, installed packages or build output": 5,
        "file: holds tests": 5,
        "file: generated by a program": 3,
        "file: symbolic link, or not a regular file": 2,
        "file: larger than 1,000,000 bytes": 1,
    }
    assert report.files == 2 + 6 + 5 + 3 + 2 + 1
    assert report.functions == 3


def test_a_package_may_be_called_build_and_a_module_may_be_about_generated_things(tmp_path: Path) -> None:
    plant(
        tmp_path / "src",
        {
            "build/__init__.py": function("a", "Answer the first question.", 1),
            "parse.py": '"""A parser for tables generated by a tool."""\n' + function("b", "Ask one more question.", 2),
        },
    )
    assert mine_code([tmp_path / "src"], tmp_path / "out").functions == 2


def test_the_same_code_and_the_same_question_are_kept_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    plant(
        tmp_path / "src",
        {
            "a.py": function("first", "Add up all the values.", 1),
            "b.py": function("copied", "Some other words here.", 1).replace("total = 0", "total = 0  # nothing yet"),
            "c.py": function("asked", "add up ALL the values!", 2),
            "d.py": function("last", "Keep the last value.", 3),
        },
    )
    report = mine_code([tmp_path / "src"], out)
    assert report.skipped == {
        "function: same code as an earlier one": 1,
        "function: same first docstring sentence as an earlier one": 1,
    }
    train, dev = sides(out)
    assert {*train.corpus, *dev.corpus} == {"a:first", "d:last"}
    assert_sound(report, out)


def test_names_tell_where_a_function_is_and_stay_unique(tmp_path: Path) -> None:
    source = """
        try:
            def f(a):
                '''Ask the first question.'''
                a = 1
                b = 2
                return a + b
        except ImportError:
            async def f(a):
                '''Ask the second question.'''
                def inner():
                    '''Ask an inner question.'''
                    a = 3
                    return a
                return inner
        class A:
            class B:
                def f(self):
                    '''Ask the third question.'''
                    if self:
                        return 4
                    return 5
        """
    plant(tmp_path / "src", {"pkg/sub/__init__.py": source, "__init__.py": function("g", "Ask something else.", 6)})
    out = tmp_path / "out"
    report = mine_code([tmp_path / "src"], out)
    train, dev = sides(out)
    assert [*train.corpus] == ["pkg.sub:f", "pkg.sub:f#2", "pkg.sub:A.B.f"]
    assert [*dev.corpus] == ["src:g"]
    assert report.functions == 4


def test_several_directories_share_their_modules(tmp_path: Path) -> None:
    plant(tmp_path / "x", {"same/a.py": function("a", "Ask the first question.", 1)})
    plant(tmp_path / "y", {"same/b.py": function("b", "Ask the second question.", 2)})
    with pytest.raises(ValueError, match=r"one top-level module \(same\).*at least two"):
        mine_code([tmp_path / "x", tmp_path / "y"], tmp_path / "out")
    plant(tmp_path / "y", {"other.py": function("c", "Ask the third question.", 3)})
    report = mine_code([tmp_path / "x", tmp_path / "y", tmp_path / "y", tmp_path / "y" / "same"], tmp_path / "out")
    assert (report.files, report.functions, report.train.modules, report.train.queries) == (3, 3, 1, 2)


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


def test_sources_are_decoded_as_they_say_and_never_run(tmp_path: Path) -> None:
    root = two_modules(tmp_path / "src")
    latin = "# -*- coding: latin-1 -*-\nraise SystemExit\n" + function("bird", "Name the bird é of them.", 7)
    (root / "latin.py").write_bytes(latin.encode("latin-1"))
    bom = "raise SystemExit\n" + function("boat", "Name the boat of them.", 8, ["a = '\\d' is 1", "b = a", "return b"])
    (root / "bom.py").write_bytes(b"\xef\xbb\xbf" + bom.replace("\n", "\r\n").encode())
    out = tmp_path / "out"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = mine_code([root], out)
    train, dev = sides(out)
    corpus, queries = {**train.corpus, **dev.corpus}, {**train.queries, **dev.queries}
    assert queries["q:latin:bird"] == "Name the bird é of them"
    assert corpus["bom:boat"] == "def boat(values):\n    a = '\\d' is 1\n    b = a\n    return b"
    assert_sound(report, out)


def test_nothing_is_left_behind_by_a_mining_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = two_modules(tmp_path / "src")

    def fail(judged: JudgedSet, directory: Path) -> None:
        directory.mkdir()
        raise OSError("the disk is full")

    monkeypatch.setattr("train.mine_code.write_judged_set", fail)
    with pytest.raises(OSError, match="the disk is full"):
        mine_code([root], tmp_path / "new" / "out")
    assert [*(tmp_path / "new").iterdir()] == []


def test_an_existing_out_is_refused_and_kept(tmp_path: Path) -> None:
    root = two_modules(tmp_path / "src")
    out = tmp_path / "out"
    mine_code([root], out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(FileExistsError, match="exists already"):
        mine_code([root], out, seed=1)
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "src"]
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError, match="exists already"):
        mine_code([root], tmp_path / "dangling")


def test_what_cannot_be_mined_is_said_in_a_sentence(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(FileNotFoundError, match="does not exist"):
        mine_code([tmp_path / "nowhere"], out)
    with pytest.raises(NotADirectoryError, match="not a directory"):
        mine_code([plant(tmp_path / "a", {"a.py": "1"}) / "a.py"], out)
    with pytest.raises(FileNotFoundError, match="no Python file"):
        mine_code([plant(tmp_path / "b", {"b.txt": "1"})], out)
    with pytest.raises(ValueError, match="No source directory"):
        mine_code([], out)
    with pytest.raises(ValueError, match=r"No usable function.*no docstring \(1\)"):
        mine_code([plant(tmp_path / "c", {"c.py": "def f(): return 1"})], out)
    for fraction in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            mine_code([two_modules(tmp_path / "src")], out, dev_fraction=fraction)
    assert not out.exists()


@given(
    sizes=st.dictionaries(st.text("abcdef_", min_size=1), st.integers(1, 500), min_size=2, max_size=40),
    dev_fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 1000),
)
def test_the_split_holds_out_some_modules_but_not_much_too_much(
    sizes: dict[str, int], dev_fraction: float, seed: int
) -> None:
    held_out = split_modules(sizes, dev_fraction, seed)
    assert 0 < len(held_out) < len(sizes)
    assert held_out <= sizes.keys()
    wanted = dev_fraction * sum(sizes.values())
    size = sum(sizes[module] for module in held_out)
    assert size <= 1.1 * wanted or size == min(sizes.values())
    assert held_out == split_modules(dict(reversed(sizes.items())), dev_fraction, seed)
    left = sizes.keys() - held_out
    assert size >= wanted or len(left) == 1 or all(size + sizes[module] > 1.1 * wanted for module in left)


def test_a_module_of_half_the_queries_is_not_held_out() -> None:
    sizes = {"huge": 500, **{f"m{number}": 5 for number in range(100)}}
    for seed in range(50):
        held_out = split_modules(sizes, 0.2, seed)
        assert "huge" not in held_out
        assert 200 <= sum(sizes[module] for module in held_out) <= 220
    assert len({split_modules(sizes, 0.2, seed) for seed in range(50)}) > 40


@given(
    shape=st.lists(
        st.tuples(st.sampled_from(["a", "b", "c.d", "c.e", "f.g.h"]), st.integers(0, 12), st.integers(0, 12)),
        min_size=8,
        max_size=24,
    ),
    seed=st.integers(0, 3),
)
def test_whatever_the_tree_both_sides_are_sound_and_apart(
    tmp_path_factory: pytest.TempPathFactory, shape: list[tuple[str, int, int]], seed: int
) -> None:
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "mu", "nu", "xi"]
    files: Counter[str] = Counter()
    sources: dict[str, str] = {"y.py": function("y", "Return the first end.", 98), "z/z.py": ""}
    sources["z/z.py"] = function("z", "Return the second end.", 99)
    for module, sentence, code in shape:
        name = module.replace(".", "/") + ".py"
        files[name] += 1
        sources[name] = sources.get(name, "") + function(f"f{files[name] % 3}", f"Count every {words[sentence]}.", code)
    place = tmp_path_factory.mktemp("mining")
    root = plant(place / "src", sources)
    report = mine_code([root], place / "out", seed=seed)
    assert_sound(report, place / "out")
    assert report.functions == len(shape) + 2
    # A second tree, made in another order, with the same files.
    again = plant(place / "again" / "src", dict(random.Random(seed).sample([*sources.items()], len(sources))))
    mine_code([again], place / "out2", seed=seed)
    for path in (place / "out").rglob("*"):
        if path.is_file() and path.name != "mining.json":
            assert path.read_bytes() == (place / "out2" / path.relative_to(place / "out")).read_bytes()


def test_the_standard_library_gives_hundreds_of_pairs(tmp_path: Path) -> None:
    stdlib = Path(sysconfig.get_path("stdlib"))
    root = tmp_path / "src"
    root.mkdir()
    for name in ("json", "email", "logging", "http", "unittest", "importlib"):
        for path in sorted((stdlib / name).rglob("*.py")):
            target = root / path.relative_to(stdlib)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    report = mine_code([root], tmp_path / "out")
    assert_sound(report, tmp_path / "out")
    assert report.train.queries + report.dev.queries > 400
    train, dev = sides(tmp_path / "out")
    queries = {**train.queries, **dev.queries}
    assert queries["q:email.utils:make_msgid"].startswith("Returns a string suitable for RFC 2822 compliant Message-ID")
