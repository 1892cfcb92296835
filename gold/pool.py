"""Average and max pooling of 8-bit maps."""

import numpy as np

from penstock.errors import PenstockError
from penstock.gold.requantize import requantize
from penstock.gold.windows import windows


def average_pool(
    x: np.ndarray,
    window: tuple[int, int],
    multiplier: int,
    shift: int,
    low: int,
    high: int,
    stride: int = 1,
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> np.ndarray:
    """The exact sum over each window, requantized: ``sat((sum*M + 2^(S-1)) >> S)``.

    x (N, C, H, W) int8 or uint8; window (height, width) in pixels; multiplier M signed 16 bits,
    with 1/n inside, so padding counts as zeros; padding: top, left, bottom, right. Returns
    (N, C, H', W'), int8 where low < 0, else uint8. Raises PenstockError on other dtypes.
    """
    _check(x, window, padding)
    sums = windows(x, window, stride, padding).sum(axis=(4, 5), dtype=np.int64)
    channels = x.shape[1]
    return requantize(
        sums,
        np.full(channels, multiplier, np.int16),
        np.zeros(channels, np.int64),
        shift,
        low,
        high,
    )


def max_pool(
    x: np.ndarray,
    window: tuple[int, int],
    stride: int = 1,
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> np.ndarray:
    """The largest value of each window; padding never wins.

    x (N, C, H, W) int8 or uint8; window (height, width) in pixels; padding: top, left, bottom,
    right, each below the window, so that every window holds a pixel. Returns (N, C, H', W') of x's
    dtype. Raises PenstockError on other dtypes.

    >>> x = np.array([[[[-5, -7]]]], np.int8)
    >>> max_pool(x, (1, 2), padding=(0, 1, 0, 0)).tolist()
    [[[[-5, -5]]]]
    """
    _check(x, window, padding)
    return windows(x, window, stride, padding, np.iinfo(x.dtype).min).max(axis=(4, 5))


def _check(x, window, padding):
    if x.dtype not in (np.int8, np.uint8) or x.ndim != 4:
        raise PenstockError(
            f"pool: inputs must be int8 or uint8 (N, C, H, W), not {x.dtype.name} {x.shape}"
        )
    top, left, bottom, right = padding
    if any(side >= window[index % 2] for index, side in enumerate(padding)):
        raise PenstockError(f"pool: padding must be below the window {window}, not {padding}")
    padded = x.shape[2] + top + bottom, x.shape[3] + left + right
    if padded[0] < window[0] or padded[1] < window[1]:
        raise PenstockError(f"pool: the map must be at least {window}, not {padded}")
