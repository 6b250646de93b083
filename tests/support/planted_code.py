"""Small source trees to mine, and what holds of whatever was mined from one."""

import ast
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent, indent

from crossrank.data.eval_set import JudgedSet, read_judged_set
from crossrank.data.mining.code import MiningReport
from crossrank.data.mining.python_functions import parse_quietly

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
