"""Requantization: from exact sums to activations, with one rounding at the very end."""

import numpy as np

from penstock.errors import PenstockError


def requantize(
    psum: np.ndarray,
    multiplier: np.ndarray,
    bias: np.ndarray,
    shift: int,
    low: int,
    high: int,
    residual: np.ndarray | None = None,
    residual_multiplier: int = 0,
    relu_before_add: bool = False,
) -> np.ndarray:
    """Scale, add, round half up, saturate: ``sat((psum*M + B + r*Mr + 2^(S-1)) >> S)``.

    psum (N, C, H, W) int64 in accumulator units; multiplier M (C,) int16; bias B (C,) int64;
    shift S in 1..31; residual r (N, C, H, W) int8 or uint8; residual_multiplier Mr signed 16 bits.
    With relu_before_add ``psum*M + B`` is clipped at 0 before the residual term is added.
    Returns (N, C, H, W), int8 where low < 0, else uint8. Raises PenstockError on other dtypes or
    shapes and where 64 bits could not hold the sum.

    Ties go up, towards plus infinity, for negative numbers too:

    >>> halves = np.array([-3, -2, -1, 1, 2, 3]).reshape(1, 1, 1, -1)
    >>> one, zero = np.array([1], np.int16), np.array([0])
    >>> requantize(halves, one, zero, 1, -128, 127).ravel().tolist()
    [-1, -1, 0, 1, 1, 2]
    >>> requantize(halves, one, zero, 1, 0, 1).ravel().tolist()
    [0, 0, 0, 1, 1, 1]
    """
    _check(psum, multiplier, bias, shift, low, high)
    _check_range(psum, multiplier, bias, shift)
    total = psum * multiplier.astype(np.int64)[:, None, None] + bias[:, None, None]
    if relu_before_add:
        total = np.maximum(total, 0)
    if residual is not None:
        _check_residual(psum, residual, residual_multiplier)
        total = total + residual.astype(np.int64) * residual_multiplier
    rounded = (total + (1 << (shift - 1))) >> shift
    return np.clip(rounded, low, high).astype(np.int8 if low < 0 else np.uint8)


def embed_channels(source: np.ndarray, channels: int, stride: int = 1) -> np.ndarray:
    """Option A shortcut: every stride-th pixel, channels centred among zeros.

    Output channel o is ``source[:, o - (channels - C)/2, stride*y, stride*x]``, 0 outside the
    range. source (N, C, H, W); returns (N, channels, ceil(H/stride), ceil(W/stride)) of its dtype.
    Raises PenstockError where channels exceeds C by an odd or negative number.
    Source: He et al., CVPR 2016, section 4.2.
    """
    surplus = channels - source.shape[1]
    if surplus < 0 or surplus % 2:
        raise PenstockError(
            f"residual: channels must be {source.shape[1]} or an even number more, not {channels}"
        )
    sampled = source[:, :, ::stride, ::stride]
    return np.pad(sampled, ((0, 0), (surplus // 2, surplus // 2), (0, 0), (0, 0)))


def _check(psum, multiplier, bias, shift, low, high):
    if psum.dtype != np.int64 or psum.ndim != 4:
        raise PenstockError(
            f"requantize: psum must be int64 (N, C, H, W), not {psum.dtype.name} {psum.shape}"
        )
    channels = psum.shape[1:2]
    for name, value, dtype in (("multiplier", multiplier, np.int16), ("bias", bias, np.int64)):
        if value.dtype != dtype or value.shape != channels:
            raise PenstockError(
                f"requantize: {name} must be {np.dtype(dtype).name} {channels}, not "
                f"{value.dtype.name} {value.shape}"
            )
    if not 1 <= shift <= 31:
        raise PenstockError(f"requantize: shift must be in 1..31, not {shift!r}")
    if not -128 <= low <= high <= (127 if low < 0 else 255):
        raise PenstockError(
            f"requantize: bounds must be ordered and fit 8 bits, not {low!r}..{high!r}"
        )


def _check_range(psum, multiplier, bias, shift):
    largest = _magnitude(psum) * _magnitude(multiplier) + _magnitude(bias)
    if largest + 255 * 2**15 + (1 << shift) >= 2**63:
        raise PenstockError(
            f"requantize: sums must fit 64 bits, {largest} before the residual does not"
        )


def _magnitude(values: np.ndarray) -> int:
    return max(int(values.max(initial=0)), -int(values.min(initial=0)))


def _check_residual(psum, residual, residual_multiplier):
    if residual.dtype not in (np.int8, np.uint8) or residual.shape != psum.shape:
        raise PenstockError(
            f"requantize: residual must be int8 or uint8 {psum.shape}, not {residual.dtype.name} "
            f"{residual.shape}"
        )
    if not -(2**15) <= residual_multiplier < 2**15:
        raise PenstockError(
            f"requantize: residual_multiplier must fit signed 16 bits, not {residual_multiplier!r}"
        )
