"""Which variants of a ranker are measured, and what they were accepted on."""

from collections.abc import Sequence

from crossrank.errors import UsageError
from crossrank.inference.golden import runnable_variants
from crossrank.inference.manifest import Manifest, Variant


def chosen_variants(manifest: Manifest, names: Sequence[str] = ()) -> list[Variant]:
    """The variants that run on this machine's CPU, fp32 first; of these the named ones, if any are named.

    Raises:
        UsageError: one of the names is none of theirs.
    """
    found = {variant.name: variant for variant in runnable_variants(manifest, "cpu")}
    if unknown := set(names) - set(found):
        raise UsageError(f"variant {min(unknown)}: of the ranker's this machine runs {', '.join(found)}")
    return sorted((found[name] for name in names or found), key=lambda variant: variant.name != "fp32")


def loss_of(variant: Variant) -> dict[str, float]:
    """nDCG@10 less PyTorch's where the variant was accepted, set by set; empty where nothing was judged."""
    return {
        figures.data: figures.ndcg_difference.mean
        for figures in variant.agreement
        if figures.ndcg_difference is not None
    }
