"""What is measured side by side: the same weights, the same calls, different engines."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from crossrank.bench.workload import RankCall
from crossrank.client import RankClient
from crossrank.inference.ranker import Ranker
from crossrank.inference.scorer import Scorer
from crossrank.reranker import RankOptions

Scores = NDArray[np.float32]

_PADDED_BATCH = 32


class Contestant(Protocol):
    """Scores the documents of a call, in their order; from several threads at once where it is asked to."""

    def __call__(self, call: RankCall) -> Scores:
        """float32, shape [documents]."""


def sentence_transformers(model: str, batch_size: int, **backend: Any) -> Contestant:
    """Its `predict`.

    Args:
        model: a directory or a Hugging Face id.
        batch_size: of `predict`.
        backend: further arguments of CrossEncoder.
    """
    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    opened: Any = CrossEncoder(model, device="cpu", **backend)

    def score(call: RankCall) -> Scores:
        pairs = [(call.query, document) for document in call.documents]
        scores: Scores = opened.predict(
            pairs, batch_size=batch_size, activation_fn=Identity(), show_progress_bar=False, convert_to_numpy=True
        )
        return scores

    return score


def padded_onnxruntime(ranker: Ranker, file: str, threads: int) -> Contestant:
    """ONNX Runtime as a script would use it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(ranker.directory / file), options, providers=["CPUExecutionProvider"])
    inputs = {entry.name for entry in session.get_inputs()}
    return padded_batches(ranker, inputs, lambda feed: session.run(None, feed)[0])


def padded_batches(ranker: Ranker, inputs: Collection[str], run: Callable[[dict[str, Any]], Any]) -> Contestant:
    """A graph in the hands of a script: batches in arrival order, padded to their longest.

    Args:
        ranker: whose tokenizer it is.
        inputs: names of the graph's inputs.
        run: the graph.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(ranker.directory / "tokenizer.json"))
    tokenizer.enable_truncation(ranker.manifest.max_length)
    tokenizer.enable_padding()

    def score(call: RankCall) -> Scores:
        parts = []
        for start in range(0, len(call.documents), _PADDED_BATCH):
            documents = call.documents[start : start + _PADDED_BATCH]
            encodings = tokenizer.encode_batch([(call.query, document) for document in documents])
            columns = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
            feed = {
                name: np.array([getattr(encoding, columns[name]) for encoding in encodings], dtype=np.int64)
                for name in inputs
            }
            parts.append(np.asarray(run(feed)).reshape(-1))
        return np.concatenate(parts)

    return score


def in_process(scorer: Scorer) -> Contestant:
    """Our Scorer."""
    return lambda call: (
        scorer.score([(call.query, document) for document in call.documents], RankOptions(score_kind="logit")).values
    )


def over_grpc(client: RankClient) -> Contestant:
    """Our server."""

    def score(call: RankCall) -> Scores:
        scores = np.empty(len(call.documents), dtype=np.float32)
        for result in client.rank(call.query, call.documents):
            scores[result["corpus_id"]] = result["score"]
        return scores

    return score


@contextmanager
def scorers(directory: Path, files: Sequence[str]) -> Iterator[dict[str, Scorer]]:
    """A Scorer for each graph, each with its own workers and without a cache."""
    with ExitStack() as stack:
        yield {file: stack.enter_context(Scorer.open(directory, variant=file)) for file in files}
