"""A ranker's directory: opened, held to its manifest, and never read outside of itself."""

from dataclasses import dataclass
from pathlib import Path

from serve.errors import InvalidRanker, UsageError
from serve.manifest import Manifest, Variant, read_manifest, sha256_of
from serve.swap import settle


@dataclass(frozen=True, slots=True)
class Ranker:
    """A directory whose files are the ones that its manifest names."""

    directory: Path
    manifest: Manifest

    def variant(self, name: str | None = None) -> Variant:
        """The variant of that file name ("model.onnx") or precision ("int8"); the manifest's first by default.

        Raises:
            UsageError: the ranker has none of that name.
        """
        variants = self.manifest.variants
        if name is None:
            return variants[0]
        for variant in variants:
            if name in (variant.file, Path(variant.file).name, variant.precision):
                return variant
        known = ", ".join(Path(variant.file).name for variant in variants)
        raise UsageError(f"{self.directory.name} has no variant {name!r}; it has {known}")


def open_ranker(directory: Path) -> Ranker:
    """Opens a ranker and compares every file that can change a score with its manifest.

    Raises:
        InvalidRanker: no such directory, no manifest, or a file that is missing, changed or outside the directory.
    """
    settle(directory)
    if not directory.is_dir():
        raise InvalidRanker(f"{directory} is not a directory; give the path of a ranker made by export-onnx")
    manifest = read_manifest(directory)
    root = directory.resolve()
    for name, expected in manifest.files.items():
        path = directory / name
        if not path.resolve().is_relative_to(root):
            raise InvalidRanker(f"{directory.name}: {name} leads outside the ranker's directory")
        if not path.is_file():
            raise InvalidRanker(f"{directory.name}: {name} is missing; export the ranker again")
        if sha256_of(path) != expected:
            raise InvalidRanker(
                f"{directory.name}: {name} is not the file that the manifest was written for "
                f"(sha256 differs); export the ranker again"
            )
    for variant in manifest.variants:
        if variant.file not in manifest.files:
            raise InvalidRanker(f"{directory.name}: the manifest gives no sha256 for {variant.file}")
    return Ranker(directory, manifest)
