"""Variants of a ranker to measure, and the nDCG@10 that they were accepted with."""

from collections.abc import Sequence

from crossrank.errors import UsageError
from crossrank.inference.ranker.golden import runnable_variants
from crossrank.inference.ranker.manifest import Manifest, Variant


def choose_variants(manifest: Manifest, names: Sequence[str] = ()) -> list[Variant]:
    """The variants that run on this machine's CPU, fp32 first; of these the named ones, if any are named.

    Raises:
        UsageError: a name is not among them.
    """
    found = {variant.name: variant for variant in runnable_variants(manifest, "cpu")}
    if unknown := set(names) - set(found):
        raise UsageError(f"variant {min(unknown)}: this machine does not run it; it runs {', '.join(found)}")
    return sorted((found[name] for name in names or found), key=lambda variant: variant.name != "fp32")


def ndcg_changes(variant: Variant) -> dict[str, float]:
    """nDCG@10 minus PyTorch's where the variant was accepted, by set; empty where nothing was judged."""
    return {
        figures.data: figures.ndcg_difference.mean
        for figures in variant.agreement
        if figures.ndcg_difference is not None
    }
