"""Golden pooling against loops over single windows."""

import math
from fractions import Fraction

import numpy as np
import pytest

from penstock.errors import PenstockError
from penstock.gold.pool import average_pool, max_pool

CASES = [
    # height, width, window, stride, padding: top, left, bottom, right
    (4, 4, (4, 4), 1, (0, 0, 0, 0)),
    (7, 9, (3, 3), 2, (1, 1, 1, 1)),
    (6, 5, (2, 3), 1, (1, 0, 0, 2)),
    (5, 5, (2, 2), 2, (0, 0, 1, 1)),
]


def window_values(x, n, c, row, column, window, stride, padding):
    """The pixels of one window that lie inside the map, as Python integers."""
    top, left = row * stride - padding[0], column * stride - padding[1]
    return [
        int(x[n, c, y, z])
        for y in range(max(top, 0), min(top + window[0], x.shape[2]))
        for z in range(max(left, 0), min(left + window[1], x.shape[3]))
    ]


def output_shape(x, window, stride, padding):
    height = (x.shape[2] + padding[0] + padding[2] - window[0]) // stride + 1
    width = (x.shape[3] + padding[1] + padding[3] - window[1]) // stride + 1
    return (*x.shape[:2], height, width)


def sample(case, dtype):
    rng = np.random.default_rng(case[0])
    bounds = np.iinfo(dtype)
    x = rng.integers(bounds.min, bounds.max, (2, 3, *case[:2]), dtype, endpoint=True)
    x[0, 0] = bounds.min  # where padding could win
    return x


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("case", CASES)
def test_max_ignores_padding(case, dtype):
    x, where = sample(case, dtype), case[2:]
    got = max_pool(x, *where)
    assert got.dtype == dtype
    assert got.shape == output_shape(x, *where)
    for n, c, y, z in np.ndindex(got.shape):
        assert got[n, c, y, z] == max(window_values(x, n, c, y, z, *where))


@pytest.mark.parametrize("multiplier", [2731, -1999])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("case", CASES)
def test_average_rounds_the_exact_sum_once(case, dtype, multiplier):
    x, (window, stride, padding) = sample(case, dtype), case[2:]
    got = average_pool(x, window, multiplier, 14, -128, 127, stride, padding)
    assert got.shape == output_shape(x, window, stride, padding)
    for n, c, y, z in np.ndindex(got.shape):
        exact = Fraction(sum(window_values(x, n, c, y, z, window, stride, padding)) * multiplier)
        rounded = math.floor(exact / 2**14 + Fraction(1, 2))
        assert got[n, c, y, z] == min(max(rounded, -128), 127)


def test_average_of_ties():
    x = np.array([[[[0, 1]], [[1, 2]], [[253, 254]]]], np.uint8)
    assert average_pool(x, (1, 2), 1, 1, 0, 255).ravel().tolist() == [1, 2, 254]


def test_average_does_not_wrap():
    x = np.full((1, 1, 128, 128), 255, np.uint8)
    assert average_pool(x, (128, 128), 1, 14, 0, 255).item() == 255


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda x: max_pool(x.astype(np.int32), (2, 2)),
            "pool: inputs must be int8 or uint8 (N, C, H, W), not int32 (1, 1, 3, 3)",
        ),
        (
            lambda x: max_pool(x, (2, 2), padding=(0, 2, 0, 0)),
            "pool: padding must be below the window (2, 2), not (0, 2, 0, 0)",
        ),
        (
            lambda x: average_pool(x, (4, 2), 1, 1, 0, 255),
            "pool: the map must be at least (4, 2), not (3, 3)",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(PenstockError) as caught:
        call(np.zeros((1, 1, 3, 3), np.uint8))
    assert str(caught.value) == message
