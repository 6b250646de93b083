import tempfile
import tomllib
from pathlib import Path

import pytest
import tomli_w
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crossrank.errors import UsageError
from crossrank.train.recipe_files import load_recipe

RECIPES = Path(__file__).parent.parent.parent / "crossrank" / "train" / "recipes"
MINIMAL = 'name = "r"\nbase = "b"\nmax_length = 64\n[data]\ntrain = "rows.jsonl"\n'


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(MINIMAL)
    return path


def test_paths_start_at_the_recipe_and_overrides_at_the_working_directory(recipe: Path, tmp_path: Path) -> None:
    assert load_recipe(recipe).data.train[0].path == tmp_path / "rows.jsonl"
    assert load_recipe(recipe, ["data.train=other.jsonl"]).data.train[0].path == Path.cwd() / "other.jsonl"
    assert load_recipe(recipe, ["data.root=/elsewhere"]).data.train[0].path == Path("/elsewhere/rows.jsonl")


def test_overrides_take_toml_values_and_bare_words(recipe: Path) -> None:
    loaded = load_recipe(recipe, ["training.max_steps=7", "base=some/model", "training.fp16=true", 'loss.name="fit"'])
    assert (loaded.training.max_steps, loaded.base, loaded.training.fp16, loaded.loss.name) == (
        7,
        "some/model",
        True,
        "fit",
    )


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (
            "training.lerning_rate=1",
            "lerning_rate is not a key of a recipe; the nearest is training.learning_rate",
        ),
        ("max_lenght=3", "max_lenght is not a key of a recipe; the nearest is max_length"),
        ("training.learning_rate=0", "training.learning_rate: "),
        ("loss.name=hinge", "loss.name: "),
        ("base", "write it as key=value"),
        ("name.x=1", "name is not a table"),
        ("seed=-1", "seed: "),
        ("data=x", "data: "),
        ("distillation.teacher=t", "binary_cross_entropy cannot learn a teacher's scores; take mse, margin_mse"),
        ("loss.name=margin_mse", "name a distillation.teacher"),
        ("name=../escape", "name: "),
    ],
)
def test_a_bad_key_or_value_is_one_sentence(recipe: Path, override: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        load_recipe(recipe, [override])


def test_fp16_and_bf16_exclude_each_other(recipe: Path) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        load_recipe(recipe, ["training.fp16=true", "training.bf16=true"])


def test_no_toml(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(UsageError, match="not valid TOML"):
        load_recipe(tmp_path / "bad.toml")


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_included_recipes_load(path: Path) -> None:
    assert load_recipe(path).name == path.stem


def test_the_two_named_cases_say_what_they_must() -> None:
    one, two = (load_recipe(RECIPES / f"{name}.toml") for name in ("code-search-ratings", "outdoor-skills"))
    assert (one.base, one.max_length) == ("cross-encoder/ms-marco-MiniLM-L12-v2", 512)
    assert (one.loss.name, one.loss.activation) == ("binary_cross_entropy", "identity")
    assert (one.training.per_device_train_batch_size, one.training.num_train_epochs) == (16, 1)
    assert one.training.learning_rate == 5e-5
    assert (two.base, two.max_length) == ("cross-encoder/ms-marco-MiniLM-L6-v2", 256)
    assert (two.loss.name, two.loss.activation) == ("fit", "identity")
    assert (two.training.per_device_train_batch_size, two.training.num_train_epochs) == (8, 3)
    assert (two.training.learning_rate, two.training.warmup_ratio) == (5e-5, 0)
    assert (two.training.lr_scheduler_type, two.training.fp16) == ("linear", True)


def test_places_in_a_recipe_start_at_its_root_and_overrides_where_one_is(recipe: Path, tmp_path: Path) -> None:
    recipe.write_text(recipe.read_text().replace("[data]", '[data]\nroot = "deeper"'))
    loaded = load_recipe(recipe, ["data.regression_sets=5", "data.dev="])
    assert loaded.data.train[0].path == tmp_path / "deeper" / "rows.jsonl"
    assert loaded.data.regression_sets == (Path.cwd() / "5",)
    assert loaded.data.dev is None


def test_a_recipe_may_begin_with_a_byte_order_mark_and_name_home(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    recipe.write_text(recipe.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert load_recipe(recipe, ["data.dev=~/dev"]).data.dev is not None
    plain = recipe.read_text(encoding="utf-8-sig").replace("[data]", '[data]\ndev = "~/dev"', 1)
    recipe.write_text(plain, encoding="utf-8-sig")
    assert load_recipe(recipe).data.dev == tmp_path / "home" / "dev"


def test_home_is_expanded_in_every_path(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "saved").mkdir(parents=True)
    recipe.write_text(
        MINIMAL.replace('train = "rows.jsonl"', 'root = "~/data"\nregression_sets = ["~/guard", "plain"]')
        + '[[data.train]]\npath = "rows.jsonl"\ncorpus = "~/corpus"\ncorpora = ["~/other"]\nrun = "~/a.run"\n'
        + '[[data.train]]\ndataset = "~/saved"\n[distillation]\ncache = "~/scores.sqlite"\n'
    )
    loaded = load_recipe(recipe)
    home = tmp_path / "home"
    first, second = loaded.data.train
    assert loaded.data.regression_sets == (home / "guard", home / "data" / "plain")
    assert (first.path, first.corpus, first.run) == (home / "data" / "rows.jsonl", home / "corpus", home / "a.run")
    assert (first.corpora, second.dataset) == ((home / "other",), str(home / "saved"))
    assert loaded.distillation.cache == home / "scores.sqlite"
    assert load_recipe(recipe, ["data.regression_sets=~/one"]).data.regression_sets == (home / "one",)
    assert load_recipe(recipe, ["data.dev=~/one"]).data.dev == home / "one"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_recipes_of_other_editors_are_read(recipe: Path, encoding: str) -> None:
    recipe.write_text(MINIMAL.replace("\n", "\r\n"), encoding=encoding)
    assert load_recipe(recipe).name == "r"


def test_a_recipe_that_is_no_text_is_refused_by_line(recipe: Path) -> None:
    recipe.write_bytes(MINIMAL.encode() + b"# caf\xe9\n")
    with pytest.raises(UsageError, match=r"recipe\.toml:6: not UTF-8"):
        load_recipe(recipe)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.sampled_from(["", "data", "data.train", "data.dev", "data.root", "loss", "distillation.cache", "base"]), VALUES
)
@example("data.train", "a\0b")
@example("data", 5)
@settings(max_examples=150, deadline=None)
def test_a_value_of_any_kind_is_taken_or_refused(key: str, value: object) -> None:
    with tempfile.TemporaryDirectory() as root:
        path = Path(root) / "recipe.toml"
        table = tomllib.loads(MINIMAL)
        *parents, last = key.split(".")
        inner = table
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = value
        try:
            path.write_text(tomli_w.dumps(table), encoding="utf-8")
        except (TypeError, UnicodeEncodeError):  # None, or half of a surrogate pair: not TOML
            return
        try:
            load_recipe(path)
        except UsageError as error:
            assert str(error)


@given(st.binary(max_size=60), st.integers(0, 80))
@example(b"[" * 20_000, 0)
@example(b"x = [" + b"[" * 20_000, 0)
@example(b"x = " + b"9" * 5_000 + b"\n", 0)
@settings(max_examples=150, deadline=None)
def test_a_recipe_of_any_bytes_is_taken_or_refused(noise: bytes, place: int) -> None:
    with tempfile.TemporaryDirectory() as root:
        path = Path(root) / "recipe.toml"
        path.write_bytes(MINIMAL.encode()[:place] + noise + MINIMAL.encode()[place:])
        try:
            load_recipe(path)
        except UsageError as error:
            assert str(error)


@pytest.mark.parametrize("value", ["9" * 5_000, "[" * 20_000])
def test_an_override_of_any_kind_is_a_word(recipe: Path, value: str) -> None:
    assert load_recipe(recipe, [f"base={value}"]).base == value
