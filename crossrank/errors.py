"""Errors of crossrank: every error raised on purpose, with the gRPC status and the exit code that it stands for.

CrossrankError               INTERNAL             a fault in crossrank
├── UsageError               INVALID_ARGUMENT     a command or a function was given something that it cannot use
│   ├── InvalidRequest       INVALID_ARGUMENT     a field of a request is invalid
│   └── InvalidData          INVALID_ARGUMENT     a line of a data file is invalid, or the file as a whole
├── UnknownModel             NOT_FOUND            no such model or version
├── FeedbackTargetNotFound   NOT_FOUND            feedback on an answer or a document that is not kept
├── Overloaded               RESOURCE_EXHAUSTED   refused before any work; says when to try again
├── Unauthenticated          UNAUTHENTICATED      a call without the key that it needs
├── DeadlineExceeded         DEADLINE_EXCEEDED    too late; nothing more is computed
├── Cancelled                CANCELLED            the caller went away
├── InvalidRanker            FAILED_PRECONDITION  a ranker's directory does not keep what its manifest promises
└── Unavailable              UNAVAILABLE          starting, draining or unreachable

A server answers with the status, a client raises the class again: neither has a table of its own.
"""

from typing import ClassVar


class CrossrankError(Exception):
    """One sentence for a person.

    Attributes:
        status: the name of the gRPC status that a server answers with.
        exit_code: what a command ends with.
    """

    status: ClassVar[str] = "INTERNAL"
    exit_code: ClassVar[int] = 1


class UsageError(CrossrankError, ValueError):
    """A command or a function was given something that it cannot use."""

    status = "INVALID_ARGUMENT"
    exit_code = 2


class InvalidRequest(UsageError):
    """A field of a request is invalid; the message begins with its name."""


class InvalidData(UsageError):
    """A line of a data file is invalid, or the file as a whole; the message is `file:line: what; what to do`.

    Attributes:
        where: the file, with the line after a colon where it is one line.
        problem: the rest of the message.
    """

    def __init__(self, where: object, problem: str) -> None:
        super().__init__(f"{where}: {problem}")
        self.where = str(where)
        self.problem = problem

    @property
    def line(self) -> int | None:
        """The number of the line, from 1; None where the file as a whole is invalid."""
        number = self.where.rpartition(":")[2]
        return int(number) if number.isdecimal() else None


class UnknownModel(CrossrankError, LookupError):
    """No such model, or not in that version."""

    status = "NOT_FOUND"
    exit_code = 2


class FeedbackTargetNotFound(CrossrankError, LookupError):
    """Feedback names an answer that is not kept, or a document that it did not hold."""

    status = "NOT_FOUND"


class Overloaded(CrossrankError):
    """Refused before any work was spent.

    Attributes:
        retry_after: seconds until the predicted wait has passed; None where trying again cannot help.
    """

    status = "RESOURCE_EXHAUSTED"

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unauthenticated(CrossrankError, PermissionError):
    """A call without the key that it needs."""

    status = "UNAUTHENTICATED"


class DeadlineExceeded(CrossrankError, TimeoutError):
    """The deadline has passed."""

    status = "DEADLINE_EXCEEDED"


class Cancelled(CrossrankError):
    """The caller went away."""

    status = "CANCELLED"


class InvalidRanker(CrossrankError, ValueError):
    """A directory is not a ranker, or does not keep what its manifest promises."""

    status = "FAILED_PRECONDITION"
    exit_code = 2


class Unavailable(CrossrankError, ConnectionError):
    """The server is starting, draining or cannot be reached."""

    status = "UNAVAILABLE"


# The first class of a status is what a client raises for it.
BY_STATUS: dict[str, type[CrossrankError]] = {
    error.status: error
    for error in (
        CrossrankError,
        InvalidRequest,
        UnknownModel,
        Overloaded,
        Unauthenticated,
        DeadlineExceeded,
        Cancelled,
        InvalidRanker,
        Unavailable,
    )
}


def first_line(error: BaseException) -> str:
    """What an error of another project says, in one line of at most 200 characters; its class where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
