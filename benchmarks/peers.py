"""Other rerankers on the same weights, as far as they are installed or running."""

import asyncio
import json
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from benchmarks.adapters import Engine, Scores, padded_batches
from crossrank.bench.load.targets import open_http
from crossrank.bench.load.workload import RerankRequest
from crossrank.errors import CrossrankError, UsageError, first_line
from crossrank.inference.ranker.directory import Ranker

# FlashRank knows its models by name alone, and the file of each; the weights in it are ours.
_FLASHRANK_MODEL, _FLASHRANK_FILE = "ms-marco-MiniLM-L-12-v2", "flashrank-MiniLM-L-12-v2_Q.onnx"
_MAX_SECONDS = 600.0

_T = TypeVar("_T")
_FLASHRANK_NEEDS = ("config.json", "tokenizer_config.json", "tokenizer.json")


@contextmanager
def installed_peers(ranker: Ranker, file: str) -> Iterator[tuple[dict[str, Engine], dict[str, str]]]:
    """fastembed, FlashRank and OpenVINO where they are installed, each with a graph of the ranker, at its defaults.

    Args:
        ranker: whose files they open.
        file: the graph, below the ranker's directory.

    Yields:
        The engines by name; and, of those that do not open it, why not.
    """
    makers: Mapping[str, tuple[str, Callable[[Ranker, str, ExitStack], Engine]]] = {
        "fastembed": ("fastembed", _fastembed),
        "FlashRank": ("flashrank", _flashrank),
        "OpenVINO, padded batches of 32": ("openvino", _openvino),
    }
    opened: dict[str, Engine] = {}
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        for name, (module, make) in makers.items():
            if find_spec(module) is None:
                continue
            try:
                opened[name] = make(ranker, file, stack)
            except Exception as error:  # whatever another project raises, ours are measured
                failed[name] = first_line(error)
        yield opened, failed


def named_server(server: str) -> tuple[str, str]:
    """Name and URL of "NAME=URL", or of a URL alone, whose name is then its address.

    Raises:
        UsageError: the name is empty.
    """
    name, named, url = server.partition("=")
    if not named or "://" in name:
        return f"server at {server.rpartition('://')[2].partition('/')[0]}", server
    if not name:
        raise UsageError(f"server {server}: write NAME=URL, or the URL alone")
    return name, url


@contextmanager
def running_peer(name: str, url: str) -> Iterator[Engine]:
    """A server with an HTTP `/rerank`, such as Infinity or text-embeddings-inference.

    Raises:
        UsageError, CrossrankError: as `open_http` raises them.
    """
    # Its loop runs between the requests too, to see that the server has closed a connection.
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def wait_for(coroutine: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    stack = AsyncExitStack()
    try:
        target = wait_for(stack.enter_async_context(open_http(url)))

        def score(request: RerankRequest) -> Scores:
            answer = wait_for(target.send(target.serialize(request), _MAX_SECONDS))
            if answer.status != "OK":
                raise CrossrankError(f"{name}: a request ended with {answer.status}")
            return answer.scores()

        yield score
    finally:
        wait_for(stack.aclose())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _fastembed(ranker: Ranker, file: str, stack: ExitStack) -> Engine:
    from fastembed.common.model_description import ModelSource
    from fastembed.rerank.cross_encoder import TextCrossEncoder

    name = f"local/{ranker.directory.name}-{Path(file).stem}"
    if name not in {model["model"] for model in TextCrossEncoder.list_supported_models()}:
        TextCrossEncoder.add_custom_model(model=name, sources=ModelSource(hf="local/none"), model_file=file)
    opened = TextCrossEncoder(model_name=name, specific_model_path=str(ranker.directory))
    return lambda request: np.array(list(opened.rerank(request.query, request.documents)), dtype=np.float32)


def _flashrank(ranker: Ranker, file: str, stack: ExitStack) -> Engine:
    from flashrank import Ranker as FlashRank
    from flashrank import RerankRequest

    cache = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    directory = cache / _FLASHRANK_MODEL
    directory.mkdir()
    for needed in _FLASHRANK_NEEDS:
        (directory / needed).symlink_to(ranker.directory.resolve() / needed)
    (directory / _FLASHRANK_FILE).symlink_to(ranker.directory.resolve() / file)
    (directory / "special_tokens_map.json").write_text(json.dumps({}))
    opened = FlashRank(_FLASHRANK_MODEL, str(cache), max_length=ranker.manifest.max_length, log_level="WARNING")

    def score(request: RerankRequest) -> Scores:
        passages = [{"id": number, "text": text} for number, text in enumerate(request.documents)]
        scores = np.empty(len(passages), dtype=np.float32)
        for passage in opened.rerank(RerankRequest(request.query, passages)):
            scores[passage["id"]] = passage["score"]
        return scores

    return score


def _openvino(ranker: Ranker, file: str, stack: ExitStack) -> Engine:
    import openvino

    compiled = openvino.Core().compile_model(str(ranker.directory / file), "CPU", {"PERFORMANCE_HINT": "LATENCY"})
    inputs = {port.any_name for port in compiled.inputs}
    return padded_batches(ranker, inputs, lambda feed: compiled(feed)[0])
