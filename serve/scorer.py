"""The one Scorer: tokenise, plan, run, activate. The server, the exporter and `rank --ranker` all rank with it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from serve.activation import ACTIVATIONS, KIND_OF, ScoreKind
from serve.conformance import mismatch, needs_precise_products, suitable
from serve.errors import CrossrankError, InvalidRanker, UsageError
from serve.machine import usable_cores
from serve.manifest import Variant
from serve.ranker import Ranker, open_ranker
from serve.ranking import RankedDocument, order, ranked
from serve.runtime import OnnxSession
from serve.scheduler import Call, Scheduler
from serve.tokenizer import LongDocumentStrategy, PairTokenizer, TokenizedPair

# The most tokens of one run on a CPU; larger runs fall out of its caches.
_MAX_RUN_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Scores:
    """What a call gave and what it cost.

    Attributes:
        values: float32, one for each pair, of the kind that was asked for.
        spans: for each pair, the part of a chunked document that gave its score, in characters; else None.
        pairs: tokenised pairs that were run.
        tokens: tokens of these.
        truncated: how many of the caller's pairs lost text.
        tokenize, queue, compute: seconds on the clock.
        busy: seconds of all runs together, whichever workers ran them.
    """

    values: NDArray[np.float32]
    spans: list[tuple[int, int] | None]
    pairs: int
    tokens: int
    truncated: int
    tokenize: float
    queue: float
    compute: float
    busy: float


class Scorer:
    """A ranker that is ready to score pairs; safe to share between threads.

    Args:
        ranker: an opened ranker.
        variant: one of its variants.
        device: "cpu" or "cuda".
        workers: threads that run the model; as many as usable cores by default.

    Attributes:
        passed_over: why `open` did not take a variant that should be faster, a sentence for each.

    Raises:
        InvalidRanker: the graph does not take the inputs that the manifest names; and as `PairTokenizer` and
            `OnnxSession` raise it.
        UsageError: as `OnnxSession` raises it.
    """

    def __init__(self, ranker: Ranker, variant: Variant, *, device: str = "cpu", workers: int | None = None) -> None:
        self.ranker = ranker
        self.variant = variant
        self.passed_over: list[str] = []
        self.tokenizer = PairTokenizer(ranker.directory, ranker.manifest.max_length)
        self.session = OnnxSession(
            ranker.directory / variant.file, device=device, precise=needs_precise_products(variant)
        )
        if self.session.inputs != set(variant.inputs):
            raise InvalidRanker(
                f"{variant.file} takes {', '.join(sorted(self.session.inputs))}, where the manifest says "
                f"{', '.join(sorted(variant.inputs))}; export the ranker again"
            )
        self.workers = workers or usable_cores()
        self._scheduler = Scheduler(
            self.session.run,
            workers=self.workers,
            max_run_tokens=_MAX_RUN_TOKENS if self.variant.batch_invariant else 0,
        )

    @classmethod
    def open(
        cls,
        directory: Path | str,
        *,
        variant: str | None = None,
        device: str = "cpu",
        workers: int | None = None,
    ) -> Self:
        """Opens a ranker's directory, holds it to its manifest, and proves the variant on its golden pairs.

        Args:
            directory: a ranker's directory.
            variant: a variant's name, file name or precision. By default the fastest that this machine runs as the
                exporter's did; what was passed over for a slower one stands in `passed_over`.
            device: "cpu" or "cuda".
            workers: threads that run the model; as many as usable cores by default.

        Raises:
            InvalidRanker: as `serve.ranker.open_ranker` raises it; or the variant, or all of them, differ from what
                their exporter saw.
            UsageError: there is no such variant, or none for this device.
        """
        ranker = open_ranker(Path(directory))
        choice = suitable(ranker.manifest, device) if variant is None else [ranker.variant(variant)]
        if not choice:
            raise UsageError(f"{ranker.directory.name} has no variant for {device} on this machine; export one for it")
        passed_over = []
        for candidate in choice:
            try:
                scorer = cls(ranker, candidate, device=device, workers=workers)
            except InvalidRanker as error:
                passed_over.append(str(error))
                continue
            try:
                wrong = mismatch(ranker.manifest, candidate, *scorer.golden())
            except CrossrankError as error:  # a graph that loads may still not run here
                wrong = f"{candidate.file}: {error}"
            if wrong is None:
                scorer.passed_over = passed_over
                return scorer
            scorer.close()
            passed_over.append(wrong)
        raise InvalidRanker(f"{ranker.directory.name}: {'; '.join(passed_over)}")

    def golden(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The logits and the scores of the manifest's golden pairs, each float32 of shape [pairs]."""
        pairs = [(pair.query, pair.document) for pair in self.ranker.manifest.golden_pairs]
        logits = self.submit(self.encode(pairs)).logits.result()
        return logits, ACTIVATIONS[self.default_kind](logits)

    @property
    def default_kind(self) -> ScoreKind:
        """What the ranker's own scores are: those of the activation that it was trained with."""
        return KIND_OF[self.ranker.manifest.activation]

    def encode(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        max_length: int | None = None,
        strategy: LongDocumentStrategy = "truncate",
    ) -> list[TokenizedPair]:
        """As `PairTokenizer.encode`."""
        return self.tokenizer.encode(pairs, max_length=max_length, strategy=strategy)

    def submit(self, encoded: Sequence[TokenizedPair], *, deadline: float | None = None) -> Call:
        """As `Scheduler.submit`."""
        return self._scheduler.submit(encoded, deadline=deadline)

    def cancel(self, call: Call) -> None:
        """As `Scheduler.cancel`."""
        self._scheduler.cancel(call)

    def gather(
        self,
        encoded: Sequence[TokenizedPair],
        call: Call,
        *,
        kind: ScoreKind | None = None,
        tokenize: float = 0.0,
    ) -> Scores:
        """Turns the logits of a finished call into the scores of its documents: the best chunk's, activated.

        Args:
            encoded: the tokenised pairs of the call.
            call: the call; its logits are waited for.
            kind: what the scores shall be; the ranker's own by default.
            tokenize: seconds that tokenising took, passed on.

        Raises:
            CrossrankError: the model gave NaN; and what the call's logits raise.
        """
        logits = call.logits.result()
        if np.isnan(logits).any():
            raise CrossrankError("the model gave NaN")
        best: dict[int, int] = {}
        truncated: set[int] = set()
        for position, pair in enumerate(encoded):
            if pair.document not in best or logits[position] > logits[best[pair.document]]:
                best[pair.document] = position
            if pair.truncated:
                truncated.add(pair.document)
        winners = [best[document] for document in range(len(best))]
        return Scores(
            values=ACTIVATIONS[kind or self.default_kind](logits[winners]),
            spans=[encoded[position].span for position in winners],
            pairs=len(encoded),
            tokens=call.tokens,
            truncated=len(truncated),
            tokenize=tokenize,
            queue=call.queued,
            compute=call.computed,
            busy=call.busy,
        )

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
        encoded = self.encode(pairs, max_length=max_length, strategy=strategy)
        tokenize = time.monotonic() - started
        return self.gather(encoded, self.submit(encoded), kind=kind, tokenize=tokenize)

    def predict(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Scores pairs as sentence-transformers' `CrossEncoder.predict` does.

        Returns:
            float32, shape [len(pairs)]; the ranker's own kind of score.
        """
        return self.score(pairs).values if pairs else np.empty(0, dtype=np.float32)

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        top_n: int | None = None,
        return_documents: bool = False,
    ) -> list[RankedDocument]:
        """Orders documents as sentence-transformers' `CrossEncoder.rank` does, equal scores by their index."""
        scores = self.predict([(query, document) for document in documents])
        return [
            ranked(index, float(scores[index]), documents, return_documents=return_documents)
            for index in order(scores)[:top_n]
        ]

    def close(self) -> None:
        """Ends the workers; calls that are queued fail with NotServing."""
        self._scheduler.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
