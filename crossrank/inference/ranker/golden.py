"""Golden pairs: choose the variants that this machine runs, and compare their scores with the exporter's."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from crossrank.inference.ranker.manifest import Graph, Manifest, Variant
from crossrank.machine import instruction_set, int8_saturates

_Result = TypeVar("_Result")

# What each instruction set can run besides its own; a graph for another one is left alone unless asked for by name.
_RUNS: dict[str, frozenset[str]] = {
    "avx512_vnni": frozenset({"any", "avx512_vnni", "avx512", "avx2"}),
    "avx512": frozenset({"any", "avx512", "avx2"}),
    "avx2": frozenset({"any", "avx2"}),
    "arm64": frozenset({"any", "arm64"}),
}


def runnable_variants(manifest: Manifest, device: str) -> list[Variant]:
    """Returns the variants made for a device and this machine's instruction set, the fastest first.

    Args:
        manifest: of a ranker.
        device: "cpu" or "cuda"; on CUDA the int8 graphs are left out, since their products would run on the CPU.
    """
    runs = _RUNS.get(instruction_set(), frozenset({"any"}))
    if device == "cpu":
        fit = [variant for variant in manifest.variants if variant.provider == "cpu" and variant.target in runs]
        return sorted(fit, key=lambda variant: -variant.speed)
    fit = [variant for variant in manifest.variants if variant.precision != "int8"]
    return sorted(fit, key=lambda variant: (variant.precision != "fp16", variant.file != "onnx/model.onnx"))


def needs_precise_products(variant: Graph) -> bool:
    """Whether this CPU would saturate in the variant's int8 products: x86 without VNNI, and weights of full range."""
    return variant.saturates and int8_saturates()


def golden_mismatch(
    manifest: Manifest, variant: Variant, logits: NDArray[np.float32], scores: NDArray[np.float32]
) -> str | None:
    """Compares what a variant gives for the golden pairs with what its exporter saw.

    Args:
        manifest: of the ranker.
        variant: the one that ran.
        logits: float32, shape [golden pairs].
        scores: the ranker's own kind, of the same shape.

    Returns:
        What differs, with the file, the pair and both scores; None where nothing does.
    """
    if len(variant.golden) != len(manifest.golden_pairs):
        return f"{variant.file}: {len(manifest.golden_pairs)} golden pairs, but scores for {len(variant.golden)}"
    tolerance = variant.golden_tolerance.get(instruction_set(), variant.golden_tolerance.get("any", 0.0))
    for number, (pair, golden) in enumerate(zip(manifest.golden_pairs, variant.golden, strict=True)):
        for kind, got, expected in (
            ("logit", float(logits[number]), golden.logit),
            ("score", float(scores[number]), golden.score),
        ):
            if not abs(got - expected) <= tolerance:  # NaN does not match either
                return (
                    f"{variant.file}: golden pair {number} ({pair.kind}, {pair.query[:40]!r}) has the {kind} {got:.5f} "
                    f"here and {expected:.5f} in the manifest, further apart than {tolerance:g}"
                )
    return None


def within(seconds: float, act: Callable[[], _Result]) -> _Result:
    """Runs something in a thread of its own, and leaves the thread alone if it takes longer.

    Args:
        seconds: to wait for it.
        act: what is run.

    Returns:
        What it returns.

    Raises:
        TimeoutError: it takes longer.
    """
    result: Future[_Result] = Future()

    def run() -> None:
        try:
            result.set_result(act())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run, name="crossrank-golden", daemon=True).start()
    return result.result(seconds)
