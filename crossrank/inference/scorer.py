"""Scorer: tokenises, batches, runs and activates; the server, the exporter and `rank --ranker` all rank with it."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from crossrank.calibration.curves import Calibration
from crossrank.errors import CrossrankError, InvalidRanker, InvalidRequest, UsageError
from crossrank.inference.batching import BatchPolicy
from crossrank.inference.golden import golden_mismatch, needs_precise_products, runnable_variants
from crossrank.inference.hub import locate_ranker
from crossrank.inference.manifest import Graph, RankerFacts
from crossrank.inference.ranker import open_ranker
from crossrank.inference.scheduler import Scheduler
from crossrank.inference.scores import ACTIVATIONS, KIND_OF, Activate, Scores, scores_of
from crossrank.inference.session import OnnxSession
from crossrank.inference.tokenizer import PairTokenizer
from crossrank.machine import usable_cores
from crossrank.reranker import LongDocumentStrategy, RankOptions, ScoreKind, pair_texts, query_texts, rank_texts
from crossrank.results import RankedDocument, order, ranked_document

# On a CPU larger batches fall out of the caches, and padding loses more than company wins.
_CPU_POLICY = BatchPolicy(max_tokens=256)
_ALONE = BatchPolicy(max_tokens=0)
# A GPU wants many rows at once.
_CUDA_POLICY = BatchPolicy(max_tokens=16_384, padding=0.1, batching_pays=True)
# One feeds the GPU while the other's batch is on it.
_CUDA_WORKERS = 2
# The next queries are tokenised while the workers are busy with these.
_QUERIES_AT_ONCE = 4
_DEFAULT_OPTIONS = RankOptions()


class Scorer:
    """A ranker that is ready to score pairs; safe to share between threads.

    Args:
        directory: of the ranker.
        facts: of the ranker.
        variant: a graph below the directory.
        calibration: of the ranker's probabilities, where it has one.
        version: of the ranker; empty while it is being made.
        device, workers, score_cache, document_cache: as in `open`.

    Attributes:
        tokenizer: turns texts into what the scheduler takes.
        scheduler: the workers, and what waits for them.
        rejected_variants: why `open` did not take a variant that should be faster, a sentence for each.

    Raises:
        InvalidRanker: the graph does not take the inputs that the manifest names; and as `PairTokenizer` and
            `OnnxSession` raise it.
        UsageError: as `OnnxSession` raises it.
    """

    def __init__(
        self,
        directory: Path,
        facts: RankerFacts,
        variant: Graph,
        *,
        calibration: Calibration | None = None,
        version: str = "",
        device: str = "cpu",
        workers: int | None = None,
        score_cache: int = 0,
        document_cache: int = 0,
    ) -> None:
        self.facts = facts
        self.variant = variant
        self.version = version
        self._calibration = calibration
        self.rejected_variants: list[str] = []
        self.tokenizer = PairTokenizer(directory, facts.max_length, document_cache)
        self.session = OnnxSession(
            directory / variant.file,
            padding_id=facts.padding_id,
            device=device,
            precise=needs_precise_products(variant),
        )
        if self.session.inputs != set(variant.inputs):
            raise InvalidRanker(
                f"{variant.file} takes {', '.join(sorted(self.session.inputs))}, where the manifest says "
                f"{', '.join(sorted(variant.inputs))}; export the ranker again"
            )
        if device == "cuda":
            self.workers, policy = workers or _CUDA_WORKERS, _CUDA_POLICY
        else:
            self.workers, policy = workers or usable_cores(), _CPU_POLICY if variant.batch_invariant else _ALONE
        self.scheduler = Scheduler(self.session.run, workers=self.workers, policy=policy, cache_size=score_cache)

    @classmethod
    def open(
        cls,
        ranker: Path | str | None = None,
        *,
        variant: str | None = None,
        device: str = "cpu",
        workers: int | None = None,
        score_cache: int = 0,
        document_cache: int = 0,
    ) -> Self:
        """Opens a ranker, checks its files against its manifest, and proves the variant on its golden pairs.

        Args:
            ranker: its directory or Hugging Face id; by default the one that comes with crossrank.
            variant: a variant's name, file name or precision. By default the fastest that this machine runs as the
                exporter's did; why a faster one was rejected stands in `rejected_variants`.
            device: "cpu" or "cuda".
            workers: threads that run the model; as many as usable cores by default, and two for CUDA.
            score_cache: logits that are kept; 0 keeps none.
            document_cache: tokens of documents that are kept; 0 keeps none.

        Raises:
            InvalidRanker: as `crossrank.inference.ranker.open_ranker` raises it; or the variant, or all of them, differ
                from what their exporter saw.
            UsageError: there is no such ranker or variant, or none for this device.
        """
        opened = open_ranker(locate_ranker(ranker))
        choice = runnable_variants(opened.manifest, device) if variant is None else [opened.variant(variant)]
        if not choice:
            raise UsageError(f"{opened.directory.name} has no variant for {device} on this machine; export one for it")
        rejected_variants = []
        for candidate in choice:
            try:
                scorer = cls(
                    opened.directory,
                    opened.manifest,
                    candidate,
                    calibration=opened.calibration,
                    version=opened.manifest.version,
                    device=device,
                    workers=workers,
                    score_cache=score_cache,
                    document_cache=document_cache,
                )
            except InvalidRanker as error:
                rejected_variants.append(str(error))
                continue
            try:
                wrong = golden_mismatch(opened.manifest, candidate, *scorer.golden())
            except CrossrankError as error:  # a graph that loads may still not run here
                wrong = f"{candidate.file}: {error}"
            if wrong is None:
                scorer.rejected_variants = rejected_variants
                return scorer
            scorer.close()
            rejected_variants.append(wrong)
        raise InvalidRanker(f"{opened.directory.name}: {'; '.join(rejected_variants)}")

    def golden(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The logits and the scores of the manifest's golden pairs, each float32 of shape [pairs].

        They prove the graph and its activation; a calibration is proved by its sha256.
        """
        pairs = [(pair.query, pair.document) for pair in self.facts.golden_pairs]
        logits = self.scheduler.submit(self.tokenizer.encode(pairs)).logits.result()
        return logits, ACTIVATIONS[self.default_kind](logits)

    @property
    def default_kind(self) -> ScoreKind:
        """The kind of the ranker's own scores: that of the activation that it was trained with."""
        return KIND_OF[self.facts.activation]

    def activation(self, kind: ScoreKind | None = None) -> Activate:
        """Returns the function from logits to scores of a kind, by default the ranker's own; it calibrates."""
        kind = kind or self.default_kind
        if kind == "probability" and self._calibration is not None:
            return self._calibration.apply
        return ACTIVATIONS[kind]

    def score(self, pairs: Sequence[tuple[str, str]], options: RankOptions = _DEFAULT_OPTIONS) -> Scores:
        """Scores (query, document) pairs and says what that cost; at least one pair, and nothing is checked."""
        started = time.monotonic()
        encoded = self.tokenizer.encode(pairs, max_length=options.max_length, strategy=options.long_documents)
        tokenize = time.monotonic() - started
        return scores_of(encoded, self.scheduler.submit(encoded), self.activation(options.score_kind), tokenize)

    def predict(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        score_kind: ScoreKind | None = None,
        max_length: int | None = None,
        long_documents: LongDocumentStrategy = "truncate",
    ) -> NDArray[np.float32]:
        """As `Reranker.predict`."""
        options = RankOptions(score_kind=score_kind, max_length=max_length, long_documents=long_documents)
        texts = pair_texts(pairs)
        return self.score(texts, options).values if texts else np.empty(0, dtype=np.float32)

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        ids: Sequence[str] | None = None,
        top_k: int | None = None,
        score_kind: ScoreKind | None = None,
        max_length: int | None = None,
        long_documents: LongDocumentStrategy = "truncate",
        return_documents: bool = False,
    ) -> list[RankedDocument]:
        """As `Reranker.rank`."""
        options = RankOptions(top_k, score_kind, max_length, long_documents, return_documents)
        return self._rank(query, *rank_texts(query, documents, ids), options)

    def rank_many(
        self,
        queries: Sequence[tuple[str, Sequence[str]]],
        *,
        top_k: int | None = None,
        score_kind: ScoreKind | None = None,
        max_length: int | None = None,
        long_documents: LongDocumentStrategy = "truncate",
        return_documents: bool = False,
    ) -> Iterator[tuple[int, list[RankedDocument] | CrossrankError]]:
        """As `Reranker.rank_many`."""
        options = RankOptions(top_k, score_kind, max_length, long_documents, return_documents)
        given = list(query_texts(queries))
        yield from ((index, query) for index, query in given if isinstance(query, InvalidRequest))
        pool = ThreadPoolExecutor(_QUERIES_AT_ONCE)
        indices = {
            pool.submit(self._rank, *query, None, options): index
            for index, query in given
            if not isinstance(query, InvalidRequest)
        }
        try:
            for done in as_completed(indices):
                try:
                    yield indices[done], done.result()
                except CrossrankError as error:
                    yield indices[done], error
        finally:
            pool.shutdown(cancel_futures=True)

    def _rank(
        self, query: str, documents: list[str], ids: list[str] | None, options: RankOptions
    ) -> list[RankedDocument]:
        if not documents:
            return []
        scores = self.score([(query, document) for document in documents], options)
        texts = documents if options.return_documents else None
        return [
            ranked_document(index, float(scores.values[index]), scores.spans[index], ids, texts)
            for index in order(scores.logits)[: options.top_k]
        ]

    def close(self) -> None:
        """Ends the workers; calls that are queued fail with Unavailable."""
        self.scheduler.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
