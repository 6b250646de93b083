"""Writes ONNX graphs node by node."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

_MICROSOFT = "com.microsoft"
# QuantizeLinear takes a scale for each block of an axis from opset 21 on; that opset came with IR version 10.
_OPSET = 21
_IR_VERSION = 10
# Protocol buffers end at 2 GB; what is larger goes beside the graph.
_LARGEST_FILE = 2**31 - 2**20


class OnnxWriter:
    """A graph in the making; every method that adds something returns its name."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._known: dict[tuple[bytes, str, tuple[int, ...]], str] = {}

    def input(self, name: str) -> str:
        """An int64 input of shape [batch_size, sequence_length]."""
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.INT64, ["batch_size", "sequence_length"]))
        return name

    def constant(self, value: Any, dtype: Any = np.float32, name: str | None = None) -> str:
        """A weight or a number; equal ones are stored once, unless they have a name."""
        array: NDArray[Any] = np.ascontiguousarray(np.asarray(value, dtype=dtype).reshape(np.shape(value)))
        if name is not None:
            self._initializers.append(numpy_helper.from_array(array, name))
            return name
        key = (array.tobytes(), str(array.dtype), array.shape)
        if key not in self._known:
            name = f"weight_{len(self._initializers)}"
            self._initializers.append(numpy_helper.from_array(array, name))
            self._known[key] = name
        return self._known[key]

    def node(self, operator: str, *inputs: str, contrib: bool = False, **attributes: Any) -> str:
        """A node with one output.

        Args:
            operator: of ONNX, or of ONNX Runtime's com.microsoft domain where `contrib` is given.
            inputs: names; empty for an optional input that is left out.
            contrib: which domain.
            attributes: the operator's.
        """
        name = f"{operator}_{len(self._nodes)}"
        domain = _MICROSOFT if contrib else ""
        self._nodes.append(helper.make_node(operator, inputs, [name], name=name, domain=domain, **attributes))
        return name

    def model(self, output: str) -> onnx.ModelProto:
        """The finished model, with the one output `logits`.

        Args:
            output: the name of what becomes `logits`, float32.
        """
        last = helper.make_node("Identity", [output], ["logits"], name="logits")
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)
        graph = helper.make_graph([*self._nodes, last], "cross_encoder", self._inputs, [logits], self._initializers)
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="crossrank")

    def save(self, output: str, path: Path) -> None:
        """Writes the finished model; weights above 2 GB go to a second file beside it."""
        model = self.model(output)
        # Of a message above 2 GB not even the size can be asked.
        weights = sum(len(tensor.raw_data) for tensor in self._initializers)
        onnx.save(
            model, path, save_as_external_data=weights > _LARGEST_FILE, location=f"{path.name}_data", size_threshold=0
        )
