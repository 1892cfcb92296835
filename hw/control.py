"""The register port: settings, commands, status, watchdog and counters."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from penstock.config import Config
from penstock.hw.layouts import if_gating, register_signature
from penstock.hw.pipeline import datapath_register, delay, lookup
from penstock.program import VERSION
from penstock.registers import (
    ADDRESS,
    ALIGNMENT,
    IDENTITY,
    REGISTERS,
    STATUS_FIELDS,
    Code,
    Command,
    State,
)

HALT_CYCLES = 8
"""Shortest halt: whatever is in the pipeline leaves it in that time."""

COUNTERS = tuple(
    register.name.lower()
    for register in REGISTERS
    if ADDRESS[register.name] > ADDRESS["CYCLES_HIGH"]
)
"""Event counters, in the order of their registers."""

SETTINGS = ("input", "input_stride", "output", "output_stride", "images", "gating")
"""Registers whose values hold for the whole run from START on."""

BUFFERS = ("INPUT", "INPUT_STRIDE", "OUTPUT", "OUTPUT_STRIDE")
"""Registers with an address or stride in bytes that START checks."""


def events_layout(cfg: Config) -> data.StructLayout:
    """What the engine counts in one cycle: up to ``rows`` outputs and tasks, one of all else."""
    several = range(cfg.rows + 1)
    gating = {"conditional_steps": 1, "outputs": several, "tasks": several, "stall_queue": 1}
    gating = {name: if_gating(cfg, shape) for name, shape in gating.items()}
    return data.StructLayout({name: gating.get(name, 1) for name in COUNTERS})


def status_layout() -> data.StructLayout:
    """The STATUS register from bit 0 up."""
    return data.StructLayout(dict(STATUS_FIELDS))


class Control(wiring.Component):
    """Registers of penstock.registers, the commands written to them, and how those end.

    ``load`` or ``run`` is high for one cycle, two cycles after the accepted command, as soon as
    ``interrupt`` is low. The settings then hold, whatever is written to their registers:
    ``program`` until the next LOAD, the others as long as the state is not IDLE. LOAD ends with
    ``load_done`` and ``load_code``, START with ``run_done``.

    After ABORT, an error or a timeout ``halt`` is high for at least HALT_CYCLES, and until
    ``outstanding`` is low; the code is readable at once, ``interrupt`` (the done bit) rises at the
    end. Where that does not come either, it rises with TIMEOUT, and the state stays DRAINING until
    ``outstanding`` falls. The watchdog counts cycles without ``progress`` and acts one cycle late.
    ``events`` are counted while running only, two cycles after they came.

    The register port takes one access per cycle, reads have latency 3 cycles and give what all
    accesses before have left; no backpressure.
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
                "halt": Out(1),
                "outstanding": In(1),
                "bus_error": In(1),
                "progress": In(1),
                "events": In(events_layout(cfg)),
                "layer": In(16),
                "image": In(32),
                "program": Out(32),
                "input": Out(32),
                "input_stride": Out(32),
                "output": Out(32),
                "output_stride": Out(32),
                "images": Out(32),
                "gating": Out(1),
            }
        )
        self.values = {
            register.name: Signal(32, name=register.name.lower()) for register in REGISTERS
        }
        self.status = Signal(status_layout())
        self.misaligned = {
            name: Signal(name=f"{name.lower()}_misaligned") for name in ("PROGRAM", *BUFFERS)
        }
        """What each register's last value was; so the decision on a command is a short one."""
        self.no_images = Signal(init=1)

    def elaborate(self, platform):
        m = Module()
        values, status = self.values, self.status
        m.d.comb += values["STATUS"].eq(status)
        m.d.comb += self.interrupt.eq(status.done)

        self._access(m)
        self._registers(m, values)
        expired = self._watchdog(m, values["WATCHDOG"], status)
        self._endings(m, status, expired)
        self._commands(m, values, status)
        self._counters(m, values, status)
        return m

    def _access(self, m):
        """The access of the port a cycle later: what it writes is decided on the way here."""
        bus = self.bus
        self.address = delay(m, bus.address, 1, name="address")
        self.write_data = delay(m, bus.write_data, 1, name="write_data")
        self.written = {
            register.name: delay(
                m,
                bus.write & (bus.address == register.address),
                1,
                name=f"{register.name.lower()}_written",
                control=True,
            )
            for register in REGISTERS
            if "w" in register.access
        }
        self.command = {
            command: delay(m, bus.write_data == command, 1, name=f"is_{command.name.lower()}")
            for command in Command
        }

    def _registers(self, m, values):
        """Storage of the writable registers, constants, and the read multiplexer."""
        for register in REGISTERS:
            if register.access == "rw":
                bits = int(self.cfg.gating) if register.name == "GATING" else 32
                stored = Signal(bits, name=f"{register.name.lower()}_stored", init=register.reset)
                m.d.comb += values[register.name].eq(stored)
                with m.If(self.written[register.name]):
                    m.d.sync += stored.eq(self.write_data)
                    if register.name in self.misaligned:
                        wrong = self.write_data % ALIGNMENT != 0
                        m.d.sync += self.misaligned[register.name].eq(wrong)
                    if register.name == "IMAGES":
                        m.d.sync += self.no_images.eq(self.write_data == 0)
        m.d.comb += values["IDENTITY"].eq(IDENTITY)
        m.d.comb += values["VERSION"].eq(VERSION)
        m.d.comb += values["CONFIG"].eq(self.cfg.hash)
        readable = {
            register.address // 4: values[register.name]
            for register in REGISTERS
            if register.access != "wo"
        }
        # First one of each four, as registers lie where they are used.
        words = [readable.get(index, Const(0)) for index in range(max(readable) + 1)]
        parts = []
        for first in range(0, len(words), 4):
            part = Signal(32, name=f"read_{first}", reset_less=True)
            m.d.sync += part.eq(lookup(words[first:][:4], self.address[2:4]))
            parts.append(part)
        address = delay(m, self.address, 1, name="read_address")
        m.d.sync += self.bus.read_data.eq(Mux(address[:2].any(), 0, lookup(parts, address[4:])))

    def _watchdog(self, m, limit, status):
        """High when a command, or its halt, has made no progress for ``limit`` cycles."""
        expired = Signal()
        waited = Signal(32)
        with m.If((status.state != State.IDLE) & ~self.progress & ~expired):
            m.d.sync += waited.eq(waited + 1)
            m.d.sync += expired.eq(limit.any() & (waited + 1 >= limit))
        with m.Else():
            m.d.sync += waited.eq(0)
            m.d.sync += expired.eq(0)
        return expired

    def _endings(self, m, status, expired):
        """How LOAD and START end by themselves, and the end of a halt."""
        halted = Signal(range(HALT_CYCLES))  # cycles of this halt, up to the shortest
        with m.Switch(status.state):
            with m.Case(State.LOADING, State.RUNNING):
                m.d.sync += halted.eq(0)
                with m.If(self.bus_error):
                    m.d.sync += self._stop(status, Code.BUS_ERROR)
                with m.Elif(self.load_done & (self.load_code != Code.OK)):
                    m.d.sync += self._stop(status, self.load_code)
                with m.Elif(self.load_done | self.run_done):
                    m.d.sync += self._end(status, Code.OK)
                    m.d.sync += status.loaded.eq(1)
                with m.Elif(expired):
                    m.d.sync += self._stop(status, Code.TIMEOUT)
            with m.Case(State.DRAINING):
                with m.If(halted != HALT_CYCLES - 1):
                    m.d.sync += halted.eq(halted + 1)
                with m.Elif(~self.outstanding):
                    m.d.sync += [self.halt.eq(0), status.state.eq(State.IDLE)]
                    m.d.sync += status.done.eq(1)
                with m.Elif(expired):
                    m.d.sync += status.done.eq(1)
                    m.d.sync += status.code.eq(Code.TIMEOUT)

    def _commands(self, m, values, status):
        """What a write to COMMAND does; it wins over an end in the same cycle."""
        m.d.sync += self.load.eq(0)
        m.d.sync += self.run.eq(0)
        settings = {
            name: datapath_register(len(getattr(self, name)), f"{name}_held")
            for name in (*SETTINGS, "program")
        }
        for name, held in settings.items():
            m.d.comb += getattr(self, name).eq(held)
        with m.If(status.state == State.IDLE):  # as START finds them
            for name in SETTINGS:
                m.d.sync += settings[name].eq(values[name.upper()])
        load, start, abort = (
            self.command[each] for each in (Command.LOAD, Command.START, Command.ABORT)
        )
        with m.If(self.written["COMMAND"]):
            with m.If(status.state == State.IDLE):
                m.d.sync += status.refused.eq(0)
                with m.If(load & self.misaligned["PROGRAM"]):
                    m.d.sync += self._end(status, Code.MISALIGNED)
                    m.d.sync += status.loaded.eq(0)
                with m.Elif(load):
                    m.d.sync += self._begin(status, State.LOADING)
                    m.d.sync += status.loaded.eq(0)
                    m.d.sync += self.load.eq(1)
                    m.d.sync += settings["program"].eq(values["PROGRAM"])
                with m.Elif(abort):
                    m.d.sync += self._end(status, Code.ABORTED)
                with m.Elif(start & ~status.loaded):
                    m.d.sync += self._end(status, Code.NOT_LOADED)
                with m.Elif(~start | self.no_images):
                    m.d.sync += self._end(status, Code.BAD_COMMAND)
                with m.Elif(Cat(self.misaligned[name] for name in BUFFERS).any()):
                    m.d.sync += self._end(status, Code.MISALIGNED)
                with m.Else():
                    m.d.sync += self._begin(status, State.RUNNING)
                    m.d.sync += self.run.eq(1)
            with m.Elif(~abort):
                m.d.sync += status.refused.eq(1)
            with m.Elif(status.state != State.DRAINING):
                m.d.sync += self._stop(status, Code.ABORTED)
                m.d.sync += status.loaded.eq(status.loaded)  # a LOAD that ends now leaves none

    @staticmethod
    def _begin(status, state):
        return [status.state.eq(state), status.code.eq(Code.OK), status.done.eq(0)]

    def _stop(self, status, code):
        state = [self.halt.eq(1), status.state.eq(State.DRAINING)]
        return [*state, status.code.eq(code), status.done.eq(0)]

    @staticmethod
    def _end(status, code):
        return [status.state.eq(State.IDLE), status.code.eq(code), status.done.eq(1)]

    def _counters(self, m, values, status):
        """Clear at the accepted START, count while running."""
        running = Signal()
        events = Signal.like(self.events)
        carry = Signal()  # of the low half of CYCLES
        m.d.comb += running.eq(status.state == State.RUNNING)
        m.d.sync += events.eq(Mux(running, self.events.as_value(), 0))
        m.d.sync += carry.eq(running & values["CYCLES"].all())

        with m.If(running):
            m.d.sync += values["LAYER"].eq(self.layer)
            m.d.sync += values["IMAGE"].eq(self.image)
            m.d.sync += values["CYCLES"].eq(values["CYCLES"] + 1)
        m.d.sync += values["CYCLES_HIGH"].eq(values["CYCLES_HIGH"] + carry)
        for name in COUNTERS:
            counter = values[name.upper()]
            m.d.sync += counter.eq(counter + events[name])
        with m.If(self.run):
            m.d.sync += [values["CYCLES"].eq(1), carry.eq(0)]  # this cycle
            for name in ("CYCLES_HIGH", *(name.upper() for name in COUNTERS)):
                m.d.sync += values[name].eq(0)
