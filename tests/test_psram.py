"""The PSRAM controller with a model of its dies, one and two of them, and planted faults."""

import dataclasses
import json
import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest
from amaranth.hdl import Cat, Const, Module, Mux, Value
from amaranth.lib.wiring import In
from test_sdram import later, stuck
from verilog_tools import yosys

from penstock.boards.psram import (
    COMMAND_CYCLES,
    GW1NR_9,
    MAX_CLOCK_HZ,
    W955D8MBYA,
    Psram,
    PsramChip,
    PsramState,
    psram_cycles,
)
from penstock.errors import PenstockError
from penstock.hw.verilog import to_verilog
from penstock.sim.psram_board import MODEL, PsramBoard, chip_rules
from penstock.sim.runner import SimulationError, build_component, run

TESTS = 8
CLOCK_HZ = 27_000_000
CHIPS = {"two dies": GW1NR_9, "one die": W955D8MBYA}
PAUSE_US = 5
"""What the benches wait at each start instead of 150."""
MEASURED = {
    "two dies": {"write of 64": 408.0, "read of 64": 408.0, "read of 8": 51.0},
    "one die": {"write of 64": 634.8, "read of 64": 632.5, "read of 8": 80.4},
}
"""Cycles of a request, in beats, on average: as in docs/boards_memory.md."""


def shows(m: Module, psram: Psram, state: PsramState, count: int | None = None) -> Value:
    """Whether the pins show what the controller makes in a state, in its cycle of that count."""
    made = psram.state == state
    return later(m, made if count is None else made & (psram.count == count))


def flipped(mask: int, state: PsramState, count: int) -> Callable:
    """Some bits that the dies get are wrong in one cycle."""
    return lambda m, value, psram: value ^ Mux(shows(m, psram, state, count), mask * 0x101, 0)


def without(state: PsramState) -> Callable:
    """A pin stays low in a state."""
    return lambda m, value, psram: value & ~shows(m, psram, state)


