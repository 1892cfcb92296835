"""The windows of a map that convolutions and poolings look at."""

import numpy as np


def windows(
    x: np.ndarray,
    window: tuple[int, int],
    stride: int,
    padding: tuple[int, int, int, int],
    fill: float = 0,
) -> np.ndarray:
    """(N, C, H', W', window height, window width) view of x (N, C, H, W), padded with fill.

    window (height, width) and padding (top, left, bottom, right) in pixels; the padded map must
    be at least as large as the window.
    """
    top, left, bottom, right = padding
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
    view = np.lib.stride_tricks.sliding_window_view(padded, window, axis=(2, 3))
    return view[:, :, ::stride, ::stride]
