"""`crossrank bench quality`: what each variant and setting of a ranker costs in ranking quality, and gains in speed."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from crossrank.bench.contestants import Contestant, Scores, sentence_transformers
from crossrank.bench.result import Estimate, Quality, Result, new_result
from crossrank.bench.variants import chosen_variants
from crossrank.bench.workload import RankCall
from crossrank.data.trec import ranking_from_scores
from crossrank.errors import UsageError
from crossrank.evaluation.metrics import evaluate, mean
from crossrank.evaluation.significance import Interval, paired_bootstrap
from crossrank.export.reference import ReferenceSet, reference_sets
from crossrank.inference.manifest import Manifest, Variant
from crossrank.inference.ranker import open_ranker
from crossrank.inference.scorer import Scorer
from crossrank.reranker import LongDocumentStrategy, RankOptions

NDCG, MRR = "nDCG@10", "MRR@10"

# Measure -> query id -> value.
_Measures = dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class QualityOptions:
    """What is measured.

    Attributes:
        ranker: its directory.
        data: judged sets.
        model: the cross-encoder in PyTorch that the others are compared with; without one, the ranker's fp32 graph is.
        variants: names; by default all that run on this machine's CPU.
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
        InvalidData: a line of the data is at fault.
        KeyboardInterrupt: it was stopped before anything was measured.
    """
    manifest = open_ranker(options.ranker).manifest
    variants = chosen_variants(manifest, options.variants)
    if not options.data:
        raise UsageError("give at least one judged set to measure on")
    lengths = options.max_lengths or (manifest.max_length,)
    if too_long := [length for length in lengths if length > manifest.max_length]:
        raise UsageError(f"max_length {too_long[0]}: the ranker reads at most {manifest.max_length} tokens of a pair")
    if not options.model and variants[0].name != "fp32":
        raise UsageError("without fp32 among the variants there is nothing to compare with; give --model")
    sets = reference_sets(list(options.data), options.max_queries)
    points: list[Quality] = []
    interrupted = False
    try:
        for point in _points(options, manifest, variants, lengths, sets, progress):
            points.append(point)
    except KeyboardInterrupt:
        if not points:
            raise
        interrupted = True
    return new_result(
        "quality",
        {
            "ranker": options.ranker.name,
            "version": manifest.version,
            "model": Path(options.model).name if options.model else "",
            "data": [judged.name for judged in sets],
            "max_queries": options.max_queries,
            "variants": [variant.name for variant in variants],
        },
        quality=points,
        interrupted=interrupted,
    )


def _points(
    options: QualityOptions,
    manifest: Manifest,
    variants: Sequence[Variant],
    lengths: Sequence[int],
    sets: Sequence[ReferenceSet],
    progress: Callable[[str], None],
) -> Iterator[Quality]:
    references: dict[str, _Measures] = {}
    if options.model:
        score = sentence_transformers(options.model, 8, max_length=manifest.max_length)
        for judged in sets:
            progress(f"{judged.name}: PyTorch fp32")
            yield _point(judged, "PyTorch fp32", manifest.max_length, "truncate", score, references)
    wanted = list(product(sorted(lengths, reverse=True), options.long_documents))
    whole: tuple[int, LongDocumentStrategy] = (manifest.max_length, "truncate")
    for variant in variants:
        # The first point of a set is what the others are compared with, asked for or not.
        settings = wanted if references else list(dict.fromkeys([whole, *wanted]))
        with Scorer.open(options.ranker, variant=variant.file) as scorer:
            for judged, (length, strategy) in product(sets, settings):
                progress(f"{judged.name}: {variant.name}, {length} tokens, {strategy}")
                score = _ours(scorer, length, strategy)
                yield _point(judged, variant.name, length, strategy, score, references)


def _point(
    judged: ReferenceSet,
    variant: str,
    max_length: int,
    strategy: LongDocumentStrategy,
    contestant: Contestant,
    references: dict[str, _Measures],
) -> Quality:
    """Orders every list; the first point of a set becomes its reference."""
    calls = [RankCall(entry.query, list(entry.documents.values())) for entry in judged.lists]
    contestant(calls[0])  # who comes first should not pay for everybody's start
    started = time.perf_counter()
    scores = [contestant(call) for call in calls]
    seconds = time.perf_counter() - started
    run = {
        entry.query_id: dict(zip(entry.documents, values.tolist(), strict=True))
        for entry, values in zip(judged.lists, scores, strict=True)
    }
    measured = evaluate(judged.qrels or {}, ranking_from_scores(run), [NDCG, MRR])
    reference = references.setdefault(judged.name, measured)
    gaps = {
        measure: None if reference is measured else paired_bootstrap(measured[measure], reference[measure])
        for measure in (NDCG, MRR)
    }
    return Quality(
        variant=variant,
        max_length=max_length,
        long_documents=strategy,
        data=judged.name,
        queries=len(measured[NDCG]),
        ndcg_10=mean(measured[NDCG]),
        mrr_10=mean(measured[MRR]),
        ndcg_difference=_estimate(gaps[NDCG]),
        mrr_difference=_estimate(gaps[MRR]),
        pairs_per_second=sum(len(call.documents) for call in calls) / seconds,
        per_query=measured[NDCG],
    )


def _estimate(gap: Interval | None) -> Estimate | None:
    return None if gap is None else Estimate(value=gap.mean, low=gap.low, high=gap.high, level=gap.level)


def _ours(scorer: Scorer, max_length: int, strategy: LongDocumentStrategy) -> Contestant:
    def score(call: RankCall) -> Scores:
        pairs = [(call.query, document) for document in call.documents]
        return scorer.score(
            pairs, RankOptions(score_kind="logit", max_length=max_length, long_documents=strategy)
        ).values

    return score
