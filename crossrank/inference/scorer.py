"""The one Scorer: tokenise, plan, run, activate. The server, the exporter and `rank --ranker` all rank with it."""

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from crossrank.errors import CrossrankError, InvalidRanker, UsageError
from crossrank.inference.batching import BatchPolicy
from crossrank.inference.golden import golden_mismatch, needs_precise_products, runnable_variants
from crossrank.inference.manifest import Variant
from crossrank.inference.ranker import Ranker, open_ranker
from crossrank.inference.scheduler import Scheduler
from crossrank.inference.scores import ACTIVATIONS, KIND_OF, Activate, ScoreKind, Scores, scores_of
from crossrank.inference.session import OnnxSession
from crossrank.inference.tokenizer import LongDocumentStrategy, PairTokenizer
from crossrank.machine import usable_cores
from crossrank.results import RankedDocument, order, ranked

# On a CPU larger runs fall out of the caches, and padding loses more than company wins.
_CPU_RULES = BatchPolicy(max_tokens=256)
_ALONE = BatchPolicy(max_tokens=0)
# A GPU wants many rows at once.
_CUDA_RULES = BatchPolicy(max_tokens=16_384, padding=0.1, batching_pays=True)
# One feeds the GPU while the other's run is on it.
_CUDA_WORKERS = 2


class Scorer:
    """A ranker that is ready to score pairs; safe to share between threads.

    Args:
        ranker: an opened ranker.
        variant: one of its variants.
        device: "cpu" or "cuda".
        workers: threads that run the model; as many as usable cores by default, and two for CUDA.
        score_cache: logits that are kept; 0 keeps none.
        document_cache: tokens of documents that are kept; 0 keeps none.

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
        ranker: Ranker,
        variant: Variant,
        *,
        device: str = "cpu",
        workers: int | None = None,
        score_cache: int = 0,
        document_cache: int = 0,
    ) -> None:
        self.ranker = ranker
        self.variant = variant
        self.rejected_variants: list[str] = []
        self.tokenizer = PairTokenizer(ranker.directory, ranker.manifest.max_length, document_cache)
        self.session = OnnxSession(
            ranker.directory / variant.file, device=device, precise=needs_precise_products(variant)
        )
        if self.session.inputs != set(variant.inputs):
            raise InvalidRanker(
                f"{variant.file} takes {', '.join(sorted(self.session.inputs))}, where the manifest says "
                f"{', '.join(sorted(variant.inputs))}; export the ranker again"
            )
        if device == "cuda":
            self.workers, rules = workers or _CUDA_WORKERS, _CUDA_RULES
        else:
            self.workers, rules = workers or usable_cores(), _CPU_RULES if variant.batch_invariant else _ALONE
        self.scheduler = Scheduler(self.session.run, workers=self.workers, rules=rules, cache_size=score_cache)

    @classmethod
    def open(
        cls,
        directory: Path | str,
        *,
        variant: str | None = None,
        device: str = "cpu",
        workers: int | None = None,
        score_cache: int = 0,
        document_cache: int = 0,
    ) -> Self:
        """Opens a ranker's directory, holds it to its manifest, and proves the variant on its golden pairs.

        Args:
            directory: a ranker's directory.
            variant: a variant's name, file name or precision. By default the fastest that this machine runs as the
                exporter's did; what was passed over for a slower one stands in `rejected_variants`.
            device: "cpu" or "cuda".
            workers: threads that run the model; as many as usable cores by default, and two for CUDA.
            score_cache: logits that are kept; 0 keeps none.
            document_cache: tokens of documents that are kept; 0 keeps none.

        Raises:
            InvalidRanker: as `crossrank.inference.ranker.open_ranker` raises it; or the variant, or all of them, differ
                from what their exporter saw.
            UsageError: there is no such variant, or none for this device.
        """
        ranker = open_ranker(Path(directory))
        choice = runnable_variants(ranker.manifest, device) if variant is None else [ranker.variant(variant)]
        if not choice:
            raise UsageError(f"{ranker.directory.name} has no variant for {device} on this machine; export one for it")
        rejected_variants = []
        for candidate in choice:
            try:
                scorer = cls(
                    ranker,
                    candidate,
                    device=device,
                    workers=workers,
                    score_cache=score_cache,
                    document_cache=document_cache,
                )
            except InvalidRanker as error:
                rejected_variants.append(str(error))
                continue
            try:
                wrong = golden_mismatch(ranker.manifest, candidate, *scorer.golden())
            except CrossrankError as error:  # a graph that loads may still not run here
                wrong = f"{candidate.file}: {error}"
            if wrong is None:
                scorer.rejected_variants = rejected_variants
                return scorer
            scorer.close()
            rejected_variants.append(wrong)
        raise InvalidRanker(f"{ranker.directory.name}: {'; '.join(rejected_variants)}")

    def golden(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The logits and the scores of the manifest's golden pairs, each float32 of shape [pairs].

        They prove the graph and its activation; a calibration is proved by its sha256.
        """
        pairs = [(pair.query, pair.document) for pair in self.ranker.manifest.golden_pairs]
        logits = self.scheduler.submit(self.tokenizer.encode(pairs)).logits.result()
        return logits, ACTIVATIONS[self.default_kind](logits)

    @property
    def default_kind(self) -> ScoreKind:
        """What the ranker's own scores are: those of the activation that it was trained with."""
        return KIND_OF[self.ranker.manifest.activation]

    def activation(self, kind: ScoreKind | None = None) -> Activate:
        """What turns logits into scores of a kind, None being the ranker's own: for probabilities its calibration."""
        kind = kind or self.default_kind
        if kind == "probability" and self.ranker.calibration is not None:
            return self.ranker.calibration.apply
        return ACTIVATIONS[kind]

    def score(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        kind: ScoreKind | None = None,
        max_length: int | None = None,
        strategy: LongDocumentStrategy = "truncate",
    ) -> Scores:
        """Scores (query, document) pairs and says what that cost; at least one pair."""
        started = time.monotonic()
        encoded = self.tokenizer.encode(pairs, max_length=max_length, strategy=strategy)
        tokenize = time.monotonic() - started
        return scores_of(encoded, self.scheduler.submit(encoded), self.activation(kind), tokenize)

    def predict(self, pairs: Sequence[tuple[str, str]], *, kind: ScoreKind | None = None) -> NDArray[np.float32]:
        """Scores pairs as sentence-transformers' `CrossEncoder.predict` does.

        Args:
            pairs: (query, document); may be none.
            kind: of the scores; the ranker's own by default.

        Returns:
            float32, shape [len(pairs)].
        """
        return self.score(pairs, kind=kind).values if pairs else np.empty(0, dtype=np.float32)

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        top_n: int | None = None,
        return_documents: bool = False,
    ) -> list[RankedDocument]:
        """Orders documents as sentence-transformers' `CrossEncoder.rank` does, equal logits by their index."""
        if not documents:
            return []
        scores = self.score([(query, document) for document in documents])
        return [
            ranked(index, float(scores.values[index]), documents, return_documents=return_documents)
            for index in order(scores.logits)[:top_n]
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
