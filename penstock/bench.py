"""Networks of a single gated layer, to measure what gating saves in cycles."""

import numpy as np

from penstock.gold.convolution import base_path
from penstock.network import INPUT, Convolution, Network, Shape

GROUPS = 4
PADDING = (1, 1, 1, 1)
SHIFT = 12
ALWAYS_ON = -(2**25)
ALWAYS_OFF = 2**25 - 1


def single_layer(
    channels: int, size: int, density: float, rng: np.random.Generator
) -> tuple[Network, np.ndarray]:
    """A gated 3x3 layer of ``channels`` to ``channels`` on a random ``size`` x ``size`` image.

    Each channel's threshold is a quantile of its partial sums, so that about ``density`` of its
    outputs on that image take the conditional path; exactly none at 0 and all at 1. Returns the
    network and images (1, channels, size, size) uint8.
    """
    images = rng.integers(0, 256, (1, channels, size, size), dtype=np.uint8)
    weights = rng.integers(-127, 128, (channels, channels, 3, 3), dtype=np.int8)
    psum = base_path(images, weights, GROUPS, 1, PADDING)[0].reshape(channels, -1)
    layer = Convolution(
        name="layer",
        source=INPUT,
        weights=weights,
        multipliers=rng.integers(1, 16, channels).astype(np.int16),
        bias=rng.integers(-(2**12), 2**19, channels),
        shift=SHIFT,
        low=0,
        high=255,
        padding=PADDING,
        groups=GROUPS,
        thresholds=_thresholds(psum, density),
    )
    shape = Shape(channels=channels, height=size, width=size, signed=False)
    return Network(name="bench", input=shape, input_scale=1.0, layers=(layer,)), images


def _thresholds(psum: np.ndarray, density: float) -> np.ndarray:
    """Thresholds (C,) int32 that about a share ``density`` of psum (C, pixels) lies above."""
    if density in (0, 1):
        return np.full(len(psum), ALWAYS_ON if density else ALWAYS_OFF, np.int32)
    return np.quantile(psum, 1 - density, axis=1, method="lower").astype(np.int32)
