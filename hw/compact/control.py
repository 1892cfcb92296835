"""The register port of the compact engine: fewer registers and narrower ones than the array's."""

from amaranth import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from penstock.config import Config
from penstock.hw.compact.layouts import BLOCK_BITS
from penstock.hw.layouts import REGISTER_LATENCY, register_signature
from penstock.hw.pipeline import delay
from penstock.program import VERSION
from penstock.registers import (
    ADDRESS,
    IDENTITY,
    STATUS_FIELDS,
    WATCHDOG_RESET,
    Code,
    Command,
    State,
)

HALT_CYCLES = 8
"""Shortest halt: whatever is in the pipeline leaves it in that time."""

IMAGE_BITS = 16
COUNTER_BITS = 24
"""Of OUTPUTS and TASKS."""

WATCHDOG_UNIT_BITS = 8
"""The watchdog counts units of 2**8 cycles."""

WATCHDOG_BITS = 16
ADDRESSES = ("program", "input", "output")


class CompactControl(wiring.Component):
    """Registers, the commands written to them, and how those end; as penstock.hw.control.Control.

    ``load`` or ``run`` is high for one cycle, two cycles after the accepted command; registers must
    not be written while it runs. ``halt`` is high after ABORT, an error or a timeout for at least
    HALT_CYCLES, and until ``outstanding`` is low. The watchdog counts units of 256 cycles, so it
    acts up to one unit early.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(
            {
                "bus": In(register_signature()),
                "interrupt": Out(1),
                "load": Out(1),
                "load_done": In(1),
                "load_code": In(Code),
                "run": Out(1),
                "run_done": In(1),
                "image_done": In(1),
                "last_image": Out(1),
                "halt": Out(1),
                "outstanding": In(1),
                "bus_error": In(1),
                "progress": In(1),
                "judged": In(1),
                "kept": In(1),
                "layer": In(6),
                "gating": Out(1),
                **{name: Out(BLOCK_BITS) for name in ADDRESSES},
            }
        )
        self.status = Signal(data.StructLayout(dict(STATUS_FIELDS)))
        self.cycles = Signal(32)
        self.images = Signal(IMAGE_BITS, reset_less=True)
        self.image = Signal(IMAGE_BITS)  # finished

    def elaborate(self, platform):
        m = Module()
        status, bus = self.status, self.bus
        # A cycle behind the port: what an access has to reach lies far from who asks.
        self.address = delay(m, bus.address, 1, name="address")
        self.write_data = delay(m, bus.write_data, 1, name="write_data")
        self.write = delay(m, bus.write, 1, name="write", control=True)
        aligned = self._settings(m)
        expired = self._watchdog(m)
        self._endings(m, expired)
        self._commands(m, aligned)
        self._counters(m)
        m.d.comb += [
            self.interrupt.eq(status.done),
            self.halt.eq(status.state == State.DRAINING),
        ]
        return m

    def _writes(self, register: str):
        return self.write & (self.address[2:] == ADDRESS[register] // 4)

    def _settings(self, m: Module) -> dict:
        """The writable registers; whether each address is aligned."""
        value, aligned = self.write_data, {}
        for name in ADDRESSES:
            aligned[name] = Signal(name=f"{name}_aligned", init=1)
            with m.If(self._writes(name.upper())):
                m.d.sync += getattr(self, name).eq(value[6:])
                m.d.sync += aligned[name].eq(~value[:6].any())
        with m.If(self._writes("IMAGES")):
            m.d.sync += self.images.eq(value)
        with m.If(self._writes("GATING")):
            m.d.sync += self.gating.eq(value[0])
        return aligned

    def _watchdog(self, m: Module):
        """High when a command, or its halt, has made no progress for the limit."""
        limit = Signal(WATCHDOG_BITS, init=WATCHDOG_RESET >> WATCHDOG_UNIT_BITS)
        left = Signal(WATCHDOG_BITS, reset_less=True)
        expired, waiting = Signal(), Signal()
        value = self.write_data
        with m.If(self._writes("WATCHDOG")):
            rounded = value[WATCHDOG_UNIT_BITS:][:WATCHDOG_BITS]
            m.d.sync += limit.eq(Cat(rounded[0] | value[:WATCHDOG_UNIT_BITS].any(), rounded[1:]))
        tick = self.cycles[:WATCHDOG_UNIT_BITS].all()
        m.d.comb += waiting.eq((self.status.state != State.IDLE) & ~self.progress & ~expired)
        m.d.sync += expired.eq(0)
        with m.If(~waiting):
            m.d.sync += left.eq(limit)
        with m.Elif(tick & limit.any()):
            m.d.sync += [left.eq(left - 1), expired.eq(left == 0)]
        return expired

    def _endings(self, m: Module, expired):
        """How LOAD and START end by themselves, and the end of a halt."""
        status, halted = self.status, Signal(range(HALT_CYCLES))
        with m.Switch(status.state):
            with m.Case(State.LOADING, State.RUNNING):
                m.d.sync += halted.eq(0)
                with m.If(self.bus_error):
                    m.d.sync += self._stop(Code.BUS_ERROR)
                with m.Elif(self.load_done & (self.load_code != Code.OK)):
                    m.d.sync += self._stop(self.load_code)
                with m.Elif(self.load_done | self.run_done):
                    m.d.sync += [*self._end(Code.OK), status.loaded.eq(1)]
                with m.Elif(expired):
                    m.d.sync += self._stop(Code.TIMEOUT)
            with m.Case(State.DRAINING):
                with m.If(halted != HALT_CYCLES - 1):
                    m.d.sync += halted.eq(halted + 1)
                with m.Elif(~self.outstanding):
                    m.d.sync += [status.state.eq(State.IDLE), status.done.eq(1)]
                with m.Elif(expired):
                    m.d.sync += [status.done.eq(1), status.code.eq(Code.TIMEOUT)]

    def _commands(self, m: Module, aligned: dict):
        """What a write to COMMAND does; it wins over an end in the same cycle."""
        status, command = self.status, self.write_data
        m.d.sync += [self.load.eq(0), self.run.eq(0)]
        with m.If(self._writes("COMMAND")):
            with m.If(status.state == State.IDLE):
                m.d.sync += status.refused.eq(0)
                with m.If(command == Command.LOAD):
                    m.d.sync += status.loaded.eq(0)
                    with m.If(aligned["program"]):
                        m.d.sync += [*self._begin(State.LOADING), self.load.eq(1)]
                    with m.Else():
                        m.d.sync += self._end(Code.MISALIGNED)
                with m.Elif(command == Command.ABORT):
                    m.d.sync += self._end(Code.ABORTED)
                with m.Elif((command == Command.START) & ~status.loaded):
                    m.d.sync += self._end(Code.NOT_LOADED)
                with m.Elif((command != Command.START) | ~self.images.any()):
                    m.d.sync += self._end(Code.BAD_COMMAND)
                with m.Elif(~aligned["input"] | ~aligned["output"]):
                    m.d.sync += self._end(Code.MISALIGNED)
                with m.Else():
                    m.d.sync += [*self._begin(State.RUNNING), self.run.eq(1)]
            with m.Elif(command != Command.ABORT):
                m.d.sync += status.refused.eq(1)
            with m.Elif(status.state != State.DRAINING):
                m.d.sync += self._stop(Code.ABORTED)
                m.d.sync += status.loaded.eq(status.loaded)  # a LOAD that ends now leaves none

    def _begin(self, state: State):
        status = self.status
        return [status.state.eq(state), status.code.eq(Code.OK), status.done.eq(0)]

    def _stop(self, code):
        status = self.status
        return [status.state.eq(State.DRAINING), status.code.eq(code), status.done.eq(0)]

    def _end(self, code):
        status = self.status
        return [status.state.eq(State.IDLE), status.code.eq(code), status.done.eq(1)]

    def _counters(self, m: Module):
        """Clear at the accepted command, count until its end; and what can be read."""
        outputs, tasks = Signal(COUNTER_BITS), Signal(COUNTER_BITS)
        image = self.image
        layer = Signal(6)
        busy = (self.status.state == State.LOADING) | (self.status.state == State.RUNNING)
        m.d.comb += self.last_image.eq(image == self.images - 1)
        counting = Signal()
        m.d.comb += counting.eq(self.status.state != State.IDLE)
        with m.If(self.load | self.run):
            m.d.sync += [self.cycles.eq(1), outputs.eq(0), tasks.eq(0), image.eq(0)]
        with m.Elif(counting):
            m.d.sync += self.cycles.eq(self.cycles + 1)
            with m.If(self.judged):
                m.d.sync += outputs.eq(outputs + 1)
            with m.If(self.kept):
                m.d.sync += tasks.eq(tasks + 1)
            with m.If(self.image_done):
                m.d.sync += image.eq(image + 1)
        with m.If(busy):
            m.d.sync += layer.eq(self.layer)
        shown = {
            "IDENTITY": IDENTITY,
            "VERSION": VERSION,
            "CONFIG": self.cfg.hash,
            "STATUS": self.status.as_value(),
            "LAYER": layer,
            "IMAGE": image,
            "CYCLES": self.cycles,
            "OUTPUTS": outputs,
            "TASKS": tasks,
        }
        found = Signal(32, reset_less=True)
        with m.Switch(self.address[2:]):
            for name, value in shown.items():
                with m.Case(ADDRESS[name] // 4):
                    m.d.sync += found.eq(value)
            with m.Default():
                m.d.sync += found.eq(0)
        later = delay(m, found, REGISTER_LATENCY - 2, name="read")
        m.d.comb += self.bus.read_data.eq(later)
