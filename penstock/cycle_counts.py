"""Cycles of one image, layer by layer: what both cycle models count."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from penstock.channel_stream import StreamProgram
from penstock.errors import PenstockError
from penstock.network import Convolution
from penstock.program import Program


@dataclass(frozen=True, kw_only=True)
class LayerCycles:
    """One program layer: cycles until the next one may start, and where they go."""

    names: tuple[str, ...]
    cycles: int  # steps + idle + drain + overhead + waiting
    base_steps: int
    conditional_steps: int
    idle: int  # between steps: queues full, or tasks not yet judged
    drain: int  # from the last step to the last write
    overhead: int  # from the end of a layer to the first step of the next
    waiting: int  # for the next layer's streamed weights
    macs: int  # executed, as the literature counts them
    ideal: float  # macs / multipliers

    @property
    def running(self) -> int:
        """From the first step to the last write."""
        return self.cycles - self.overhead - self.waiting


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Cycles of one image, layer by layer."""

    layers: tuple[LayerCycles, ...]

    @property
    def cycles(self) -> int:
        """Cycles of the whole image."""
        return sum(layer.cycles for layer in self.layers)

    @property
    def ideal(self) -> float:
        """Executed MACs / multipliers of the array."""
        return sum(layer.ideal for layer in self.layers)

    @property
    def utilization(self) -> float:
        """Executed MACs / (cycles * multipliers)."""
        return self.ideal / self.cycles


def checked_decisions(
    name: str, shape: tuple[int, int, int], decisions: Mapping[str, np.ndarray]
) -> np.ndarray:
    """A gated layer's decisions. Raises PenstockError where they are missing or misshapen."""
    taken = decisions.get(name)
    if taken is None or taken.shape != shape or taken.dtype != bool:
        came = "none" if taken is None else f"{taken.dtype} {taken.shape}"
        raise PenstockError(f"layer {name}: decisions must be bool {shape}, not {came}")
    return taken


def executed_macs(program: Program | StreamProgram, index: int, taken: np.ndarray | None) -> int:
    """Executed MACs of the network's layers that one program layer computes."""
    network, total = program.network, 0
    for layer in network.layers:
        if layer.name not in program.layer_names[index]:
            continue
        dense, base = network.macs(layer)
        if not isinstance(layer, Convolution) or taken is None:
            total += dense
            continue
        inputs, kernel = layer.weights.shape[1:3]
        conditional = (inputs - inputs // layer.groups) * kernel**2
        total += base + int(taken.sum()) * conditional
    return total
