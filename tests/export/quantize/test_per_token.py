import numpy as np
import onnxruntime
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from crossrank.export.graph.onnx_writer import OnnxWriter
from crossrank.export.quantize.per_token import QuantizedActivations, quantize_weight

weights = arrays(
    np.float32,
    st.tuples(st.integers(1, 9), st.integers(1, 5)),
    elements=st.floats(-8, 8, width=32),
)


@given(weights)
def test_no_pair_of_neighbours_can_saturate_16_bits(weight: np.ndarray) -> None:
    rounded, scale = quantize_weight(weight)
    assert rounded.dtype == np.int8
    assert (scale > 0).all()
    wide = rounded.astype(int)
    assert np.abs(wide).max() <= 127
    for row in range(0, len(wide) - 1, 2):
        # The extreme of 16 bits for the worst unsigned activations, either sign.
        products = 255 * wide[row : row + 2]
        assert (np.maximum(products, 0).sum(axis=0) <= 2**15 - 1).all()
        assert (np.minimum(products, 0).sum(axis=0) >= -(2**15)).all()


@given(weights)
def test_rounding_is_off_by_half_a_step_at_most(weight: np.ndarray) -> None:
    rounded, scale = quantize_weight(weight)
    assert (np.abs(rounded * scale - weight) <= 0.5001 * scale + 1e-6).all()


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 5), st.sampled_from([2, 7, 32]), st.booleans())
def test_the_product_is_the_float_product_but_for_rounding(
    seed: int, batch: int, tokens: int, width: int, after_gelu: bool
) -> None:
    draw = np.random.default_rng(seed)
    activations = draw.normal(size=(batch, tokens, width)).astype(np.float32)
    # Tokens of very different size: one scale for all would lose the small ones.
    activations *= 10.0 ** draw.integers(-2, 3, size=(batch, tokens, 1)).astype(np.float32)
    if after_gelu:
        activations = np.maximum(activations, -0.17)
    weight = draw.normal(size=(width, 3)).astype(np.float32)
    got = _product(activations, weight, after_gelu=after_gelu)
    steps = np.abs(activations).max(axis=-1, keepdims=True) / (239 if after_gelu else 127)
    if after_gelu:
        steps = np.maximum(steps, 0.17 / 16)
    rounded, scale = quantize_weight(weight)
    bound = 0.51 * steps * np.abs(rounded * scale).sum(axis=0)
    bound = bound + 0.51 * (np.abs(activations).sum(axis=-1, keepdims=True) + width * steps) * scale
    assert (np.abs(got - activations @ weight) <= bound + 1e-5).all()


def test_a_token_of_zeros_gives_zeros() -> None:
    activations = np.zeros((1, 2, 8), dtype=np.float32)
    activations[0, 1] = 1
    got = _product(activations, np.ones((8, 3), dtype=np.float32))
    np.testing.assert_array_equal(got[0, 0], 0)
    np.testing.assert_allclose(got[0, 1], 8, rtol=0.02)


def _product(activations: np.ndarray, weight: np.ndarray, *, after_gelu: bool = False) -> np.ndarray:
    writer = OnnxWriter()
    ids = writer.input("unused")
    name = writer.constant(activations)
    # Of any shape, so that the shape is a matter of run time as it is in a model.
    zeros = writer.node(
        "Mul", writer.node("Cast", writer.node("ReduceMax", ids, keepdims=0), to=1), writer.constant(0.0)
    )
    quantized = QuantizedActivations(writer, writer.node("Add", name, zeros), weight.shape[0], after_gelu=after_gelu)
    session = onnxruntime.InferenceSession(writer.model(quantized.matmul(weight, "weight")).SerializeToString())
    product: np.ndarray = session.run(None, {"unused": np.ones((1, 1), dtype=np.int64)})[0]
    return product
