"""`crossrank bench quality`: what each variant and setting of a ranker costs in ranking quality, and gains in speed."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossrank.bench.result import Estimate, Quality, Result, new_result
from export.reference import ReferenceList, ReferenceSet, reference_sets
from judgements.metrics import evaluate, mean
from judgements.significance import paired_bootstrap
from judgements.trec_run import ranking_from_scores
from serve.errors import UsageError
from serve.ranker import open_ranker
from serve.scorer import Scorer
from serve.tokenizer import LongDocumentStrategy

NDCG, MRR = "nDCG@10", "MRR@10"

_Score = Callable[[Sequence[tuple[str, str]]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class QualityOptions:
    """What is measured.

    Attributes:
        ranker: its directory.
        data: judged sets.
        model: the cross-encoder in PyTorch that the others are compared with; without one, the ranker's fp32 graph is.
        variants: names; by default all for the CPU.
        max_lengths: tokens of a pair; by default the ranker's own.
        long_documents: what is done with documents that do not fit.
        max_queries: of each set.
    """

    ranker: Path
    data: tuple[Path, ...]
    model: str | None = None
    variants: tuple[str, ...] = ()
    max_lengths: tuple[int, ...] = ()
    long_documents: tuple[LongDocumentStrategy, ...] = ("truncate",)
    max_queries: int = 100


def bench_quality(options: QualityOptions, progress: Callable[[str], None] = lambda step: None) -> Result:
    """Measures every variant at every setting on every set; the queries are those that the exporter compares.

    Raises:
        UsageError, InvalidRanker: the ranker, a variant or a set cannot be used.
        judgements.errors.JudgementsError: a line of the data is at fault.
    """
    manifest = open_ranker(options.ranker).manifest
    cpu = {variant.name: variant for variant in manifest.variants if variant.provider == "cpu"}
    if unknown := set(options.variants) - set(cpu):
        raise UsageError(f"variant {min(unknown)}: the ranker has {', '.join(cpu)}")
    if not options.data:
        raise UsageError("give at least one judged set to measure on")
    lengths = options.max_lengths or (manifest.max_length,)
    if too_long := [length for length in lengths if length > manifest.max_length]:
        raise UsageError(f"max_length {too_long[0]}: the ranker reads at most {manifest.max_length} tokens of a pair")
    sets = reference_sets(list(options.data), options.max_queries)
    points: list[Quality] = []
    references: dict[str, dict[str, float]] = {}
    if options.model:
        score = _torch(options.model, manifest.max_length)
        for judged in sets:
            progress(f"{judged.name}: PyTorch fp32")
            points.append(_point(judged, "PyTorch fp32", manifest.max_length, "truncate", score, references))
    for name in sorted(options.variants or cpu, key=lambda name: name != "fp32"):
        with Scorer.open(options.ranker, variant=cpu[name].file) as scorer:
            for judged in sets:
                for length in sorted(lengths, reverse=True):
                    for strategy in options.long_documents:
                        progress(f"{judged.name}: {name}, {length} tokens, {strategy}")
                        points.append(
                            _point(judged, name, length, strategy, _ours(scorer, length, strategy), references)
                        )
    return new_result(
        "quality",
        {
            "ranker": options.ranker.name,
            "version": manifest.version,
            "model": Path(options.model).name if options.model else "",
            "data": [judged.name for judged in sets],
            "max_queries": options.max_queries,
        },
        quality=points,
    )


def _point(
    judged: ReferenceSet,
    variant: str,
    max_length: int,
    strategy: LongDocumentStrategy,
    score: _Score,
    references: dict[str, dict[str, float]],
) -> Quality:
    """Orders every list; the first point of a set becomes its reference."""
    started = time.perf_counter()
    run = {entry.query_id: _scored(entry, score) for entry in judged.lists}
    seconds = time.perf_counter() - started
    measured = evaluate(judged.qrels or {}, ranking_from_scores(run), [NDCG, MRR])
    per_query = measured[NDCG]
    reference = references.setdefault(judged.name, per_query)
    gap = None if reference is per_query else paired_bootstrap(per_query, reference)
    return Quality(
        variant=variant,
        max_length=max_length,
        long_documents=strategy,
        data=judged.name,
        queries=len(per_query),
        ndcg_10=mean(per_query),
        mrr_10=mean(measured[MRR]),
        ndcg_difference=gap and Estimate(median=gap.mean, low=gap.low, high=gap.high, level=gap.level),
        pairs_per_second=sum(len(entry.documents) for entry in judged.lists) / seconds,
        per_query=[per_query[query_id] for query_id in sorted(per_query)],
    )


def _scored(entry: ReferenceList, score: _Score) -> dict[str, float]:
    scores = score([(entry.query, text) for text in entry.documents.values()])
    return dict(zip(entry.documents, scores.tolist(), strict=True))


def _ours(scorer: Scorer, max_length: int, strategy: LongDocumentStrategy) -> _Score:
    return lambda pairs: scorer.score(pairs, kind="logit", max_length=max_length, strategy=strategy).values


def _torch(model: str, max_length: int) -> _Score:
    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    opened = CrossEncoder(model, max_length=max_length, device="cpu", trust_remote_code=False)

    def score(pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = opened.predict(
            list(pairs), batch_size=8, activation_fn=Identity(), show_progress_bar=False, convert_to_numpy=True
        )
        return scores

    return score
