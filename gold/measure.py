"""What an integer network does on a whole data set: accuracy and work, by the golden model."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from penstock.gold.runner import run
from penstock.network import Network

CHUNK = 50
"""Images that are run at once: their tensors should stay in the cache."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Measurement:
    """What a network did on N images."""

    classes: np.ndarray  # (N,) int64
    macs_dense: int  # of one image with gating off
    macs_base: int  # of one image whose gates are all closed
    macs_executed: np.ndarray  # (N,) int64
    open_gates: dict[str, float]  # of each gated layer, the part of outputs with d = 1

    @property
    def mac_reduction(self) -> float:
        """Dense MACs over executed MACs, all images together."""
        return self.macs_dense * len(self.macs_executed) / int(self.macs_executed.sum())

    @property
    def mac_reduction_range(self) -> list[float]:
        """Of the image with the smallest reduction, and of that with the largest."""
        reductions = self.macs_dense / self.macs_executed
        return [float(reductions.min()), float(reductions.max())]

    def accuracy(self, labels: np.ndarray) -> float:
        """Part of the images whose class is their label of labels (N,), 0..1."""
        return float((self.classes == labels).mean())

    @property
    def density(self) -> float:
        """Conditional MACs executed over all there are; 1 for a network without gates."""
        possible = self.macs_dense - self.macs_base
        executed = float((self.macs_executed - self.macs_base).mean())
        return executed / possible if possible else 1.0


def measure(
    network: Network,
    images: np.ndarray,
    gating: bool = True,
    progress: Callable[[int], None] = lambda images: None,
) -> Measurement:
    """Run a network on any number of images and keep classes and counts, no tensors.

    images (N, C, H, W) as `run` takes them; ``progress`` is told how many more are done. Chunks of
    images run side by side, one on each core: the results do not depend on that. Raises
    PenstockError as `run`.
    """

    def part(first: int):
        result = run(network, images[first : first + CHUNK], gating)
        opened = {name: decision.sum() for name, decision in result.decisions.items()}
        outputs = {name: decision[0].size for name, decision in result.decisions.items()}
        progress(len(result.macs_executed))
        return result.classes, result.macs_dense, result.macs_executed, opened, outputs

    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = list(pool.map(part, range(0, len(images), CHUNK)))
    classes, dense, executed, opened, outputs = zip(*parts, strict=True)
    return Measurement(
        classes=np.concatenate(classes),
        macs_dense=dense[0],
        macs_base=sum(network.macs(layer)[1] for layer in network.layers),
        macs_executed=np.concatenate(executed),
        open_gates={
            name: float(sum(each[name] for each in opened) / (size * len(images)))
            for name, size in outputs[0].items()
        },
    )
