"""The golden requantization against Python's unbounded integers and exact fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest

from penstock.errors import PenstockError
from penstock.gold.requantize import embed_channels, requantize

BOUNDS = [(0, 255), (-128, 127), (0, 127), (-7, 9), (3, 200)]


def reference(psum, multiplier, bias, shift, low, high, residual, residual_multiplier, relu):
    """One value, from the definition: a fraction rounded half up, then clipped."""
    own = psum * multiplier + bias
    if relu:
        own = max(own, 0)
    value = Fraction(own + residual * residual_multiplier, 2**shift)
    return min(max(math.floor(value + Fraction(1, 2)), low), high)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("signed_residual", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_equals_the_definition(seed, signed_residual, relu):
    rng = np.random.default_rng([seed, signed_residual, relu])
    shape = (2, 5, 3, 4)
    width = int(rng.integers(2, 31))
    shift = int(rng.integers(1, 32))
    psum = rng.integers(-(2**width), 2**width, shape)
    multiplier = rng.integers(-(2**15), 2**15, 5).astype(np.int16)
    bias = rng.integers(-(2**39), 2**39, 5) >> int(rng.integers(0, 30))
    if signed_residual:
        residual = rng.integers(-128, 128, shape, np.int8)
    else:
        residual = rng.integers(0, 256, shape, np.uint8)
    residual_multiplier = int(rng.integers(-(2**15), 2**15))
    low, high = BOUNDS[seed % len(BOUNDS)]
    got = requantize(psum, multiplier, bias, shift, low, high, residual, residual_multiplier, relu)
    assert got.dtype == (np.int8 if low < 0 else np.uint8)
    for n, o, y, x in np.ndindex(shape):
        expected = reference(
            int(psum[n, o, y, x]),
            int(multiplier[o]),
            int(bias[o]),
            shift,
            low,
            high,
            int(residual[n, o, y, x]),
            residual_multiplier,
            relu,
        )
        assert got[n, o, y, x] == expected, f"replay: seed={seed}, {signed_residual=}, {relu=}"


def one(values, shift, low=-128, high=127, multiplier=1, bias=0, **more):
    psum = np.array(values, np.int64).reshape(1, 1, 1, -1)
    got = requantize(
        psum, np.array([multiplier], np.int16), np.array([bias]), shift, low, high, **more
    )
    return got.ravel().tolist()


def test_ties_go_up():
    assert one([-5, -3, -1, 1, 3, 5], 1) == [-2, -1, 0, 1, 2, 3]
    assert one([-6, -2, 2, 6], 2) == [-1, 0, 1, 2]
    assert one([-24, -8, 8, 24], 4, multiplier=-1) == [2, 1, 0, -1]


def test_just_beside_a_tie():
    half = 2**14
    assert one([-half - 1, -half, -half + 1], 15) == [-1, 0, 0]
    assert one([half - 1, half, half + 1], 15) == [0, 1, 1]


def test_saturation_comes_after_rounding():
    assert one([509, 510, 511, 512], 1, 0, 255) == [255, 255, 255, 255]
    assert one([-1, -2, -3], 1, 0, 255) == [0, 0, 0]
    assert one([-256, -257, -258, 253, 254], 1) == [-128, -128, -128, 127, 127]


def test_bias_and_residual_are_added_before_the_one_rounding():
    halves = {"residual": np.full((1, 1, 1, 1), 1, np.uint8), "residual_multiplier": 1}
    assert one([1], 2, bias=0, **halves) == [1]  # 1/4 + 1/4 is a tie; rounded one by one, 0
    assert one([1], 2, bias=1) == [1]


def test_relu_before_add_clips_the_convolution_alone():
    residual = np.full((1, 1, 1, 3), -4, np.int8)
    shared = {"residual": residual, "residual_multiplier": 2}
    assert one([-100, 0, 10], 1, **shared) == [-54, -4, 1]
    assert one([-100, 0, 10], 1, relu_before_add=True, **shared) == [-4, -4, 1]


def test_extremes_stay_exact():
    psum = np.array([2**31 - 1, -(2**31)]).reshape(1, 1, 1, 2)
    got = requantize(
        psum, np.array([-(2**15)], np.int16), np.array([2**46 + 2**30 * 3]), 31, -128, 127
    )
    exact = [((int(p) * -(2**15) + 2**46 + 2**30 * 3 + 2**30) >> 31) for p in psum.ravel()]
    assert got.ravel().tolist() == [min(max(value, -128), 127) for value in exact]


def test_option_a_centres_the_channels():
    source = np.arange(2 * 3 * 5 * 4, dtype=np.uint8).reshape(2, 3, 5, 4)
    got = embed_channels(source, 7, stride=2)
    assert got.shape == (2, 7, 3, 2)
    for n, o, y, x in np.ndindex(got.shape):
        channel = o - (7 - 3) // 2
        expected = source[n, channel, 2 * y, 2 * x] if 0 <= channel < 3 else 0
        assert got[n, o, y, x] == expected


PSUM = np.zeros((1, 2, 2, 2), np.int64)
M = np.zeros(2, np.int16)
B = np.zeros(2, np.int64)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: requantize(PSUM.astype(np.int32), M, B, 1, 0, 255),
            "requantize: psum must be int64 (N, C, H, W), not int32 (1, 2, 2, 2)",
        ),
        (
            lambda: requantize(PSUM, M.astype(np.int32), B, 1, 0, 255),
            "requantize: multiplier must be int16 (2,), not int32 (2,)",
        ),
        (
            lambda: requantize(PSUM, M, B[:1], 1, 0, 255),
            "requantize: bias must be int64 (2,), not int64 (1,)",
        ),
        (
            lambda: requantize(PSUM, M, B, 32, 0, 255),
            "requantize: shift must be in 1..31, not 32",
        ),
        (
            lambda: requantize(PSUM, M, B, 1, -1, 255),
            "requantize: bounds must be ordered and fit 8 bits, not -1..255",
        ),
        (
            lambda: requantize(PSUM, M, B, 1, 0, 255, np.zeros((1, 2, 2, 3), np.uint8), 1),
            "requantize: residual must be int8 or uint8 (1, 2, 2, 2), not uint8 (1, 2, 2, 3)",
        ),
        (
            lambda: requantize(PSUM, M, B, 1, 0, 255, np.zeros((1, 2, 2, 2), np.uint8), 2**15),
            "requantize: residual_multiplier must fit signed 16 bits, not 32768",
        ),
        (
            lambda: requantize(PSUM, M, B + (2**63 - 1), 1, 0, 255),
            f"requantize: sums must fit 64 bits, {2**63 - 1} before the residual does not",
        ),
        (
            lambda: embed_channels(np.zeros((1, 3, 2, 2), np.uint8), 4),
            "residual: channels must be 3 or an even number more, not 4",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(PenstockError) as caught:
        call()
    assert str(caught.value) == message
