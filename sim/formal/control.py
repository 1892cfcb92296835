"""Commands are accepted, ended and reported as the register map says."""

from amaranth.hdl import Assert, Cat, Cover, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from penstock.config import preset
from penstock.hw.control import BUFFERS, HALT_CYCLES, SETTINGS, Control
from penstock.hw.layouts import REGISTER_LATENCY
from penstock.hw.pipeline import delay
from penstock.registers import ADDRESS, ALIGNMENT, Code, Command, State
from penstock.sim.formal.inside import Inside
from penstock.sim.formal.prover import Proof
from penstock.sim.formal.rules import cycles

WATCHDOG = 3
"""The longest limit, in cycles, in the proof that every command ends."""

QUIET = 2 * (WATCHDOG + 1) + HALT_CYCLES
"""Cycles without progress after which a command has ended: its limit, a halt, the limit again."""

_FROM_CORE = ("load_done", "load_code", "run_done", "outstanding", "bus_error", "progress")


class _Host(wiring.Component):
    """Control between a host that writes and reads anything at any time and a free core."""

    def __init__(self):
        self.block = Control(preset("tiny"))
        members = self.block.signature.members
        self.driven = {name: members[name] for name in _FROM_CORE}
        super().__init__({"address": In(8), "write": In(1), "write_data": In(32)} | self.driven)

    def elaborate(self, platform):
        m = Module()
        m.submodules.block = self.block
        inside = Inside(self.block)
        m.d.comb += [getattr(self.block, name).eq(getattr(self, name)) for name in self.driven]
        for name in ("address", "write", "write_data"):
            m.d.comb += getattr(self.block.bus, name).eq(getattr(self, name))
        self._check(m, inside, inside["status"], inside["values"])
        return m


