"""The export, step by step: open, convert, quantise, compare, write the manifest, put in place."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.compare import agreement, failure, variant_logits
from export.convert import convert, quantize_dynamic
from export.reference import ReferenceList, reference_lists
from export.source import activation_of, describe, open_cross_encoder, write_files
from serve.errors import CrossrankError
from serve.manifest import MANIFEST_PATH, Agreement, Manifest, Tolerance, Variant, sha256_of
from serve.ranker import Ranker
from serve.runtime import installed_wheels, require_onnxruntime
from serve.scorer import Scorer
from serve.swap import new_directory

_TOOLS = ("crossrank", "torch", "transformers", "sentence-transformers", "optimum-onnx", "onnx")


class ExportRefused(CrossrankError):
    """No variant keeps its tolerance; nothing was written."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class VariantReport:
    """What became of one variant; `failure` is None where it was written."""

    file: str
    megabytes: float
    agreement: Agreement
    tolerance: Tolerance
    failure: str | None


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export wrote, and what it refused."""

    directory: Path
    version: str
    max_length: int
    variants: list[VariantReport]


def export_ranker(
    model: str,
    out: Path,
    *,
    revision: str | None = None,
    judgements: Path | None = None,
    force: bool = False,
    progress: Callable[[str], None] = lambda step: None,
) -> ExportReport:
    """Turns a cross-encoder into a ranker with an fp32 and an int8 variant, each compared with PyTorch.

    Args:
        model: a directory, or a Hugging Face id.
        out: the ranker's directory.
        revision: of the Hugging Face id.
        judgements: a judged set to compare on; by default functions of Python's standard library.
        force: whether an existing directory is replaced.
        progress: called with each step's name as it begins.

    Raises:
        UsageError: the model or the target cannot be used.
        ExportRefused: the fp32 variant, the ground of every other, misses its tolerance.
    """
    require_onnxruntime()
    progress("open the cross-encoder")
    lists = reference_lists(judgements)
    source = open_cross_encoder(model, revision)
    with new_directory(out, force=force) as directory:
        progress("convert to ONNX")
        # Before the tokenizer is written: predicting leaves truncation in it.
        reference = _pytorch_logits(source, lists)
        weights_sha256 = write_files(source, directory)
        variants = [convert(source, directory)]
        progress("quantise to int8")
        if quantized := quantize_dynamic(directory):
            variants.append(quantized)
        manifest = Manifest(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            source=describe(model, getattr(source.model.config, "_commit_hash", revision), weights_sha256),
            model_type=source.model.config.model_type,
            max_length=int(source.max_seq_length),
            activation=activation_of(source),
            tools={tool: version(tool) for tool in (*_TOOLS, *installed_wheels())},
            files={},
            variants=variants,
        )
        reports = []
        for variant in variants:
            progress(f"compare {Path(variant.file).name} with PyTorch")
            reports.append(_compare(Ranker(directory, manifest), variant, lists, reference))
        manifest = _accepted(manifest, directory, reports)
        (directory / MANIFEST_PATH).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return ExportReport(out, manifest.version, manifest.max_length, reports)


def _pytorch_logits(source: Any, lists: Sequence[ReferenceList]) -> list[NDArray[np.float32]]:
    from torch.nn import Identity

    pairs = [[entry.query, document] for entry in lists for document in entry.documents]
    logits = source.predict(pairs, activation_fn=Identity(), show_progress_bar=False)
    return np.split(logits, np.cumsum([len(entry.documents) for entry in lists])[:-1])


def _compare(
    ranker: Ranker, variant: Variant, lists: Sequence[ReferenceList], reference: Sequence[NDArray[np.float32]]
) -> VariantReport:
    with Scorer(ranker, variant=variant.file) as scorer:
        measured = agreement(reference, variant_logits(scorer, lists))
    path = ranker.directory / variant.file
    megabytes = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*")) / 1e6
    return VariantReport(variant.file, megabytes, measured, variant.tolerance, failure(measured, variant.tolerance))


def _accepted(manifest: Manifest, directory: Path, reports: Sequence[VariantReport]) -> Manifest:
    """The manifest of the variants that passed; the files of the others are removed."""
    if reports[0].failure:
        raise ExportRefused(
            f"{reports[0].file} does not rank as PyTorch does: {reports[0].failure}; nothing was written"
        )
    kept = []
    for variant, report in zip(manifest.variants, reports, strict=True):
        if report.failure:
            (directory / variant.file).unlink()
        else:
            kept.append(variant.model_copy(update={"agreement": report.agreement}))
    files = {
        file.relative_to(directory).as_posix(): sha256_of(file)
        for file in sorted(directory.rglob("*"))
        if file.is_file() and file.name != "README.md"
    }
    return manifest.model_copy(update={"variants": kept, "files": files})
