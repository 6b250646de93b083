"""Candidates of an export: the variants by name, and the graphs that are built for each, one or a ladder of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from crossrank.errors import UsageError
from crossrank.export.graph.convert import to_float16
from crossrank.export.graph.encoder import read_encoder
from crossrank.export.graph.prune import write_pruned
from crossrank.export.quantize.ladder import per_token_rungs
from crossrank.export.quantize.presets import INT8_PRESETS, quantize
from crossrank.inference.ranker.manifest import Graph, Precision, Provider
from crossrank.machine import instruction_set

NAMES = ("fp32", "pruned", "fp16", "qint8_per_token", *INT8_PRESETS)
# Only the order of additions separates these from PyTorch.
EXACT = frozenset({"fp32", "pruned"})


@dataclass(frozen=True, slots=True)
class Candidate:
    """A graph on disk that may become a variant, and its facts."""

    path: Path
    graph: Graph

    @property
    def name(self) -> str:
        """Of the variant that it may become."""
        return self.graph.name

    @property
    def files(self) -> list[Path]:
        """The graph and its external data."""
        return [file for file in (self.path, self.path.with_name(f"{self.path.name}_data")) if file.exists()]

    @property
    def megabytes(self) -> float:
        """Size of its files."""
        return sum(file.stat().st_size for file in self.files) / 1e6


# The noise that a graph adds to PyTorch's logits, relative to how far these lie apart; see `Verifier.sensitivity`.
Sensitivity = Callable[[Candidate], float]


@dataclass(frozen=True, slots=True)
class BuildContext:
    """What candidates are built from.

    Attributes:
        model: the `CrossEncoder`.
        directory: the ranker's, with the configs and `onnx/model.onnx`.
        batches: tokenised pairs, each of shape [1, tokens], for ranges of activations.
        per_channel: whether the presets give each output channel of a weight its own scale.
    """

    model: Any
    directory: Path
    batches: Sequence[Mapping[str, Any]]
    per_channel: bool


def resolve(requested: Sequence[str], model: Any) -> list[str]:
    """The names that a request stands for, in the order in which they are tried.

    Args:
        requested: names, among them perhaps "auto": fp32, its pruned form and an int8 variant for this machine, and
            fp16 where there is CUDA.
        model: the `CrossEncoder`.

    Raises:
        UsageError: an unknown name, or a variant that this architecture cannot have.
    """
    rewritable = read_encoder(model.model) is not None
    names: list[str] = []
    for name in requested:
        if name == "auto":
            names.extend(_auto(rewritable))
        elif name not in NAMES:
            raise UsageError(f"{name!r}: not a variant; known are auto, {', '.join(NAMES)}")
        elif name in ("pruned", "qint8_per_token") and not rewritable:
            raise UsageError(
                f"{name} is made for BERT, RoBERTa, XLM-RoBERTa and CamemBERT, not for {model.model.config.model_type}"
            )
        else:
            names.append(name)
    return sorted(set(names), key=NAMES.index)


def file_name(name: str) -> str:
    """The path of a variant below the ranker's directory, as sentence-transformers names it."""
    return "onnx/model.onnx" if name == "fp32" else f"onnx/model_{name}.onnx"


def build_candidates(name: str, context: BuildContext, sensitivity: Sensitivity) -> Iterator[Candidate]:
    """Builds the graphs of a variant, each in the place of the one before, the fastest first.

    Args:
        name: of `NAMES`.
        context: what they are built from.
        sensitivity: measures graphs to choose what an int8 graph leaves in fp32.
    """
    path = context.directory / file_name(name)
    source = context.directory / file_name("fp32")
    if name == "fp32":
        yield describe(path, "fp32")
    elif name == "pruned":
        encoder = read_encoder(context.model.model)
        assert encoder is not None
        write_pruned(encoder, path)
        yield describe(path, "fp32")
    elif name == "fp16":
        to_float16(source, path)
        yield describe(path, "fp16", provider="cuda")
    elif name == "qint8_per_token":

        def noise(kept: tuple[str, ...]) -> float:
            return sensitivity(describe(path, "int8", kept_in_fp32=kept))

        for kept in per_token_rungs(context.model.model, context.batches, path, noise):
            yield describe(path, "int8", kept_in_fp32=kept)
    else:
        quantize(source, context.directory, name, path, per_channel=context.per_channel)
        target = name.split("_", 1)[1]
        # Ranges are measured as a batch is run, over all its pairs: company would move a score.
        yield describe(path, "int8", target=target, batch_invariant=False, saturates=target.startswith("avx512"))


def describe(
    path: Path,
    precision: Precision,
    *,
    provider: Provider = "cpu",
    target: str = "any",
    batch_invariant: bool = True,
    saturates: bool = False,
    kept_in_fp32: Sequence[str] = (),
) -> Candidate:
    """A candidate from a file in `onnx/` of a ranker's directory, and what the file itself does not say."""
    model = onnx.load(path, load_external_data=False)
    operators: dict[str, int] = {}
    for node in model.graph.node:
        operators[node.op_type] = operators.get(node.op_type, 0) + 1
    graph = Graph(
        file=f"{path.parent.name}/{path.name}",
        precision=precision,
        provider=provider,
        target=target,
        opset=next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
        inputs=[entry.name for entry in model.graph.input],
        operators=dict(sorted(operators.items())),
        batch_invariant=batch_invariant,
        saturates=saturates,
        kept_in_fp32=list(kept_in_fp32),
    )
    return Candidate(path, graph)


def _auto(rewritable: bool) -> list[str]:
    import onnxruntime

    names = ["fp32"]
    if rewritable:
        names += ["pruned", "qint8_per_token"]
    else:
        names += [name for name in INT8_PRESETS if name.endswith(f"_{instruction_set()}")]
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        names.append("fp16")
    return names
