"""Mined code as a training and a development side, which share nothing."""

import random
import sysconfig
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossrank.data.mining.code import mine_code, split_modules
from crossrank.errors import UsageError
from tests.support.planted_code import assert_sound, function, plant, sides


def test_several_directories_share_their_modules(tmp_path: Path) -> None:
    plant(tmp_path / "x", {"same/a.py": function("a", "Ask the first question.", 1)})
    plant(tmp_path / "y", {"same/b.py": function("b", "Ask the second question.", 2)})
    with pytest.raises(UsageError, match=r"one top-level module \(same\).*at least two"):
        mine_code([tmp_path / "x", tmp_path / "y"], tmp_path / "out")
    plant(tmp_path / "y", {"other.py": function("c", "Ask the third question.", 3)})
    report = mine_code([tmp_path / "x", tmp_path / "y", tmp_path / "y", tmp_path / "y" / "same"], tmp_path / "out")
    assert (report.files, report.functions, report.train.modules, report.train.queries) == (3, 3, 1, 2)


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
