"""The blocks that decide what the array works on, each against its reference."""

import dataclasses
import functools

import pytest

from penstock.config import preset
from penstock.sim.control_blocks import ControlBlocks
from penstock.sim.runner import Build, build_component, run

TINY = preset("tiny")
CONFIGS = {
    "2 rows": TINY,
    "4 rows": dataclasses.replace(TINY, rows=4, word=4, queue_groups=16, pool_channels=2),
}
BENCHES = {
    "dispatcher": ("tb_dispatcher", 19),
    "in_flight": ("tb_in_flight", 5),
}
"""Block: its bench, and how many tests that has."""


@functools.cache
def build(name: str) -> Build:
    """The simulator of all blocks in one configuration."""
    return build_component(ControlBlocks(CONFIGS[name]))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("block", BENCHES)
def test_block(name, block):
    module, tests = BENCHES[block]
    parameters = {"config": dataclasses.asdict(CONFIGS[name]), "block": block}
    run(build(name), f"penstock.sim.{module}", parameters, tests=tests, seed=1)
