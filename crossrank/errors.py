"""Every error that crossrank raises on purpose; a server answers with its status, a client raises it again.

CrossrankError             INTERNAL             a fault of ours
├── UsageError             INVALID_ARGUMENT     a command was given something it cannot use
│   └── InvalidRequest     INVALID_ARGUMENT     a field of a request is at fault
├── UnknownModel           NOT_FOUND            no such model or version
├── NotShown               NOT_FOUND            feedback on an answer or a document that was not shown
├── Overloaded             RESOURCE_EXHAUSTED   refused before any work; says when to try again
├── DeadlineExceeded       DEADLINE_EXCEEDED    too late; nothing more is computed
├── CallCancelled          CANCELLED            the caller went away
├── InvalidRanker          FAILED_PRECONDITION  a ranker's directory does not keep what its manifest promises
└── NotServing             UNAVAILABLE          starting, draining or unreachable
"""

import grpc


class CrossrankError(Exception):
    """One sentence for a person; `status` is what goes over the wire, `exit_code` what a command ends with."""

    status: grpc.StatusCode = grpc.StatusCode.INTERNAL
    exit_code: int = 1


class UsageError(CrossrankError, ValueError):
    """A command or a function was given something that it cannot use."""

    status = grpc.StatusCode.INVALID_ARGUMENT
    exit_code = 2


class InvalidRequest(UsageError):
    """A field of a request is at fault; the message begins with its name."""


class UnknownModel(CrossrankError, LookupError):
    """No such model, or not in that version."""

    status = grpc.StatusCode.NOT_FOUND
    exit_code = 2


class NotShown(CrossrankError, LookupError):
    """Feedback names an answer that is not kept, or a document that it did not hold."""

    status = grpc.StatusCode.NOT_FOUND


class Overloaded(CrossrankError):
    """Refused before any work was spent.

    Attributes:
        retry_after: seconds until the predicted wait has passed; None where trying again cannot help.
    """

    status = grpc.StatusCode.RESOURCE_EXHAUSTED

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineExceeded(CrossrankError, TimeoutError):
    """The deadline has passed."""

    status = grpc.StatusCode.DEADLINE_EXCEEDED


class CallCancelled(CrossrankError):
    """The caller went away."""

    status = grpc.StatusCode.CANCELLED


class InvalidRanker(CrossrankError, ValueError):
    """A directory is no ranker, or does not keep what its manifest promises."""

    status = grpc.StatusCode.FAILED_PRECONDITION
    exit_code = 2


class NotServing(CrossrankError, ConnectionError):
    """The server is starting, draining or cannot be reached."""

    status = grpc.StatusCode.UNAVAILABLE


# The first class of a status is what a client raises for it.
BY_STATUS: dict[grpc.StatusCode, type[CrossrankError]] = {
    error.status: error
    for error in (
        CrossrankError,
        InvalidRequest,
        UnknownModel,
        Overloaded,
        DeadlineExceeded,
        CallCancelled,
        InvalidRanker,
        NotServing,
    )
}


def first_line(error: BaseException) -> str:
    """What an error of another project says, in one line of at most 200 characters; its class where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
