"""The packages against their table, and their size."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TABLE = re.findall(
    r"^\| `(crossrank[\w.]*)` \| (.+) \|$", (ROOT / "docs" / "architecture.md").read_text("utf-8"), re.MULTILINE
)
# Generated packages hold stubs, or only the package of stubs.
PACKAGES = {
    ".".join(path.parent.relative_to(ROOT).parts): path.parent
    for path in sorted((ROOT / "crossrank").rglob("__init__.py"))
    if path.relative_to(ROOT).parts[1] not in ("tei", "v1")
}
MOST_MODULES = 15


def test_the_table_names_every_package_with_the_first_line_of_its_docstring() -> None:
    docstrings = {
        name: ast.get_docstring(ast.parse((path / "__init__.py").read_text("utf-8"))) for name, path in PACKAGES.items()
    }
    assert dict(TABLE) == {name: (text or "").partition("\n")[0] for name, text in docstrings.items()}


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_has_about_a_dozen_modules(name: str) -> None:
    modules = [path.name for path in PACKAGES[name].glob("*.py") if not path.name.startswith("__")]
    assert len(modules) <= MOST_MODULES, modules
