"""The SDRAM controller on a board: registers in the IO cells, and a model of the chip."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

from amaranth.hdl import ClockSignal, Const, Instance, Module, ResetSignal, Signal
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In, Out

from penstock.boards.sdram import Sdram, SdramChip
from penstock.boards.sdram_pads import OUTPUTS, SdramPads
from penstock.hw.layouts import memory_signature

MODEL = Path(__file__).parent / "sdram_chip.sv"

MESSAGE_BYTES = 100
"""Characters of a message of the model."""

_T_RRD, _T_RAS_MAX = 15_000, 100_000_000
"""ps; rules of the data sheets that the controller need not know, the strictest of three chips'."""


class SdramBoard(wiring.Component):
    """A memory for the core; ``violation`` is the text of the first rule that was broken, or 0."""

    def __init__(self, clock_hz: int, chip: SdramChip, **more: wiring.Member):
        self.clock_hz = clock_hz
        self.sdram = Sdram(clock_hz=clock_hz, chip=chip)
        ports = {"memory": In(memory_signature()), "violation": Out(8 * MESSAGE_BYTES)}
        super().__init__({**ports, **more})

    def elaborate(self, platform):
        m = Module()
        m.submodules.sdram = sdram = self.sdram
        for path, member, port in self.memory.signature.flatten(self.memory):
            inner = sdram.memory
            for name in path:
                inner = getattr(inner, name)
            name = ".".join(path)
            if path[-1] == "ready" and not isinstance(port, Signal):
                continue  # always ready
            if member.flow == In:
                m.d.comb += inner.eq(self.wire(m, name, port))
            else:
                m.d.comb += port.eq(self.wire(m, name, inner))
        chip = sdram.chip
        ports = {name: _port("o", getattr(sdram.pins, name), name) for name in OUTPUTS}
        dq = _port("io", sdram.pins.dq.o, "dq")
        m.submodules.pads = pads = SdramPads(chip, SimpleNamespace(**ports, dq=dq))
        outside, inside = pads.pins, sdram.pins
        for name in OUTPUTS:
            m.d.comb += getattr(outside, name).eq(self.wire(m, name, getattr(inside, name)))
        dq_out = Signal(16)
        m.d.comb += [
            outside.dq.o.eq(self.wire(m, "dq_in", inside.dq.o)),
            outside.dq.oe.eq(self.wire(m, "dq_driven", inside.dq.oe)),
            dq.i.eq(self.wire(m, "dq_out", dq_out)),
            inside.dq.i.eq(outside.dq.i),
        ]
        chip_ports = {f"i_{name}": port.o for name, port in ports.items()}
        chip_ports |= {"i_dq_in": dq.o, "i_dq_driven": dq.oe[0]}
        times = chip_times(chip, self.clock_hz).items()
        m.submodules.chip = Instance(
            "penstock_sdram_chip",
            p_BANK_BITS=chip.bank_bits,
            p_ROW_BITS=chip.row_bits,
            p_COLUMN_BITS=chip.column_bits,
            p_MESSAGE=MESSAGE_BYTES,
            i_clk=ClockSignal(),
            i_rst=ResetSignal(),
            o_dq_out=dq_out,
            o_violation=self.violation,
            **{f"i_{name}": self.wire(m, name, Const(time, 64)) for name, time in times},
            **chip_ports,
        )
        return m

    def wire(self, m: Module, name: str, value):
        """What becomes of a value on its way; a board with faults changes some."""
        return value


def _port(direction: str, pin: Signal, name: str) -> io.SimulationPort:
    return io.SimulationPort(direction, len(pin), name=f"pad_{name}")


def chip_times(chip: SdramChip, clock_hz: int) -> dict[str, int]:
    """The chip's rules as its model takes them: times in ps, counts of cycles and of refreshes."""
    times = {"period": 10**12 // clock_hz, "t_rrd": _T_RRD, "t_ras_max": _T_RAS_MAX}
    for field in dataclasses.fields(chip):
        if field.name.startswith("t_") and not field.name.endswith(("_cycles", "_ms")):
            times[field.name] = 1000 * getattr(chip, field.name)
    return times | {
        "t_wr_cycles": chip.t_wr_cycles,
        "t_mrd_cycles": chip.t_mrd_cycles,
        "t_refi": chip.t_ref_ms * 10**9 >> chip.row_bits,
        "pause": chip.pause_us * 10**6,
        "start_refreshes": chip.start_refreshes,
        "t_ck2": 10**12 // chip.cl2_max_hz,
        "t_ck3": 10**12 // chip.cl3_max_hz,
    }
