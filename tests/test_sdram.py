"""The SDRAM controller with a model of its chip, at several clocks, and planted faults."""

import json
import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import In
from verilog_tools import yosys

from penstock.boards.sdram import (
    MIN_CLOCK_HZ,
    ULX3S,
    W9825G6_6,
    Sdram,
    SdramChip,
    sdram_cycles,
)
from penstock.errors import PenstockError
from penstock.hw.verilog import to_verilog
from penstock.sim.runner import SimulationError, build_component, run
from penstock.sim.sdram_board import MODEL, SdramBoard

TESTS = 13
BOARDS = {"50": (50_000_000, ULX3S), "100": (100_000_000, ULX3S), "133": (133_000_000, W9825G6_6)}
MEASURED = {
    "50": {"write": 265.2, "read": 265.2, "read of random blocks": 267.5},
    "100": {"write": 264.5, "read": 264.5, "read of random blocks": 267.7},
    "133": {"write": 262.0, "read": 262.0, "read of random blocks": 264.2},
}
"""Cycles of 64 beats, 256 words, on average, refreshes included: as in docs/boards_memory.md."""


@pytest.mark.parametrize("name", BOARDS)
def test_sdram(name, tmp_path):
    clock_hz, chip = BOARDS[name]
    build = build_component(SdramBoard(clock_hz, chip), sources=[MODEL])
    run(build, "penstock.sim.tb_sdram", tests=TESTS, seed=1, folder=tmp_path)
    measured = json.loads((tmp_path / "measured.json").read_text())
    cycles = sdram_cycles(chip, clock_hz)
    assert measured.pop("first beat") == 12 + cycles.activate + cycles.cas_latency
    assert {stream: round(each, 1) for stream, each in measured.items()} == MEASURED[name]


def later(m: Module, value, cycles: int = 1):
    """The value some cycles later."""
    for _ in range(cycles):
        before, value = value, Signal.like(value)
        m.d.sync += value.eq(before)
    return value


def command(ras: int, cas: int, we: int) -> Callable:
    """Whether the pins show a command."""
    return lambda pins: (pins.ras == ras) & (pins.cas == cas) & (pins.we == we)


ACTIVE, READ, WRITE = command(1, 0, 0), command(0, 1, 0), command(0, 1, 1)
PRECHARGE, REFRESH, MODE = command(1, 0, 1), command(1, 1, 0), command(1, 1, 1)


def stuck(bits: int) -> Callable:
    return lambda m, value, pins: Const(bits, len(Value.cast(value)))


def flipped(mask: int, when: Callable) -> Callable:
    """Some bits of a pin are wrong with a command."""
    return lambda m, value, pins: value ^ Mux(when(pins), mask, 0)


def cleared(mask: int, when: Callable) -> Callable:
    return lambda m, value, pins: value & ~Mux(when(pins), mask, 0)


FAULTS = {
    "a write is acknowledged twice": (
        "write_done.valid",
        lambda m, value, pins: value | later(m, value, 9),
    ),
    "a write is not acknowledged": ("write_done.valid", stuck(0)),
    "an error of a write is lost": ("write_done.payload", stuck(0)),
    "an error of a read is lost": (
        "read_data.payload",
        lambda m, value, pins: Cat(Value.cast(value)[:64], 0),
    ),
    "words of a beat are swapped": (
        "read_data.payload",
        lambda m, value, pins: Cat(value.data[16:32], value.data[:16], Value.cast(value)[32:]),
    ),
    "beats are swapped": ("a", flipped(4, READ)),
    "words of a beat begin elsewhere": ("a", flipped(1, READ)),
    "a column bit is lost": ("a", cleared(1 << 8, lambda pins: READ(pins) | WRITE(pins))),
    "a row bit is lost": ("a", cleared(1 << 12, ACTIVE)),
    "a bank bit is lost": ("ba", stuck(1)),
    "READ of another bank": ("ba", flipped(1, READ)),
    "a READ is lost": ("cas", cleared(1, lambda pins: READ(pins) & (pins.a[2:9] == 5))),
    "a WRITE is lost": ("cas", cleared(1, lambda pins: WRITE(pins) & (pins.a[2:9] == 5))),
    "a WRITE is done twice": (
        "cas",
        lambda m, value, pins: value | later(m, WRITE(pins) & (pins.a[2:9] == 5), 2),
    ),
    "a PRECHARGE is lost": ("ras", cleared(1, lambda pins: PRECHARGE(pins) & pins.ba[0])),
    "one bank alone is precharged": ("a", cleared(1 << 10, PRECHARGE)),
    "no row is precharged before a refresh": (
        "we",
        lambda m, value, pins: value & ~PRECHARGE(pins),
    ),
    "refreshes are lost under load": (
        "ras",
        lambda m, value, pins: value & ~(REFRESH(pins) & pins.ba.any() & ~pins.dqm[0]),
    ),
    "the mode has another latency": ("a", flipped(1 << 4, MODE)),
    "the mode has another burst": ("a", flipped(1, MODE)),
    "the mode is not set": ("we", lambda m, value, pins: value & ~MODE(pins)),
    "data pins are driven too long": (
        "dq_driven",
        lambda m, value, pins: value | later(m, value, 4) | later(m, value, 8),
    ),
    "data pins are driven a cycle late": ("dq_driven", lambda m, value, pins: later(m, value)),
    "data pins are always driven": ("dq_driven", stuck(1)),
    "written words are a cycle late": ("dq_in", lambda m, value, pins: later(m, value)),
    "read words are a cycle late": ("dq_out", lambda m, value, pins: later(m, value)),
    "a byte is masked": ("dqm", lambda m, value, pins: value | (pins.dq.oe << 1)),
    "the mask stays high": ("dqm", stuck(3)),
    "the clock is disabled at times": ("clk_en", lambda m, value, pins: ~REFRESH(pins)),
    "a refused beat is lost": ("read_data.ready", stuck(1)),
    "a write does not wait for its data": ("write_data.valid", stuck(1)),
    "a beat to write is taken twice": (
        "write_data.ready",
        lambda m, value, pins: value & ~later(m, value, 8),
    ),
    "requests have one beat": (
        "read_request.payload",
        lambda m, value, pins: Cat(value.address, Const(1, 7)),
    ),
}
"""What is wrong: the wire, and what becomes of it."""


