"""Pairs to tensors, without the Python objects in between that a GPU would wait for.

transformers makes lists of lists of a batch and checks each of their numbers before it makes tensors. On a GPU a
training step of MiniLM on 600 pairs takes no longer than that.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np
import torch


@contextmanager
def fast_preprocess(model: Any) -> Iterator[None]:
    """While it lasts, a `CrossEncoder` turns pairs of texts into the very tensors that its `preprocess` makes, faster.

    What is no batch of such pairs, and every tokenizer that is not one of tokenizers' own or pads to the left, takes
    the usual way.
    """
    tokenizer = model.tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or tokenizer.padding_side != "right" or model.modalities != ["text"]:
        yield
        return
    model.preprocess = _preprocess(model, tokenizer, backend)
    try:
        yield
    finally:
        del model.preprocess  # uncovers the class's own


def _preprocess(model: Any, tokenizer: Any, backend: Any) -> Callable[..., dict[str, Any]]:
    usual = model.preprocess
    padding = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id, "attention_mask": 0}
    columns = {"input_ids": "ids", "token_type_ids": "type_ids", "attention_mask": "attention_mask"}

    def preprocess(inputs: Sequence[Any], prompt: str | None = None, **others: Any) -> dict[str, Any]:
        if prompt or others.get("processing_kwargs") or not all(map(_is_pair, inputs)):
            return usual(inputs, prompt=prompt, **others)  # type: ignore[no-any-return]
        backend.enable_truncation(model.max_seq_length, strategy="longest_first")
        backend.no_padding()
        encoded = backend.encode_batch_fast([tuple(pair) for pair in inputs])
        lengths = np.array([len(entry) for entry in encoded])
        present = np.arange(lengths.max()) < lengths[:, None]
        features: dict[str, Any] = {}
        for name in tokenizer.model_input_names:
            rows = chain.from_iterable(getattr(entry, columns[name]) for entry in encoded)
            array = np.full(present.shape, padding[name], dtype=np.int64)
            array[present] = np.fromiter(rows, dtype=np.int64, count=int(lengths.sum()))
            features[name] = torch.from_numpy(array)
        return {**features, "modality": "text"}

    return preprocess


def _is_pair(given: Any) -> bool:
    return isinstance(given, list | tuple) and len(given) == 2 and all(isinstance(text, str) for text in given)
