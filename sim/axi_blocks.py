"""The blocks between the core and AXI side by side in one simulator, and their benches' variants.

Each of their tests runs for every fault in the parameter ``faults``, numbers of the port ``fault``,
and some for every pair in ``stalls``: of the core's side, and of the bus's.
"""

import random

import cocotb
from amaranth.lib import wiring
from cocotb.triggers import ClockCycles

from penstock.config import Config
from penstock.hw.axi_memory import AxiMemory
from penstock.hw.axi_registers import AxiRegisters
from penstock.hw.register_slice import RegisterSlice, SkidBuffer
from penstock.sim.blocks import Blocks
from penstock.sim.runner import bench_parameters
from penstock.sim.streams import StreamMonitor, StreamSink, StreamSource, start_clock

SLICE_BITS = 16
WORDS = 400
_TIMEOUT = 150  # us, three times what a test takes


def block_test(*, stalls: bool = False):
    """A test of these blocks; it takes the fault, and with ``stalls`` a pair of these."""
    parameters = bench_parameters()
    variants = {"fault": parameters["faults"]}
    if stalls:
        variants["stalls"] = [tuple(pair) for pair in parameters["stalls"]]

    def decorate(function):
        test = cocotb.test(timeout_time=_TIMEOUT, timeout_unit="us")
        return test(cocotb.parametrize(**variants)(function))

    return decorate


async def pass_words(dut, block: str, watch):
    """Send WORDS words through a block of one stream at seven paces: all come out, in order.

    ``watch(dut, source, sink)`` is awaited beside each pace and must end with it.
    """
    source = StreamSource(dut, f"{block}__i", SLICE_BITS, seed=1)
    sink = StreamSink(dut, f"{block}__o", SLICE_BITS, seed=2)
    taken = StreamMonitor(dut, f"{block}__i", SLICE_BITS)
    await start_clock(dut)
    for stalls in ((0, 0), (0.5, 0), (0, 0.5), (0.3, 0.3), (0.7, 0.3), (0.1, 0.9), (0, 0)):
        source.stalls, sink.stalls = stalls
        sink.words.clear()
        taken.words.clear()
        await ClockCycles(dut.clk, 3)  # a stall that was drawn before
        words = [random.getrandbits(SLICE_BITS) for _ in range(WORDS)]
        source.send(*words)
        watched = cocotb.start_soon(watch(dut, source, sink))
        await sink.wait_for(WORDS)
        assert watched.done()
        await ClockCycles(dut.clk, 5)
        assert sink.words == taken.words == words


class AxiBlocks(Blocks):
    """Each block's ports, behind its name: ``memory64__axi__arvalid``."""

    def make(self, cfg: Config) -> dict[str, wiring.Component]:
        memories = {f"memory{bits}": AxiMemory(bits) for bits in (32, 64, 128)}
        slices = {"slice": RegisterSlice(SLICE_BITS), "skid": SkidBuffer(SLICE_BITS)}
        return memories | {"registers": AxiRegisters()} | slices
