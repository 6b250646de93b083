"""Prometheus metrics of the server."""

import platform
from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal, TypeAlias, get_args

import grpc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, make_asgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.types import ASGIApp

from crossrank import __version__
from crossrank.feedback.schema import FeedbackKind
from crossrank.feedback.store import FeedbackStore
from crossrank.inference.scores import Scores
from crossrank.serve.engine.budget import Budget
from crossrank.serve.engine.registry import ModelRegistry
from crossrank.serve.telemetry.logs import dropped_lines

# Why a request was refused before its texts were read: it did not arrive in time, too much was in flight, its bytes are
# no message of ours, or it would have waited too long.
Refusal: TypeAlias = Literal["receiving", "budget", "message", "queue"]

_Stage: TypeAlias = Literal["tokenize", "queue", "compute"]

# Seconds: from a few pairs to a call that has its whole deadline.
_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """Counts the calls of one server, and shows the counts of its engines and of its feedback store.

    Args:
        models: the rankers; may still be empty.
        feedback: the store; None where nothing is kept.
    """

    def __init__(self, models: ModelRegistry, feedback: FeedbackStore | None = None) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Engines(models))
        if feedback is not None:
            self._registry.register(_Feedback(feedback))
        self._calls = Counter(
            "crossrank_calls",
            "Calls, and queries of streams, by status.",
            ("method", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "crossrank_call_seconds",
            "From request to reply, of what was answered.",
            ("method",),
            buckets=_BUCKETS,
            registry=self._registry,
        )

        self._refused = Counter(
            "crossrank_refused",
            "Calls, and queries of streams, that were refused: not received in time; over the budget of what is in "
            "flight; not a message; or the queue is too long.",
            ("reason",),
            registry=self._registry,
        )
        for reason in get_args(Refusal):
            self._refused.labels(reason)
        self._stages = Histogram(
            "crossrank_stage_seconds",
            "Of the requests that were scored: tokenising their texts, waiting for a worker, computing.",
            ("stage",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)
        build = Info("crossrank_build", "Versions of what serves.", registry=self._registry)
        build.info({"version": __version__, "python": platform.python_version(), "grpc": grpc.__version__})
        self._registry.register(_Process(lambda: self._connections()))
        self._connections: Callable[[], int] = lambda: 0

    def show_connections(self, connections: Callable[[], int]) -> None:
        """Shows how many connections are open, which that function counts."""
        self._connections = connections

    def refused(self, reason: Refusal) -> None:
        """A call, or a query of a stream, was refused."""
        self._refused.labels(reason).inc()

    def count(self, method: str, status: str, seconds: float) -> None:
        """A call, or a query of a stream, has ended."""
        self._calls.labels(method, status).inc()
        if status == "OK":
            self._seconds.labels(method).observe(seconds)

    def stages(self, scores: Scores) -> None:
        """A request was scored."""
        for stage in get_args(_Stage):
            self._stages.labels(stage).observe(getattr(scores, stage))

    def show_budget(self, budget: Budget) -> None:
        """Shows what is in flight."""
        for what in ("requests", "bytes"):
            gauge = Gauge(
                f"crossrank_{what}_in_flight",
                f"{what.capitalize()} of what is held at once, queries of streams included.",
                registry=self._registry,
            )
            gauge.set_function(partial(getattr, budget, what))

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """The metrics as text, and its Content-Type.

        Args:
            accept: the header of who asks.
        """
        encode, kind = choose_encoder(accept)
        return encode(self._registry), kind

    def app(self) -> ASGIApp:
        """The application that answers GET /metrics."""
        application: ASGIApp = make_asgi_app(self._registry)
        return application


class _Process(Collector):
    """Reads what the process as a whole holds and loses."""

    def __init__(self, connections: Callable[[], int]) -> None:
        self._connections = connections

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("crossrank_open_connections", "Open connections of gRPC.", self._connections())
        yield CounterMetricFamily(
            "crossrank_dropped_log_lines", "Lines that nobody read in time from standard error.", dropped_lines()
        )


class _Engines(Collector):
    """Reads each engine's counts when it is asked, so that they cost nothing in between."""

    def __init__(self, models: ModelRegistry) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        pairs = CounterMetricFamily(
            "crossrank_pairs",
            "Pairs: computed; of these wasted, on calls that died meanwhile; dropped, with their dead call, "
            "before any batch; cached.",
            labels=("model", "outcome"),
        )
        tokens = CounterMetricFamily("crossrank_tokens", "Tokens that were computed.", labels=("model",))
        busy = CounterMetricFamily("crossrank_busy_seconds", "Seconds of all batches together.", labels=("model",))
        terminated = CounterMetricFamily(
            "crossrank_runs_terminated",
            "Runs that were ended: nobody waited for them any more, or they took too long.",
            labels=("model",),
        )
        faults = CounterMetricFamily(
            "crossrank_worker_faults", "Workers that failed and were replaced.", labels=("model",)
        )
        queued = GaugeMetricFamily("crossrank_queued_tokens", "Tokens that no batch has taken.", labels=("model",))
        wait = GaugeMetricFamily(
            "crossrank_queue_seconds", "Predicted wait of a call that comes now, for autoscalers.", labels=("model",)
        )
        documents = CounterMetricFamily(
            "crossrank_documents",
            "Documents whose tokens were cached, or were read, while there is a cache of them.",
            labels=("model", "source"),
        )
        reloads = CounterMetricFamily(
            "crossrank_reloads", "Reloads of rankers: swapped in, or refused.", labels=("model", "outcome")
        )
        for (name, outcome), count in self._models.reloads.items():
            reloads.add_metric((name, outcome), count)
        yield reloads
        for name, engine in self._models.engines():
            counts = engine.counts
            for outcome in ("computed", "wasted", "dropped", "cached"):
                pairs.add_metric((name, outcome), getattr(counts, outcome))
            tokens.add_metric((name,), counts.tokens)
            busy.add_metric((name,), counts.busy_seconds)
            terminated.add_metric((name,), counts.terminated)
            faults.add_metric((name,), counts.worker_faults)
            scheduler = engine.scorer.scheduler
            queued.add_metric((name,), scheduler.queued_tokens)
            wait.add_metric((name,), scheduler.queued_tokens * scheduler.seconds_per_token)
            if (cache := engine.scorer.tokenizer.documents) is not None:
                documents.add_metric((name, "cached"), cache.hits)
                documents.add_metric((name, "read"), cache.misses)
        yield from (pairs, tokens, busy, terminated, faults, queued, wait, documents)


class _Feedback(Collector):
    """Reads a store's counts when it is asked."""

    def __init__(self, store: FeedbackStore) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        counts = self._store.counts
        impressions = CounterMetricFamily(
            "crossrank_impressions",
            "Answers that were stored for feedback, or dropped because too much waited or the file failed.",
            labels=("outcome",),
        )
        for outcome in ("stored", "dropped"):
            impressions.add_metric((outcome,), getattr(counts, outcome))
        feedback = CounterMetricFamily("crossrank_feedback", "Feedback that was stored.", labels=("kind",))
        for kind in get_args(FeedbackKind):
            feedback.add_metric((kind,), counts.feedback[kind])
        yield from (impressions, feedback)
