"""SDR SDRAM as the memory of a small board, such as the 32 MB of a ULX3S."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, enum, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, Signature

from penstock.config import BURST_BEATS, MEMORY_BITS
from penstock.errors import PenstockError
from penstock.hw.layouts import memory_signature, read_data_layout

MIN_CLOCK_HZ = 10_000_000
"""Below it refreshes would take a good part of all cycles."""

WORD_BITS = 16
BEAT_WORDS = MEMORY_BITS // WORD_BITS
"""Words of a beat, and of a burst of the chip."""

IO_LATENCY = 2
"""Cycles that the board's registers take: one on the way to the chip, one on the way back."""

READ_BEATS = 16
"""Beats on their way to the core or waiting for it: as deep as a distributed RAM of ECP5 is."""

PATIENCE = 7
"""Cycles that a side whose turn it is may have nothing to move before the other gets its turn."""


@dataclass(frozen=True, kw_only=True)
class SdramChip:
    """An SDR SDRAM of 16 bits, as its data sheet has it: times in ns, unless named otherwise.

    Where a time is given in ns and in cycles, the longer one counts.
    """

    bank_bits: int
    row_bits: int
    column_bits: int
    t_rcd: int  # ACTIVE to READ or WRITE
    t_rp: int  # PRECHARGE to ACTIVE or REFRESH
    t_ras: int  # ACTIVE to PRECHARGE
    t_rc: int  # ACTIVE to ACTIVE
    t_rfc: int  # REFRESH to ACTIVE or REFRESH
    t_wr: int  # last word written to PRECHARGE
    t_wr_cycles: int
    t_mrd: int  # MODE REGISTER SET to any command
    t_mrd_cycles: int
    t_ref_ms: int  # within which each row must be refreshed
    pause_us: int  # before the first command
    start_refreshes: int  # before the first ACTIVE
    cl2_max_hz: int  # clock of CAS latency 2
    cl3_max_hz: int

    def __post_init__(self):
        if not 8 <= self.column_bits <= 10:  # a request keeps to its row, and A10 is no column
            raise PenstockError(f"column_bits must be in 8..10, not {self.column_bits!r}")
        if self.row_bits < 11:  # A10 in PRECHARGE
            raise PenstockError(f"row_bits must be at least 11, not {self.row_bits!r}")

    @property
    def bytes(self) -> int:
        """What it holds."""
        return WORD_BITS // 8 << self.bank_bits + self.row_bits + self.column_bits


W9825G6_6 = SdramChip(
    bank_bits=2,
    row_bits=13,
    column_bits=9,
    t_rcd=15,
    t_rp=15,
    t_ras=42,
    t_rc=60,
    t_rfc=60,
    t_wr=0,
    t_wr_cycles=2,
    t_mrd=0,
    t_mrd_cycles=2,
    t_ref_ms=64,
    pause_us=200,
    start_refreshes=8,
    cl2_max_hz=133_333_333,
    cl3_max_hz=166_666_666,
)
"""Winbond W9825G6JH-6, revision A04, section 9.5."""

ULX3S = SdramChip(
    bank_bits=2,
    row_bits=13,
    column_bits=9,
    t_rcd=21,
    t_rp=21,
    t_ras=44,
    t_rc=66,
    t_rfc=66,
    t_wr=15,
    t_wr_cycles=2,
    t_mrd=14,
    t_mrd_cycles=2,
    t_ref_ms=64,
    pause_us=200,
    start_refreshes=8,
    cl2_max_hz=100_000_000,
    cl3_max_hz=133_333_333,
)
"""Any of the 32 MB chips of a ULX3S: of each time the longest among W9825G6-6, AS4C16M16SA-7
(revision 3.0, table 16) and MT48LC16M16A2-75 (256Mb SDR, table 12)."""


@dataclass(frozen=True, kw_only=True)
class SdramCycles:
    """Cycles between commands: the chip's times at one clock, rounded up."""

    cas_latency: int
    activate: int  # ACTIVE to the first READ or WRITE
    close: int  # READ or WRITE to PRECHARGE
    precharge: int
    refresh: int
    mode: int
    refresh_interval: int  # between two requests for a refresh
    pause_intervals: int  # such intervals before the first command


