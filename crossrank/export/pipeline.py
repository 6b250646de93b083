"""The export, step by step: open, score with PyTorch, convert, build and verify candidates, write the manifest."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossrank.atomic import replace_directory
from crossrank.calibration.curves import read_calibration, write_calibration
from crossrank.errors import CrossrankError
from crossrank.export.candidates import BuildContext, Candidate, build_candidates, file_name, resolve
from crossrank.export.eval_sets import read_eval_sets
from crossrank.export.gate import refuse_easy
from crossrank.export.golden_pairs import golden_pairs
from crossrank.export.graph.convert import convert
from crossrank.export.options import ExportOptions
from crossrank.export.source import describe, write_files
from crossrank.export.verifier import Trial, Verifier
from crossrank.inference.ranker.manifest import (
    MANIFEST_PATH,
    Activation,
    Manifest,
    RankerFacts,
    Variant,
    WeightsSource,
    sha256_of,
)
from crossrank.inference.session import installed_wheels, require_onnxruntime
from crossrank.inference.tokens.tokenizer import PairTokenizer
from crossrank.machine import instruction_set
from crossrank.models.cross_encoder import activation_of, open_cross_encoder
from crossrank.models.location import locate_model

_TOOLS = ("crossrank", "torch", "transformers", "sentence-transformers", "optimum-onnx", "onnx")
# Pairs scored between two lines of progress.
_PYTORCH_PAIRS = 2000
# Pairs whose activations give the ranges of a quantisation.
_CALIBRATION_PAIRS = 96


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export wrote, and what it refused."""

    directory: Path
    version: str
    max_length: int
    trials: list[Trial]


class ExportRefused(CrossrankError):
    """No variant keeps its budget; nothing was written.

    Attributes:
        trials: what was tried.
    """

    exit_code = 3

    def __init__(self, message: str, trials: list[Trial]) -> None:
        super().__init__(message)
        self.trials = trials


def export_ranker(
    model: str,
    out: Path,
    options: ExportOptions | None = None,
    *,
    revision: str | None = None,
    force: bool = False,
    progress: Callable[[str], None] = lambda step: None,
) -> ExportReport:
    """Turns a cross-encoder into a ranker, whose variants have each been held against PyTorch.

    Args:
        model: a directory, or a Hugging Face id.
        out: the ranker's directory.
        options: what is exported.
        revision: of the Hugging Face id.
        force: whether an existing directory is replaced.
        progress: called with each step's name as it begins.

    Raises:
        UsageError: the model or the target cannot be used, or a variant is not to be had.
        InvalidRanker: the model's calibration is none.
        ExportRefused: nothing that was asked for keeps its budget.
    """
    options = options or ExportOptions()
    require_onnxruntime()
    progress("open the cross-encoder")
    sets, calibration = read_eval_sets(options.eval_sets, options.max_queries)
    if not options.allow_easy_eval_sets:
        refuse_easy(sets)
    location = locate_model(model, revision)
    commit = revision if location == Path(model) else location.name
    source = open_cross_encoder(model, revision=commit, device="cpu")
    activation = activation_of(source)
    probability = read_calibration(location)
    names = resolve(options.variants, source)
    with replace_directory(out, force=force) as directory:
        # Before the tokenizer is written: predicting leaves truncation in it.
        reference = [_pytorch_logits(source, entry.name, entry.pairs, progress) for entry in sets]
        calibration_reference = _pytorch_logits(source, "calibration queries", calibration.pairs, progress)
        weights_sha256 = write_files(source, directory)
        if probability is not None:
            write_calibration(probability, directory)
        progress("convert to ONNX")
        (directory / "onnx").mkdir()
        convert(source.model, directory / file_name("fp32"), options.opset)
        facts = _facts(source, activation, describe(model, commit, weights_sha256), directory)
        verifier = Verifier(
            directory=directory,
            facts=facts,
            sets=sets,
            reference=reference,
            calibration=calibration,
            calibration_reference=calibration_reference,
            budget=options.budget,
            atol=options.atol,
        )
        context = BuildContext(source, directory, _batches(source, calibration.pairs), options.per_channel)
        trials = [trial for name in names for trial in _trials(name, context, verifier, progress)]
        kept = [variant for trial in trials if (variant := trial.variant)]
        if not kept:
            raise ExportRefused("no variant keeps PyTorch's ranking within its budget; nothing was written", trials)
        manifest = _finish(directory, facts, sorted(kept, key=lambda variant: -variant.speed))
    return ExportReport(out, manifest.version, manifest.max_length, trials)


def _trials(name: str, context: BuildContext, verifier: Verifier, progress: Callable[[str], None]) -> Iterator[Trial]:
    """Builds and verifies the candidates of a variant until one may ship."""

    def sensitivity(candidate: Candidate) -> float:
        noise = verifier.sensitivity(candidate)
        kept = ", ".join(candidate.graph.kept_in_fp32)
        progress(f"look for sensitive matrices: noise to signal {noise:.2e} with {kept} in fp32")
        return noise

    for candidate in build_candidates(name, context, sensitivity):
        kept = f", {len(candidate.graph.kept_in_fp32)} matrices in fp32" if name == "qint8_per_token" else ""
        progress(f"compare {name}{kept} with PyTorch")
        trial = verifier.verify(candidate)
        yield trial
        if trial.failure is None:
            return
        progress(f"{name}{kept} is refused: {trial.failure}")


def _pytorch_logits(
    source: Any, name: str, pairs: Sequence[tuple[str, str]], progress: Callable[[str], None]
) -> NDArray[np.float32]:
    from torch.nn import Identity

    parts = []
    for start in range(0, len(pairs), _PYTORCH_PAIRS):
        progress(f"score {name} with PyTorch: {start} of {len(pairs)} pairs done")
        part = [list(pair) for pair in pairs[start : start + _PYTORCH_PAIRS]]
        parts.append(source.predict(part, activation_fn=Identity(), batch_size=8, show_progress_bar=False))
    return np.concatenate(parts)


def _batches(source: Any, pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Pairs as the model reads them, one at a time and without padding."""
    step = max(1, len(pairs) // _CALIBRATION_PAIRS)
    return [
        dict(source.tokenizer(*pair, truncation=True, max_length=source.max_seq_length, return_tensors="pt"))
        for pair in pairs[::step]
    ]


def _facts(source: Any, activation: Activation, origin: WeightsSource, directory: Path) -> RankerFacts:
    max_length = int(source.max_seq_length)
    return RankerFacts(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        source=origin,
        model_type=source.model.config.model_type,
        max_length=max_length,
        padding_id=source.tokenizer.pad_token_id,
        activation=activation,
        machine=instruction_set(),
        tools={tool: version(tool) for tool in (*_TOOLS, *installed_wheels())},
        golden_pairs=golden_pairs(PairTokenizer(directory, max_length)),
    )


def _finish(directory: Path, facts: RankerFacts, kept: list[Variant]) -> Manifest:
    """Removes the graphs that were refused, and writes the manifest of the others."""
    wanted = {Path(variant.file).name for variant in kept}
    for file in (directory / "onnx").iterdir():
        if file.name.removesuffix("_data") not in wanted:
            file.unlink()
    files = {
        file.relative_to(directory).as_posix(): sha256_of(file)
        for file in sorted(directory.rglob("*"))
        if file.is_file() and file.name != "README.md"
    }
    manifest = Manifest(**facts.model_dump(), files=files, variants=kept)
    (directory / MANIFEST_PATH).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return manifest
