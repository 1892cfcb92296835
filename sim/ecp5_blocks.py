"""What is made of a target's primitives, side by side in one simulator: ECP5, and ASIC memories."""

from amaranth.lib import wiring

from penstock.config import Config
from penstock.hw.multiplier import Multipliers
from penstock.hw.ram import Ram
from penstock.sim.blocks import Blocks

MULTIPLIERS = {
    "array": {"count": 3, "left_bits": 9, "right_bits": 8},
    "requantizer": {"count": 2, "left_bits": 18, "right_bits": 16},
}
"""Operands as the array and the requantizer have them."""

MEMORIES = {
    "split": {"width": 6, "depth": 14, "lanes": 2},  # of 8, 4 and 2 words
    "whole": {"width": 6, "depth": 16, "lanes": 2},
    "activations": {"width": 32, "depth": 512, "lanes": 4},  # a block RAM of 512 words
    "parameters": {"width": 36, "depth": 1024},  # two of 1024
    "weights": {"width": 18, "depth": 5120},  # of 2048, 2048 and 1024 words
    "distributed": {"width": 6, "depth": 14, "style": "distributed"},
    "macro": {"width": 6, "depth": 70, "lanes": 2, "target": "asic"},
}


class Ecp5Blocks(Blocks):
    """Each block's ports, behind its name."""

    def make(self, cfg: Config) -> dict[str, wiring.Component]:
        multipliers = {k: Multipliers(**v, target="ecp5") for k, v in MULTIPLIERS.items()}
        return multipliers | {k: Ram(**{"target": "ecp5"} | v) for k, v in MEMORIES.items()}
