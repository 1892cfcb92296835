"""The block benches fail for the mistakes that matter: each fault below must be caught."""

import dataclasses

import pytest
from amaranth.hdl import Cat, Const
from faults import faulty, stuck, with_fields
from test_hw_blocks import BENCHES, CONFIGS

from penstock.sim.blocks import Blocks
from penstock.sim.runner import SimulationError, build_component, run

CONFIG = CONFIGS["2x2"]


def each_plus_one(port, ports):
    """Every number of an array is one too large."""
    return Cat((element + 1)[: len(element)] for element in port)


def flip_sometimes(payload):
    """Keep bits, the first one flipped in one of eight verdicts."""
    sometimes = payload.work.tasks[0].partial_sum[:3] == 0
    return payload.keep ^ sometimes


FAULTS = {
    "a tie is kept": ("gate", "partial_sums", each_plus_one),
    "a task is dropped or invented": ("tasks", "i.payload", with_fields(keep=flip_sometimes)),
    "a channel stays open": ("tasks", "i.payload", with_fields(closing=lambda payload: Const(0))),
    "a refused group is dropped": ("tasks", "o.ready", stuck(1)),
    "a group comes without valid": ("tasks", "o.valid", stuck(0)),
    "a tie is rounded down": ("requantizer", "bias", lambda port, ports: port - 1),
    "relu_before_add does nothing": ("requantizer", "relu_before_add", stuck(0)),
    "the residual is scaled wrongly": ("requantizer", "residual", each_plus_one),
    "a pooled mean is not told apart": ("requantizer", "pooled", stuck(0)),
    "a residual is overwritten": ("writes", "residual_reading", stuck(0)),
    "a refused word of the image is lost": ("writes", "load.ready", stuck(1)),
    "a refused class is lost": ("writes", "word.ready", stuck(1)),
    "a write goes to another lane": (
        "writes",
        "i.payload",
        with_fields(lane=lambda payload: payload.lane ^ 1),
    ),
    "sums run on": ("array", "first", stuck(0)),
    "stored sums are forgotten": ("array", "conditional", stuck(0)),
    "sums are not cleared": ("pool", "restart", stuck(0)),
    "values lose their sign": ("pool", "signed", stuck(0)),
    "a refused sum is lost": ("pool", "o.ready", stuck(1)),
    "windows lose the bank's phase": (
        "window",
        "step",
        with_fields(b=lambda step: Const(0, 2)),
    ),
    "the wrong tables are read": ("window", "half", stuck(0)),
    "operands lose their sign": (
        "window",
        "layer",
        with_fields(input_signed=lambda layer: Const(0)),
    ),
}
"""What is wrong: the block, its port, and what the port becomes."""


@pytest.fixture(scope="module")
def build():
    return build_component(faulty(Blocks, CONFIG, FAULTS))


def bench(build, block: str, fault: int, folder):
    module, tests = BENCHES[block]
    parameters = {"config": dataclasses.asdict(CONFIG), "fault": fault}
    modules = f"penstock.sim.tb_fault,penstock.sim.{module}"
    run(build, modules, parameters, tests=tests + 1, seed=1, folder=folder)


@pytest.mark.parametrize("block", BENCHES)
def test_no_fault(build, block, tmp_path):
    bench(build, block, 0, tmp_path)


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_caught(build, fault, tmp_path):
    with pytest.raises(SimulationError, match=r"\d+ of \d+ tests failed"):
        bench(build, FAULTS[fault][0], 1 + list(FAULTS).index(fault), tmp_path)
