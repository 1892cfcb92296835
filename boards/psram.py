"""HyperBus PSRAM as the memory of a small board, such as the two dies inside a GW1NR-9."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import enum, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, Signature

from penstock.config import BURST_BEATS, MEMORY_BITS
from penstock.errors import PenstockError
from penstock.hw.layouts import memory_signature

MAX_CLOCK_HZ = 50_000_000
"""Beyond it the input registers may miss what the chip sends, see docs/boards_memory.md."""

COMMAND_CYCLES = 6
"""Bytes of a command, each at an edge of the chip's clock: one a cycle."""

LATENCY_CLOCKS = 3
"""Initial latency: what the chip takes up to 83 MHz, and its clock is half of the controller's."""

LATENCY_CODE = 0b1110

RUN_BEATS = 8
"""Beats that the chip stays selected for at most."""

READ_BEATS = 16
"""Beats on their way to the core or waiting for it: as deep as a distributed RAM is."""

IO_LATENCY = 2
"""Cycles that the board's registers take: one on the way to the chip, one on the way back."""


@dataclass(frozen=True, kw_only=True)
class PsramChip:
    """One or more equal dies of 8 bits side by side, as the data sheet has one; times in ns."""

    dies: int
    address_bits: int  # of a 16-bit word of a die
    row_bits: int  # of it, words of a row
    t_rp: int  # reset
    t_rwr: int  # chip select off, between two transactions
    t_csm: int  # chip select on: what is selected is not refreshed
    pause_us: int  # after reset, before the first command

    def __post_init__(self):
        if self.dies not in (1, 2):
            raise PenstockError(f"dies must be 1 or 2, not {self.dies!r}")

    @property
    def bytes(self) -> int:
        """What it holds."""
        return 2 * self.dies << self.address_bits

    @property
    def fixed_latency(self) -> bool:
        """Always double; else it is where a refresh is under way: in each die at other times."""
        return self.dies > 1

    @property
    def beat_cycles(self) -> int:
        """Cycles of a beat: one for each byte of a die."""
        return MEMORY_BITS // 8 // self.dies

    @property
    def configuration(self) -> int:
        """Configuration register 0: in use, full strength, latency, legacy wrap of 32 bytes."""
        return 0x8F07 | LATENCY_CODE << 4 | self.fixed_latency << 3


W955D8MBYA = PsramChip(
    dies=1,
    address_bits=21,
    row_bits=9,
    t_rp=200,
    t_rwr=40,
    t_csm=4000,
    pause_us=150,
)
"""Winbond W955D8MBYA, 4 MB (data sheet A01-001; where its numbers are from: boards_memory.md)."""

GW1NR_9 = PsramChip(
    dies=2,
    address_bits=21,
    row_bits=9,
    t_rp=200,
    t_rwr=40,
    t_csm=4000,
    pause_us=150,
)
"""What a GW1NR-9 of the package QN88P has inside: two of these, with pins of their own."""


@dataclass(frozen=True, kw_only=True)
class PsramCycles:
    """The chip's times in cycles of the controller's clock."""

    reset: int
    pause: int
    recover: int
    latency: int  # from the command's last byte to the first of the data
    latency_more: int  # where it is double


