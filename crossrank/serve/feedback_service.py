"""FeedbackService: stores one judgement of one document that was shown."""

import asyncio

from grpc.aio import ServicerContext

from crossrank.errors import DeadlineExceeded
from crossrank.feedback.store import FeedbackStore
from crossrank.serve.requests import parse_feedback
from crossrank.serve.rpc import RpcRunner
from crossrank.serve.settings import ServerSettings
from crossrank.v1 import ranker_pb2, ranker_pb2_grpc


class FeedbackServicer(ranker_pb2_grpc.FeedbackServiceServicer):
    """Answers RecordFeedback.

    Args:
        store: where judgements are kept.
        settings: the default deadline.
        rpc: runs the handlers.
    """

    def __init__(self, store: FeedbackStore, settings: ServerSettings, rpc: RpcRunner) -> None:
        self._store = store
        self._settings = settings
        self._rpc = rpc

    async def RecordFeedback(  # noqa: N802
        self,
        request: ranker_pb2.RecordFeedbackRequest,
        context: ServicerContext[ranker_pb2.RecordFeedbackRequest, ranker_pb2.RecordFeedbackResponse],
    ) -> ranker_pb2.RecordFeedbackResponse:
        """Stores one judgement of one document that was shown."""

        async def handle(identifier: str) -> ranker_pb2.RecordFeedbackResponse:
            longest = self._settings.default_deadline
            try:
                # gRPC ends calls that bring a deadline; a disk that hangs would keep the others for ever.
                async with asyncio.timeout(longest):
                    number = await asyncio.wrap_future(self._store.record(parse_feedback(request)))
            except TimeoutError:
                raise DeadlineExceeded(f"not on disk within {longest:.1f} s; it may be later") from None
            return ranker_pb2.RecordFeedbackResponse(feedback_id=str(number))

        return await self._rpc.run_unary("RecordFeedback", request.request_id, 0, context, handle)
