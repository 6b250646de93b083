"""A bi-encoder that keeps its vectors: mining, a teacher and the cosine baseline ask for those of the same texts."""

import hashlib
import logging
from collections.abc import Sequence

import numpy as np
import torch
from cachetools import LRUCache
from numpy.typing import NDArray
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from transformers import AutoModel

from crossrank.errors import UsageError, first_line
from crossrank.models.location import locate_model
from crossrank.models.tokenizer import longest_input
from crossrank.models.weights import require_weights
from crossrank.progress import Progress

# 200 MB of vectors of 384 numbers; the longest-unused go first.
_REMEMBERED = 2**17
_CPU_BATCH, _GPU_BATCH = 32, 256
_BATCHES_AT_ONCE = 8

_LOG = logging.getLogger("crossrank.models")


class BiEncoder:
    """Unit vectors of texts, computed once."""

    def __init__(self, name: str, max_length: int | None = None) -> None:
        """Opens a bi-encoder from safetensors, without remote code.

        Args:
            name: a directory, a Hugging Face id, or the packaged base.
            max_length: tokens of a text that it reads, where the model's own limit is not below.

        Raises:
            UsageError: there is no such model, or it has no usable weights in safetensors.
        """
        directory = locate_model(name)
        try:
            if (directory / "config.json").is_file():
                require_weights(name, directory, AutoModel, new_head=True)
            self._model = SentenceTransformer(
                str(directory),
                trust_remote_code=False,
                local_files_only=True,
                model_kwargs={"use_safetensors": True},
            )
        except UsageError:
            raise
        except (ImportError, OSError, RuntimeError, ValueError, SafetensorError) as error:
            raise UsageError(f"{name} cannot be opened as a bi-encoder: {first_line(error)}") from None
        limits = [limit for limit in (self._model.max_seq_length, max_length, longest_input(self._model)) if limit]
        if limits and self._model.transformers_model is not None:
            self._model.max_seq_length = min(limits)
        self._known: LRUCache[bytes, NDArray[np.float32]] = LRUCache(_REMEMBERED)

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of texts; float32, shape [len(texts), width], each of length 1."""
        if not texts:
            return np.zeros((0, self._model.get_embedding_dimension()), dtype=np.float32)
        keys = [hashlib.sha256(text.encode()).digest() for text in texts]
        rows = {key: self._known[key] for key in keys if key in self._known}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in rows}
        # The longest first, as encode has them too: a batch is padded to its longest text.
        new = sorted(missing, key=lambda key: -len(missing[key]))
        batch = _GPU_BATCH if torch.cuda.is_available() else _CPU_BATCH
        with Progress(_LOG, "embed texts", total=len(new)) as progress:
            for start in range(0, len(new), _BATCHES_AT_ONCE * batch):
                some = new[start : start + _BATCHES_AT_ONCE * batch]
                found = self._model.encode(
                    [missing[key] for key in some],
                    batch_size=batch,
                    normalize_embeddings=True,
                    show_progress_bar=False,
                )
                for key, vector in zip(some, found, strict=True):
                    rows[key] = self._known[key] = vector
                progress.advance(len(some))
        return np.stack([rows[key] for key in keys])