class Commands(_Host):
    """From one cycle to the next: what each command does, and what may change without one."""

    def _check(self, m, inside, now, values):
        block = self.block
        started, before = Signal(), Signal.like(now)
        m.d.sync += [started.eq(1), before.eq(now)]
        # An access counts a cycle late; in the cycle in which the data come, what was read.
        address, write, write_data = (
            delay(m, getattr(self, name), 1, name=f"late_{name}", control=True)
            for name in ("address", "write", "write_data")
        )
        late = REGISTER_LATENCY - 1
        reads = delay(m, address == ADDRESS["STATUS"], late, name="read", control=True)
        read = delay(m, now, late, name="status")
        misaligned = Cat(values[name] % ALIGNMENT != 0 for name in BUFFERS).any()
        # Inner state, for the induction.
        for name, flag in block.misaligned.items():
            m.d.comb += Assert(flag == (values[name] % ALIGNMENT != 0))
        m.d.comb += Assert(block.no_images == (values["IMAGES"] == 0))
        idle = now.state == State.IDLE
        starts, loads, aborts, refused, drained = (
            Signal(name=name) for name in ("start", "load", "abort", "refuse", "drained")
        )  # in the cycle before
        command = write & (address == ADDRESS["COMMAND"])
        start, load, abort = (
            command & (write_data == each) for each in (Command.START, Command.LOAD, Command.ABORT)
        )
        m.d.sync += [
            starts.eq(start & idle & now.loaded & values["IMAGES"].any() & ~misaligned),
            loads.eq(load & idle & (values["PROGRAM"] % ALIGNMENT == 0)),
            aborts.eq(abort),
            refused.eq(command & ~idle & ~abort),
            drained.eq(~self.outstanding),
        ]
        self._access(m, started, address, write, write_data)
        commanded, was = Signal(), {state: before.state == state for state in State}
        m.d.sync += commanded.eq(command)
        busy = was[State.LOADING] | was[State.RUNNING]
        halted = cycles(m, "halting", now.state == State.DRAINING, HALT_CYCLES)
        with m.If(started):
            self._transitions(m, now, before, was, starts, loads)
            m.d.comb += [
                Assert((block.run == starts) & (block.load == loads)),
                Assert(~refused | now.refused),
                Assert(~aborts | ~busy | (now.state == State.DRAINING)),
                Assert(~aborts | ~busy | (now.code == Code.ABORTED)),
                Assert(~aborts | ~was[State.IDLE] | (now.code == Code.ABORTED) & now.done),
                Assert(~reads | (block.bus.read_data == read.as_value())),
                Cover(refused & was[State.DRAINING]),
                Cover(aborts & was[State.RUNNING]),
            ]
            # The code: OK while busy, written once when that ends, and a late halt's TIMEOUT.
            late = was[State.DRAINING] & (now.code == Code.TIMEOUT) & now.done
            ended = busy & ((now.state == State.IDLE) | (now.state == State.DRAINING))
            with m.If(now.code != before.code):
                m.d.comb += Assert(ended | late | commanded & was[State.IDLE])
            with m.If(before.done & ~now.done):
                m.d.comb += Assert(starts | loads)
            with m.If(~before.done & now.done):
                m.d.comb += Assert(ended | was[State.DRAINING] | commanded & was[State.IDLE])
        with m.If((now.state == State.LOADING) | (now.state == State.RUNNING)):
            m.d.comb += Assert((now.code == Code.OK) & ~now.done)
        with m.If(was[State.DRAINING] & (now.state == State.IDLE)):
            m.d.comb += Assert(drained & now.done)
        with m.If(now.state == State.DRAINING):
            m.d.comb += Assert(~now.done | (now.code == Code.TIMEOUT))
            m.d.comb += Assert(
                inside["halted"] == Mux(halted < HALT_CYCLES, halted, HALT_CYCLES - 1)
            )
            m.d.comb += Assert(~drained | (halted < HALT_CYCLES))  # no longer than that
        with m.If(was[State.DRAINING] & (now.state == State.IDLE)):
            m.d.comb += Assert(halted >= HALT_CYCLES)
        self._settings(m, values, started, was[State.IDLE], starts, loads)

    def _access(self, m, started, address, write, write_data):
        """The access that the block knows, for the induction."""
        block = self.block
        for name, written in block.written.items():
            m.d.comb += Assert(written == (write & (address == ADDRESS[name])))
        with m.If(started):
            m.d.comb += Assert((block.address == address) & (block.write_data == write_data))
            for command, asked in block.command.items():
                m.d.comb += Assert(asked == (write_data == command))

    def _transitions(self, m, now, before, was, starts, loads):
        """START and LOAD leave IDLE alone; a halt ends in IDLE alone."""
        m.d.comb += [
            Assert(now.state <= State.DRAINING),
            Assert(self.block.halt == (now.state == State.DRAINING)),
            Assert(self.block.interrupt == now.done),
            Assert(starts <= was[State.IDLE]),
            Assert((now.state != State.RUNNING) | was[State.RUNNING] | starts),
            Assert((now.state != State.LOADING) | was[State.LOADING] | loads),
            Assert((now.state != State.DRAINING) | ~was[State.IDLE]),
            Cover(was[State.DRAINING] & (now.state == State.IDLE) & (now.code == Code.BUS_ERROR)),
            Cover(was[State.RUNNING] & (now.state == State.IDLE)),
        ]

    def _settings(self, m, values, started, was_idle, starts, loads):
        """Commands take the registers' values along, which then hold: ``program`` to the next LOAD,
        the others as long as the core is not idle.
        """
        for names, free, taken in ((SETTINGS, was_idle, starts), (("program",), loads, loads)):
            settings = [getattr(self.block, name) for name in names]
            now = Cat(settings)
            held = Signal(len(now), name=f"held_{names[0]}")
            written = Signal(len(now), name=f"written_{names[0]}")
            m.d.sync += held.eq(now)
            m.d.sync += written.eq(
                Cat(
                    values[name.upper()][: len(setting)]
                    for name, setting in zip(names, settings, strict=True)
                )
            )
            with m.If(started & ~free):
                m.d.comb += Assert(now == held)
            with m.If(started & taken):
                m.d.comb += Assert(now == written)


class Ends(_Host):
    """With a watchdog every command ends QUIET cycles after the last progress, if not before."""

    def _check(self, m, inside, now, values):
        limit = values["WATCHDOG"]
        armed = limit.any() & (limit <= WATCHDOG)
        quiet = armed & ~self.progress & (now.state != State.IDLE) & ~now.done
        waited = cycles(m, "quiet", quiet, QUIET)
        m.d.comb += Assert(waited <= QUIET)
        m.d.comb += [
            Cover((waited > HALT_CYCLES) & quiet & self.outstanding),
            Cover(now.done & (now.state == State.DRAINING)),
            Cover(now.done & (now.state == State.IDLE) & (now.code == Code.TIMEOUT)),
        ]


PROOFS = [
    Proof(
        block="control",
        name="commands",
        configuration="tiny",
        statement="START and LOAD are accepted in IDLE alone; a halt ends in IDLE with nothing "
        f"outstanding, after {HALT_CYCLES} cycles or more; a command's code is written once, and "
        "TIMEOUT over it where its halt does not end; status is readable in every cycle",
        top=Commands,
        depth=3,
        cover_depth=16,
        quick=False,
    ),
    Proof(
        block="control",
        name="ends",
        configuration=f"WATCHDOG 1..{WATCHDOG}",
        statement=f"every command ends at most {QUIET} cycles after the last progress",
        top=Ends,
        depth=QUIET + 6,
        induction=False,
        quick=False,
    ),
]
