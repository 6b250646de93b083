"""A server with one faulty part, whose error quotes the query: `python -m tests.serve.telemetry.faulty_server PART`."""

import asyncio
import logging
import sys
import threading
import warnings
from typing import Any, Never

from crossrank.cli.app import main
from crossrank.inference.scores import Scores
from crossrank.serve.engine.engine import Engine
from crossrank.serve.engine.requests import ScoringRequest


class Panic(BaseException):
    """As libraries in Rust raise them."""


class _Finalized:
    def __init__(self, text: str) -> None:
        self._text = text

    def __del__(self) -> None:
        _fail(self._text)


def _fail(text: str) -> Never:
    try:
        raise KeyError(text)
    except KeyError:
        raise ValueError(text) from None if part == "handler" else ValueError(text)


async def _fail_later(text: str) -> None:
    _fail(text)


async def _score(self: Engine, request: ScoringRequest, seconds: float, **options: Any) -> Scores:
    text = request.pairs[0][0]
    loop = asyncio.get_running_loop()
    match part:
        case "thread":
            threading.Thread(target=_fail, args=[text]).start()
        case "callback":
            loop.call_soon(_fail, text)
        case "task":
            asyncio.ensure_future(_fail_later(text))  # noqa: RUF006
            await asyncio.sleep(0)
        case "finalizer":
            _Finalized(text)
        case "warning":
            warnings.warn(text, stacklevel=1)
        case "library":
            logging.getLogger("library").error("%s", text)
        case "panic":
            raise Panic(text)
        case "handler":
            _fail(text)
    return await _scored(self, request, seconds, **options)


if __name__ == "__main__":
    part = sys.argv.pop(1)
    _scored, Engine.score = Engine.score, _score  # type: ignore[method-assign]
    sys.argv[1:] = ["serve", "--port", "0", "--http-port", "none", *sys.argv[1:]]
    main()
