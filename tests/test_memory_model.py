"""The memory model of the simulations: content, order, latency, errors, refusals."""

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from penstock.hw.layouts import memory_signature
from penstock.sim.runner import build_component, run


class Wires(wiring.Component):
    """Nothing between a core's memory port and the memory."""

    core: In(memory_signature())
    memory: Out(memory_signature())

    def elaborate(self, platform):
        m = Module()
        wiring.connect(m, wiring.flipped(self.core), wiring.flipped(self.memory))
        m.d.sync += Signal().eq(1)  # a clock for the bench
        return m


@pytest.mark.parametrize("stalls", [0.0, 0.4])
def test_memory_model(stalls):
    run(build_component(Wires()), "penstock.sim.tb_memory", {"stalls": stalls}, tests=3)
