"""RankService: a request in, at most six hops, a reply out."""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TypeVar

import grpc
import structlog
from google.protobuf.duration_pb2 import Duration
from grpc.aio import ServicerContext

from crossrank.v1 import ranker_pb2, ranker_pb2_grpc
from serve.admission import Admission
from serve.errors import CallCancelled, CrossrankError, DeadlineExceeded, Overloaded
from serve.models import Models
from serve.ranking import order
from serve.scorer import Scorer, Scores
from serve.settings import ServerSettings
from serve.tokenizer import TokenizedPair
from serve.validation import Work, rank_work, request_id, score_work

PUSHBACK = "grpc-retry-pushback-ms"

# So much text is tokenised in one go, in a few tens of milliseconds.
_TOKENIZE_CHARACTERS = 256 * 1024

_log = structlog.get_logger()
_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


class RankServicer(ranker_pb2_grpc.RankServiceServicer):
    """Answers Rank, Score and ListModels.

    Args:
        models: the rankers; may still be empty.
        settings: limits and the default deadline.
    """

    def __init__(self, models: Models, settings: ServerSettings) -> None:
        self._models = models
        self._settings = settings
        # Each model has its workers and its speed, and so its queue.
        self._admissions: defaultdict[str, Admission] = defaultdict(lambda: Admission(settings.max_queued_tokens))
        # The tokenizers library has threads of its own; one here keeps its work off the event loop.
        self._tokenizing = ThreadPoolExecutor(1, thread_name_prefix="crossrank-tokenize")

    async def Rank(  # noqa: N802
        self,
        request: ranker_pb2.RankRequest,
        context: ServicerContext[ranker_pb2.RankRequest, ranker_pb2.RankResponse],
    ) -> ranker_pb2.RankResponse:
        """Orders documents, best first."""

        async def answer(identifier: str) -> ranker_pb2.RankResponse:
            work = rank_work(request, self._settings)
            name, scorer = self._models.get(work.model)
            scores = await self._score(work, name, scorer, context.time_remaining())
            return ranker_pb2.RankResponse(
                request_id=identifier,
                model=name,
                version=scorer.ranker.manifest.version,
                results=_results(request, scores),
                usage=_usage(scores),
                timings=_timings(scores),
            )

        return await self._answer("Rank", request.request_id, len(request.documents), context, answer)

    async def Score(  # noqa: N802
        self,
        request: ranker_pb2.ScoreRequest,
        context: ServicerContext[ranker_pb2.ScoreRequest, ranker_pb2.ScoreResponse],
    ) -> ranker_pb2.ScoreResponse:
        """Scores pairs in their order."""

        async def answer(identifier: str) -> ranker_pb2.ScoreResponse:
            work = score_work(request, self._settings)
            name, scorer = self._models.get(work.model)
            scores = await self._score(work, name, scorer, context.time_remaining())
            return ranker_pb2.ScoreResponse(
                request_id=identifier,
                model=name,
                version=scorer.ranker.manifest.version,
                scores=scores.values,
                usage=_usage(scores),
                timings=_timings(scores),
            )

        return await self._answer("Score", request.request_id, len(request.pairs), context, answer)

    async def ListModels(  # noqa: N802
        self,
        request: ranker_pb2.ListModelsRequest,
        context: ServicerContext[ranker_pb2.ListModelsRequest, ranker_pb2.ListModelsResponse],
    ) -> ranker_pb2.ListModelsResponse:
        """Lists the rankers."""

        async def answer(identifier: str) -> ranker_pb2.ListModelsResponse:
            self._models.get("")
            return ranker_pb2.ListModelsResponse(models=self._models.describe())

        return await self._answer("ListModels", "", 0, context, answer)

    def close(self) -> None:
        """Ends the tokenising thread."""
        self._tokenizing.shutdown(wait=False, cancel_futures=True)

    async def _score(self, work: Work, name: str, scorer: Scorer, time_remaining: float | None) -> Scores:
        seconds = self._settings.default_deadline if time_remaining is None else time_remaining
        deadline = time.monotonic() + seconds
        longest = work.max_length or scorer.ranker.manifest.max_length
        most = len(work.pairs) * longest if work.strategy == "truncate" else math.inf
        admission = self._admissions[name]
        predicted = admission.admit(work.text_bytes, len(work.pairs), most, seconds)
        try:
            scores = await asyncio.wait_for(self._tokenize_and_run(work, scorer, deadline), seconds)
        except TimeoutError:
            raise DeadlineExceeded(f"no answer within {seconds:.1f} s") from None
        finally:
            admission.leave(predicted)
        seconds = scores.busy / scorer.workers
        admission.learn(work.text_bytes, scores.tokens, seconds, truncated=scores.truncated > 0)
        return scores

    async def _tokenize_and_run(self, work: Work, scorer: Scorer, deadline: float) -> Scores:
        started = time.monotonic()
        encoded: list[TokenizedPair] = []
        for start, part in _slices(work.pairs):
            encode = partial(scorer.encode, part, max_length=work.max_length, strategy=work.strategy)
            tokenized = await asyncio.get_running_loop().run_in_executor(self._tokenizing, encode)
            encoded.extend(replace(pair, document=pair.document + start) for pair in tokenized)
        tokenize = time.monotonic() - started
        call = scorer.submit(encoded, deadline=deadline)
        try:
            await asyncio.wrap_future(call.logits)
        except asyncio.CancelledError:
            scorer.cancel(call)
            raise
        return scorer.gather(encoded, call, kind=work.kind, tokenize=tokenize)

    async def _answer(
        self,
        method: str,
        given_id: str,
        pairs: int,
        context: ServicerContext[_Request, _Response],
        answer: Callable[[str], Awaitable[_Response]],
    ) -> _Response:
        """Runs `answer`, logs one line without texts, and turns errors into statuses."""
        started = time.monotonic()
        identifier = given_id[:32]
        try:
            identifier = request_id(given_id)
            response = await answer(identifier)
        except asyncio.CancelledError:
            self._record(method, identifier, pairs, started, CallCancelled.status)
            raise
        except CrossrankError as error:
            self._record(method, identifier, pairs, started, error.status)
            internal = error.status is grpc.StatusCode.INTERNAL
            if internal:
                _log.error("fault", request_id=identifier, exc_info=error)
            if isinstance(error, Overloaded) and error.retry_after is not None:
                context.set_trailing_metadata(((PUSHBACK, str(max(1, round(error.retry_after * 1000)))),))
            message = f"internal error; request id {identifier}" if internal else str(error)
            await context.abort(error.status, message)
        except Exception as error:
            self._record(method, identifier, pairs, started, grpc.StatusCode.INTERNAL)
            _log.error("fault", request_id=identifier, exc_info=error)
            await context.abort(grpc.StatusCode.INTERNAL, f"internal error; request id {identifier}")
        self._record(method, identifier, pairs, started, grpc.StatusCode.OK)
        return response

    def _record(self, method: str, identifier: str, pairs: int, started: float, status: grpc.StatusCode) -> None:
        milliseconds = round((time.monotonic() - started) * 1000, 1)
        _log.info("call", method=method, request_id=identifier, pairs=pairs, status=status.name, ms=milliseconds)


