"""One import name: users' own serve.py, train.py, export/ and judgements.py, and what the distributions hold."""

import ast
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from crossrank import RankClient
from crossrank.serve.local import local_server

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "crossrank"
# Names that lie at the top of a checkout, or did, and that every second machine learning project has as well.
BARE = {"serve", "train", "export", "judgements"}
IMPORTERS = {"import_module", "__import__", "find_spec", "run_module", "PackageLoader", "files", "patch"}

SCRIPT = """
from crossrank import RankClient, Scorer

with Scorer.open() as scorer:
    ranking = scorer.rank("add two numbers", ["The monastery burnt down.", "def add(a, b): return a + b"])
assert ranking[0]["corpus_id"] == 1
RankClient().close()
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's directory, whose files end the process that imports them."""
    directory = tmp_path_factory.mktemp("hostile")
    ending = "raise SystemExit('a file of the user was imported')\n"
    for name in ("serve.py", "train.py", "judgements.py"):
        (directory / name).write_text(ending)
    (directory / "export").mkdir()
    (directory / "export" / "__init__.py").write_text(ending)
    (directory / "app.py").write_text(SCRIPT)
    (directory / "test_app.py").write_text("def test_it():\n" + SCRIPT.replace("\n", "\n    "))
    return directory


@pytest.mark.parametrize(
    "arguments",
    [
        ("app.py",),
        ("-m", "app"),
        ("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_app.py"),
        ("-m", "crossrank.cli", "rank", "add two numbers", "app.py"),
        ("-m", "crossrank.cli", "serve", "--help"),
        ("-m", "crossrank.cli", "export-onnx", "--help"),
        ("-m", "crossrank.cli", "train", "--explain"),
        ("-m", "torch.distributed.run", "--standalone", "-m", "crossrank.cli", "train", "--explain"),
    ],
    ids=lambda arguments: " ".join(arguments[:3]),
)
def test_files_of_the_user_do_not_shadow_ours(hostile: Path, arguments: tuple[str, ...]) -> None:
    outcome = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=hostile)
    assert outcome.returncode == 0, outcome.stderr


def test_a_server_that_is_started_for_a_user_does_not_read_the_users_files(
    hostile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In the place of a package that the server needs.
    (hostile / "tokenizers.py").write_text((hostile / "serve.py").read_text())
    monkeypatch.chdir(hostile)
    try:
        with (
            local_server("--variant", "qint8_per_token") as server,
            RankClient(server.target) as client,
        ):
            assert client.rank("add two numbers", ["def add(a, b): return a + b"])[0]["corpus_id"] == 0
    finally:
        (hostile / "tokenizers.py").unlink()


def names_imported_by(node: ast.AST) -> list[str]:
    """The modules that a statement imports, or a call names by a string."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [node.module or ""]
    if isinstance(node, ast.Call) and node.args:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        first = node.args[0]
        if called in IMPORTERS and isinstance(first, ast.Constant) and isinstance(first.value, str):
            return [first.value]
    return []


def test_nothing_imports_the_names_of_the_links() -> None:
    files = [file for folder in (PACKAGE, ROOT / "tests", ROOT / "benchmarks") for file in folder.rglob("*.py")]
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = names_imported_by(node)
            assert not BARE & {name.split(".")[0] for name in names}, f"{file} imports {names}"


def test_every_package_that_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for name, lines in project["optional-dependencies"].items() if name != "dev" for line in lines]
    declared = {re.split(r"[^\w.-]", line)[0].lower().replace("_", "-") for line in (*project["dependencies"], *extras)}
    distributions = packages_distributions()
    imported = {
        name.split(".")[0]
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if not isinstance(node, ast.Call)
        for name in names_imported_by(node)
    }
    # pydantic documents its core as a part of itself; whoever takes an adapter has the framework.
    frameworks = {"haystack", "langchain_core", "llama_index"}
    others = imported - sys.stdlib_module_names - frameworks - {"", "crossrank", "pydantic_core"}
    assert not {
        name for name in others if not {found.lower().replace("_", "-") for found in distributions[name]} & declared
    }


def test_children_never_look_for_modules_in_the_directory_of_the_user() -> None:
    found = 0
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.List | ast.Tuple):
                continue
            elements = [ast.unparse(element) for element in node.elts]
            if "sys.executable" in elements:
                found += 1
                assert elements[elements.index("sys.executable") + 1] == "'-P'", f"{file}:{node.lineno}"
    assert found


@pytest.fixture(scope="module")
def wheel_files(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def files_below(folder: Path) -> set[str]:
    return {
        str(path.relative_to(ROOT)) for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_one_package_and_all_of_it(wheel_files: set[str]) -> None:
    tops = {name.split("/")[0] for name in wheel_files}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"crossrank"}
    assert files_below(PACKAGE) <= wheel_files
    assert {
        "crossrank/py.typed",
        "crossrank/default_ranker/onnx/manifest.json",
        "crossrank/default_ranker/tokenizer.json",
        "crossrank/train/recipes/default.toml",
        "crossrank/train/recipes/code-search-heldout/qrels.tsv",
    } <= wheel_files
    assert any(name.endswith(".html.jinja") for name in wheel_files)
    assert any(name.endswith("/licenses/LICENSE") for name in wheel_files)


def test_the_wheel_holds_no_pictures(wheel_files: set[str]) -> None:
    assert not {name for name in wheel_files if name.endswith(".png")}


def test_the_source_distribution_is_complete(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    below = {name for folder in ("crossrank", "tests", "protos", "docs") for name in files_below(ROOT / folder)}
    assert below <= held
    assert {"LICENSE", "Makefile", "NOTICE", "README.md", "buf.yaml", "constraints.txt", "pyproject.toml"} <= held
    assert {"CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "SECURITY.md", "mkdocs.yml"} <= held
    # The links of a checkout are folders here; where links cannot be, a checkout has files in their place.
    for link in ("train", "export", "serve"):
        if (ROOT / link).is_dir():
            assert {name.removeprefix("crossrank/") for name in files_below(PACKAGE / link)} <= held


def test_an_index_would_take_both_distributions(wheel: Path, sdist: Path) -> None:
    command = [sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(sdist)]
    outcome = subprocess.run(command, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stdout


def test_the_citation_is_of_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    for key in ("version", "license"):
        assert re.findall(rf"^{key}: (.+)$", citation, re.MULTILINE) == [project[key]]