def stricter_rules() -> dict[str, int]:
    """Each rule of the chip just beyond what the controller keeps at 50 MHz, in ps or a count."""
    clock_hz, chip = BOARDS["50"]
    cycles, period = sdram_cycles(chip, clock_hz), 10**12 // clock_hz
    gaps = {
        "t_rcd": cycles.activate,
        "t_rp": cycles.precharge,
        "t_ras": cycles.activate + cycles.close,
        "t_rc": cycles.activate + cycles.close + cycles.precharge,
        "t_rfc": cycles.refresh,
        "t_wr": cycles.close - 3,
        "t_mrd": cycles.mode + 1,
        "pause": cycles.refresh_interval * cycles.pause_intervals + 4,
    }
    return {name: gap * period + 1 for name, gap in gaps.items()} | {
        "t_refi": cycles.refresh_interval * period * 9 // 10,
        "t_ras_max": cycles.refresh_interval * period // 2,
        "start_refreshes": chip.start_refreshes + 2,
        "t_ck2": period + 1,
    }


RULES = {rule: rule for rule in stricter_rules()}
RULES |= {"start_refreshes": "ACTIVE before the first refreshes", "t_ck2": "the clock is too fast"}
"""How the model's message about a broken rule begins."""

FAULTS |= {f"{rule} is too short": (rule, stuck(time)) for rule, time in stricter_rules().items()}


class FaultyBoard(SdramBoard):
    """A board with one fault, chosen by the port ``fault``: its number in FAULTS, from 1."""

    def __init__(self, clock_hz: int, chip: SdramChip):
        super().__init__(clock_hz, chip, fault=In(8))

    def wire(self, m, name, value):
        original = value
        for number, (wire, change) in enumerate(FAULTS.values(), 1):
            if wire == name:
                changed = Value.cast(change(m, original, self.sdram.pins))
                value = Mux(self.fault == number, changed, value)
        return value


def test_faults_are_caught(tmp_path):
    """Each fault fails the short bench, which passes without, before and after them."""
    build = build_component(FaultyBoard(*BOARDS["50"]), sources=[MODEL])
    faults = [0, *range(1, len(FAULTS) + 1), 0]
    with pytest.raises(SimulationError, match=rf"\d+ of {len(faults)} tests failed"):
        module = "penstock.sim.tb_sdram_faults"
        run(build, module, {"faults": faults}, tests=len(faults), seed=1, folder=tmp_path)
    failed = set()
    for case in ElementTree.parse(tmp_path / "results.xml").iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed.add(int(re.search(r"fault=(\d+)", case.get("name"))[1]))
    assert [name for number, name in enumerate(FAULTS, 1) if number not in failed] == []
    assert 0 not in failed
    messages = re.findall(
        r"rules must be kept: cycle \d+: (.*)", (tmp_path / "run.log").read_text()
    )
    for rule, text in RULES.items():
        assert any(message.startswith(text) for message in messages), rule


@pytest.mark.parametrize("chip", [ULX3S, W9825G6_6])
def test_every_row_is_refreshed_in_time(chip):
    """8192 intervals and the longest wait for a refresh take no longer than the chip allows."""
    for clock_hz in (*range(MIN_CLOCK_HZ, chip.cl3_max_hz, 1_234_567), chip.cl3_max_hz):
        cycles = sdram_cycles(chip, clock_hz)
        wait = cycles.activate + 4 + cycles.close + cycles.precharge + cycles.refresh + 10
        longest = (cycles.refresh_interval << chip.row_bits) + wait
        assert longest / clock_hz <= chip.t_ref_ms / 1000
        assert cycles.refresh_interval * cycles.pause_intervals / clock_hz >= chip.pause_us / 1e6


def test_a_clock_out_of_range_is_refused():
    with pytest.raises(
        PenstockError, match=r"clock_hz must be in 10000000\.\.133333333 .* 140000000$"
    ):
        Sdram(clock_hz=140_000_000)
    with pytest.raises(PenstockError, match="clock_hz must be in"):
        Sdram(clock_hz=MIN_CLOCK_HZ - 1)


def test_it_synthesizes_clean_and_small(tmp_path):
    (tmp_path / "part.v").write_text(to_verilog(Sdram(clock_hz=100_000_000), "part"))
    checks = ("check -assert", "select -assert-none t:DP16KD t:MULT18X18D t:TRELLIS_L*")
    code, log = yosys(
        tmp_path, "read_verilog part.v", "synth_ecp5 -top part", *checks, "tee -o stat.txt stat"
    )
    assert code == 0, log[-2000:]
    stat = (tmp_path / "stat.txt").read_text()
    cells = {name: int(count) for count, name in re.findall(r"(?m)^\s+(\d+)\s+(\S+)$", stat)}
    assert cells["TRELLIS_DPR16X4"] == 17  # 16 beats with their error
    assert cells["LUT4"] <= 400 and cells["TRELLIS_FF"] <= 400
