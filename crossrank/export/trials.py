"""Tries variants against PyTorch, through the very Scorer that serves, and keeps what passes the gate."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from crossrank.evaluation.eval_set import EvalSet
from crossrank.evaluation.fidelity import agreement, noise_to_signal
from crossrank.export.gate import reasons
from crossrank.export.golden_pairs import golden_tolerance
from crossrank.export.variants import EXACT, Graph, Materials, file_name, rungs
from crossrank.inference.manifest import Budget, GoldenScore, Manifest, Variant
from crossrank.inference.ranker import Ranker
from crossrank.inference.scorer import Scorer
from crossrank.inference.throughput import measure_throughput

Logits = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one graph; `failure` is None where it was kept.

    Attributes:
        variant: as the manifest would have it.
        megabytes: of its files.
        failure: why it may not ship, a clause for each reason.
    """

    variant: Variant
    megabytes: float
    failure: str | None


@dataclass(slots=True)
class Trials:
    """The trials of one export.

    Attributes:
        directory: the ranker's, in the making.
        manifest: all of it but files and variants.
        sets: what the gate compares on.
        reference: PyTorch's logits of each set's pairs.
        calibration: queries that calibrate and choose, but never judge.
        calibration_reference: PyTorch's logits of their pairs.
        budget: what a variant may lose.
        atol: the largest error of a logit where only the order of additions differs.
        done: every trial so far, in order.
    """

    directory: Path
    manifest: Manifest
    sets: Sequence[EvalSet]
    reference: Sequence[Logits]
    calibration: EvalSet
    calibration_reference: Logits
    budget: Budget
    atol: float
    progress: Callable[[str], None]
    done: list[Trial] = field(default_factory=list)

    def run(self, name: str, materials: Materials) -> None:
        """Tries the graphs of a variant until one passes."""
        for number, graph in enumerate(rungs(name, materials), start=1):
            rung = f", rung {number}, {len(graph.kept_in_fp32)} matrices in fp32" if name == "qint8_per_token" else ""
            self.progress(f"compare {name}{rung} with PyTorch")
            trial = self._try(name, graph)
            self.done.append(trial)
            if trial.failure is None:
                return
            self.progress(f"{name}{rung} is refused: {trial.failure}")

    def noise_to_signal(self, graph: Graph) -> float:
        """What a graph adds to PyTorch's logits, beside how far these lie apart, on the calibration queries."""
        with self._scorer(self._draft(graph, Budget())) as scorer:
            logits = _logits(scorer, self.calibration.pairs)
        noise = noise_to_signal(self.calibration, self.calibration_reference, logits)
        kept = ", ".join(graph.kept_in_fp32)
        self.progress(f"look for sensitive matrices: noise to signal {noise:.2e} with {kept} in fp32")
        return noise

    def kept(self) -> list[Variant]:
        """The variants that passed, the fastest first."""
        passed = [trial.variant for trial in self.done if trial.failure is None]
        return sorted(passed, key=lambda variant: -variant.speed)

    def remove_all_but(self, kept: Sequence[Variant]) -> None:
        """Removes the graphs that are not among the variants."""
        graphs = self.directory / "onnx"
        wanted = {file for variant in kept for file in self._files(self.directory / variant.file)}
        for file in set(graphs.iterdir()) - wanted:
            file.unlink()

    def _try(self, name: str, graph: Graph) -> Trial:
        budget = self.budget
        if name in EXACT:
            largest = self.atol if budget.max_error is None else min(self.atol, budget.max_error)
            budget = budget.model_copy(update={"max_error": largest})
        variant = self._draft(graph, budget)
        megabytes = sum(file.stat().st_size for file in self._files(graph.path)) / 1e6
        with self._scorer(variant) as scorer:
            scored = [_logits(scorer, entry.pairs) for entry in self.sets]
            if not all(np.isfinite(logits).all() for logits in scored):
                return Trial(variant, megabytes, "it gives NaN or infinite logits")
            measured = [
                agreement(entry, reference, logits)
                for entry, reference, logits in zip(self.sets, self.reference, scored, strict=True)
            ]
            variant = variant.model_copy(
                update={
                    "agreement": measured,
                    "speed": self._speed(name, scorer),
                    "golden": [
                        GoldenScore(logit=float(logit), score=float(score))
                        for logit, score in zip(*scorer.golden(), strict=True)
                    ],
                    "golden_tolerance": golden_tolerance(measured, exact=name in EXACT),
                }
            )
        return Trial(variant, megabytes, "; ".join(reasons(measured, budget)) or None)

    def _speed(self, name: str, scorer: Scorer) -> float:
        """Pairs a second over those of onnx/model.onnx, alternating with it."""
        if name == "fp32":
            return 1.0
        fp32 = self._draft(Graph(self.directory / file_name("fp32"), "fp32"), Budget())
        with self._scorer(fp32) as base:
            measured = measure_throughput({"fp32": base, name: scorer})
        return measured[name] / measured["fp32"]

    def _draft(self, graph: Graph, budget: Budget) -> Variant:
        model = onnx.load(graph.path, load_external_data=False)
        operators: dict[str, int] = {}
        for node in model.graph.node:
            operators[node.op_type] = operators.get(node.op_type, 0) + 1
        return Variant(
            file=graph.path.relative_to(self.directory).as_posix(),
            precision=graph.precision,
            provider=graph.provider,
            target=graph.target,
            opset=next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
            inputs=[entry.name for entry in model.graph.input],
            operators=dict(sorted(operators.items())),
            batch_invariant=graph.batch_invariant,
            saturates=graph.saturates,
            kept_in_fp32=list(graph.kept_in_fp32),
            budget=budget,
            agreement=[],
            speed=0.0,
            golden=[],
            golden_tolerance={},
        )

    def _scorer(self, variant: Variant) -> Scorer:
        return Scorer(Ranker(self.directory, self.manifest), variant)

    def _files(self, graph: Path) -> list[Path]:
        """A graph and its external data."""
        return [file for file in (graph, graph.with_name(f"{graph.name}_data")) if file.exists()]


def _logits(scorer: Scorer, pairs: Sequence[tuple[str, str]]) -> Logits:
    """The graph's own logits; the Scorer would refuse to hand on a NaN."""
    return scorer.scheduler.submit(scorer.tokenizer.encode(pairs)).logits.result()
