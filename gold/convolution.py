"""Exact integer convolution, and the two paths of a channel-gated one."""

import numpy as np

from penstock.errors import PenstockError
from penstock.gold.windows import windows
from penstock.network import output_size

_EXACT = {np.float32: 2**24, np.float64: 2**53}  # every integer up to here is held exactly
_CHUNK = 2**20  # unfolded inputs held at once: they should stay in the cache


def convolution(
    x: np.ndarray,
    weights: np.ndarray,
    stride: int = 1,
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> np.ndarray:
    """Sum of products over every window, exactly: cross-correlation, zero padding, no bias.

    x (N, I, H, W) of integers; weights (O, I, k, k) int8; padding in pixels: top, left, bottom,
    right. Returns (N, O, H', W') int64 in units of the product. The products are added by matrix
    multiplications in float32 where no sum can reach 2^24, else in float64, which is exact because
    none can reach 2^53: sum |w| * max |x| bounds every partial sum in any order. Refused with
    PenstockError: sums that could, floating-point inputs and shapes that do not match.
    """
    _check_inputs(x, weights)
    out_channels, _, kernel, _ = weights.shape
    largest = max(int(x.max(initial=0)), -int(x.min(initial=0)))
    weight = int(np.abs(weights.astype(np.int64)).sum(axis=(1, 2, 3)).max(initial=0))
    dtype = next((each for each, limit in _EXACT.items() if weight * largest < limit), None)
    if dtype is None:
        raise PenstockError(
            f"convolution: sums must stay below 2^53, inputs as large as {largest} may exceed it"
        )
    top, left, bottom, right = padding
    height = output_size(x.shape[2], kernel, stride, top, bottom)
    width = output_size(x.shape[3], kernel, stride, left, right)
    if height < 1 or width < 1:
        raise PenstockError(
            f"convolution: the padded map must be at least {kernel}x{kernel}, not "
            f"{x.shape[2] + top + bottom}x{x.shape[3] + left + right}"
        )
    matrix = weights.reshape(out_channels, -1).astype(dtype)
    view = windows(x.astype(dtype), (kernel, kernel), stride, padding)
    view = view.transpose(0, 1, 4, 5, 2, 3)
    sums = np.empty((len(x), out_channels, height, width), np.int64)
    chunk = max(1, _CHUNK // (matrix.shape[1] * height * width))
    for first in range(0, len(x), chunk):
        unfolded = view[first : first + chunk].reshape(-1, matrix.shape[1], height * width)
        part = sums[first : first + chunk]
        part[:] = (matrix @ unfolded).reshape(part.shape)
    return sums


def base_mask(out_channels: int, in_channels: int, groups: int) -> np.ndarray:
    """Inputs of the base path, (O, I) bool: output group g sees input group g, block diagonal.

    Raises PenstockError where groups does not divide both numbers of channels.
    Source: Hua et al., NeurIPS 2019, section 3.3.
    """
    if out_channels % groups or in_channels % groups:
        raise PenstockError(
            f"groups must divide {in_channels} input and {out_channels} output channels, "
            f"not {groups}"
        )
    out_group = np.arange(out_channels) // (out_channels // groups)
    in_group = np.arange(in_channels) // (in_channels // groups)
    return out_group[:, None] == in_group[None, :]


def base_path(
    x: np.ndarray,
    weights: np.ndarray,
    groups: int,
    stride: int = 1,
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> np.ndarray:
    """Partial sums over the base inputs, ``conv(x, W*B)``; otherwise as `convolution`."""
    _check_inputs(x, weights)
    mask = base_mask(*weights.shape[:2], groups)[:, :, None, None]
    return convolution(x, weights * mask, stride, padding)


def conditional_path(
    x: np.ndarray,
    weights: np.ndarray,
    groups: int,
    stride: int = 1,
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> np.ndarray:
    """Sums over all other inputs, ``conv(x, W*(1-B))``; otherwise as `convolution`."""
    _check_inputs(x, weights)
    mask = base_mask(*weights.shape[:2], groups)[:, :, None, None]
    return convolution(x, weights * ~mask, stride, padding)


def _check_inputs(x: np.ndarray, weights: np.ndarray):
    if x.ndim != 4 or not np.issubdtype(x.dtype, np.integer):
        raise PenstockError(
            f"convolution: inputs must be integers (N, C, H, W), not {x.dtype.name} {x.shape}"
        )
    if weights.dtype != np.int8 or weights.ndim != 4 or weights.shape[2] != weights.shape[3]:
        raise PenstockError(
            f"convolution: weights must be int8 (O, I, k, k), not {weights.dtype.name} "
            f"{weights.shape}"
        )
    if weights.shape[1] != x.shape[1]:
        raise PenstockError(
            f"convolution: weights must have {x.shape[1]} input channels, not {weights.shape[1]}"
        )
