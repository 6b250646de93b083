"""Ranker directory: opened, checked against its manifest, and never read outside of itself."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crossrank.atomic import recover
from crossrank.calibration.curves import CALIBRATION_FILE, Calibration, read_calibration
from crossrank.errors import InvalidRanker, UsageError
from crossrank.inference.ranker.manifest import MANIFEST_PATH, Manifest, Variant, read_manifest, sha256_of
from crossrank.inference.tokens.tokenizer_file import check_tokenizer

# What may lie in a ranker's directory, by the end of its name in lower case: nothing that any tool unpickles or runs.
_SUFFIXES = frozenset(
    {"", ".json", ".jsonl", ".txt", ".model", ".md", ".onnx", ".onnx_data", ".data", ".safetensors"}
    | {".csv", ".tsv", ".toml", ".yaml", ".yml", ".html", ".css", ".png", ".svg", ".jpg", ".pdf"}
)
_MOST_FILES = 10_000
# Bytes of one file; weights of 16 billion parameters in int8 are no encoder's.
_LARGEST = 16 * 2**30
_LARGEST_JSON = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Ranker:
    """A directory whose files are the ones that its manifest names.

    Attributes:
        directory: where it lies.
        manifest: what its exporter promises.
        calibration: what makes its probabilities; None where they are the logistic function of the logits.
    """

    directory: Path
    manifest: Manifest
    calibration: Calibration | None = None

    def variant(self, name: str) -> Variant:
        """The variant of that name ("qint8_per_token") or file name, else the fastest of that precision.

        Raises:
            UsageError: the ranker has none of that name.
        """
        for variant in self.manifest.variants:
            if name in (variant.name, variant.file, Path(variant.file).name):
                return variant
        for variant in self.manifest.variants:
            if name == variant.precision:
                return variant
        known = ", ".join(variant.name for variant in self.manifest.variants)
        raise UsageError(f"{self.directory.name} has no variant {name!r}; it has {known}")


def open_ranker(directory: Path) -> Ranker:
    """Opens a ranker and compares every file that can change a score with its manifest.

    Raises:
        InvalidRanker: no such directory or no manifest; a file that is missing, changed, outside the directory, of a
            kind that has no place there, or too large; one beside the graphs that the manifest does not name, since a
            graph may read it; a calibration that it does not name, or that is none; or a tokenizer out of bounds.
    """
    recover(directory)
    if not directory.is_dir():
        raise InvalidRanker(f"{directory} is not a directory; give the path of a ranker made by export-onnx")
    root = directory.resolve()
    for number, path in enumerate(_files(directory)):
        if number >= _MOST_FILES:
            raise InvalidRanker(f"{directory.name} has more than {_MOST_FILES} files; give a ranker's own directory")
        _check_file(path, path.relative_to(directory).as_posix(), directory.name, root)
    manifest = read_manifest(directory)
    for name, expected in manifest.files.items():
        path = directory / name
        if _leads_outside(path, root):
            raise InvalidRanker(f"{directory.name}: {name} leads outside the ranker's directory")
        if not path.is_file():
            raise InvalidRanker(f"{directory.name}: {name} is missing; export the ranker again")
        if sha256_of(path) != expected:
            raise InvalidRanker(
                f"{directory.name}: {name} is not the file that the manifest was written for "
                f"(sha256 differs); export the ranker again"
            )
    graphs = {path.relative_to(directory).as_posix() for path in _files(directory / "onnx")} - {MANIFEST_PATH}
    used = graphs | {variant.file for variant in manifest.variants}
    if (directory / CALIBRATION_FILE).exists():
        used.add(CALIBRATION_FILE)
    for name in sorted(used):
        if name not in manifest.files:
            raise InvalidRanker(f"{directory.name}: the manifest gives no sha256 for {name}; export the ranker again")
    check_tokenizer(directory)
    return Ranker(directory, manifest, read_calibration(directory))


def _leads_outside(path: Path, root: Path) -> bool:
    # `resolve` raises if a link points to itself; that is not a file either.
    return not Path(os.path.realpath(path)).is_relative_to(_boundary(root))


def _check_file(path: Path, name: str, ranker: str, root: Path) -> None:
    """Refuses what leads outside, is not a file, has no place in a ranker, or is too large to be read."""
    if _leads_outside(path, root):
        raise InvalidRanker(f"{ranker}: {name} leads outside the ranker's directory; copy the file there")
    if any(part.startswith(".") for part in Path(name).parts[:-1]):
        return  # such as .git and .cache: never read
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise InvalidRanker(f"{ranker}: {name} has no place in a ranker, since other tools may run it; remove it")
    if not path.is_file():
        raise InvalidRanker(f"{ranker}: {name} is not a file; remove it")
    if path.stat().st_size > (_LARGEST_JSON if suffix == ".json" else _LARGEST):
        raise InvalidRanker(f"{ranker}: {name} is larger than a ranker's file can be; export the ranker again")


def _files(directory: Path) -> Iterator[Path]:
    """Every file and link below a directory; links to directories are not followed, but are files to this."""
    for parent, folders, files in os.walk(directory):
        yield from (Path(parent) / name for name in files)
        yield from (Path(parent) / name for name in folders if (Path(parent) / name).is_symlink())


def _boundary(root: Path) -> Path:
    """What a ranker's files may not lie outside of: its directory, or the repository in Hugging Face's cache.

    There a snapshot's files are links to `blobs` beside `snapshots`.
    """
    snapshots = root.parent
    repository = snapshots.parent
    cached = snapshots.name == "snapshots" and repository.name.startswith("models--")
    return repository if cached else root
