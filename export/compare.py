"""How near a variant comes to PyTorch: in its numbers and in the order that they give."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from export.reference import ReferenceList
from judgements.metrics import kendall_tau, top_k_overlap
from serve.manifest import Agreement, Precision, Tolerance
from serve.scorer import Scorer

# fp32 differs from PyTorch by rounding alone. The int8 presets give activations one scale per tensor, which moves
# neighbours in a ranking; below these bounds the order is a different one.
TOLERANCES: dict[Precision, Tolerance] = {
    "fp32": Tolerance(max_error=1e-4, min_kendall_tau=0.999, min_top_1=0.99, min_top_10_overlap=0.99),
    "int8": Tolerance(max_error=None, min_kendall_tau=0.90, min_top_1=0.80, min_top_10_overlap=0.85),
}


def variant_logits(scorer: Scorer, lists: Sequence[ReferenceList]) -> list[NDArray[np.float32]]:
    """The logits of each list's documents, through the very Scorer that serves; float32, shape [documents]."""
    pairs = [(entry.query, document) for entry in lists for document in entry.documents]
    logits = scorer.score(pairs, kind="logit").values
    ends = np.cumsum([len(entry.documents) for entry in lists])[:-1]
    return np.split(logits, ends)


def agreement(reference: Sequence[NDArray[np.float32]], variant: Sequence[NDArray[np.float32]]) -> Agreement:
    """Compares two sets of logits, list by list.

    Args:
        reference: PyTorch's logits, one array for each query.
        variant: the variant's, of the same shapes.
    """
    errors = np.abs(np.concatenate(reference) - np.concatenate(variant))
    both = list(zip(reference, variant, strict=True))
    return Agreement(
        queries=len(both),
        pairs=errors.size,
        max_error=float(errors.max()),
        mean_error=float(errors.mean()),
        kendall_tau=float(np.mean([kendall_tau(a, b) for a, b in both])),
        top_1=float(np.mean([top_k_overlap(a, b, 1) for a, b in both])),
        top_10_overlap=float(np.mean([top_k_overlap(a, b, min(10, max(1, len(a) // 2))) for a, b in both])),
    )


def failure(measured: Agreement, tolerance: Tolerance) -> str | None:
    """Why a variant may not ship, in one clause; None where it may."""
    if tolerance.max_error is not None and not measured.max_error <= tolerance.max_error:
        return f"a logit is off by {measured.max_error:.2g}, more than {tolerance.max_error:g}"
    if not measured.kendall_tau >= tolerance.min_kendall_tau:
        return f"Kendall's tau is {measured.kendall_tau:.4f}, less than {tolerance.min_kendall_tau:g}"
    if not measured.top_1 >= tolerance.min_top_1:
        return f"top-1 agreement is {measured.top_1:.2f}, less than {tolerance.min_top_1:g}"
    if not measured.top_10_overlap >= tolerance.min_top_10_overlap:
        return f"top-10 overlap is {measured.top_10_overlap:.4f}, less than {tolerance.min_top_10_overlap:g}"
    return None