def psram_cycles(chip: PsramChip, clock_hz: int) -> PsramCycles:
    """The chip's times in cycles of a clock. Raises PenstockError for a clock out of its range."""

    def cycles(ns: int) -> int:
        return -(-ns * clock_hz // 10**9)

    # The latency counts from the command's third clock on, of two cycles each.
    latency = 2 * (LATENCY_CLOCKS - 1)
    latency_more = 2 * LATENCY_CLOCKS
    selected = COMMAND_CYCLES + latency + latency_more + RUN_BEATS * chip.beat_cycles + 1
    slowest = -(-selected * 10**9 // chip.t_csm)
    if not slowest <= clock_hz <= MAX_CLOCK_HZ:
        raise PenstockError(
            f"clock_hz must be in {slowest}..{MAX_CLOCK_HZ} for this PSRAM, not {clock_hz}"
        )
    return PsramCycles(
        reset=cycles(chip.t_rp),
        pause=cycles(1000 * chip.pause_us),
        recover=cycles(chip.t_rwr),
        latency=latency,
        latency_more=latency_more,
    )


def psram_pins_signature(chip: PsramChip) -> Signature:
    """The dies' pins, all active high; both get the same reset, selection, clock and command.

    ``rwds`` is driven low alone, while words are written: no byte of them is masked.
    """
    bits = 8 * chip.dies
    return Signature(
        {
            "reset": Out(1, init=1),
            "cs": Out(1),
            "ck": Out(1),
            "rwds": Out(Signature({"i": In(chip.dies), "oe": Out(1)})),
            "dq": Out(Signature({"i": In(bits), "o": Out(bits), "oe": Out(1)})),
        }
    )


class PsramState(enum.Enum, shape=3):
    """What the controller does; the pins show it a cycle later."""

    RESET = 0
    PAUSE = 1
    READY = 2  # no transaction
    COMMAND = 3
    CONFIGURE = 4  # the register's word
    LATENCY = 5
    DATA = 6
    RECOVER = 7


class _Side:
    """The request of one direction that is under way."""

    def __init__(self, name: str, request, beat_bits: int):
        self.request = request
        self.beat = Signal(beat_bits, name=f"{name}_beat")  # address / 8
        self.outside = Signal(name=f"{name}_outside")  # of the chip
        self.left = Signal(range(BURST_BEATS + 1), name=f"{name}_left")
        self.open = Signal(name=f"{name}_open")  # beats are left
        self.able = Signal(name=f"{name}_able")  # to move one


class Psram(wiring.Component):
    """Serves the core's memory streams from a HyperBus PSRAM, whose clock is half of this one's.

    A byte of each die a cycle, lowest first: a beat takes ``chip.beat_cycles`` (4 with two dies).
    A transaction moves up to RUN_BEATS of one request and costs
    ``7 + latency + recover`` cycles beside its beats: 19 with two dies at 27 MHz, whose latency is
    always double; with one die it is what the chip says in ``rwds``. It ends early where read data
    are refused until READ_BEATS wait, or write data do not come, and another one goes on from
    there; so no side waits for the other's partner. Where both can move, transactions take turns.
    A request outside of the chip moves no byte: each of its beats is an error, or its done is. A
    write may pass a read that has not got all its beats, and a read a write that is not done.

    A read's first beat comes ``12 + latency + beat_cycles`` cycles after its request is offered.
    ``write_done`` comes two cycles after the request's last beat is taken; any later read sees the
    data. No combinational path from input to output.

    Every pin is a register. The board adds another in each pad, in and out: a byte that the ports
    show in cycle t is at the pad in cycle t+1, with the edge of ``ck`` of cycle t in the middle;
    what the chip sends behind that edge is in ``dq.i`` in cycle ``t + IO_LATENCY``.
    """

    def __init__(self, *, clock_hz: int, chip: PsramChip = GW1NR_9):
        self.chip = chip
        self.cycles = psram_cycles(chip, clock_hz)
        super().__init__(
            {"memory": In(memory_signature()), "pins": Out(psram_pins_signature(chip))}
        )
        beat_bits = (chip.bytes // 8 - 1).bit_length()
        self.read = _Side("read", self.memory.read_request, beat_bits)
        self.write = _Side("write", self.memory.write_request, beat_bits)
        self.state = Signal(PsramState)
        self.count = Signal(range(self.cycles.pause), init=self.cycles.reset - 1)
        self.last = Signal()  # cycle of the state
        self.configured = Signal()  # the chip's register is written
        self.turn = Signal()  # 1: the write's
        self.outside = Signal()  # of the chip, what moves
        self.asks = Signal()  # a beat to read begins
        self.ends = Signal()  # a beat

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.last.eq(self.count == 0)
        for index, side in enumerate((self.read, self.write)):
            self._requests(m, side, self.ends & (self.turn == index))
        self._transactions(m)
        self._pins(m)
        self._read_data(m)
        self._write_data(m)
        return m

    def _requests(self, m: Module, side: _Side, ends):
        """Take a side's next request, count its beats."""
        request = side.request
        beat = request.p.address[(MEMORY_BITS // 8 - 1).bit_length() :]
        m.d.comb += request.ready.eq(~side.open)
        with m.If(ends):
            m.d.sync += [side.beat.eq(side.beat + 1), side.left.eq(side.left - 1)]
            m.d.sync += side.open.eq(side.left != 1)
        with m.If(request.valid & ~side.open):
            m.d.sync += [side.beat.eq(beat), side.outside.eq(beat[len(side.beat) :].any())]
            m.d.sync += [side.left.eq(request.p.beats), side.open.eq(1)]

    def _transactions(self, m: Module):
        """From one state to the next."""
        cycles, state, last, turn = self.cycles, self.state, self.last, self.turn
        read, write = self.read, self.write
        run = Signal(range(RUN_BEATS))  # beats behind this one that the transaction may take
        writes, more = Signal(), Signal()

        def enter(following: PsramState, length: int):
            return [state.eq(following), self.count.eq(length - 1)]

        m.d.comb += [
            writes.eq(write.able & ~(read.able & turn)),
            self.outside.eq(Mux(turn, write.outside, read.outside)),
            more.eq(
                (run != 0) & Mux(turn, (write.left != 1) & write.able, (read.left != 1) & read.able)
            ),
        ]
        m.d.sync += self.count.eq(self.count - 1)
        with m.Switch(state):
            with m.Case(PsramState.RESET), m.If(last):
                m.d.sync += enter(PsramState.PAUSE, cycles.pause)
            with m.Case(PsramState.PAUSE), m.If(last):
                m.d.sync += enter(PsramState.COMMAND, COMMAND_CYCLES)
            with m.Case(PsramState.COMMAND), m.If(last):
                with m.If(~self.configured):
                    m.d.sync += enter(PsramState.CONFIGURE, 2)
                with m.Elif(self.pins.rwds.i.any()):
                    m.d.sync += enter(PsramState.LATENCY, cycles.latency + cycles.latency_more)
                with m.Else():
                    m.d.sync += enter(PsramState.LATENCY, cycles.latency)
            with m.Case(PsramState.CONFIGURE), m.If(last):
                m.d.sync += [self.configured.eq(1), *enter(PsramState.RECOVER, cycles.recover)]
            with m.Case(PsramState.READY), m.If(read.able | write.able):
                m.d.comb += self.asks.eq(~writes)
                m.d.sync += [turn.eq(writes), run.eq(RUN_BEATS - 1)]
                with m.If(Mux(writes, write.outside, read.outside)):
                    m.d.sync += enter(PsramState.DATA, self.chip.beat_cycles)
                with m.Else():
                    m.d.sync += enter(PsramState.COMMAND, COMMAND_CYCLES)
            with m.Case(PsramState.LATENCY), m.If(last):
                m.d.sync += enter(PsramState.DATA, self.chip.beat_cycles)
            with m.Case(PsramState.DATA), m.If(last):
                m.d.comb += [self.ends.eq(1), self.asks.eq(more & ~turn)]
                m.d.sync += run.eq(run - 1)
                with m.If(more):
                    m.d.sync += enter(PsramState.DATA, self.chip.beat_cycles)
                with m.Else():
                    m.d.sync += enter(PsramState.RECOVER, cycles.recover)
            with m.Case(PsramState.RECOVER), m.If(last):
                m.d.sync += state.eq(PsramState.READY)

    def _pins(self, m: Module):
        """What each state shows at the pins, a cycle later."""
        pins, chip, state, count = self.pins, self.chip, self.state, self.count
        commands, configures = state == PsramState.COMMAND, state == PsramState.CONFIGURE
        waits, moves = state == PsramState.LATENCY, (state == PsramState.DATA) & ~self.outside
        selected, before = Signal(), Signal()
        m.d.comb += selected.eq(commands | configures | waits | moves)
        m.d.sync += [
            pins.reset.eq(state == PsramState.RESET),
            before.eq(selected),
            pins.cs.eq(selected | before),  # until the last byte has been taken
            pins.ck.eq(selected & ~pins.ck),
            pins.dq.oe.eq(commands | configures | (moves & self.turn)),
            # From a clock before the words on, at which it must be low.
            pins.rwds.oe.eq(self.turn & (moves | (waits & (count[1:] == 0)))),
        ]
        command, configuration = self._command(), Const(chip.configuration, 16)
        byte = Signal(8)
        with m.Switch(count[:3]):
            for index in range(COMMAND_CYCLES):
                with m.Case(index):
                    m.d.comb += byte.eq(command.word_select(index, 8))
        with m.If(configures):
            m.d.comb += byte.eq(configuration.word_select(count[0], 8))
        m.d.sync += pins.dq.o.eq(byte.replicate(chip.dies))
        write_data, last_word = self.memory.write_data, Signal(8 * chip.dies)
        words = [
            write_data.p.data.word_select(index, len(last_word))
            for index in range(chip.beat_cycles)
        ]
        m.d.sync += last_word.eq(words[-1])  # the beat is taken before it
        with m.If(state == PsramState.DATA), m.Switch(count[:3]):
            for index, word in enumerate([*words[:-1], last_word]):
                with m.Case(chip.beat_cycles - 1 - index):
                    m.d.sync += pins.dq.o.eq(word)

    def _command(self):
        """The 48 bits of a command: a linear burst, or configuration register 0."""
        beat = Mux(self.turn, self.write.beat, self.read.beat)
        words = self.chip.beat_cycles // 2  # of a beat, in a die
        address = Cat(Const(0, words.bit_length() - 1), beat)
        burst = Cat(address[:3], Const(0, 13), address[3:])
        burst = Cat(burst, Const(0, 45 - len(burst)), Const(0b01, 2), ~self.turn)
        return Mux(self.configured, burst, Const(0x6000_0100_0000, 48))

    def _read_data(self, m: Module):
        """Bytes become beats, which wait for the core."""
        read_data, word = self.memory.read_data, self.pins.dq.i
        m.submodules.beats = beats = SyncFIFO(width=MEMORY_BITS + 1, depth=READ_BEATS)
        free = Signal(range(READ_BEATS + 1), init=READ_BEATS)
        beat = Signal(MEMORY_BITS)
        # From the last cycle of a beat until its last bytes have entered `beat`.
        arriving = Signal(2 + IO_LATENCY)
        errors = Signal.like(arriving)
        m.d.sync += [
            arriving.eq(Cat(self.ends & ~self.turn, arriving)),
            errors.eq(Cat(self.outside, errors)),
            beat.eq(Cat(beat[len(word) :], word)),
        ]
        taken = read_data.valid & read_data.ready
        m.d.comb += [
            beats.w_en.eq(arriving[-1]),
            beats.w_data.eq(Cat(beat, errors[-1])),
            beats.r_en.eq(taken),
            read_data.valid.eq(beats.r_rdy),
            Cat(read_data.p.data, read_data.p.error).eq(beats.r_data),
            self.read.able.eq(self.read.open & (free != 0)),
        ]
        m.d.sync += free.eq(free + taken - self.asks)

    def _write_data(self, m: Module):
        """A beat is taken in the last cycle but one: the next one's presence shows in the last."""
        write_data, done = self.memory.write_data, self.memory.write_done
        m.d.comb += [
            write_data.ready.eq((self.state == PsramState.DATA) & self.turn & (self.count == 1)),
            self.write.able.eq(self.write.open & write_data.valid),
        ]
        m.d.sync += [
            done.valid.eq(self.ends & self.turn & (self.write.left == 1)),
            done.p.error.eq(self.outside),
        ]
