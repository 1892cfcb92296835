"""The golden convolution against onnxruntime's ConvInteger, and its paths against each other."""

import itertools

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from penstock.errors import PenstockError
from penstock.gold.convolution import base_mask, base_path, conditional_path, convolution

CASES = [
    # channels in, out, height, width, kernel, stride, padding: top, left, bottom, right
    (1, 16, 16, 16, 3, 1, (1, 1, 1, 1)),
    (16, 32, 16, 16, 3, 2, (1, 1, 1, 1)),
    (16, 32, 16, 16, 3, 2, (0, 0, 1, 1)),
    (3, 5, 7, 11, 3, 2, (2, 0, 1, 2)),
    (5, 2, 9, 4, 3, 1, (0, 2, 0, 1)),
    (64, 64, 4, 4, 3, 1, (1, 1, 1, 1)),
    (32, 64, 8, 8, 1, 2, (0, 0, 0, 0)),
    (7, 3, 5, 6, 1, 1, (0, 0, 0, 0)),
    (3, 4, 13, 15, 7, 2, (3, 3, 3, 3)),
    (2, 3, 3, 3, 3, 1, (0, 0, 0, 0)),
]


def conv_integer(x, weights, stride, padding):
    """onnxruntime's answer; int8 inputs go in as uint8 with zero point 128."""
    zero_point = 0 if x.dtype == np.uint8 else 128
    node = helper.make_node(
        "ConvInteger", ["x", "w", "z"], ["y"], strides=[stride, stride], pads=list(padding)
    )
    graph = helper.make_graph(
        [node],
        "convolution",
        [
            helper.make_tensor_value_info("x", TensorProto.UINT8, x.shape),
            helper.make_tensor_value_info("w", TensorProto.INT8, weights.shape),
        ],
        [helper.make_tensor_value_info("y", TensorProto.INT32, None)],
        [helper.make_tensor("z", TensorProto.UINT8, [], [zero_point])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 10)], ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    raw = (x.astype(np.int16) + zero_point).astype(np.uint8)
    return session.run(None, {"x": raw, "w": weights})[0]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("case", CASES)
def test_equals_conv_integer(case, dtype):
    in_channels, out_channels, height, width, kernel, stride, padding = case
    rng = np.random.default_rng(list(case[:6]))
    bounds = np.iinfo(dtype)
    x = rng.integers(bounds.min, bounds.max, (3, in_channels, height, width), dtype, endpoint=True)
    weights = rng.integers(
        -128, 127, (out_channels, in_channels, kernel, kernel), np.int8, endpoint=True
    )
    ours = convolution(x, weights, stride, padding)
    assert ours.dtype == np.int64
    np.testing.assert_array_equal(ours, conv_integer(x, weights, stride, padding))


@pytest.mark.parametrize("value, weight", [(255, 127), (255, -128), (-128, -128), (-128, 127)])
def test_extremes_do_not_wrap(value, weight):
    x = np.full((1, 512, 3, 3), value, np.uint8 if value > 127 else np.int8)
    sums = convolution(x, np.full((1, 512, 3, 3), weight, np.int8))
    assert sums.item() == 512 * 9 * value * weight


def test_a_large_batch_equals_its_images():
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (70, 16, 32, 32), np.uint8)  # several chunks
    weights = rng.integers(-128, 128, (4, 16, 3, 3), np.int8)
    together = convolution(x, weights, 1, (1, 1, 1, 1))
    for index in (0, 27, 28, 29, 69):
        alone = convolution(x[index : index + 1], weights, 1, (1, 1, 1, 1))
        np.testing.assert_array_equal(together[index : index + 1], alone)


def test_base_mask_is_block_diagonal():
    assert base_mask(4, 2, 2).tolist() == [[True, False]] * 2 + [[False, True]] * 2
    assert base_mask(2, 4, 2).tolist() == [[True, True, False, False], [False, False, True, True]]
    assert base_mask(3, 5, 1).all()


@pytest.mark.parametrize("groups", [1, 2, 4, 8])
def test_each_group_is_a_convolution_of_its_own(groups):
    rng = np.random.default_rng(groups)
    x = rng.integers(0, 256, (2, 8, 9, 7), np.uint8)
    weights = rng.integers(-128, 128, (16, 8, 3, 3), np.int8)
    where = (2, (1, 0, 1, 1))
    base = base_path(x, weights, groups, *where)
    conditional = conditional_path(x, weights, groups, *where)
    for group in range(groups):
        outputs = slice(group * 16 // groups, (group + 1) * 16 // groups)
        inputs = slice(group * 8 // groups, (group + 1) * 8 // groups)
        np.testing.assert_array_equal(
            base[:, outputs], convolution(x[:, inputs], weights[outputs, inputs], *where)
        )
        rest = [channel for channel in range(8) if not inputs.start <= channel < inputs.stop]
        expected = convolution(x[:, rest], weights[outputs][:, rest], *where) if rest else 0
        np.testing.assert_array_equal(
            conditional[:, outputs], np.broadcast_to(expected, (2, 16 // groups, *base.shape[2:]))
        )


def test_the_two_paths_add_up():
    rng = np.random.default_rng(5)
    x = rng.integers(-128, 128, (2, 12, 6, 5), np.int8)
    weights = rng.integers(-128, 128, (6, 12, 3, 3), np.int8)
    for groups, stride in itertools.product((1, 2, 3, 6), (1, 2)):
        where = (stride, (1, 1, 0, 2))
        both = base_path(x, weights, groups, *where) + conditional_path(x, weights, groups, *where)
        np.testing.assert_array_equal(both, convolution(x, weights, *where))


@pytest.mark.parametrize("limit", [2**24, 2**53])
def test_sums_are_exact_at_the_limits_of_floats(limit):
    """Around the largest sums of float32 and float64, odd ones among them, all terms of a sign."""
    weights = np.full((1, 4, 3, 3), 127, np.int8)
    reach = 127 * 36
    for largest in (limit // reach - 1, limit // reach, limit // reach + 1):
        if largest * reach >= 2**53:
            continue
        x = np.full((1, 4, 3, 3), largest)
        x[0, 0, 0] -= [0, 1, 2]
        for sign in (1, -1):
            expected = sign * 127 * (36 * largest - 3)
            assert convolution(sign * x, weights).item() == expected


X = np.zeros((1, 4, 3, 3), np.uint8)
W = np.zeros((2, 4, 3, 3), np.int8)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: convolution(X.astype(np.float32), W),
            "convolution: inputs must be integers (N, C, H, W), not float32 (1, 4, 3, 3)",
        ),
        (
            lambda: convolution(X, W.astype(np.int16)),
            "convolution: weights must be int8 (O, I, k, k), not int16 (2, 4, 3, 3)",
        ),
        (
            lambda: convolution(X, W[:, :3]),
            "convolution: weights must have 4 input channels, not 3",
        ),
        (
            lambda: convolution(X[:, :, :2], W),
            "convolution: the padded map must be at least 3x3, not 2x3",
        ),
        (
            lambda: convolution(np.full(X.shape, 2**42), W - 127),
            f"convolution: sums must stay below 2^53, inputs as large as {2**42} may exceed it",
        ),
        (
            lambda: base_path(X, W, 4),
            "groups must divide 4 input and 2 output channels, not 4",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(PenstockError) as caught:
        call()
    assert str(caught.value) == message
