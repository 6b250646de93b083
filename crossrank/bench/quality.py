"""`crossrank bench quality`: ranking quality and speed of each variant and setting of a ranker."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from crossrank.bench.load.workload import RerankRequest
from crossrank.bench.options import QualityOptions
from crossrank.bench.results import QualityPoint, QualityResult, this_run
from crossrank.bench.variants import choose_variants
from crossrank.errors import UsageError
from crossrank.evaluation.eval_set import EvalSet, read_eval_set
from crossrank.evaluation.fidelity import MRR, NDCG, rank_quality
from crossrank.evaluation.metrics import mean
from crossrank.evaluation.significance import paired_bootstrap
from crossrank.inference.ranker.directory import open_ranker
from crossrank.inference.ranker.manifest import Manifest, Variant
from crossrank.inference.scorer import Scorer
from crossrank.reranker import LongDocumentStrategy, RankOptions

_log = logging.getLogger("crossrank.bench")

# Logits of a request's documents, in their order; float32, shape [documents].
Score: TypeAlias = Callable[[RerankRequest], NDArray[np.float32]]
# Measure -> query id -> value.
_Measures: TypeAlias = Mapping[str, Mapping[str, float]]


def bench_quality(options: QualityOptions) -> QualityResult:
    """Measures every variant at every setting on every set; the queries are those that the exporter compares.

    Raises:
        UsageError, InvalidRanker: the ranker, a variant or a set cannot be used.
        InvalidData: a line of the data is invalid.
        KeyboardInterrupt: it was stopped before anything was measured.
    """
    manifest = open_ranker(options.ranker).manifest
    variants = choose_variants(manifest, options.variants)
    lengths = options.max_lengths or (manifest.max_length,)
    if too_long := [length for length in lengths if length > manifest.max_length]:
        raise UsageError(f"max_length {too_long[0]}: the ranker reads at most {manifest.max_length} tokens of a pair")
    if not options.model and variants[0].name != "fp32":
        raise UsageError("without fp32 among the variants there is nothing to compare with; give --model")
    sets = [read_eval_set(path, max_queries=options.max_queries) for path in options.data]
    if len({each.name for each in sets}) < len(sets):
        raise UsageError("two evaluation sets have the same name; rename one directory")
    points: list[QualityPoint] = []
    interrupted = False
    try:
        for point in _points(options, manifest, variants, lengths, sets):
            points.append(point)
    except KeyboardInterrupt:
        if not points:
            raise
        interrupted = True
    settings = {
        "ranker": options.ranker.name,
        "version": manifest.version,
        "model": Path(options.model).name if options.model else "",
        "data": [judged.name for judged in sets],
        "max_queries": options.max_queries,
        "variants": [variant.name for variant in variants],
    }
    return QualityResult(**this_run(settings), points=points, interrupted=interrupted)


def _points(
    options: QualityOptions,
    manifest: Manifest,
    variants: Sequence[Variant],
    lengths: Sequence[int],
    sets: Sequence[EvalSet],
) -> Iterator[QualityPoint]:
    references: dict[str, _Measures] = {}
    if options.model:
        score = _pytorch(options.model, manifest.max_length)
        for judged in sets:
            _log.info("%s: PyTorch fp32", judged.name)
            yield _point(judged, "PyTorch fp32", manifest.max_length, "truncate", score, references)
    wanted = list(product(sorted(lengths, reverse=True), options.long_documents))
    whole: tuple[int, LongDocumentStrategy] = (manifest.max_length, "truncate")
    for variant in variants:
        # The first point of a set is what the others are compared with, asked for or not.
        settings = wanted if references else list(dict.fromkeys([whole, *wanted]))
        with Scorer.open(options.ranker, variant=variant.file) as scorer:
            for judged, (length, strategy) in product(sets, settings):
                _log.info("%s: %s, %d tokens, %s", judged.name, variant.name, length, strategy)
                score = _variant(scorer, length, strategy)
                yield _point(judged, variant.name, length, strategy, score, references)


def _point(
    judged: EvalSet,
    variant: str,
    max_length: int,
    strategy: LongDocumentStrategy,
    score: Score,
    references: dict[str, _Measures],
) -> QualityPoint:
    """Ranks every list; the first point of a set becomes its reference."""
    requests = [
        RerankRequest(judged.queries[query_id], [judged.corpus[doc_id] for doc_id in ids])
        for query_id, ids in judged.candidates.items()
        if ids
    ]
    score(requests[0])  # a warm-up
    started = time.perf_counter()
    scores = [score(request) for request in requests]
    seconds = time.perf_counter() - started
    measured = rank_quality(judged, np.concatenate(scores))
    reference = references.setdefault(judged.name, measured)
    gaps = {
        measure: None if reference is measured else paired_bootstrap(measured[measure], reference[measure])
        for measure in (NDCG, MRR)
    }
    return QualityPoint(
        variant=variant,
        max_length=max_length,
        long_documents=strategy,
        data=judged.name,
        queries=len(measured[NDCG]),
        ndcg_10=mean(measured[NDCG]),
        mrr_10=mean(measured[MRR]),
        ndcg_difference=gaps[NDCG],
        mrr_difference=gaps[MRR],
        pairs_per_second=sum(len(request.documents) for request in requests) / seconds,
        per_query=dict(measured[NDCG]),
    )


def _pytorch(model: str, max_length: int) -> Score:
    """A cross-encoder in PyTorch on the CPU, as the variants are."""
    from crossrank.models.cross_encoder import open_cross_encoder, predict

    opened = open_cross_encoder(model, max_length=max_length, device="cpu")
    return lambda request: predict(opened, [(request.query, document) for document in request.documents])


def _variant(scorer: Scorer, max_length: int, strategy: LongDocumentStrategy) -> Score:
    options = RankOptions(score_kind="logit", max_length=max_length, long_documents=strategy)

    def score(request: RerankRequest) -> NDArray[np.float32]:
        return scorer.score([(request.query, document) for document in request.documents], options).values

    return score
