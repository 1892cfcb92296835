"""The compute blocks of the hardware, each against its reference, in three array shapes."""

import dataclasses
import functools

import pytest

from penstock.config import preset
from penstock.sim.blocks import Blocks
from penstock.sim.runner import Build, build_component, run

TINY = preset("tiny")
CONFIGS = {
    "2x2": TINY,
    "1x1": dataclasses.replace(TINY, rows=1, word=1),
    "4x4": dataclasses.replace(TINY, rows=4, word=4, accumulator_bits=26),
}
BENCHES = {
    "gate": ("tb_gate", 1),
    "requantizer": ("tb_requantizer", 2),
    "tasks": ("tb_task_queue", 15),
    "writes": ("tb_write_queue", 10),
    "array": ("tb_array", 1),
    "pool": ("tb_pool", 4),
    "window": ("tb_window", 2),
}
"""Block: its bench, and how many tests that has."""


@functools.cache
def build(shape: str) -> Build:
    """The simulator of all blocks in one array shape."""
    return build_component(Blocks(CONFIGS[shape]))


@pytest.mark.parametrize("shape", CONFIGS)
@pytest.mark.parametrize("block", BENCHES)
def test_block(shape, block):
    module, tests = BENCHES[block]
    parameters = {"config": dataclasses.asdict(CONFIGS[shape])}
    run(build(shape), f"penstock.sim.{module}", parameters, tests=tests, seed=1)
