"""The PSRAM controller on a board: registers at the pads, and a model of each die."""

from pathlib import Path
from types import SimpleNamespace

from amaranth.hdl import ClockSignal, Const, Instance, Module, Mux, ResetSignal, Signal
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In, Out

from penstock.boards.psram import Psram, PsramChip
from penstock.boards.psram_pads import PsramPads
from penstock.hw.layouts import memory_signature

MODEL = Path(__file__).parent / "psram_chip.sv"

MESSAGE_BYTES = 100
"""Characters of a message of the model."""

T_CSS, T_CK = 3_000, 12_000
"""ps; rules of the data sheet that the controller need not know: its clock is slow enough."""

REFRESHES = 96
"""Of 256 transactions of one die, those that meet a refresh: far more than in a chip."""


class PsramBoard(wiring.Component):
    """A memory for the core; ``violation`` is the text of the first rule that was broken, or 0."""

    def __init__(self, clock_hz: int, chip: PsramChip, **more: wiring.Member):
        self.clock_hz = clock_hz
        self.psram = Psram(clock_hz=clock_hz, chip=chip)
        ports = {"memory": In(memory_signature()), "violation": Out(8 * MESSAGE_BYTES)}
        super().__init__({**ports, **more})

    def elaborate(self, platform):
        m = Module()
        m.submodules.psram = psram = self.psram
        for path, member, port in self.memory.signature.flatten(self.memory):
            inner = psram.memory
            for name in path:
                inner = getattr(inner, name)
            name = ".".join(path)
            if path[-1] == "ready" and not isinstance(port, Signal):
                continue  # always ready
            if member.flow == In:
                m.d.comb += inner.eq(self.wire(m, name, port))
            else:
                m.d.comb += port.eq(self.wire(m, name, inner))
        chip, inside = psram.chip, psram.pins
        ports = {name: _port("o", chip.dies, name) for name in ("reset", "cs", "ck", "ck_n")}
        ports |= {"rwds": _port("io", chip.dies, "rwds"), "dq": _port("io", 8 * chip.dies, "dq")}
        m.submodules.pads = pads = PsramPads(chip, SimpleNamespace(**ports))
        outside = pads.pins
        for name in ("reset", "cs", "ck"):
            m.d.comb += getattr(outside, name).eq(self.wire(m, name, getattr(inside, name)))
        dq_out, rwds_out = Signal(8 * chip.dies), Signal(chip.dies)
        m.d.comb += [
            outside.dq.o.eq(self.wire(m, "dq_in", inside.dq.o)),
            outside.dq.oe.eq(self.wire(m, "dq_driven", inside.dq.oe)),
            outside.rwds.oe.eq(self.wire(m, "rwds_driven", inside.rwds.oe)),
            ports["dq"].i.eq(self.wire(m, "dq_out", dq_out)),
            ports["rwds"].i.eq(self.wire(m, "rwds_out", rwds_out)),
            inside.dq.i.eq(outside.dq.i),
            inside.rwds.i.eq(outside.rwds.i),
        ]
        rules = {
            f"i_{name}": self.wire(m, name, Const(value, 64))
            for name, value in chip_rules(chip, self.clock_hz).items()
        }
        violations = [Signal(8 * MESSAGE_BYTES, name=f"violation_{k}") for k in range(chip.dies)]
        for die, violation in enumerate(violations):
            byte = slice(8 * die, 8 * die + 8)
            m.submodules[f"die_{die}"] = Instance(
                "penstock_psram_chip",
                p_ADDRESS_BITS=chip.address_bits,
                p_ROW_BITS=chip.row_bits,
                p_SEED=die + 1,
                p_MESSAGE=MESSAGE_BYTES,
                i_refreshes=Const(REFRESHES, 8),
                i_clk=ClockSignal(),
                i_rst=ResetSignal(),
                **{f"i_{name}": ports[name].o[die] for name in ("reset", "cs", "ck", "ck_n")},
                i_dq_in=ports["dq"].o[byte],
                i_dq_driven=ports["dq"].oe[8 * die],
                i_rwds_in=ports["rwds"].o[die],
                i_rwds_driven=ports["rwds"].oe[die],
                o_dq_out=dq_out[byte],
                o_rwds_out=rwds_out[die],
                o_dq_out_driven=Signal(),
                o_rwds_out_driven=Signal(),
                o_violation=violation,
                **rules,
            )
        m.d.comb += self.violation.eq(Mux(violations[0].any(), violations[0], violations[-1]))
        return m

    def wire(self, m: Module, name: str, value):
        """What becomes of a value on its way; a board with faults changes some."""
        return value


def _port(direction: str, bits: int, name: str) -> io.SimulationPort:
    return io.SimulationPort(direction, bits, name=f"pad_{name}")


def chip_rules(chip: PsramChip, clock_hz: int) -> dict[str, int]:
    """The chip's rules as its model takes them, in ps."""
    rules = {name: 1000 * getattr(chip, name) for name in ("t_rp", "t_rwr", "t_csm")}
    return rules | {
        "half": -(-(10**12) // (2 * clock_hz)),
        "pause": chip.pause_us * 10**6,
        "t_css": T_CSS,
        "t_ck": T_CK,
    }
