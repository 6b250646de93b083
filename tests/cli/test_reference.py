"""The reference pages: they are those of the code, and say all of it in sentences."""

from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from crossrank.cli.reference import main, pages
from crossrank.serve.settings import RankerSettings, ServerSettings
from crossrank.train.recipe import Recipe
from crossrank.train.recipe_files import explain

REFERENCE = Path(__file__).parent.parent.parent / "docs" / "reference"


def test_the_committed_pages_are_those_of_the_code(tmp_path: Path) -> None:
    main(tmp_path)
    for page in tmp_path.iterdir():
        assert (REFERENCE / page.name).read_text(encoding="utf-8") == page.read_text(encoding="utf-8"), "make reference"


@pytest.mark.parametrize(("key", "meaning"), [(key, meaning) for key, _, meaning in explain()])
def test_every_key_of_a_recipe_is_in_its_page_with_a_sentence(key: str, meaning: str) -> None:
    assert meaning[0].isupper() or not meaning[0].isalpha()
    assert meaning.endswith(".")
    assert f"| `{key.rpartition('.')[2]}` |" in pages()["recipe.md"]
    assert meaning in pages()["recipe.md"]


@pytest.mark.parametrize(
    ("name", "field"), [*ServerSettings.model_fields.items(), *RankerSettings.model_fields.items()]
)
def test_every_setting_is_in_its_page_with_a_sentence(name: str, field: FieldInfo) -> None:
    assert field.description
    assert field.description[0].isupper()
    assert field.description.endswith(".")
    assert f"| {field.description} |" in pages()["settings.md"]


def test_every_table_of_a_recipe_says_what_it_is_for() -> None:
    inner = [field.annotation for field in Recipe.model_fields.values() if hasattr(field.annotation, "model_fields")]
    assert len(inner) == 7
    for table in inner:
        assert (table.__doc__ or "").split("\n")[0].rstrip().endswith(".")
