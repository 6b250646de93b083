"""tei.v1: the gRPC contract of text-embeddings-inference, for its clients."""

from contextlib import ExitStack
from importlib.metadata import version
from typing import Any

import grpc
from grpc.aio import ServicerContext

from crossrank.errors import CrossrankError, InvalidRequest, Overloaded
from crossrank.serve.engine.ranking import Ranking
from crossrank.serve.rpc.runner import Handlers, RpcCall, RpcRunner
from crossrank.tei.v1 import tei_pb2
from crossrank.v1 import ranker_pb2

RERANK, INFO = (tei_pb2.DESCRIPTOR.services_by_name[name].full_name for name in ("Rerank", "Info"))


class TeiServicer:
    """Answers Rerank, RerankStream and Info.

    Args:
        ranking: what ranks.
        rpc: runs the handlers.
    """

    def __init__(self, ranking: Ranking, rpc: RpcRunner) -> None:
        self._ranking = ranking
        self._rpc = rpc

    def handlers(self) -> dict[str, Handlers]:
        """The gRPC handlers of each service."""
        return {
            RERANK: {
                "Rerank": self._rpc.unary("tei Rerank", tei_pb2.RerankRequest, self._rerank),
                "RerankStream": grpc.stream_unary_rpc_method_handler(
                    self._rerank_stream, response_serializer=tei_pb2.RerankResponse.SerializeToString
                ),
            },
            INFO: {"Info": self._rpc.unary("tei Info", tei_pb2.InfoRequest, self._info)},
        }

    async def _rerank(self, request: tei_pb2.RerankRequest, call: RpcCall) -> tei_pb2.RerankResponse:
        ranking = ranker_pb2.RankRequest(
            query=request.query,
            documents=[ranker_pb2.Document(text=text) for text in request.texts],
            score_kind=(ranker_pb2.SCORE_KIND_LOGIT if request.raw_scores else ranker_pb2.SCORE_KIND_PROBABILITY),
        )
        call.identify("", len(request.texts))
        try:
            response = await self._ranking.rank(ranking, call.identifier, call.time_remaining())
        except InvalidRequest as error:
            raise InvalidRequest(str(error).replace("documents", "texts", 1)) from None
        cut = response.usage.truncated_documents
        if cut and not request.truncate:
            raise InvalidRequest(f"texts: {cut} are too long; shorten them or set truncate")
        if cut and request.truncation_direction == tei_pb2.TRUNCATION_DIRECTION_LEFT:
            raise InvalidRequest("truncation_direction: texts can be cut at their end only")
        times = [
            duration.ToNanoseconds()
            for duration in (response.timings.tokenize, response.timings.queue, response.timings.compute)
        ]
        return tei_pb2.RerankResponse(
            ranks=[
                tei_pb2.Rank(
                    index=result.index,
                    score=result.score,
                    text=request.texts[result.index] if request.return_text else None,
                )
                for result in response.results
            ],
            metadata=tei_pb2.Metadata(
                compute_chars=len(request.query) + sum(map(len, request.texts)),
                compute_tokens=response.usage.tokens,
                total_time_ns=sum(times),
                tokenization_time_ns=times[0],
                queue_time_ns=times[1],
                inference_time_ns=times[2],
            ),
        )

    # grpc.aio takes a coroutine that reads as well as one that gets an iterator.
    async def _rerank_stream(
        self, _: object, context: ServicerContext[bytes, tei_pb2.RerankResponse]
    ) -> tei_pb2.RerankResponse:
        try:
            observed = self._rpc.observe("tei RerankStream", context.time_remaining, context.invocation_metadata)
            with observed as call, ExitStack() as held:
                # One stream that does not end must not keep the room of all.
                async with self._rpc.receiver.turn():
                    request = await self._collect(context, held)
                with self._rpc.refusals("queue", Overloaded):
                    return await self._rerank(request, call)
        except CrossrankError as error:
            await context.abort(grpc.StatusCode[error.status], str(error))

    async def _collect(self, context: ServicerContext[bytes, Any], held: ExitStack) -> tei_pb2.RerankRequest:
        """Reads a stream to its end; each of its messages has room in the budget until `held` is closed."""
        settings = self._ranking.settings
        request = tei_pb2.RerankRequest()
        first, size = True, 0
        while isinstance(data := await context.read(), bytes):
            size += len(data)
            if size > settings.max_message_bytes or len(request.texts) == settings.max_documents:
                raise InvalidRequest(
                    f"texts: more than the {settings.max_documents} texts or {settings.max_message_bytes} bytes of one "
                    "call"
                )
            held.enter_context(self._rpc.accepted(len(data)))
            message = self._rpc.parse(tei_pb2.RerankStreamRequest, data)
            if first:
                first = False
                for name in ("query", "truncate", "raw_scores", "return_text", "truncation_direction"):
                    setattr(request, name, getattr(message, name))
            request.texts.append(message.text)
        return request

    async def _info(self, _: tei_pb2.InfoRequest, call: RpcCall) -> tei_pb2.InfoResponse:
        call.identify("", 0)
        self._ranking.models.require_loaded()
        model, settings = self._ranking.models.describe()[0], self._ranking.settings
        return tei_pb2.InfoResponse(
            version=version("crossrank"),
            model_id=model.name,
            model_sha=model.version,
            model_dtype=model.precision,
            model_type=tei_pb2.MODEL_TYPE_RERANKER,
            max_concurrent_requests=settings.max_requests_in_flight,
            max_input_length=model.max_length,
            max_batch_tokens=settings.max_queued_tokens,
            max_client_batch_size=settings.max_documents,
            tokenization_workers=1,
        )