def sdram_cycles(chip: SdramChip, clock_hz: int) -> SdramCycles:
    """The chip's times in cycles of a clock. Raises PenstockError for a clock out of its range."""
    if not MIN_CLOCK_HZ <= clock_hz <= chip.cl3_max_hz:
        raise PenstockError(
            f"clock_hz must be in {MIN_CLOCK_HZ}..{chip.cl3_max_hz} for this SDRAM, not {clock_hz}"
        )

    def cycles(ns: int) -> int:
        return max(1, -(-ns * clock_hz // 10**9))

    cas_latency = 2 if clock_hz < chip.cl2_max_hz else 3
    activate, precharge = cycles(chip.t_rcd), cycles(chip.t_rp)
    close = max(
        BEAT_WORDS,  # a PRECHARGE in a burst ends it
        BEAT_WORDS - 1 + max(cycles(chip.t_wr), chip.t_wr_cycles),
        cycles(chip.t_ras) - activate,
        cycles(chip.t_rc) - activate - precharge,
        # A WRITE after a READ opens its row anew: an idle cycle between their words.
        cas_latency + BEAT_WORDS + 1 - precharge - activate,
    )
    # A cycle less: all rows take 8192 less then, more than any refresh waits for a burst to end.
    refresh_interval = (chip.t_ref_ms * clock_hz // 1000 >> chip.row_bits) - 1
    return SdramCycles(
        cas_latency=cas_latency,
        activate=activate,
        close=close,
        precharge=precharge,
        refresh=cycles(chip.t_rfc),
        mode=max(cycles(chip.t_mrd), chip.t_mrd_cycles),
        refresh_interval=refresh_interval,
        pause_intervals=-(-cycles(1000 * chip.pause_us) // refresh_interval),
    )


def sdram_pins_signature(chip: SdramChip) -> Signature:
    """The chip's pins but its clock, named and active high as in amaranth-boards' SDRAMResource."""
    return Signature(
        {
            "clk_en": Out(1, init=1),
            "cs": Out(1, init=1),
            "ras": Out(1),
            "cas": Out(1),
            "we": Out(1),
            "ba": Out(chip.bank_bits),
            "a": Out(chip.row_bits),
            "dqm": Out(2, init=0b11),
            "dq": Out(Signature({"i": In(WORD_BITS), "o": Out(WORD_BITS), "oe": Out(1)})),
        }
    )


class _State(enum.Enum, shape=3):
    PAUSE = 0  # after power-up
    PRECHARGE = 1
    REFRESH = 2
    MODE = 3
    READY = 4
    ACTIVATE = 5
    COLUMN = 6  # the first beat of a row just opened


class _Side:
    """The request of one direction that is under way; in ``place``, beats are the columns."""

    def __init__(self, name: str, request, chip: SdramChip):
        self.request = request
        place = {"column": chip.column_bits - 2, "bank": chip.bank_bits, "row": chip.row_bits}
        self.place = Signal(data.StructLayout(place), name=f"{name}_place")
        self.outside = Signal(name=f"{name}_outside")  # of the chip
        self.left = Signal(range(BURST_BEATS + 1), name=f"{name}_left")
        self.open = Signal(name=f"{name}_open")  # beats are left
        self.able = Signal(name=f"{name}_able")  # to move one, a cycle behind what allows it
        self.hit = Signal(name=f"{name}_hit")  # the row was opened for it


class Sdram(wiring.Component):
    """Serves the core's memory streams from an SDR SDRAM: ``clock_hz`` gives all its cycle counts.

    Byte address = ``{row, bank, column, byte}``. A beat is one burst of four words, the lowest
    first: four cycles. One row is open at a time, for reading or for writing; another costs
    ``close - 4 + precharge + activate`` cycles (3 to 7), a refresh about twice that. A request
    outside of the chip moves no word: each of its beats is an error, or its done is. A write may
    pass a read that has not got all its beats, and a read a write that is not done.

    Reads and writes take turns: a request each where both wait, and a side that has nothing to move
    for PATIENCE cycles (read data are refused, write data do not come) gives way, so that neither
    waits for the other's partner. A refresh waits for no more than a beat. A read beat is asked for
    when one of READ_BEATS places is free for it, so a refusal of read data stops no burst.

    A read's first beat comes ``12 + activate + cas_latency`` cycles after its request is offered,
    where no row is open. ``write_done`` comes two cycles after the request's last WRITE, with which
    any later READ sees the data. No combinational path from input to output.

    Every pin is or comes from a register. The board adds another in each IO cell, in and out: the
    first word of a READ that the ports show in cycle t is taken from ``dq.i`` in cycle
    ``t + cas_latency + IO_LATENCY``. Its PLL gives the chip's clock a phase that fits: see
    docs/boards_memory.md.
    """

    def __init__(self, *, clock_hz: int, chip: SdramChip = ULX3S):
        self.chip = chip
        self.cycles = sdram_cycles(chip, clock_hz)
        super().__init__(
            {"memory": In(memory_signature()), "pins": Out(sdram_pins_signature(chip))}
        )
        self.read = _Side("read", self.memory.read_request, chip)
        self.write = _Side("write", self.memory.write_request, chip)
        self.turn = Signal()  # 1: the write's
        self.moves = Signal()  # a beat of the side whose turn it is begins
        self.wait = Signal(range(max(self.cycles.refresh, self.cycles.mode, 8)))
        self.idle = Signal()  # a command may follow the last one

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.idle.eq(self.wait == 0)
        with m.If(~self.idle):
            m.d.sync += self.wait.eq(self.wait - 1)
        for index, side in enumerate((self.read, self.write)):
            self._requests(m, side, self.moves & (self.turn == index))
        self._turns(m)
        self._commands(m)
        self._read_data(m)
        self._write_data(m)
        return m

    def _requests(self, m: Module, side: _Side, moves):
        """Take a side's next request, count its beats."""
        request, place = side.request, side.place
        beat = request.p.address[(MEMORY_BITS // 8 - 1).bit_length() :]
        bits = len(place.as_value())
        m.d.comb += request.ready.eq(~side.open)
        with m.If(moves):
            m.d.sync += place.column.eq(place.column + 1)
            m.d.sync += [side.left.eq(side.left - 1), side.open.eq(side.left != 1)]
        with m.If(request.valid & ~side.open):
            m.d.sync += [place.eq(beat[:bits]), side.outside.eq(beat[bits:].any())]
            m.d.sync += [side.left.eq(request.p.beats), side.open.eq(1)]

    def _turns(self, m: Module):
        """Whose turn it is; it cannot change from a side that may move a beat at once."""
        quiet = Signal(range(PATIENCE + 1))
        with m.If(self.moves):
            m.d.sync += quiet.eq(0)
        with m.Elif(quiet != PATIENCE):
            m.d.sync += quiet.eq(quiet + 1)
        for turn, side, other in ((0, self.read, self.write), (1, self.write, self.read)):
            over = ~side.open | (~side.able & (quiet == PATIENCE))
            with m.If((self.turn == turn) & over & other.able):
                m.d.sync += self.turn.eq(1 - turn)

    def _commands(self, m: Module):
        """The chip's commands, from one state to the next."""
        pins, cycles, state = self.pins, self.cycles, Signal(_State)
        active, opened = Signal(), Signal.like(self.read.place)  # a row is open; which,
        for_write = Signal()  # and what for
        due = Signal(init=1)  # a refresh
        tick = self._refresh_ticks(m)
        steps = max(cycles.pause_intervals, self.chip.start_refreshes)
        count = Signal(range(steps), init=cycles.pause_intervals - 1)  # left of the start-up
        place = Signal.like(self.read.place)
        m.d.comb += place.eq(Mux(self.turn, self.write.place, self.read.place))
        able, here, outside = Signal(), Signal(), Signal()
        for index, side in enumerate((self.read, self.write)):
            m.d.sync += side.hit.eq(
                (side.place.row == opened.row)
                & (side.place.bank == opened.bank)
                & (for_write == index)
            )
            with m.If(self.turn == index):
                m.d.comb += able.eq(side.able)
                m.d.comb += here.eq(side.outside | (side.hit & active))
                m.d.comb += outside.eq(side.outside)

        m.d.sync += [pins.ras.eq(0), pins.cas.eq(0), pins.we.eq(0)]
        m.d.sync += [pins.ba.eq(place.bank), pins.a.eq(place.column << 2)]
        with m.Switch(state):
            with m.Case(_State.PAUSE), m.If(tick):
                m.d.sync += count.eq(count - 1)
                with m.If(count == 0):
                    m.d.sync += count.eq(self.chip.start_refreshes - 1)
                    m.d.sync += state.eq(_State.PRECHARGE)
            with m.Case(_State.PRECHARGE):
                m.d.sync += pins.a.eq(1 << 10)  # all banks
                with m.If(self.idle):
                    m.d.sync += [pins.ras.eq(1), pins.we.eq(1)]
                    m.d.sync += [active.eq(0), self.wait.eq(cycles.precharge - 1)]
                    m.d.sync += state.eq(Mux(due, _State.REFRESH, _State.ACTIVATE))
            with m.Case(_State.REFRESH), m.If(self.idle):
                m.d.sync += [pins.ras.eq(1), pins.cas.eq(1)]
                m.d.sync += [due.eq(0), self.wait.eq(cycles.refresh - 1)]
                with m.If(count != 0):
                    m.d.sync += count.eq(count - 1)
                with m.Else():
                    m.d.sync += state.eq(Mux(pins.dqm[0], _State.MODE, _State.READY))
            with m.Case(_State.MODE):
                # Bursts of four words in order, also when writing.
                m.d.sync += [pins.ba.eq(0), pins.a.eq(cycles.cas_latency << 4 | 0b010)]
                with m.If(self.idle):
                    m.d.sync += [pins.ras.eq(1), pins.cas.eq(1), pins.we.eq(1), pins.dqm.eq(0)]
                    m.d.sync += [self.wait.eq(cycles.mode - 1), state.eq(_State.READY)]
            with m.Case(_State.READY), m.If(self.idle):
                close = Signal()
                with m.If(due):
                    m.d.comb += close.eq(1)
                    m.d.sync += state.eq(_State.REFRESH)
                with m.Elif(able):
                    m.d.comb += [self.moves.eq(here), close.eq(~here)]
                    with m.If(~here):
                        m.d.sync += state.eq(_State.ACTIVATE)
                with m.If(close & active):
                    m.d.sync += state.eq(_State.PRECHARGE)
                    # It comes a cycle later, five after the last beat began.
                    m.d.sync += self.wait.eq(max(0, cycles.close - BEAT_WORDS - 1))
            with m.Case(_State.ACTIVATE):
                m.d.sync += pins.a.eq(place.row)
                with m.If(self.idle):
                    m.d.sync += [pins.ras.eq(1), active.eq(1)]
                    m.d.sync += [opened.eq(place), for_write.eq(self.turn)]
                    m.d.sync += [self.wait.eq(cycles.activate - 1), state.eq(_State.COLUMN)]
            with m.Case(_State.COLUMN), m.If(self.idle):
                m.d.comb += self.moves.eq(1)
                m.d.sync += state.eq(_State.READY)
        with m.If(self.moves):
            m.d.sync += [pins.cas.eq(~outside), pins.we.eq(~outside & self.turn)]
            m.d.sync += self.wait.eq(BEAT_WORDS - 1)
        with m.If(tick):
            m.d.sync += due.eq(1)

    def _refresh_ticks(self, m: Module):
        """High for a cycle of each refresh interval."""
        last = self.cycles.refresh_interval - 1
        timer, tick = Signal(range(last + 1), init=last), Signal()
        m.d.sync += [timer.eq(Mux(timer == 0, last, timer - 1)), tick.eq(timer == 0)]
        return tick

    def _read_data(self, m: Module):
        """Words become beats, which wait for the core."""
        read_data, beat = self.memory.read_data, Signal(read_data_layout())
        m.submodules.beats = beats = SyncFIFO(width=len(beat.as_value()), depth=READ_BEATS)
        free = Signal(range(READ_BEATS + 1), init=READ_BEATS)
        asked = Signal()
        # From a beat's decision until its last word has entered `beat`.
        arriving = Signal(1 + self.cycles.cas_latency + IO_LATENCY + BEAT_WORDS)
        errors = Signal.like(arriving)
        m.d.comb += asked.eq(self.moves & ~self.turn)
        m.d.sync += [
            arriving.eq(Cat(asked, arriving)),
            errors.eq(Cat(self.read.outside, errors)),
            beat.data.eq(Cat(beat.data[WORD_BITS:], self.pins.dq.i)),
            self.read.able.eq(self.read.open & (free != 0)),
        ]
        m.d.comb += [
            beat.error.eq(errors[-1]),
            beats.w_en.eq(arriving[-1]),
            beats.w_data.eq(beat),
            beats.r_en.eq(~read_data.valid),
        ]
        taken = Signal()
        m.d.comb += taken.eq(beats.r_rdy & ~read_data.valid)
        with m.If(read_data.ready):
            m.d.sync += read_data.valid.eq(0)
        with m.If(taken):
            m.d.sync += [read_data.valid.eq(1), read_data.payload.eq(beats.r_data)]
        with m.If(asked & ~taken):
            m.d.sync += free.eq(free - 1)
        with m.Elif(~asked & taken):
            m.d.sync += free.eq(free + 1)

    def _write_data(self, m: Module):
        """The words of a beat follow its WRITE, the last one from a register: the beat is taken."""
        write_data, done, dq = self.memory.write_data, self.memory.write_done, self.pins.dq
        words = [write_data.p.data.word_select(index, WORD_BITS) for index in range(BEAT_WORDS)]
        last_word, moving = Signal(WORD_BITS), Signal()
        final, failed = Signal(), Signal()  # the last beat of its request; outside
        m.d.sync += [
            self.write.able.eq(self.write.open & write_data.valid),
            last_word.eq(words[3]),
            write_data.ready.eq(moving & (self.wait == 3)),
            done.valid.eq(write_data.ready & final),
            done.p.error.eq(failed),
        ]
        with m.Switch(self.wait[:2]):
            for wait, word in ((0, words[0]), (3, words[1]), (2, words[2]), (1, last_word)):
                with m.Case(wait):
                    m.d.sync += dq.o.eq(word)
        with m.If(self.idle):
            m.d.sync += moving.eq(self.moves & self.turn)
            m.d.sync += dq.oe.eq(self.moves & self.turn & ~self.write.outside)
        with m.If(self.moves):
            m.d.sync += [final.eq(self.write.left == 1), failed.eq(self.write.outside)]
