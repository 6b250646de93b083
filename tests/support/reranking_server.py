"""A server with an HTTP `/rerank` on loopback that answers at once, stalls or fails as it is told."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

from aiohttp import web


@dataclass
class Behaviour:
    """How it answers; the score of a document is its length.

    Attributes:
        documents: the name under which it takes documents; under another one it answers 422.
        stall: seconds for which it answers nothing, at the beginning of every period.
        period: seconds.
        status: of its answers to calls of more than one document.
        delay: seconds that each answer takes.
        one_at_a_time: whether a call waits for those before it.
        silent: whether its answers hold no scores.
        queries: that it answered.
    """

    documents: str = "documents"
    stall: float = 0.0
    period: float = 10.0
    status: int = 200
    delay: float = 0.0
    one_at_a_time: bool = False
    silent: bool = False
    queries: list[str] = field(default_factory=list)


@contextmanager
def reranking_server(behaviour: Behaviour) -> Iterator[str]:
    """Gives its address, host and port."""
    loop = asyncio.new_event_loop()
    ports: list[int] = []
    ready = threading.Event()
    started = time.monotonic()
    turn = asyncio.Lock()

    async def rerank(request: web.Request) -> web.Response:
        body = await request.json()
        if behaviour.documents not in body:
            return web.Response(status=422)
        into = (time.monotonic() - started) % behaviour.period
        await asyncio.sleep(max(behaviour.stall - into, 0))
        async with turn if behaviour.one_at_a_time else nullcontext():
            await asyncio.sleep(behaviour.delay)
        behaviour.queries.append(body["query"])
        documents = body[behaviour.documents]
        status = behaviour.status if len(documents) > 1 else 200
        # As text-embeddings-inference has it, best first; Infinity and Cohere say `results` and `relevance_score`.
        score = "score" if behaviour.documents == "texts" else "relevance_score"
        entries = sorted(
            ({"index": place, score: float(len(text))} for place, text in enumerate(documents)),
            key=lambda entry: -entry[score],
        )
        if behaviour.silent:
            entries = []
        body = entries if behaviour.documents == "texts" else {"results": entries}
        return web.json_response(body, status=status)

    application = web.Application()
    application.router.add_post("/rerank", rerank)
    runner = web.AppRunner(application, shutdown_timeout=1)

    async def start() -> None:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        ports.append(runner.addresses[0][1])
        ready.set()

    def run() -> None:
        loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    ready.wait(120)
    try:
        yield f"http://127.0.0.1:{ports[0]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(120)