def _slices(pairs: Sequence[tuple[str, str]]) -> Iterator[tuple[int, Sequence[tuple[str, str]]]]:
    """Parts of a call, with the place of their first pair: between two of them other calls get their turn."""
    start, size = 0, 0
    for end, (query, document) in enumerate(pairs, start=1):
        size += len(query) + len(document)
        if size >= _TOKENIZE_CHARACTERS or end == len(pairs):
            yield start, pairs[start:end]
            start, size = end, 0


def _results(request: ranker_pb2.RankRequest, scores: Scores) -> list[ranker_pb2.RankResult]:
    results = []
    for index in order(scores.values)[: request.top_n or None]:
        document, span = request.documents[index], scores.spans[index]
        results.append(
            ranker_pb2.RankResult(
                index=index,
                id=document.id,
                score=float(scores.values[index]),
                document=document if request.return_documents else None,
                chunk=ranker_pb2.Span(start=span[0], end=span[1]) if span else None,
            )
        )
    return results


def _usage(scores: Scores) -> ranker_pb2.Usage:
    return ranker_pb2.Usage(pairs=scores.pairs, tokens=scores.tokens, truncated_documents=scores.truncated)


def _timings(scores: Scores) -> ranker_pb2.Timings:
    return ranker_pb2.Timings(
        tokenize=_duration(scores.tokenize), queue=_duration(scores.queue), compute=_duration(scores.compute)
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration
