"""Scorer: tokenises, batches, runs and activates; the server, the exporter and `rank --ranker` all rank with it."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from crossrank.calibration.curves import Calibration
from crossrank.errors import CrossrankError, InvalidRanker, UsageError, first_line
from crossrank.inference.local import LocalReranker
from crossrank.inference.queue.batch_policy import BatchPolicy
from crossrank.inference.queue.calls import Call
from crossrank.inference.queue.scheduler import Scheduler
from crossrank.inference.ranker.directory import open_ranker
from crossrank.inference.ranker.golden import golden_mismatch, needs_precise_products, runnable_variants, within
from crossrank.inference.ranker.graph_scan import scan_graph
from crossrank.inference.ranker.hub import locate_ranker
from crossrank.inference.ranker.manifest import Graph, RankerFacts
from crossrank.inference.scores import ACTIVATIONS, KIND_OF, Activate, Scores, scores_of
from crossrank.inference.session import OnnxSession
from crossrank.inference.tokens.tokenizer import PairTokenizer
from crossrank.machine import usable_cores
from crossrank.reranker import RankOptions, ScoreKind

# On a CPU larger batches fall out of the caches, and padding loses more than company wins.
_CPU_POLICY = BatchPolicy(max_tokens=256)
_ALONE = BatchPolicy(max_tokens=0)
# A GPU wants many rows at once.
_CUDA_POLICY = BatchPolicy(max_tokens=16_384, padding=0.1, batching_pays=True)
# One feeds the GPU while the other's batch is on it.
_CUDA_WORKERS = 2
# Seconds for the golden pairs: the largest encoders take a fraction of it on a slow core.
_GOLDEN_SECONDS = 120.0
_DEFAULT_OPTIONS = RankOptions()


class Scorer(LocalReranker):
    """A ranker that is ready to score pairs; safe to share between threads.

    Args:
        directory: of the ranker.
        facts: of the ranker.
        variant: a graph below the directory.
        calibration: of the ranker's probabilities, where it has one.
        version: of the ranker; empty while it is being made.
        device: as in `open`.
        workers: as in `open`.
        score_cache: as in `open`.
        document_cache: as in `open`.

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
            InvalidRanker: as `crossrank.inference.ranker.directory.open_ranker` raises it; or the variant, or all
                of them, differ from what their exporter saw.
            UsageError: there is no such ranker or variant, or none for this device.
        """
        opened = open_ranker(locate_ranker(ranker))
        choice = runnable_variants(opened.manifest, device) if variant is None else [opened.variant(variant)]
        if not choice:
            raise UsageError(f"{opened.directory.name} has no variant for {device} on this machine; export one for it")
        rejected_variants = []
        for candidate in choice:
            try:
                scan_graph(opened.directory, candidate, opened.manifest.files)
                with _own_fault(candidate.file):
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
                with _own_fault(candidate.file):
                    wrong = golden_mismatch(opened.manifest, candidate, *scorer.golden())
            except CrossrankError as error:  # a graph that loads may still not run here
                wrong = f"{candidate.file}: {error}"
            if wrong is None:
                scorer.rejected_variants = rejected_variants
                return scorer
            scorer.close()
            rejected_variants.append(wrong)
        raise InvalidRanker(f"{opened.directory.name}: {'; '.join(rejected_variants)}")

    def golden(self, seconds: float = _GOLDEN_SECONDS) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The logits and the scores of the manifest's golden pairs, each float32 of shape [pairs].

        They prove the graph and its activation; a calibration is proved by its sha256.

        Raises:
            InvalidRanker: they take longer than `seconds`.
        """
        pairs = [(pair.query, pair.document) for pair in self.facts.golden_pairs]
        until = time.monotonic() + seconds
        call: Call | None = None
        try:
            call = self.scheduler.submit(within(seconds, lambda: self.tokenizer.encode(pairs)))
            logits = call.logits.result(until - time.monotonic())
        except TimeoutError:
            if call is not None:
                self.scheduler.cancel(call)
            raise InvalidRanker(f"its golden pairs take longer than {seconds:g} s") from None
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

    def close(self) -> None:
        """Ends the workers; calls that are queued fail with Unavailable."""
        self.scheduler.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def _own_fault(file: str) -> Iterator[None]:
    """Whatever a graph or a tokenizer raises is the ranker's fault; tokenizers may panic, which is no Exception.

    Raises:
        InvalidRanker: in the place of what is not an error of crossrank.
    """
    try:
        yield
    except (CrossrankError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise InvalidRanker(f"{file}, or its tokenizer, cannot be used: {first_line(error)}") from None
