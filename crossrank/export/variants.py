"""The variants by name, and the graphs that are tried for each: one, or a ladder from the fastest down."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossrank.errors import UsageError
from crossrank.export.encoder import read_encoder
from crossrank.export.ladder import per_token_rungs
from crossrank.export.options import ActivationRanges
from crossrank.export.presets import INT8_PRESETS, optimize, quantize, to_float16
from crossrank.export.prune import write_pruned
from crossrank.inference.manifest import Precision, Provider
from crossrank.machine import instruction_set

_STATIC = "_static"
NAMES = (
    "fp32",
    "pruned",
    "O1",
    "O2",
    "O3",
    "fp16",
    "qint8_per_token",
    *INT8_PRESETS,
    *(f"{preset}{_STATIC}" for preset in INT8_PRESETS),
)
# Only the order of additions separates these from PyTorch.
EXACT = frozenset({"fp32", "pruned", "O1", "O2"})


@dataclass(frozen=True, slots=True)
class Graph:
    """One graph on disk, and what the manifest will say of it."""

    path: Path
    precision: Precision
    provider: Provider = "cpu"
    target: str = "any"
    batch_invariant: bool = True
    saturates: bool = False
    kept_in_fp32: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Materials:
    """What variants are made of.

    Attributes:
        model: the `CrossEncoder`.
        directory: the ranker's, with the configs and `onnx/model.onnx`.
        batches: tokenised pairs, each of shape [1, tokens], for ranges of activations.
        noise_to_signal: of a graph, on pairs that are not those of the gate; see
            `crossrank.evaluation.fidelity.noise_to_signal`.
        per_channel: whether the presets give each output channel of a weight its own scale.
        activation_ranges: how the static presets fix their ranges.
    """

    model: Any
    directory: Path
    batches: Sequence[Mapping[str, Any]]
    noise_to_signal: Callable[[Graph], float]
    per_channel: bool
    activation_ranges: ActivationRanges


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
            raise UsageError(f"{name!r} is not a variant; known are auto, {', '.join(NAMES)}")
        elif name in ("pruned", "qint8_per_token") and not rewritable:
            raise UsageError(
                f"{name} is made for BERT, RoBERTa, XLM-RoBERTa and CamemBERT, not for {model.model.config.model_type}"
            )
        else:
            names.append(name)
    return sorted(set(names), key=NAMES.index)


def file_name(name: str) -> str:
    """Below the ranker's directory, as sentence-transformers names it."""
    return "onnx/model.onnx" if name == "fp32" else f"onnx/model_{name}.onnx"


def rungs(name: str, materials: Materials) -> Iterator[Graph]:
    """Writes the graphs that are tried for a variant, each in the place of the one before, the fastest first."""
    path = materials.directory / file_name(name)
    source = materials.directory / file_name("fp32")
    if name == "fp32":
        yield Graph(path, "fp32")
    elif name == "pruned":
        encoder = read_encoder(materials.model.model)
        assert encoder is not None
        write_pruned(encoder, path)
        yield Graph(path, "fp32")
    elif name.startswith("O"):
        optimize(source, materials.directory, name, path)
        yield Graph(path, "fp32")
    elif name == "fp16":
        to_float16(source, path)
        yield Graph(path, "fp16", provider="cuda")
    elif name == "qint8_per_token":
        for kept in per_token_rungs(
            materials.model.model,
            materials.batches,
            path,
            lambda kept: materials.noise_to_signal(Graph(path, "int8", kept_in_fp32=kept)),
        ):
            yield Graph(path, "int8", kept_in_fp32=kept)
    else:
        yield _preset(name, source, path, materials)


def _preset(name: str, source: Path, path: Path, materials: Materials) -> Graph:
    preset = name.removesuffix(_STATIC)
    static = name.endswith(_STATIC)
    quantize(
        source,
        materials.directory,
        preset,
        path,
        per_channel=materials.per_channel,
        activation_ranges=materials.activation_ranges if static else None,
        batches=materials.batches,
    )
    target = preset.split("_", 1)[1]
    # Ranges that are measured as a run goes are those of all its pairs, so company would move a score.
    return Graph(path, "int8", target=target, batch_invariant=static, saturates=target.startswith("avx512"))


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
