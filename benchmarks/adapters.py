"""Adapters of inference engines: the same weights and the same requests for each."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from crossrank.bench.load.workload import RerankRequest
from crossrank.client import RankClient
from crossrank.inference.ranker.directory import Ranker
from crossrank.inference.scorer import Scorer
from crossrank.reranker import RankOptions

Scores = NDArray[np.float32]

_PADDED_BATCH = 32


class Engine(Protocol):
    """Scores the documents of a request; from several threads at once where it is asked to."""

    def __call__(self, request: RerankRequest) -> Scores:
        """Scores in the order of the documents; float32, shape [documents]."""


def sentence_transformers(model: str, batch_size: int, **backend: Any) -> Engine:
    """`predict` of sentence-transformers on the CPU.

    Args:
        model: a directory or a Hugging Face id.
        batch_size: of `predict`.
        backend: further arguments of CrossEncoder.
    """
    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    opened: Any = CrossEncoder(model, device="cpu", local_files_only=Path(model).is_dir(), **backend)

    def score(request: RerankRequest) -> Scores:
        pairs = [(request.query, document) for document in request.documents]
        scores: Scores = opened.predict(
            pairs, batch_size=batch_size, activation_fn=Identity(), show_progress_bar=False, convert_to_numpy=True
        )
        return scores

    return score


def padded_onnxruntime(ranker: Ranker, file: str, threads: int) -> Engine:
    """ONNX Runtime as a script would use it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(ranker.directory / file), options, providers=["CPUExecutionProvider"])
    inputs = {entry.name for entry in session.get_inputs()}
    return padded_batches(ranker, inputs, lambda feed: session.run(None, feed)[0])


def padded_batches(ranker: Ranker, inputs: Collection[str], run: Callable[[dict[str, Any]], Any]) -> Engine:
    """A graph as a script would run it: batches in arrival order, padded to their longest.

    Args:
        ranker: whose tokenizer is used.
        inputs: names of the graph's inputs.
        run: computes the logits of a batch.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(ranker.directory / "tokenizer.json"))
    tokenizer.enable_truncation(ranker.manifest.max_length)
    tokenizer.enable_padding()

    def score(request: RerankRequest) -> Scores:
        parts = []
        for start in range(0, len(request.documents), _PADDED_BATCH):
            documents = request.documents[start : start + _PADDED_BATCH]
            encodings = tokenizer.encode_batch([(request.query, document) for document in documents])
            columns = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
            feed = {
                name: np.array([getattr(encoding, columns[name]) for encoding in encodings], dtype=np.int64)
                for name in inputs
            }
            parts.append(np.asarray(run(feed)).reshape(-1))
        return np.concatenate(parts)

    return score


def in_process(scorer: Scorer) -> Engine:
    """Scores with the Scorer of this process."""
    options = RankOptions(score_kind="logit")
    return lambda request: scorer.score([(request.query, document) for document in request.documents], options).values


def over_grpc(client: RankClient) -> Engine:
    """Scores with a crossrank server."""

    def score(request: RerankRequest) -> Scores:
        scores = np.empty(len(request.documents), dtype=np.float32)
        for result in client.rank(request.query, request.documents):
            scores[result["corpus_id"]] = result["score"]
        return scores

    return score


@contextmanager
def scorers(directory: Path, files: Sequence[str]) -> Iterator[dict[str, Scorer]]:
    """A Scorer for each graph, each with its own workers and without a cache."""
    with ExitStack() as stack:
        yield {file: stack.enter_context(Scorer.open(directory, variant=file)) for file in files}
