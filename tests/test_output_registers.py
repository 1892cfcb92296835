"""Output registers of block RAMs, on netlists of the cells and ports that yosys gives."""

import copy

import pytest

from penstock.boards.output_registers import absorb_output_registers

CLOCK = 2


def flip_flop(**changes) -> dict:
    """One of yosys' for ``data <= word``, its nets to be filled in; ``changes`` are pins."""
    pins = {"CLK": [CLOCK], "DI": [None], "LSR": ["0"], "Q": [None]} | changes
    directions = {pin: "output" if pin == "Q" else "input" for pin in pins}
    names = {"GSR": "DISABLED", "CEMUX": "1 ", "CLKMUX": "CLK", "LSRMUX": "LSR", "REGSET": "RESET"}
    return {
        "type": "TRELLIS_FF",
        "parameters": names,
        "port_directions": directions,
        "connections": pins,
    }


def netlist(wide: bool, bits: int = 3) -> dict:
    """A block RAM, a flip-flop behind each of its first outputs, and a LUT behind each of those."""
    pins = {f"DO{side}{bit}": [None] for side in "AB" for bit in range(18)}
    directions = dict.fromkeys(pins, "output")
    inputs = {f"{pin}{side}": ["1"] for side in "AB" for pin in ("CE", "OCE")}
    inputs |= {f"RST{side}": ["0"] for side in "AB"} | {f"CLK{side}": [CLOCK] for side in "AB"}
    if wide:
        inputs["OCEA"] = ["0"]
    for index, port in enumerate(pins):
        pins[port] = [100 + index]
    cells = {
        "ram": {
            "type": "DP16KD",
            "parameters": {"DATA_WIDTH_B": f"{36 if wide else 18:032b}", "REGMODE_A": "NOREG"},
            "port_directions": directions | dict.fromkeys(inputs, "input"),
            "connections": pins | inputs,
        }
    }
    for side in "AB" if wide else "B":
        for bit in range(bits):
            (word,), kept = pins[f"DO{side}{bit}"], 200 + len(cells)
            cells[f"data{side}{bit}"] = flip_flop(DI=[word], Q=[kept])
            cells[f"lut{side}{bit}"] = {
                "type": "LUT4",
                "parameters": {},
                "port_directions": {"A": "input", "Z": "output"},
                "connections": {"A": [kept], "Z": [300 + len(cells)]},
            }
    return {"cells": cells, "ports": {"clk": {"direction": "input", "bits": [CLOCK]}}}


@pytest.mark.parametrize("wide", [False, True])
def test_flip_flops_go_into_the_block_ram(wide):
    module = netlist(wide)
    before = copy.deepcopy(module)
    sides = "AB" if wide else "B"
    assert absorb_output_registers(module) == 3 * len(sides)
    assert not any(cell["type"] == "TRELLIS_FF" for cell in module["cells"].values())
    ram = module["cells"]["ram"]
    for side in sides:
        assert ram["parameters"][f"REGMODE_{side}"] == "OUTREG"
        assert ram["connections"][f"OCE{side}"] == ["1"]
        for bit in range(3):
            lut = module["cells"][f"lut{side}{bit}"]
            assert ram["connections"][f"DO{side}{bit}"] == lut["connections"]["A"]
    if not wide:
        assert ram["parameters"]["REGMODE_A"] == "NOREG"
    taken = {f"DO{side}{bit}" for side in sides for bit in range(3)} | {"OCEA"}
    old = before["cells"]["ram"]["connections"]
    assert all(ram["connections"][pin] == bits for pin, bits in old.items() if pin not in taken)
    assert absorb_output_registers(module) == 0


def held(module: dict):
    module["cells"]["dataB1"]["parameters"]["CEMUX"] = "CE"


def cleared(module: dict):
    module["cells"]["dataB1"]["connections"]["LSR"] = [7]


def ones_at_first(module: dict):
    module["cells"]["dataB1"]["parameters"]["REGSET"] = "SET"


def of_another_clock(module: dict):
    module["cells"]["dataB1"]["connections"]["CLK"] = [3]


def of_the_other_edge(module: dict):
    module["cells"]["dataB1"]["parameters"]["CLKMUX"] = "INV"


def read_by_logic_too(module: dict):
    module["cells"]["lutB0"]["connections"]["A"] = module["cells"]["dataB1"]["connections"]["DI"]


def read_from_outside(module: dict):
    bits = module["cells"]["dataB1"]["connections"]["DI"]
    module["ports"]["q"] = {"direction": "output", "bits": bits}


def enabling(module: dict):
    cell = module["cells"]["dataB1"]
    cell["connections"]["CE"] = cell["connections"]["DI"]
    cell["connections"]["DI"] = [5]
    cell["port_directions"]["CE"] = "input"


def read_when_enabled(module: dict):
    module["cells"]["ram"]["connections"]["CEB"] = [9]


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        held,
        cleared,
        ones_at_first,
        of_another_clock,
        of_the_other_edge,
        read_by_logic_too,
        read_from_outside,
        enabling,
        read_when_enabled,
    ],
)
def test_others_stay(change, wide):
    module = netlist(wide)
    change(module)
    before = copy.deepcopy(module)
    assert absorb_output_registers(module) == 0
    assert module == before
