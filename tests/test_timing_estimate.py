"""The estimate of paths before placement, on netlists of a few cells."""

import json
import math

import pytest

from penstock.boards.timing_estimate import (
    CARRY,
    CLOCK_TO_OUTPUT,
    LOGIC,
    OUTPUT_REGISTER,
    WIRE,
    WIRE_BY_FAN_OUT,
    main,
    slowest_paths,
)
from penstock.boards.top import TOP
from penstock.errors import PenstockError

REGISTER = CLOCK_TO_OUTPUT["TRELLIS_FF"]


class Netlist:
    """A module as yosys writes it: cells, and a name for each net."""

    def __init__(self):
        self.bits: dict[str, int] = {}
        self.cells: dict[str, dict] = {}

    def cell(self, kind: str, name: str, outputs: dict, inputs: dict, **parameters):
        ports = inputs | outputs
        self.cells[name] = {
            "type": kind,
            "parameters": parameters,
            "port_directions": {p: "output" if p in outputs else "input" for p in ports},
            "connections": {port: [self.bit(net)] for port, net in ports.items()},
        }

    def bit(self, net: str):
        return net if net in "01" else self.bits.setdefault(net, len(self.bits) + 2)

    def register(self, output: str, source: str = "0"):
        self.cell("TRELLIS_FF", f"ff of {output}", {"Q": output}, {"CLK": "clk", "DI": source})

    def chain(self, name: str, levels: int):
        """A register and LUTs behind it; nets are the name and 0, 1, .."""
        self.register(f"{name}0")
        for level in range(levels):
            self.cell(
                "LUT4", f"{name}{level}", {"Z": f"{name}{level + 1}"}, {"A": f"{name}{level}"}
            )

    def module(self) -> dict:
        names = {net: {"hide_name": 0, "bits": [bit]} for net, bit in self.bits.items()}
        return {"cells": self.cells, "netnames": names}


def slowest(netlist: Netlist):
    return slowest_paths(netlist.module())[0]


def test_cells_and_wires_add_up():
    """Two LUTs between two blocks; one of the nets has four sinks."""
    netlist = Netlist()
    netlist.register("core.left.first")
    netlist.cell("LUT4", "a", {"Z": "core.middle"}, {"A": "core.left.first", "B": "1"})
    for lane in range(4):
        netlist.cell("LUT4", f"b{lane}", {"Z": f"z{lane}"}, {"C": "core.middle"})
        netlist.register(f"core.right.last{lane}", f"z{lane}")
    path = slowest(netlist)
    wires = 3 * WIRE + WIRE_BY_FAN_OUT * math.log2(4)
    assert path.nanoseconds == pytest.approx(REGISTER + 2 * LOGIC["LUT4"] + wires)
    assert (path.start, path.end, path.levels) == ("core.left", "core.right", 2)
    assert path.nets[:2] == ("core.left.first", "core.middle")


def test_fixed_wires_and_carries_cost_no_wire():
    """A LUT of five inputs, then a chain of three carries."""
    netlist = Netlist()
    netlist.register("first")
    netlist.cell("LUT4", "a", {"Z": "low"}, {"A": "first"})
    netlist.cell("PFUMX", "b", {"Z": "five"}, {"ALUT": "low", "BLUT": "0", "C0": "1"})
    netlist.cell("CCU2C", "c", {"COUT": "carry0"}, {"A0": "five", "CIN": "0"})
    netlist.cell("CCU2C", "d", {"COUT": "carry1"}, {"CIN": "carry0"})
    netlist.cell("CCU2C", "e", {"S0": "sum"}, {"CIN": "carry1"})
    netlist.register("last", "sum")
    expected = REGISTER + LOGIC["LUT4"] + LOGIC["PFUMX"] + 2 * LOGIC["CCU2C"] + CARRY + 3 * WIRE
    assert slowest(netlist).nanoseconds == pytest.approx(expected)


