"""Ranking: what a server does with a request of the contract, however it came."""

import time

from crossrank.feedback.store import FeedbackStore
from crossrank.inference.scores import Scores
from crossrank.serve.access.gate import CALLER
from crossrank.serve.access.limits import CallerLimits
from crossrank.serve.engine.engine import Engine
from crossrank.serve.engine.registry import ModelRegistry
from crossrank.serve.engine.requests import ScoringRequest, parse_rank, parse_score
from crossrank.serve.rpc.responses import rank_response, score_response
from crossrank.serve.settings import ServerSettings
from crossrank.serve.telemetry.metrics import Metrics
from crossrank.serve.telemetry.tracing import TRACE
from crossrank.v1 import ranker_pb2


class Ranking:
    """Ranks and scores.

    Args:
        models: the rankers; may still be empty.
        settings: limits and the default deadline.
        metrics: is told how long the stages took.
        feedback: keeps what was shown; None where nothing is kept.
        limits: of callers, from which the tokens of answers are taken.
    """

    def __init__(
        self,
        models: ModelRegistry,
        settings: ServerSettings,
        metrics: Metrics,
        feedback: FeedbackStore | None,
        limits: CallerLimits,
    ) -> None:
        self.models = models
        self.settings = settings
        self._metrics = metrics
        self._feedback = feedback
        self._limits = limits

    async def rank(
        self, request: ranker_pb2.RankRequest, identifier: str, seconds: float | None
    ) -> ranker_pb2.RankResponse:
        """Orders documents, best first.

        Args:
            request: as it came.
            identifier: its request id.
            seconds: until its deadline; None for the server's default.

        Raises:
            InvalidRequest, UnknownModel, Unavailable: as parsing and the registry raise them.
            Overloaded, DeadlineExceeded: as `Engine.score` raises them.
        """
        scoring = parse_rank(request, self.settings)
        name, engine = self.models.get(scoring.model)
        scores = await self._scored(name, engine, scoring, seconds)
        response = rank_response(request, identifier, name, engine.scorer.version, scores)
        if self._feedback is not None:
            self._feedback.show(request, response)
        return response

    async def score(
        self, request: ranker_pb2.ScoreRequest, identifier: str, seconds: float | None
    ) -> ranker_pb2.ScoreResponse:
        """Scores pairs in their order; arguments and errors as of `rank`."""
        scoring = parse_score(request, self.settings)
        name, engine = self.models.get(scoring.model)
        scores = await self._scored(name, engine, scoring, seconds)
        return score_response(identifier, name, engine.scorer.version, scores)

    async def _scored(self, name: str, engine: Engine, request: ScoringRequest, seconds: float | None) -> Scores:
        admitted = time.time_ns()
        scores = await engine.score(request, self.settings.default_deadline if seconds is None else seconds)
        self._metrics.stages(scores)
        if (trace := TRACE.get()) is not None:
            trace.scored(admitted, f"{name}@{engine.scorer.version}", scores)
        self._limits.spent(CALLER.get(), scores.tokens)
        return scores