COMMAND, CONFIGURE, DATA = PsramState.COMMAND, PsramState.CONFIGURE, PsramState.DATA
FAULTS = {
    "a write is acknowledged twice": (
        "write_done.valid",
        lambda m, value, psram: value | later(m, value, 9),
    ),
    "a write is not acknowledged": ("write_done.valid", stuck(0)),
    "an error of a write is lost": ("write_done.payload", stuck(0)),
    "an error of a read is lost": (
        "read_data.payload",
        lambda m, value, psram: Cat(Value.cast(value)[:64], 0),
    ),
    "bytes of a beat are swapped": (
        "read_data.payload",
        lambda m, value, psram: Cat(value.data[8:16], value.data[:8], Value.cast(value)[16:]),
    ),
    "a refused beat is lost": ("read_data.ready", stuck(1)),
    "a write does not wait for its data": ("write_data.valid", stuck(1)),
    "a beat to write is taken twice": (
        "write_data.ready",
        lambda m, value, psram: value & ~later(m, value, 8),
    ),
    "requests have one beat": (
        "read_request.payload",
        lambda m, value, psram: Cat(value.address, Const(1, 7)),
    ),
    "reads write": ("dq_in", flipped(0x80, COMMAND, 5)),
    "a command for a register": ("dq_in", flipped(0x40, COMMAND, 5)),
    "bursts wrap": ("dq_in", flipped(0x20, COMMAND, 5)),
    "a reserved bit of a command": ("dq_in", flipped(0x04, COMMAND, 4)),
    "the highest row bit is lost": (
        "dq_in",
        lambda m, value, psram: value & ~Mux(shows(m, psram, COMMAND, 4), 0x202, 0),
    ),
    "a row bit is lost": (
        "dq_in",
        lambda m, value, psram: value & ~Mux(shows(m, psram, COMMAND, 3), 0x101, 0),
    ),
    "a burst begins elsewhere": (
        "dq_in",
        lambda m, value, psram: value ^ Mux(shows(m, psram, COMMAND, 0) & ~psram.turn, 0x101, 0),
    ),
    "one die begins elsewhere": (
        "dq_in",
        lambda m, value, psram: value ^ Mux(shows(m, psram, COMMAND, 2) & ~psram.turn, 1, 0),
    ),
    "the register has another latency": ("dq_in", flipped(0x10, CONFIGURE, 0)),
    "the register has a variable latency": ("dq_in", flipped(0x08, CONFIGURE, 0)),
    "a reserved bit of the register": ("dq_in", flipped(0x01, CONFIGURE, 1)),
    "deep power-down": ("dq_in", flipped(0x80, CONFIGURE, 1)),
    "the register is not written": (
        "cs",
        lambda m, value, psram: value & later(m, psram.configured, 3),
    ),
    "the selection begins late": ("cs", lambda m, value, psram: value & later(m, value)),
    "the selection begins early": (
        "cs",
        lambda m, value, psram: value | (psram.state == PsramState.READY),
    ),
    "the selection ends early": (
        "cs",
        lambda m, value, psram: value & ~((psram.state == PsramState.RECOVER) & psram.last),
    ),
    "the selection ends late": ("cs", lambda m, value, psram: value | later(m, value)),
    "a command is not selected": ("cs", without(COMMAND)),
    "the clock stands": ("ck", stuck(0)),
    "the clock is a cycle late": ("ck", lambda m, value, psram: later(m, value)),
    "the clock is inverted": ("ck", lambda m, value, psram: ~value),
    "the clock misses the register's word": ("ck", without(CONFIGURE)),
    "the dies stay in reset": ("reset", stuck(1)),
    "reset is short": (
        "reset",
        lambda m, value, psram: value & (psram.state == PsramState.RESET) & (psram.count > 2),
    ),
    "data pins are driven too long": (
        "dq_driven",
        lambda m, value, psram: value | later(m, value, 6) | later(m, value, 12),
    ),
    "data pins are driven late": ("dq_driven", lambda m, value, psram: value & later(m, value)),
    "data pins are always driven": ("dq_driven", stuck(1)),
    "written words are a cycle late": ("dq_in", lambda m, value, psram: later(m, value)),
    "read words are a cycle late": ("dq_out", lambda m, value, psram: later(m, value)),
    "rwds is not driven": ("rwds_driven", stuck(0)),
    "rwds is always driven": ("rwds_driven", stuck(1)),
    "rwds is low too late": (
        "rwds_driven",
        lambda m, value, psram: value & later(m, value, 2),
    ),
    "the double latency is not seen": ("rwds_out", stuck(0)),
}
"""What is wrong: the wire, and what becomes of it."""


def stricter_rules() -> dict[str, int]:
    """Each rule of the chip just beyond what the controller keeps, in ps."""
    chip = dataclasses.replace(GW1NR_9, pause_us=PAUSE_US)
    cycles, half = psram_cycles(chip, CLOCK_HZ), chip_rules(chip, CLOCK_HZ)["half"]
    selected = COMMAND_CYCLES + cycles.latency + cycles.latency_more + 8 * chip.beat_cycles + 1
    return {
        "t_rp": 2 * half * (cycles.reset + 3),  # the pulse begins with the start
        "t_rwr": 2 * half * cycles.recover + 1,
        "t_css": half + 1,
        "t_csm": 2 * half * selected - 2 * half,
        "t_ck": 4 * half + 1,
        "pause": 2 * half * (cycles.pause + 2),
    }


RULES = tuple(stricter_rules())
FAULTS |= {f"{rule} is too short": (rule, stuck(time)) for rule, time in stricter_rules().items()}


class FaultyBoard(PsramBoard):
    """A board with one fault, chosen by the port ``fault``: its number in FAULTS, from 1."""

    def __init__(self, clock_hz: int, chip: PsramChip):
        super().__init__(clock_hz, chip, fault=In(8))

    def wire(self, m, name, value):
        original = value
        for number, (wire, change) in enumerate(FAULTS.values(), 1):
            if wire == name:
                changed = Value.cast(change(m, original, self.psram))
                value = Mux(self.fault == number, changed, value)
        return value


def build_board(chip: PsramChip):
    """The simulator of a board; without a fault until the bench asks for one."""
    chip = dataclasses.replace(chip, pause_us=PAUSE_US)
    return build_component(FaultyBoard(CLOCK_HZ, chip), sources=[MODEL])