@pytest.mark.parametrize("mode", ["OUTREG", "NOREG"])
def test_output_registers_of_memories(mode):
    netlist = Netlist()
    netlist.cell("DP16KD", "core.ram.memory", {"DOB0": "word"}, {}, REGMODE_B=mode)
    netlist.register("last", "word")
    clock_to_output = OUTPUT_REGISTER if mode == "OUTREG" else CLOCK_TO_OUTPUT["DP16KD"]
    assert slowest(netlist).nanoseconds == pytest.approx(clock_to_output + WIRE)


@pytest.mark.parametrize("to_address, to_value", [(0, 2), (2, 0)])
def test_distributed_memories_are_read_at_once_and_written_by_the_clock(to_address, to_value):
    netlist = Netlist()
    netlist.chain("address", to_address)
    netlist.chain("value", to_value)
    pins = {"RAD": f"address{to_address}", "DI": f"value{to_value}", "WCK": "clk"}
    netlist.cell("TRELLIS_DPR16X4", "core.queue.memory", {"DO": "word"}, pins)
    netlist.register("core.after.last", "word")
    paths = {path.end: path.nanoseconds for path in slowest_paths(netlist.module())}
    level = LOGIC["LUT4"] + WIRE
    read = LOGIC["TRELLIS_DPR16X4"] + 2 * WIRE
    assert paths["core.after"] == pytest.approx(REGISTER + to_address * level + read)
    assert paths["core.queue"] == pytest.approx(REGISTER + to_value * level + WIRE)


def test_slowest_first_one_for_each_pair_of_blocks():
    netlist = Netlist()
    for block, levels in (("short", (1,)), ("long", (3, 2))):
        for path in levels:
            netlist.chain(f"core.{block}.net{path}_", path)
            netlist.register(f"core.{block}.end{path}", f"core.{block}.net{path}_{path}")
    paths = slowest_paths(netlist.module())
    assert [(path.start, path.levels) for path in paths] == [("core.long", 3), ("core.short", 1)]


def test_loops_foreign_cells_and_empty_netlists_are_refused():
    netlist = Netlist()
    netlist.cell("LUT4", "a", {"Z": "one"}, {"A": "two"})
    netlist.cell("LUT4", "b", {"Z": "two"}, {"A": "one"})
    with pytest.raises(PenstockError, match=r"logic must not feed itself: .*'a'"):
        slowest_paths(netlist.module())
    with pytest.raises(PenstockError, match="must have a path from one register to another"):
        slowest_paths(Netlist().module())
    netlist = Netlist()
    netlist.cell("SB_LUT4", "a", {"O": "one"}, {})
    with pytest.raises(PenstockError, match="cells must be those of an ECP5, not SB_LUT4"):
        slowest_paths(netlist.module())


def test_command_prints_an_earlier_netlist(tmp_path, capsys):
    netlist = Netlist()
    netlist.register("core.left.first")
    netlist.register("core.right.last", "core.left.first")
    file = tmp_path / "core.json"
    file.write_text(json.dumps({"modules": {TOP: netlist.module()}}))
    assert main(["--netlist", str(file), "--nets"]) == 0
    shown = capsys.readouterr().out
    assert f"{1000 / (REGISTER + WIRE):.0f} MHz" in shown
    assert "core.left -> core.right" in shown and "core.left.first" in shown
    file.write_text("{}")
    rule = f"{file}: must be yosys' JSON with a module {TOP}"
    assert main(["--netlist", str(file)]) == 2
    assert capsys.readouterr().err == f"penstock: error: {rule}\n"


@pytest.mark.parametrize("block", ["penstock.hw.memory:ReadArbiters", "gate", "math:sqrt"])
def test_blocks_that_are_none_are_refused(block, capsys):
    rule = f"block must be MODULE:CLASS of a component that takes a configuration, not {block}"
    assert main(["--block", block]) == 2
    assert capsys.readouterr().err == f"penstock: error: {rule}\n"


def test_the_compact_engine_has_no_estimate(capsys):
    assert main(["--config", "icebreaker"]) == 2
    rule = "config: must be of the engine array, not compact"
    assert capsys.readouterr().err == f"penstock: error: {rule}\n"
