"""The blocks that decide what the array works on, each against its reference."""

import dataclasses
import functools

import numpy as np
import pytest
from random_networks import Builder, random_case

from penstock.compiler import compile_network
from penstock.config import preset
from penstock.hw.array import sum_latency
from penstock.hw.engine import WINDOW_STAGE
from penstock.hw.in_flight import GROUPS, READ_LATENCY
from penstock.network import INPUT, Network, Shape
from penstock.program import save_program
from penstock.sim.control_blocks import ControlBlocks
from penstock.sim.runner import Build, build_component, run

TINY = preset("tiny")
CONFIGS = {
    "2 rows": TINY,
    "4 rows": dataclasses.replace(
        TINY, rows=4, word=4, map_side=128, queue_groups=16, pool_channels=2
    ),
}
BENCHES = {
    "dispatcher": ("tb_dispatcher", 21),
    "tables": ("tb_layer_fetch", 2),
    "in_flight": ("tb_in_flight", 5),
    "resident": ("tb_sequencer", 6),
    "streamed": ("tb_sequencer", 6),
}
"""Block: its bench, and how many tests that has."""


PROGRAMS = 8
"""Random programs whose layers are fetched."""


def tall_network(rng: np.random.Generator, side: int) -> Network:
    """One convolution on a map of ``side`` rows."""
    builder = Builder(rng, None, 0)
    builder.start(Shape(channels=2, height=side, width=4, signed=False))
    builder.convolution(INPUT, 4, padding=(1, 1, 1, 1), groups=0)
    return builder.network("tall")


@pytest.mark.parametrize("word", [1, 2, 4, 8, 16])
def test_tags_have_places_on_the_whole_way(word):
    summed = WINDOW_STAGE + sum_latency(dataclasses.replace(TINY, word=word))
    assert summed - READ_LATENCY < GROUPS - 2


@functools.cache
def build(name: str) -> Build:
    """The simulator of all blocks in one configuration."""
    return build_component(ControlBlocks(CONFIGS[name]))


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """Files of random programs, by name of the configuration."""

    @functools.cache
    def make(name: str) -> list[str]:
        folder = tmp_path_factory.mktemp("programs")
        rng = np.random.default_rng(1)
        for index in range(PROGRAMS):
            program, _ = random_case(rng, CONFIGS[name])
            save_program(program, folder / f"{index}.pnst")
        largest = compile_network(tall_network(rng, CONFIGS[name].map_side), CONFIGS[name])
        save_program(largest, folder / f"{PROGRAMS}.pnst")
        return [str(folder / f"{index}.pnst") for index in range(PROGRAMS + 1)]

    return make


def parameters(name: str, block: str, programs) -> dict:
    """What a bench gets."""
    values = {"config": dataclasses.asdict(CONFIGS[name]), "block": block, "layers": 6}
    if block == "tables":
        values["programs"] = programs(name)
    return values


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("block", BENCHES)
def test_block(name, block, programs):
    module, tests = BENCHES[block]
    values = parameters(name, block, programs)
    run(build(name), f"penstock.sim.{module}", values, tests=tests, seed=1)
