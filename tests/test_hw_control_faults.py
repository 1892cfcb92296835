"""The benches of the control blocks fail for the mistakes that matter: each must be caught."""

import pytest
from amaranth.hdl import Const, Mux, Value
from faults import faulty, stuck, with_fields
from test_hw_control_blocks import BENCHES, CONFIGS, parameters, programs

from penstock.sim.control_blocks import ControlBlocks
from penstock.sim.runner import SimulationError, build_component, run

__all__ = ["programs"]  # a fixture

NAME = "2 rows"


def without(*names: str):
    """Some fields of a payload are always 0."""
    return with_fields(**{name: lambda payload: Const(0, 64) for name in names})


def more(amount: int):
    """The number is too large."""
    return lambda port, ports: Value.cast(port) + amount


def no_conditional_steps_when_off(port, ports):
    """With gating off the groups have base steps alone."""
    steps = Mux(ports.gating, port.conditional_steps, 0)
    return with_fields(conditional_steps=lambda entry: steps)(port, ports)


FAULTS = {
    "tasks do not take up places": ("dispatcher", "pushed", stuck(0)),
    "judged groups keep their places": ("dispatcher", "judged", stuck(0)),
    "judgements give back write credits": (
        "dispatcher",
        "written",
        lambda port, ports: port | ports.judged,
    ),
    "write credits come by themselves": ("dispatcher", "written", stuck(1)),
    "open channels do not count": ("dispatcher", "layer", without("pool")),
    "pooled channels stay open": ("dispatcher", "pooled", stuck(0)),
    "the first group's entry is kept": ("dispatcher", "group_address", stuck(0)),
    "jumps are ignored": ("dispatcher", "group_entry", without("before")),
    "jumps lose the bank": ("dispatcher", "group_entry", without("jump_b")),
    "gating off drops conditional steps": (
        "dispatcher",
        "group_entry",
        no_conditional_steps_when_off,
    ),
    "a step has the weights of the one before": (
        "dispatcher",
        "step",
        with_fields(weight_address=lambda step: step.weight_address & ~1),
    ),
    "weights begin at 0": ("dispatcher", "layer", without("weight_address")),
    "every step begins a sum": ("dispatcher", "step", with_fields(first=lambda step: Const(1))),
    "sums never end": ("dispatcher", "step", without("last")),
    "steps lose their bank": ("dispatcher", "step", without("a")),
    "steps come without valid": ("dispatcher", "step", without("valid")),
    "channels are not closed": ("dispatcher", "tag", without("closing")),
    "nothing is judged": ("dispatcher", "tag", without("judged")),
    "sums of tasks start from 0": ("dispatcher", "tag", without("conditional")),
    "a task group is done twice": ("dispatcher", "tasks.ready", stuck(0)),
    "a refused task group is lost": ("dispatcher", "tasks.ready", stuck(1)),
    "gating cannot be switched off": ("dispatcher", "gating", stuck(1)),
    "pixels right of the map": (
        "dispatcher",
        "layer",
        with_fields(width=lambda layer: layer.width + 1),
    ),
    "the last row of blocks is left out": (
        "dispatcher",
        "layer",
        with_fields(block_rows=lambda layer: layer.block_rows - (layer.block_rows != 1)),
    ),
    "always idle": ("dispatcher", "idle", stuck(1)),
    "credits seem to be back": ("dispatcher", "all_returned", stuck(1)),
    "no cause is reported": ("dispatcher", "stall", stuck(0)),
    "one half of the tables": ("tables", "half", stuck(0)),
    "always the first layer": ("tables", "index", stuck(0)),
    "the layer before passes for this one": ("tables", "described", stuck(1)),
    "tables seem to be there": ("tables", "ready", stuck(1)),
    "the next group's entry": ("tables", "group", lambda port, ports: port ^ 1),
    "conditional steps are lost": ("tables", "entry", without("conditional_steps")),
    "results lose their bank's phase": (
        "tables",
        "parameter",
        without("output_a"),
    ),
    "residuals lose their bank's phase": (
        "tables",
        "parameter",
        without("residual_b"),
    ),
    "rows are swapped with columns": ("tables", "y", lambda port, ports: ports.x.as_value()),
    "tags are lost": ("in_flight", "push", stuck(0)),
    "the first tag stays": ("in_flight", "pull", stuck(0)),
    "tags move on by themselves": ("in_flight", "pull", stuck(1)),
    "a layer starts before the last one ends": ("resident", "engine_done", stuck(1)),
    "a layer starts without its tables": ("resident", "ready", stuck(1)),
    "a layer starts without its image": ("resident", "input_busy", stuck(0)),
    "a layer starts without its weights": ("streamed", "weight_busy", stuck(0)),
    "weights are not loaded again": (
        "streamed",
        "weight_start",
        lambda port, ports: port & (ports.image == 0),
    ),
    "weights of the first layer": ("streamed", "next", without("weight_offset")),
    "weights from the start of memory": ("streamed", "program", stuck(0)),
    "weights of a layer not yet described": ("streamed", "described", stuck(1)),
    "the run ends before its output": ("resident", "output_busy", stuck(0)),
    "images follow too closely": ("resident", "input_stride", more(-8)),
    "outputs follow too far": ("resident", "output_stride", more(8)),
    "the next image comes late": ("resident", "next", without("load_input")),
    "the next image comes early": (
        "resident",
        "next",
        with_fields(load_input=lambda layer: Const(1)),
    ),
    "no output is announced": ("resident", "next", without("raw")),
    "one layer is left out": (
        "resident",
        "layers",
        lambda port, ports: port - (port != 1),
    ),
    "one image too many": ("resident", "images", more(1)),
    "layers in the wrong order": ("resident", "fetch_index", lambda port, ports: port ^ 1),
    "stalls are not told apart": ("streamed", "stall", stuck(1)),
}
"""What is wrong: the block, its port, and what the port becomes, given all ports of the block."""


@pytest.fixture(scope="module")
def build():
    return build_component(faulty(ControlBlocks, CONFIGS[NAME], FAULTS))


def bench(build, block: str, fault: int, programs):
    module, tests = BENCHES[block]
    values = parameters(NAME, block, programs) | {"fault": fault, "layers": 2}
    modules = f"penstock.sim.tb_fault,penstock.sim.{module}"
    run(build, modules, values, tests=tests + 1, seed=1)


@pytest.mark.parametrize("block", BENCHES)
def test_no_fault(build, block, programs):
    bench(build, block, 0, programs)


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_caught(build, fault, programs):
    with pytest.raises(SimulationError, match=r"\d+ of \d+ tests failed"):
        bench(build, FAULTS[fault][0], 1 + list(FAULTS).index(fault), programs)
