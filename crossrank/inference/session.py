"""ONNX Runtime sessions, and the check for its two wheels."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossrank.errors import InvalidRanker, UsageError, first_line
from crossrank.inference.queue.calls import Run
from crossrank.inference.tokens.tokenizer import TokenizedPair

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
# By default CUDA multiplies fp32 with ten bits of mantissa, which golden scores would not forgive.
_PROVIDER_OPTIONS: dict[str, dict[str, str]] = {"cpu": {}, "cuda": {"use_tf32": "0"}}


def require_onnxruntime() -> Any:
    """Imports ONNX Runtime.

    Raises:
        UsageError: neither or both of its wheels are installed; they own one module, so both together break it.
    """
    wheels = installed_wheels()
    if not wheels:
        raise UsageError("ONNX Runtime is not installed: pip install 'crossrank[cpu]', or 'crossrank[gpu]' for CUDA")
    if len(wheels) == 2:
        raise UsageError(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other: "
            "pip uninstall both, then install crossrank[cpu] or crossrank[gpu]"
        )
    import onnxruntime

    return onnxruntime


def installed_wheels() -> list[str]:
    """Lists the installed wheels of ONNX Runtime."""
    return [wheel for wheel in ("onnxruntime", "onnxruntime-gpu") if _installed(wheel)]


class OnnxSession:
    """One graph on one execution provider; safe to run from several threads at once.

    Args:
        path: the graph.
        padding_id: the token id that pairs are padded with; the head of a decoder looks for it.
        device: "cpu" or "cuda".
        precise: whether int8 products are computed without saturation where the CPU saturates, at some cost.

    Raises:
        InvalidRanker: the file is not an ONNX graph with the inputs of a cross-encoder and one logit for each pair.
        UsageError: the provider is not to be had here; asked for CUDA, the CPU is never taken silently.
    """

    def __init__(self, path: Path, *, padding_id: int, device: str = "cpu", precise: bool = False) -> None:
        ort = require_onnxruntime()
        provider = PROVIDERS[device]
        if provider not in ort.get_available_providers():
            raise UsageError(f"{provider} is not available in this installation: pip install 'crossrank[gpu]'")
        if device == "cuda":
            with redirect_stdout(sys.stderr):  # what it does not find in pip's CUDA packages, it prints
                ort.preload_dlls()
        options = ort.SessionOptions()
        # Workers are the parallelism: a batch stays on its thread, and an idle one leaves its core alone.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Arena and memory pattern stay on: over 500 shapes, two threads, they held the least memory at the same speed.
        if precise:
            options.add_session_config_entry("session.x64quantprecision", "1")
        options.log_severity_level = 4  # what goes wrong is raised, and said in one sentence
        try:
            # Without its fallback, which prints, and tries other providers.
            session = ort.InferenceSession(
                str(path), options, providers=[(provider, _PROVIDER_OPTIONS[device])], enable_fallback=0
            )
        except Exception as error:  # ONNX Runtime's own classes have no common base but this
            raise InvalidRanker(f"{path.name} cannot be loaded by ONNX Runtime: {first_line(error)}") from None
        if session.get_providers()[0] != provider:
            raise UsageError(f"asked for {provider}, got {session.get_providers()[0]}: check the CUDA installation")
        self.provider = provider
        self.inputs = frozenset(entry.name for entry in session.get_inputs())
        unknown = self.inputs - {"input_ids", "attention_mask", "token_type_ids"}
        if "input_ids" not in self.inputs or unknown:
            raise InvalidRanker(f"{path.name} is not a cross-encoder: its inputs are {', '.join(sorted(self.inputs))}")
        self._output = session.get_outputs()[0].name
        self._session = session
        self._ort = ort
        self._padding_id = padding_id
        self._device = device
        self._bind = device != "cpu"

    def run(self, pairs: Sequence[TokenizedPair], run: Run | None = None) -> NDArray[np.float32]:
        """Computes the logits of pairs, padded to the longest of them with masked tokens.

        Args:
            pairs: at least one.
            run: what may end the computation from another thread.

        Returns:
            float32, shape [len(pairs)].

        Raises:
            InvalidRanker: the graph gives more than one label for each pair.
        """
        length = max(len(pair.ids) for pair in pairs)
        shape = (len(pairs), length)
        feed = {name: np.zeros(shape, dtype=np.int64) for name in self.inputs}
        feed["input_ids"].fill(self._padding_id)
        for row, pair in enumerate(pairs):
            feed["input_ids"][row, : len(pair.ids)] = pair.ids
            if "attention_mask" in feed:
                feed["attention_mask"][row, : len(pair.ids)] = 1
            if "token_type_ids" in feed:
                feed["token_type_ids"][row, : len(pair.ids)] = pair.type_ids
        options = self._ort.RunOptions()
        options.log_severity_level = 4
        if run is not None:
            run.attach(options)
        logits = self._bound(feed, options) if self._bind else self._session.run([self._output], feed, options)[0]
        if logits.size != len(pairs):
            raise InvalidRanker(f"the graph gives {logits.shape} for {len(pairs)} pairs; one label a pair is needed")
        converted: NDArray[np.float32] = logits.reshape(len(pairs)).astype(np.float32, copy=False)
        return converted

    def _bound(self, feed: dict[str, NDArray[np.int64]], options: Any) -> NDArray[Any]:
        """Runs with inputs and output in the device's memory: one copy there, one copy back."""
        binding = self._session.io_binding()
        for name, values in feed.items():
            binding.bind_ortvalue_input(name, self._ort.OrtValue.ortvalue_from_numpy(values, self._device, 0))
        binding.bind_output(self._output, self._device)
        self._session.run_with_iobinding(binding, options)
        logits: NDArray[Any] = binding.copy_outputs_to_cpu()[0]
        return logits


def _installed(wheel: str) -> bool:
    try:
        metadata.distribution(wheel)
    except metadata.PackageNotFoundError:
        return False
    return True
