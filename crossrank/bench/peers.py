"""Other rerankers on the same weights, for as far as they are installed or running."""

import asyncio
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from crossrank.bench.contestants import Contestant, Scores, padded_batches
from crossrank.bench.targets import open_http
from crossrank.bench.workload import RankCall
from serve.errors import CrossrankError
from serve.ranker import Ranker

# FlashRank knows its models by name alone, and the file of each; the weights in it are ours.
_FLASHRANK_MODEL, _FLASHRANK_FILE = "ms-marco-MiniLM-L-12-v2", "flashrank-MiniLM-L-12-v2_Q.onnx"
_FLASHRANK_NEEDS = ("config.json", "tokenizer_config.json", "tokenizer.json")


@contextmanager
def installed_peers(ranker: Ranker, file: str) -> Iterator[dict[str, Contestant]]:
    """fastembed, FlashRank and OpenVINO where they are installed, each with a graph of the ranker, at its defaults.

    Args:
        ranker: whose files they open.
        file: the graph, below the ranker's directory.
    """
    makers: Mapping[str, tuple[str, Callable[[Ranker, str, ExitStack], Contestant]]] = {
        "fastembed": ("fastembed", _fastembed),
        "FlashRank": ("flashrank", _flashrank),
        "OpenVINO, padded batches of 32": ("openvino", _openvino),
    }
    with ExitStack() as stack:
        yield {
            name: make(ranker, file, stack) for name, (module, make) in makers.items() if find_spec(module) is not None
        }


@contextmanager
def running_peer(url: str) -> Iterator[tuple[str, Contestant]]:
    """A server with an HTTP `/rerank`, such as Infinity or text-embeddings-inference; its name and the contestant.

    Raises:
        UsageError, CrossrankError: as `open_target` raises them.
    """
    with asyncio.Runner() as runner:
        opened = open_http(url)
        target = runner.run(opened.__aenter__())

        def score(call: RankCall) -> Scores:
            answer = runner.run(target.send(target.serialise(call), 600.0))
            if answer.status != "OK":
                raise CrossrankError(f"{url}: a call ended with {answer.status}")
            return answer.scores()

        try:
            yield f"server at {urlsplit(url).netloc}", score
        finally:
            runner.run(opened.__aexit__(None, None, None))


def _fastembed(ranker: Ranker, file: str, stack: ExitStack) -> Contestant:
    from fastembed.common.model_description import ModelSource
    from fastembed.rerank.cross_encoder import TextCrossEncoder

    name = f"local/{ranker.directory.name}-{Path(file).stem}"
    if name not in {model["model"] for model in TextCrossEncoder.list_supported_models()}:
        TextCrossEncoder.add_custom_model(model=name, sources=ModelSource(hf="local/none"), model_file=file)
    opened = TextCrossEncoder(model_name=name, specific_model_path=str(ranker.directory))
    return lambda call: np.array(list(opened.rerank(call.query, call.documents)), dtype=np.float32)


def _flashrank(ranker: Ranker, file: str, stack: ExitStack) -> Contestant:
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

    def score(call: RankCall) -> Scores:
        passages = [{"id": number, "text": text} for number, text in enumerate(call.documents)]
        scores = np.empty(len(passages), dtype=np.float32)
        for passage in opened.rerank(RerankRequest(call.query, passages)):
            scores[passage["id"]] = passage["score"]
        return scores

    return score


def _openvino(ranker: Ranker, file: str, stack: ExitStack) -> Contestant:
    import openvino

    compiled = openvino.Core().compile_model(str(ranker.directory / file), "CPU", {"PERFORMANCE_HINT": "LATENCY"})
    inputs = {port.any_name for port in compiled.inputs}
    return padded_batches(ranker, inputs, lambda feed: compiled(feed)[0])
