"""Judged training data out of Python source trees: a docstring's first sentence asks for its function."""

import dataclasses
import json
import logging
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from crossrank.data.eval_set import JudgedSet, write_judged_set
from crossrank.data.formats.files import written_beside
from crossrank.data.mining.python_files import SourceFile, python_files, read_functions
from crossrank.data.mining.python_functions import PythonFunction
from crossrank.errors import UsageError
from crossrank.progress import Progress

_DEV_OVERSHOOT = 0.1

_COPIED = "function: same code as an earlier one"
_ASKED = "function: same first docstring sentence as an earlier one"


@dataclass(frozen=True, slots=True)
class SplitCounts:
    """The size of one side of the split."""

    modules: int
    queries: int
    documents: int


@dataclass(frozen=True, slots=True)
class MiningReport:
    """What was mined, from what, and why the rest was left out.

    `files` and `functions` count everything seen: each file was read or is in `skipped` under a "file:"
    reason, and each function found in a file read is a query or is in `skipped` under a "function:" reason.
    """

    train: SplitCounts
    dev: SplitCounts
    files: int
    functions: int
    skipped: dict[str, int]
    dev_modules: list[str]
    source_dirs: list[str]
    dev_fraction: float
    seed: int


@dataclass(frozen=True, slots=True)
class _Pair:
    top_module: str
    document_id: str
    function: PythonFunction


def mine_code(
    source_dirs: Sequence[Path],
    out: Path,
    *,
    dev_fraction: float = 0.2,
    seed: int = 0,
) -> MiningReport:
    """Mine evaluation sets OUT/train and OUT/dev, and the report OUT/mining.json, from Python source trees.

    Each query has one answer, of grade 1, and no two queries or documents are the same. A top-level module
    is on one side only, so that OUT/dev measures on code the training has not seen. The sources are parsed
    and never imported. The result depends on the trees and the seed alone.

    The recipe is that of CodeSearchNet (Husain et al. 2019, arXiv:1909.09436).

    Raises:
        UsageError: `out` exists, a source directory does not or holds no Python file, `dev_fraction` is not between 0
            and 1, nothing usable is found, or all of it is in one top-level module.
    """
    if not 0 < dev_fraction < 1:
        raise UsageError(f"dev_fraction: {dev_fraction} is not between 0 and 1; give a share such as 0.2")
    _refuse_existing(out)
    skipped: Counter[str] = Counter()
    files = python_files(source_dirs, skipped)
    functions, functions_seen = _read_all(files, skipped)
    pairs = _distinct_pairs(functions, skipped)
    if not pairs:
        raise UsageError(_nothing_mined(skipped))
    held_out = split_modules(Counter(pair.top_module for pair in pairs), dev_fraction, seed)
    sides = {
        "train": [pair for pair in pairs if pair.top_module not in held_out],
        "dev": [pair for pair in pairs if pair.top_module in held_out],
    }
    report = MiningReport(
        train=_counts(sides["train"]),
        dev=_counts(sides["dev"]),
        files=len(files),
        functions=functions_seen,
        skipped=dict(sorted(skipped.items(), key=lambda item: (-item[1], item[0]))),
        dev_modules=sorted(held_out),
        source_dirs=[str(directory) for directory in source_dirs],
        dev_fraction=dev_fraction,
        seed=seed,
    )
    _write(out, sides, report)
    return report


def split_modules(queries: Mapping[str, int], dev_fraction: float, seed: int) -> frozenset[str]:
    """Choose the top-level modules to hold out, given each one's number of queries.

    Modules are taken in an order shuffled by the seed until they hold the wanted share of all queries; one
    which would overshoot it by more than a tenth is passed over. Where every module would, the smallest is
    held out, and one module at least is left to train on.

    Raises:
        UsageError: There are fewer than two modules.
    """
    if len(queries) < 2:
        raise UsageError(
            f"all usable functions are in one top-level module ({', '.join(queries)}), and at least two are "
            "needed to hold one out; give the directories in which the packages lie"
        )
    order = sorted(queries)
    random.Random(seed).shuffle(order)
    wanted = dev_fraction * sum(queries.values())
    held_out: set[str] = set()
    size = 0
    for module in order:
        if size >= wanted or len(held_out) == len(order) - 1:
            break
        if size + queries[module] <= wanted * (1 + _DEV_OVERSHOOT):
            held_out.add(module)
            size += queries[module]
    return frozenset(held_out or {min(order, key=queries.__getitem__)})


def _refuse_existing(out: Path) -> None:
    if out.exists() or out.is_symlink():
        raise UsageError(f"{out} exists already; give the name of a new directory")


def _read_all(
    files: Sequence[SourceFile], skipped: Counter[str]
) -> tuple[list[tuple[SourceFile, PythonFunction]], int]:
    functions: list[tuple[SourceFile, PythonFunction]] = []
    functions_seen = 0
    with Progress(logging.getLogger("crossrank.data"), "read Python files", total=len(files)) as progress:
        for file in files:
            usable, seen = read_functions(file, skipped)
            functions.extend((file, function) for function in usable)
            functions_seen += seen
            progress.advance()
    return functions, functions_seen


def _nothing_mined(skipped: Counter[str]) -> str:
    reasons = "; ".join(f"{reason} ({count})" for reason, count in skipped.most_common(3))
    return f"no usable function in the source directories; left out were {reasons or 'none'}"


def _distinct_pairs(
    functions: Iterable[tuple[SourceFile, PythonFunction]],
    skipped: Counter[str],
) -> list[_Pair]:
    """Keep the first of all functions with the same code, and of all with the same sentence.

    A later one is left out of the corpus too, where it would be a right answer that is judged wrong.
    """
    pairs: list[_Pair] = []
    fingerprints: set[str] = set()
    questions: set[str] = set()
    uses: Counter[str] = Counter()
    for file, function in functions:
        question = " ".join(re.findall(r"\w+", function.sentence.casefold()))
        if function.fingerprint in fingerprints or question in questions:
            skipped[_COPIED if function.fingerprint in fingerprints else _ASKED] += 1
            continue
        fingerprints.add(function.fingerprint)
        questions.add(question)
        name = f"{file.module}:{function.qualname}"
        uses[name] += 1
        document_id = name if uses[name] == 1 else f"{name}#{uses[name]}"
        pairs.append(_Pair(file.top_module, document_id, function))
    return pairs


def _counts(pairs: Sequence[_Pair]) -> SplitCounts:
    return SplitCounts(len({pair.top_module for pair in pairs}), len(pairs), len(pairs))


def _write(out: Path, sides: Mapping[str, Sequence[_Pair]], report: MiningReport) -> None:
    with written_beside(out) as staged:
        staged.mkdir()
        for side, pairs in sides.items():
            write_judged_set(_judged_set(pairs), staged / side)
        text = json.dumps(dataclasses.asdict(report), indent=2, ensure_ascii=False)
        (staged / "mining.json").write_text(text + "\n", encoding="utf-8")
        _refuse_existing(out)


def _judged_set(pairs: Sequence[_Pair]) -> JudgedSet:
    return JudgedSet(
        queries={f"q:{pair.document_id}": pair.function.sentence for pair in pairs},
        corpus={pair.document_id: pair.function.document for pair in pairs},
        qrels={f"q:{pair.document_id}": {pair.document_id: 1} for pair in pairs},
    )
