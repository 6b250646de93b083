"""FeedbackService: a judgement in, on disk, a reply out."""

import asyncio

from grpc.aio import ServicerContext

from crossrank.errors import DeadlineExceeded
from crossrank.feedback.store import FeedbackStore
from crossrank.serve.requests import feedback
from crossrank.serve.rpc import Answering
from crossrank.serve.settings import ServerSettings
from crossrank.v1 import ranker_pb2, ranker_pb2_grpc


class FeedbackServicer(ranker_pb2_grpc.FeedbackServiceServicer):
    """Answers RecordFeedback.

    Args:
        store: keeps what is said.
        settings: the default deadline.
        answering: runs the answers.
    """

    def __init__(self, store: FeedbackStore, settings: ServerSettings, answering: Answering) -> None:
        self._store = store
        self._settings = settings
        self._answering = answering

    async def RecordFeedback(  # noqa: N802
        self,
        request: ranker_pb2.RecordFeedbackRequest,
        context: ServicerContext[ranker_pb2.RecordFeedbackRequest, ranker_pb2.RecordFeedbackResponse],
    ) -> ranker_pb2.RecordFeedbackResponse:
        """Stores one judgement of one document that was shown."""

        async def answer(identifier: str) -> ranker_pb2.RecordFeedbackResponse:
            longest = self._settings.default_deadline
            try:
                # gRPC ends calls that bring a deadline; a disk that hangs would keep the others for ever.
                async with asyncio.timeout(longest):
                    number = await asyncio.wrap_future(self._store.record(feedback(request)))
            except TimeoutError:
                raise DeadlineExceeded(f"not on disk within {longest:.1f} s; it may be later") from None
            return ranker_pb2.RecordFeedbackResponse(feedback_id=str(number))

        return await self._answering.unary("RecordFeedback", request.request_id, 0, context, answer)
