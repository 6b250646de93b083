import json
import subprocess
import sys
from pathlib import Path

import pytest

from crossrank.cli.app import main
from crossrank.inference.ranker.hub import DEFAULT_RANKER


def crossrank(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "crossrank.cli", *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "add.py").write_text("def add(a, b):\n    return a + b\n")
    (tmp_path / "more.jsonl").write_text('{"doc_id": "mul", "text": "def mul(a, b): ..."}\n\n{"text": "import os"}\n')
    return [str(tmp_path / "add.py"), str(tmp_path / "more.jsonl")]


def test_rank_in_process_and_by_server_agree(server: str, files: list[str]) -> None:
    by_server = crossrank("rank", "add two numbers", *files, "--target", server, "--json")
    in_process = crossrank("rank", "add two numbers", *files, "--ranker", str(DEFAULT_RANKER), "--json")
    results = json.loads(in_process.stdout)
    assert [entry["id"] for entry in results] == [entry["id"] for entry in json.loads(by_server.stdout)], (
        by_server.stderr
    )
    assert {entry["id"] for entry in results} == {files[0], "mul", f"{files[1]}:3"}
    table = crossrank("rank", "add two numbers", *files, "--target", server, "--top-k", "1")
    assert results[0]["id"].rpartition("/")[2] in table.stdout.replace("\n", "")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("rank", "q", "none.txt"), "none.txt cannot be read"),
        (("rank", "q", "{binary}"), "binary.jsonl:1: not UTF-8"),
        (("rank", "q", "{bad}"), "bad.jsonl:2: not a JSON object"),
        (("rank", "q", "{good}", "--ranker", "{tmp}"), "is not a ranker: it has no onnx/manifest.json"),
        (("rank", "q", "{good}", "--ranker", "x", "--target", "y"), "--ranker is for this process"),
        (("train", "none.toml"), "none.toml cannot be read"),
        (("evaluate", "{tmp}", "--model", "none"), "not an evaluation set"),
        (("evaluate", "{tmp}"), "not an evaluation set"),
        (("mine-code", "{tmp}/none", "--out", "{tmp}/out"), "none"),
        (("export-onnx", "{tmp}", "--out", "{tmp}/out"), "no config.json"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    tmp_path: Path,
    arguments: tuple[str, ...],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = {name: tmp_path / f"{name}.jsonl" for name in ("binary", "bad", "good")}
    paths["binary"].write_bytes(b"\xff\x00")
    paths["bad"].write_text('{"text": "a"}\n[1]\n')
    paths["good"].write_text('{"text": "a"}\n')
    monkeypatch.setattr(sys, "argv", ["crossrank", *(argument.format(tmp=tmp_path, **paths) for argument in arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr().err
    assert ended.value.code == 2, shown
    assert sentence in shown.splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.jsonl", "binary.jsonl", "good.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("serve", "none"), "none is not a directory"),
        (("serve", "--ranker", "name"), "--ranker name: not NAME=VALUE"),
        (("serve", "{tmp}", "--port", "70000"), "port: "),
    ],
)
def test_a_server_refuses_bad_input_in_one_sentence(tmp_path: Path, arguments: tuple[str, ...], sentence: str) -> None:
    """In a process of its own: a server's log would outlive it, and write to a descriptor that others have by then."""
    outcome = crossrank(*(argument.format(tmp=tmp_path) for argument in arguments))
    assert outcome.returncode == 2
    assert sentence in outcome.stderr.splitlines()[-1]


def test_help_and_the_serving_path_import_no_training_stack() -> None:
    probe = (
        "import sys, crossrank.cli, crossrank.client, crossrank.serve.server, crossrank.inference.scorer\n"
        "heavy = {'torch', 'transformers', 'optimum', 'sentence_transformers', 'crossrank.data.bm25', 'scipy'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    outcome = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr


def test_import_crossrank_imports_nothing() -> None:
    probe = "import sys; before = set(sys.modules); import crossrank; print(*(set(sys.modules) - before))"
    outcome = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    imported = {name for name in outcome.stdout.split() if name.split(".")[0] not in sys.stdlib_module_names}
    assert imported == {"crossrank"}


def test_rank_reads_a_corpus_as_evaluation_does(tmp_path: Path) -> None:
    lines = [{"_id": "d1", "title": "Knots", "text": "They hold."}, {"_id": "d2", "text": "Rain."}]
    file = tmp_path / "corpus.JSONL"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8-sig")
    results = json.loads(crossrank("rank", "knots", str(file), "--json").stdout)
    assert {result["id"]: result["text"] for result in results} == {"d1": "Knots\nThey hold.", "d2": "Rain."}
    file.write_text('{"text": null}\n')
    refused = crossrank("rank", "knots", str(file))
    assert (refused.returncode, "corpus.JSONL:1: 'text'" in refused.stderr) == (2, True)