@pytest.mark.parametrize("name", CHIPS)
def test_psram(name, tmp_path):
    chip = CHIPS[name]
    parameters = {"bytes": chip.bytes, "cycles": 8 * (30 + 8 * chip.beat_cycles)}
    module = "penstock.sim.tb_psram"
    run(build_board(chip), module, parameters, tests=TESTS, seed=1, folder=tmp_path)
    measured = json.loads((tmp_path / "measured.json").read_text())
    cycles, double = psram_cycles(chip, CLOCK_HZ), (True,) if chip.fixed_latency else (False, True)
    assert measured.pop("first beat") in [
        12 + cycles.latency + more * cycles.latency_more + chip.beat_cycles for more in double
    ]
    assert {stream: round(each, 1) for stream, each in measured.items()} == MEASURED[name]


def test_faults_are_caught(tmp_path):
    """Each fault fails the short bench, which passes without, before and after them."""
    build = build_board(GW1NR_9)
    faults = [0, *range(1, len(FAULTS) + 1), 0]
    parameters = {"bytes": GW1NR_9.bytes, "faults": faults}
    with pytest.raises(SimulationError, match=rf"\d+ of {len(faults)} tests failed"):
        module = "penstock.sim.tb_psram_faults"
        run(build, module, parameters, tests=len(faults), seed=1, folder=tmp_path)
    failed = set()
    for case in ElementTree.parse(tmp_path / "results.xml").iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed.add(int(re.search(r"fault=(\d+)", case.get("name"))[1]))
    assert [name for number, name in enumerate(FAULTS, 1) if number not in failed] == []
    assert 0 not in failed
    messages = re.findall(
        r"rules must be kept: half cycle \d+: (.*)", (tmp_path / "run.log").read_text()
    )
    for rule in RULES:
        assert any(message.startswith(rule) for message in messages), rule


@pytest.mark.parametrize("chip", CHIPS.values(), ids=CHIPS)
def test_times_are_kept_at_every_clock(chip):
    """From the slowest clock on: with a Hz less the chip would stay selected for too long."""
    with pytest.raises(PenstockError, match="clock_hz must be in") as refused:
        psram_cycles(chip, 0)
    slowest = int(re.search(r"in (\d+)\.\.", str(refused.value))[1])
    run_cycles = COMMAND_CYCLES + 10 + 8 * chip.beat_cycles + 1
    assert run_cycles / slowest <= chip.t_csm / 1e9 < run_cycles / (slowest - 1)
    for clock_hz in (*range(slowest, MAX_CLOCK_HZ, 1_234_567), MAX_CLOCK_HZ):
        cycles = psram_cycles(chip, clock_hz)
        assert cycles.reset / clock_hz >= chip.t_rp / 1e9
        assert cycles.recover / clock_hz >= chip.t_rwr / 1e9
        assert cycles.pause / clock_hz >= chip.pause_us / 1e6


def test_a_clock_out_of_range_is_refused():
    with pytest.raises(PenstockError, match=r"^clock_hz must be in 12250000\.\.50000000 .* 1000$"):
        Psram(clock_hz=1000)
    with pytest.raises(PenstockError, match="clock_hz must be in"):
        Psram(clock_hz=MAX_CLOCK_HZ + 1)


def test_it_synthesizes_clean_and_small(tmp_path):
    (tmp_path / "part.v").write_text(to_verilog(Psram(clock_hz=CLOCK_HZ), "part"))
    checks = ("check -assert", "select -assert-none t:MULT* t:*9B t:DL*")
    code, log = yosys(
        tmp_path, "read_verilog part.v", "synth_gowin -top part", *checks, "tee -o stat.txt stat"
    )
    assert code == 0, log[-2000:]
    stat = (tmp_path / "stat.txt").read_text()
    cells = {name: int(count) for count, name in re.findall(r"(?m)^\s+(\d+)\s+(\S+)$", stat)}
    assert cells["RAM16SDP4"] == 17  # 16 beats with their error
    assert sum(count for name, count in cells.items() if re.match(r"LUT\d", name)) <= 380
    assert sum(count for name, count in cells.items() if name.startswith("DFF")) <= 240
