"""Manifest of a ranker (`onnx/manifest.json`): what its exporter promises, and every server checks."""

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crossrank.errors import InvalidRanker
from crossrank.intervals import Interval

MANIFEST_PATH = "onnx/manifest.json"

Precision = Literal["fp32", "fp16", "int8"]
Activation = Literal["identity", "sigmoid"]
Provider = Literal["cpu", "cuda"]


# Bytes of a manifest: a hundred times those of the largest that the exporter writes.
_LARGEST = 4 * 1024 * 1024

_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Strict(BaseModel):
    # Validators are built when the first is needed: the options of a command, which hold a budget, only list fields.
    # A golden pair's text is the longest string.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, str_max_length=1_000_000)


class Budget(_Strict):
    """How far a variant may be from PyTorch in fp32, on every evaluation set; None: not limited.

    Agreement is the mean over queries; an nDCG@10 or MRR@10 is limited only where there are judgements.
    """

    max_error: float | None = Field(None, ge=0, description="Largest error of a logit. Default: no limit.")
    max_ndcg_drop: float | None = Field(0.005, description="Largest drop of nDCG@10.")
    max_mrr_drop: float | None = Field(None, description="Largest drop of MRR@10. Default: no limit.")
    min_kendall_tau: float | None = Field(
        None, ge=-1, le=1, description="Smallest Kendall's tau-b within a query. Default: no limit."
    )
    min_top1_agreement: float | None = Field(
        0.97, ge=0, le=1, description="Smallest share of the queries that keep PyTorch's first document."
    )
    min_top10_overlap: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Smallest share of PyTorch's ten best, or of the better half of a list below 20, that stay there. "
        "Default: no limit.",
    )


class Agreement(_Strict):
    """How near a variant came to PyTorch in fp32, on logits of real pairs."""

    data: str = Field(description="the name of the set")
    queries: int
    pairs: int
    max_error: float
    mean_error: float
    kendall_tau: float
    top1_agreement: float
    top10_overlap: float
    ndcg: float | None = Field(None, description="the variant's nDCG@10; None: no judgements")
    ndcg_difference: Interval | None = Field(None, description="mean over queries of the variant's less PyTorch's")
    mrr_difference: Interval | None = None


class GoldenScore(_Strict):
    """Logit and score of a variant for one of the manifest's golden pairs."""

    logit: float
    score: float = Field(description="of the ranker's own kind, before any calibration")


class Graph(_Strict):
    """One ONNX graph of a ranker, as it is before anything was measured."""

    file: str = Field(description="path below the ranker's directory, with forward slashes")
    precision: Precision
    provider: Provider = Field(description="the execution provider that it was made for")
    target: str = Field(description="the instruction set that it was made for, or 'any'")
    opset: int
    inputs: list[str] = Field(max_length=16)
    operators: dict[str, int] = Field(max_length=1000, description="how many nodes of each operator the graph holds")
    batch_invariant: bool = Field(description="whether a pair's score is the same in any batch of equal length")
    saturates: bool = Field(description="whether x86 without VNNI computes it wrongly unless told to be precise")
    kept_in_fp32: list[str] = Field(description="matrices of an int8 variant that are not rounded, 'layer.name'")

    @property
    def name(self) -> str:
        """Its name on the command line: "fp32" for model.onnx, else what follows model_ in the file's name."""
        stem = self.file.rsplit("/", 1)[-1].removesuffix(".onnx")
        return stem.removeprefix("model_") if stem != "model" else "fp32"


class Measured(_Strict):
    """The figures of a graph on the machine that exported it."""

    agreement: list[Agreement] = Field(description="with PyTorch in fp32, one for each set")
    speed: float = Field(ge=0, description="pairs a second over those of onnx/model.onnx, where it was exported")
    golden: list[GoldenScore] = Field(description="one for each golden pair")
    golden_tolerance: dict[str, float] = Field(description="by instruction set, 'any' for all others")


class Variant(Measured, Graph):
    """A graph that was accepted: its figures keep the budget."""

    budget: Budget


class GoldenPair(_Strict):
    """A pair whose scores a ranker must give again wherever it is opened."""

    kind: str = Field(description="what it covers, such as 'truncated'")
    query: str
    document: str


class WeightsSource(_Strict):
    """Origin of the weights."""

    name: str = Field(description="the directory's name or the Hugging Face id")
    revision: str | None
    weights_sha256: str


class RankerFacts(_Strict):
    """Facts of a ranker that its files and variants do not change."""

    schema_version: Literal[3] = 3
    created: str = Field(description="UTC, ISO 8601")
    source: WeightsSource
    model_type: str
    max_length: int = Field(gt=0, le=2**16, description="longest pair in tokens, special tokens included")
    padding_id: int = Field(ge=0, lt=2**31, description="the token id that shorter pairs of a batch are filled up with")
    activation: Activation = Field(description="what turns a logit into the ranker's own score")
    machine: str = Field(description="the instruction set that speeds and golden scores were measured on")
    tools: dict[str, str] = Field(description="the versions that made it")
    golden_pairs: list[GoldenPair] = Field(min_length=1, max_length=256)


class Manifest(RankerFacts):
    """Schema version 3; the variants stand in the order of their speed."""

    files: dict[str, _Sha256] = Field(max_length=1000, description="sha256 of every file that can change a score")
    variants: list[Variant] = Field(min_length=1, max_length=64)

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
        with path.open("rb") as file:
            text = file.read(_LARGEST + 1)
    except OSError:
        raise InvalidRanker(
            f"{directory} is not a ranker: it has no {MANIFEST_PATH}; make one with export-onnx"
        ) from None
    if len(text) > _LARGEST:
        raise InvalidRanker(f"{path} is not a manifest: it has more than {_LARGEST} bytes; export the ranker again")
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise InvalidRanker(
            f"{path} is not a manifest of schema version 3: {where}: {first['msg']}; export the ranker again"
        ) from None
