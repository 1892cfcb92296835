"""The floorplan of the ECP5-85F, on a netlist of the names and ports that yosys gives."""

import dataclasses
import itertools
import re
from itertools import pairwise

import pytest

from penstock.boards.floorplan import MULTIPLIER_ROWS, MULTIPLIERS, RAM_ROWS, RAMS, floorplan
from penstock.config import Config, preset
from penstock.errors import PenstockError

PARTS = {0: 4, 2048: 4, 4096: 4, 6144: 2, 7168: 1}
"""First words of the memories of a part of the weights, and how many block RAMs each takes."""


def config(rows: int) -> Config:
    """``ulx3s-85f`` with so many rows."""
    return dataclasses.replace(preset("ulx3s-85f"), rows=rows)


def netlist(rows: int = 4) -> dict:
    """Its multipliers and block RAMs, and two cells that have no fixed place."""
    cells = {"core.other.dsp_0": "MULT18X18D", "core.other.memory": "DP16KD"}
    for kind, count in (("parameters", 8), ("program", 4)):
        for index in range(count):
            cells[f"core.engine.{kind}.memory.memory.0.{index}"] = "DP16KD"
    for row in range(rows):
        for operand in ("low", "high", "residual$72"):
            cells[f"core.engine.requantizer.{operand}.dsp_{row}"] = "MULT18X18D"
        for lane in range(36):
            cells[f"core.engine.array.multipliers_{row}.dsp_{lane}"] = "MULT18X18D"
        for bank in range(18):
            name = f"core.engine.buffers.bank_{row}_{bank // 9}_{bank % 9}.memory.memory.0.0"
            cells[name] = "DP16KD"
    module = {name: {"type": kind, "attributes": {}} for name, kind in cells.items()}
    for part, first in itertools.product(range(8), PARTS):
        for index in range(PARTS[first]):
            name = f"core.engine.weights.part_{part}.memory_{first}.memory.0.{index}"
            module[name] = {"type": "DP16KD", "attributes": {}}
    return {"cells": module}


def placed(module: dict) -> dict[str, tuple[int, int, str]]:
    """Column, row and site of each cell that has one."""
    sites = {}
    for name, cell in module["cells"].items():
        if "BEL" in cell["attributes"]:
            x, y, site = re.fullmatch(r"X(\d+)/Y(\d+)/(\w+)", cell["attributes"]["BEL"]).groups()
            sites[name] = int(x), int(y), site
    return sites


@pytest.mark.parametrize("rows", [2, 3, 4])
def test_every_cell_has_a_site_of_its_own_kind(rows):
    module = netlist(rows)
    floorplan(module, config(rows))
    sites = placed(module)
    assert len(set(sites.values())) == len(sites) == len(module["cells"]) - 2
    for name, (x, y, site) in sites.items():
        if module["cells"][name]["type"] == "MULT18X18D":
            assert y in MULTIPLIER_ROWS and (x, site) in MULTIPLIERS
        else:
            assert y in RAM_ROWS and (x, site) in RAMS


@pytest.mark.parametrize("rows", [2, 3, 4])
def test_a_row_of_the_array_stays_within_a_quarter(rows):
    module = netlist(rows)
    floorplan(module, config(rows))
    columns = {}
    for name, (x, _, _) in placed(module).items():
        if match := re.search(r"(?:multipliers_|bank_|requantizer.*dsp_)(\d)", name):
            columns.setdefault(match[1], []).append(x)
    spans = sorted((min(found), max(found)) for found in columns.values())
    assert len(spans) == rows
    assert all(last - first <= 31 for first, last in spans)
    assert all(left[1] < right[0] for left, right in pairwise(spans))


def test_a_netlist_of_other_cells_is_refused():
    module = netlist()
    del module["cells"]["core.engine.array.multipliers_2.dsp_7"]
    with pytest.raises(PenstockError, match="must find 360 cells in the netlist, not 359"):
        floorplan(module, preset("ulx3s-85f"))


def test_other_sizes_are_left_alone():
    module = netlist()
    floorplan(module, preset("asic"))
    assert placed(module) == {}
