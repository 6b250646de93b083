"""int8 matrix products whose activations have a scale for each token, in stock operators of ONNX Runtime.

One scale for a whole tensor, which the usual dynamic quantisation takes, is what moves a ranking; a scale for each
token nearly ends that (Yao et al. 2022, "ZeroQuant"), and makes a score independent of what shares its batch.
"""

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper

from crossrank.export.graph.encoder import Array
from crossrank.export.graph.onnx_writer import OnnxWriter

# After GELU nothing is below -0.17, so 16 of the 256 steps serve what is negative.
_GELU_ZERO_POINT = 16
_GELU_MINIMUM = 0.17
_ZERO_POINT = 128
# A row of zeros would be divided by its scale.
_SMALLEST_SCALE = 1e-10


def quantize_weight(weight: Array) -> tuple[NDArray[np.int8], Array]:
    """Rounds a matrix to int8, one scale for each column, such that no instruction set saturates on it.

    Without VNNI, x86 multiplies unsigned activations and signed weights in adjacent pairs along the input and adds
    the two in 16 bits: 255 * (127 + 127) does not fit. Here two neighbours of equal sign sum to 128 at most, which
    fits and costs less precision than 7 bits throughout.

    Args:
        weight: shape [in, out].

    Returns:
        int8 of the same shape, and its scales, shape [out].
    """
    rows = weight.shape[0] + weight.shape[0] % 2
    padded = np.zeros((rows, weight.shape[1]), dtype=np.float32)
    padded[: weight.shape[0]] = weight
    first, second = padded[0::2], padded[1::2]
    pair_sum = np.where(first * second > 0, np.abs(first + second), 0).max(axis=0)
    scale = np.maximum(np.maximum(pair_sum, np.abs(weight).max(axis=0)) / 127, _SMALLEST_SCALE).astype(np.float32)
    return np.clip(np.rint(weight / scale), -127, 127).astype(np.int8), scale


class QuantizedActivations:
    """Activations rounded to uint8 with a scale for each token; several products may share them.

    Args:
        writer: the graph.
        activations: float32, shape [batch_size, tokens, width].
        width: of the last axis.
        after_gelu: whether they come from GELU, and so are hardly ever negative.
    """

    def __init__(self, writer: OnnxWriter, activations: str, width: int, *, after_gelu: bool = False) -> None:
        self._writer = writer
        zero_point = _GELU_ZERO_POINT if after_gelu else _ZERO_POINT
        axes = writer.constant([-1], np.int64)
        if after_gelu:
            largest = writer.node("ReduceMax", activations, axes, keepdims=1)
            scale = writer.node("Mul", largest, writer.constant(1 / (255 - zero_point)))
            scale = writer.node("Max", scale, writer.constant(_GELU_MINIMUM / zero_point))
        else:
            largest = writer.node("ReduceMax", writer.node("Abs", activations), axes, keepdims=1)
            scale = writer.node("Mul", largest, writer.constant(1 / (255 - zero_point)))
            scale = writer.node("Max", scale, writer.constant(_SMALLEST_SCALE))
        self._scale = scale
        value = numpy_helper.from_array(np.array([zero_point], dtype=np.uint8))
        zero_points = writer.node("ConstantOfShape", writer.node("Shape", scale), value=value)
        self._values = writer.node("QuantizeLinear", activations, scale, zero_points, axis=2, block_size=width)
        self._zero_point = writer.constant(zero_point, np.uint8)

    def matmul(self, weight: Array, name: str) -> str:
        """The product with a matrix of shape [width, out], float32; `name` and `name`.scale hold it in the graph."""
        rounded, scale = quantize_weight(weight)
        writer = self._writer
        # Written out, since fusing MatMulInteger, Cast and Mul into this loses a scale that is not a constant.
        product = writer.node(
            "MatMulIntegerToFloat",
            self._values,
            writer.constant(rounded, np.int8, name),
            writer.constant(1.0),
            writer.constant(scale, name=f"{name}.scale"),
            self._zero_point,
            contrib=True,
        )
        return writer.node("Mul", product, self._scale)
