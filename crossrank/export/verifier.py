"""Verifies candidates against PyTorch, through the very Scorer that serves: figures, and whether they keep a budget."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossrank.evaluation.eval_set import EvalSet
from crossrank.evaluation.fidelity import agreement, noise_to_signal
from crossrank.export.candidates import EXACT, Candidate, describe, file_name
from crossrank.export.gate import reasons
from crossrank.export.golden_pairs import golden_tolerance
from crossrank.inference.queue.throughput import measure_throughput
from crossrank.inference.ranker.manifest import Budget, GoldenScore, Graph, Measured, RankerFacts, Variant
from crossrank.inference.scorer import Scorer

Logits = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Trial:
    """The verification of one candidate.

    Attributes:
        graph: its facts.
        megabytes: of its files.
        budget: that it was held to.
        measured: its figures; None where a logit was not finite.
        failure: why it may not ship, a clause for each reason; None where it may.
    """

    graph: Graph
    megabytes: float
    budget: Budget
    measured: Measured | None
    failure: str | None

    @property
    def variant(self) -> Variant | None:
        """The entry of the manifest; None where it may not ship."""
        if self.measured is None or self.failure is not None:
            return None
        return Variant(**self.graph.model_dump(), **self.measured.model_dump(), budget=self.budget)


@dataclass(frozen=True, slots=True)
class Verifier:
    """Measures candidates of one export.

    Attributes:
        directory: the ranker's, in the making.
        facts: of the ranker.
        sets: what the gate compares on.
        reference: PyTorch's logits of each set's pairs.
        calibration: queries that choose between graphs, but never judge.
        calibration_reference: PyTorch's logits of their pairs.
        budget: what a variant may lose.
        atol: the largest error of a logit where only the order of additions differs.
    """

    directory: Path
    facts: RankerFacts
    sets: Sequence[EvalSet]
    reference: Sequence[Logits]
    calibration: EvalSet
    calibration_reference: Logits
    budget: Budget
    atol: float

    def verify(self, candidate: Candidate) -> Trial:
        """Measures a candidate and holds it to its budget."""
        budget = self._budget(candidate.name)
        measured = self._measure(candidate)
        why = reasons(measured.agreement, budget) if measured else ["it gives NaN or infinite logits"]
        return Trial(candidate.graph, candidate.megabytes, budget, measured, "; ".join(why) or None)

    def sensitivity(self, candidate: Candidate) -> float:
        """The noise that a graph adds to PyTorch's logits, relative to how far these lie apart; infinite for NaN."""
        with self._scorer(candidate) as scorer:
            logits = _logits(scorer, self.calibration.pairs)
        return noise_to_signal(self.calibration, self.calibration_reference, logits)

    def _measure(self, candidate: Candidate) -> Measured | None:
        with self._scorer(candidate) as scorer:
            scored = [_logits(scorer, entry.pairs) for entry in self.sets]
            if not all(np.isfinite(logits).all() for logits in scored):
                return None
            found = [
                agreement(entry, reference, logits)
                for entry, reference, logits in zip(self.sets, self.reference, scored, strict=True)
            ]
            golden = zip(*scorer.golden(), strict=True)
            return Measured(
                agreement=found,
                speed=self._speed(candidate, scorer),
                golden=[GoldenScore(logit=float(logit), score=float(score)) for logit, score in golden],
                golden_tolerance=golden_tolerance(found, exact=candidate.name in EXACT),
            )

    def _budget(self, name: str) -> Budget:
        if name not in EXACT:
            return self.budget
        largest = self.atol if self.budget.max_error is None else min(self.atol, self.budget.max_error)
        return self.budget.model_copy(update={"max_error": largest})

    def _speed(self, candidate: Candidate, scorer: Scorer) -> float:
        """Pairs a second over those of onnx/model.onnx, alternating with it."""
        if candidate.name == "fp32":
            return 1.0
        with self._scorer(describe(self.directory / file_name("fp32"), "fp32")) as fp32:
            measured = measure_throughput({"fp32": fp32, candidate.name: scorer})
        return measured[candidate.name] / measured["fp32"]

    def _scorer(self, candidate: Candidate) -> Scorer:
        return Scorer(self.directory, self.facts, candidate.graph)


def _logits(scorer: Scorer, pairs: Sequence[tuple[str, str]]) -> Logits:
    """The graph's own logits; the Scorer would refuse to hand on a NaN."""
    return scorer.scheduler.submit(scorer.tokenizer.encode(pairs)).logits.result()
