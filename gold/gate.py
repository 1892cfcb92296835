"""The gate's decision."""

import numpy as np

from penstock.errors import PenstockError


def gate(psum: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """Tell which outputs need the conditional path: ``psum > threshold``; a tie is skipped.

    psum (N, C, H, W) int64 in accumulator units; threshold (C,) int32 in the same units.
    Returns (N, C, H, W) bool. Raises PenstockError on other dtypes or shapes.
    Source: Hua et al., NeurIPS 2019, with the gate's batch norm folded into the threshold.

    >>> gate(np.array([[[[4, 5, 6]]]]), np.array([5], np.int32)).tolist()
    [[[[False, False, True]]]]
    """
    if psum.dtype != np.int64 or psum.ndim != 4:
        raise PenstockError(
            f"gate: psum must be int64 (N, C, H, W), not {psum.dtype.name} {psum.shape}"
        )
    if threshold.dtype != np.int32 or threshold.shape != psum.shape[1:2]:
        raise PenstockError(
            f"gate: threshold must be int32 {psum.shape[1:2]}, not {threshold.dtype.name} "
            f"{threshold.shape}"
        )
    return psum > threshold[:, None, None]
