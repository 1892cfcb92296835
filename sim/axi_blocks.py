"""The blocks between the core and AXI side by side in one simulator, and their benches' variants.

Each of their tests runs for every fault in the parameter ``faults``, numbers of the port ``fault``,
and some for every pair in ``stalls``: of the core's side, and of the bus's.
"""

import cocotb
from amaranth.lib import wiring

from penstock.config import Config
from penstock.hw.axi_memory import AxiMemory
from penstock.hw.axi_registers import AxiRegisters
from penstock.hw.register_slice import RegisterSlice, SkidBuffer
from penstock.sim.blocks import Blocks
from penstock.sim.runner import bench_parameters

SLICE_BITS = 16
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


class AxiBlocks(Blocks):
    """Each block's ports, behind its name: ``memory64__axi__arvalid``."""

    def make(self, cfg: Config) -> dict[str, wiring.Component]:
        memories = {f"memory{bits}": AxiMemory(bits) for bits in (32, 64, 128)}
        slices = {"slice": RegisterSlice(SLICE_BITS), "skid": SkidBuffer(SLICE_BITS)}
        return memories | {"registers": AxiRegisters()} | slices
