"""`onnx/manifest.json`: what an exporter promises about a ranker, and what a server holds it to."""

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serve.errors import InvalidRanker

MANIFEST_PATH = "onnx/manifest.json"

Precision = Literal["fp32", "fp16", "int8"]
Activation = Literal["identity", "sigmoid"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tolerance(_Strict):
    """How far a variant may be from PyTorch in fp32; agreement is the mean over queries."""

    max_error: float | None = Field(None, description="largest difference of a logit; None: not limited")
    min_kendall_tau: float = Field(description="Kendall's tau-b within a query")
    min_top_1: float = Field(description="share of the queries whose first document is PyTorch's")
    min_top_10_overlap: float = Field(
        description="share of PyTorch's ten best, or of the better half of a list below 20, among the variant's"
    )


class Agreement(_Strict):
    """How near a variant came to PyTorch in fp32, on logits of real pairs."""

    queries: int
    pairs: int
    max_error: float
    mean_error: float
    kendall_tau: float
    top_1: float
    top_10_overlap: float


class Variant(_Strict):
    """One ONNX graph."""

    file: str = Field(description="path below the ranker's directory, with forward slashes")
    precision: Precision
    target: str = Field(description="the instruction set that it was made for, or 'any'")
    opset: int
    inputs: list[str]
    batch_invariant: bool = Field(description="whether a pair's score is the same in any batch of equal length")
    tolerance: Tolerance
    agreement: Agreement | None = Field(description="what it was accepted on; None: not compared yet")


class Source(_Strict):
    """Where the weights came from."""

    name: str = Field(description="the directory's name or the Hugging Face id")
    revision: str | None
    weights_sha256: str


class Manifest(_Strict):
    """Schema version 1."""

    schema_version: Literal[1] = 1
    created: str = Field(description="UTC, ISO 8601")
    source: Source
    model_type: str
    max_length: int = Field(gt=0, description="longest pair in tokens, special tokens included")
    activation: Activation = Field(description="what turns a logit into the ranker's own score")
    tools: dict[str, str] = Field(description="the versions that made it")
    files: dict[str, str] = Field(description="sha256 of every file that can change a score")
    variants: list[Variant] = Field(min_length=1)

    @property
    def version(self) -> str:
        """The digest of all files that can change a score: 12 hexadecimal digits."""
        digest = hashlib.sha256()
        for name, sha256 in sorted(self.files.items()):
            digest.update(f"{name}\0{sha256}\n".encode())
        return digest.hexdigest()[:12]


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(directory: Path) -> Manifest:
    """Reads the manifest of a ranker.

    Raises:
        InvalidRanker: there is none, or it is not of this schema.
    """
    path = directory / MANIFEST_PATH
    try:
        text = path.read_bytes()
    except OSError:
        raise InvalidRanker(
            f"{directory} is not a ranker: it has no {MANIFEST_PATH}; make one with export-onnx"
        ) from None
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise InvalidRanker(f"{path} is no manifest of schema version 1: {where}: {first['msg']}") from None
