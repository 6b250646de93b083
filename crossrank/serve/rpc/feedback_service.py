"""FeedbackService: stores one judgement of one document that was shown."""

import asyncio

from crossrank.errors import DeadlineExceeded
from crossrank.feedback.store import FeedbackStore
from crossrank.serve.engine.requests import parse_feedback
from crossrank.serve.rpc.runner import Handlers, RpcCall, RpcRunner
from crossrank.serve.settings import ServerSettings
from crossrank.v1 import ranker_pb2


class FeedbackServicer:
    """Answers RecordFeedback.

    Args:
        store: where judgements are kept.
        settings: the default deadline.
        rpc: runs the handlers.

    Attributes:
        store: the same.
    """

    def __init__(self, store: FeedbackStore, settings: ServerSettings, rpc: RpcRunner) -> None:
        self.store = store
        self._settings = settings
        self._rpc = rpc

    def handlers(self) -> Handlers:
        """The gRPC handlers of the service's methods, by name."""
        return {"RecordFeedback": self._rpc.unary("RecordFeedback", ranker_pb2.RecordFeedbackRequest, self.record)}

    async def record(
        self, request: ranker_pb2.RecordFeedbackRequest, call: RpcCall
    ) -> ranker_pb2.RecordFeedbackResponse:
        """Stores one judgement of one document that was shown.

        Args:
            request: as it came.
            call: is identified.

        Raises:
            InvalidRequest, FeedbackTargetNotFound: as parsing and the store raise them.
            DeadlineExceeded: the disk took too long.
        """
        call.identify(request.request_id, 0)
        longest = self._settings.default_deadline
        try:
            # gRPC ends calls that bring a deadline; a disk that hangs would keep the others for ever.
            async with asyncio.timeout(longest):
                number = await asyncio.wrap_future(self.store.record(parse_feedback(request)))
        except TimeoutError:
            raise DeadlineExceeded(f"not on disk within {longest:.1f} s; it may be later") from None
        return ranker_pb2.RecordFeedbackResponse(feedback_id=str(number))
