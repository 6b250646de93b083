"""Sabotage of a ranker's directory, one by one, before a graph is even opened."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from crossrank.errors import InvalidRanker
from crossrank.export.pipeline import ExportReport
from crossrank.inference.ranker.directory import open_ranker


@pytest.fixture
def copied(tiny: ExportReport, tmp_path: Path) -> Path:
    shutil.copytree(tiny.directory, tmp_path / "ranker")
    return tmp_path / "ranker"


def _flip_a_byte(ranker: Path) -> None:
    graph = ranker / "onnx" / "model.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)


def _link_out(ranker: Path) -> None:
    outside = ranker.parent / "outside.onnx"
    (ranker / "onnx" / "model.onnx").rename(outside)
    (ranker / "onnx" / "model.onnx").symlink_to(outside)


def _manifest_of_another(ranker: Path) -> None:
    other = json.loads((ranker / "onnx" / "manifest.json").read_text())
    other["files"] = dict.fromkeys(other["files"], "0" * 64)
    (ranker / "onnx" / "manifest.json").write_text(json.dumps(other))


def _path_out(ranker: Path) -> None:
    (ranker.parent / "secret").write_text("x")
    manifest = json.loads((ranker / "onnx" / "manifest.json").read_text())
    manifest["files"]["../secret"] = "0" * 64
    (ranker / "onnx" / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("sabotage", "sentence"),
    [
        (_flip_a_byte, "onnx/model.onnx is not the file that the manifest was written for"),
        (_link_out, "onnx/model.onnx leads outside the ranker's directory"),
        (lambda ranker: (ranker / "a.json").symlink_to("a.json"), r"a\.json is not a file"),
        (lambda ranker: (ranker / "far").symlink_to("/"), "far leads outside the ranker's directory"),
        (_path_out, r"\.\./secret leads outside the ranker's directory"),
        (_manifest_of_another, "is not the file that the manifest was written for"),
        (lambda ranker: (ranker / "pytorch_model.bin").touch(), "pytorch_model.bin has no place in a ranker"),
        (lambda ranker: (ranker / "onnx" / "model.onnx_data").touch(), "no sha256 for onnx/model.onnx_data"),
        (lambda ranker: (ranker / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda ranker: (ranker / "onnx" / "manifest.json").write_text("{}"), "a manifest of schema version 3"),
        (lambda ranker: (ranker / "onnx" / "manifest.json").unlink(), "it has no onnx/manifest.json"),
    ],
)
def test_sabotage_is_named(copied: Path, sabotage: Callable[[Path], object], sentence: str) -> None:
    open_ranker(copied)
    sabotage(copied)
    with pytest.raises(InvalidRanker, match=sentence):
        open_ranker(copied)


def test_links_within_the_directory_and_hard_links_are_no_fault(copied: Path) -> None:
    graph = copied / "onnx" / "model.onnx"
    os.link(graph, copied.parent / "hard link")
    (copied / "vocab").symlink_to("tokenizer.json")
    (copied.parent / "by link").symlink_to(copied)
    assert open_ranker(copied).manifest == open_ranker(copied.parent / "by link").manifest


def test_a_snapshot_of_the_hub_may_link_to_its_repositorys_blobs_and_no_further(copied: Path) -> None:
    repository = copied.parent / "models--us--ranker"
    snapshot = repository / "snapshots" / "0123abcd"
    (repository / "blobs").mkdir(parents=True)
    for number, file in enumerate(path for path in sorted(copied.rglob("*")) if path.is_file()):
        blob = repository / "blobs" / str(number)
        shutil.copy(file, blob)
        link = snapshot / file.relative_to(copied)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    open_ranker(snapshot)
    (copied.parent / "models--us--other").mkdir()
    shutil.copy(copied / "tokenizer.json", copied.parent / "models--us--other" / "blob")
    (snapshot / "tokenizer.json").unlink()
    (snapshot / "tokenizer.json").symlink_to(copied.parent / "models--us--other" / "blob")
    with pytest.raises(InvalidRanker, match=r"tokenizer\.json leads outside"):
        open_ranker(snapshot)
