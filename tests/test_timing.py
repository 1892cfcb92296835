"""Timing of mapped netlists: against a second, slow analysis, and by hand."""

import random
from functools import cache

import numpy as np
import pytest
import small_liberty as small

from penstock.boards.liberty import EDGES, Table, read_liberty
from penstock.boards.mapped import netlist
from penstock.boards.tables import Tables
from penstock.boards.timing import Timing
from penstock.errors import PenstockError

RELATIVE = 1e-12  # sums are added in another order


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp("liberty") / "small.lib"
    path.write_text(small.small_liberty())
    return read_liberty(path)


def module(ports: dict, cells: dict, netnames: dict | None = None) -> dict:
    """A module of yosys' JSON: ports name: (direction, bits), cells name: (type, {pin: bit})."""
    return {
        "attributes": {},
        "ports": {name: {"direction": d, "bits": bits} for name, (d, bits) in ports.items()},
        "cells": {
            name: {
                "type": kind,
                "connections": {
                    pin: bits if isinstance(bits, list) else [bits] for pin, bits in pins.items()
                },
            }
            for name, (kind, pins) in cells.items()
        },
        "netnames": {
            name: {"hide_name": 0, "bits": bits} for name, bits in (netnames or {}).items()
        },
    }


def timing(library, top: dict, **modules) -> Timing:
    return Timing(netlist({"top": top, **modules}, "top", library), library)


def everything(name: str) -> str:
    return "all"


CLOCK = {"clk": ("input", [2])}


def test_two_inverters_by_hand(library):
    cells = {
        "first": ("DFF", {"CK": 2, "D": 3, "Q": 4}),
        "one": ("INV", {"A": 4, "Y": 5}),
        "two": ("INV", {"A": 5, "Y": 6}),
        "last": ("DFF", {"CK": 2, "D": 6, "Q": 7}),
    }
    path = timing(library, module(CLOCK, cells)).longest(everything)["all"]
    rise, fall = (small.CAPACITANCE[edge] for edge in EDGES)
    needs = {}
    for edge, load, other, other_load in (
        ("rise", rise, "fall", fall),
        ("fall", fall, "rise", rise),
    ):
        launched = small.delay(edge, load, 0, small.CLOCK_TO_OUTPUT)
        slew = small.transition_of(edge, load, 0)
        middle = launched + small.delay(other, other_load, slew)
        slew = small.transition_of(other, other_load, slew)
        end = middle + small.delay(edge, load, slew)
        needs[edge] = end, small.SETUP[edge] + 0.2 * small.transition_of(edge, load, slew)
    delay, setup = max(needs.values(), key=sum)
    assert (path.delay, path.setup) == pytest.approx((delay, setup), rel=RELATIVE)
    assert (path.start, path.end, path.cells) == ("first", "last", 2)
    assert path.time == path.delay + path.setup


def random_netlist(seed: int) -> dict:
    """Gates in a row whose inputs are outputs of earlier ones, flip-flops, ports or constants."""
    dice = random.Random(seed)
    nets, cells = [3, 4], {}
    for index in range(12):
        cells[f"state_{index}"] = "DFF", {"CK": 2, "D": None, "Q": 5 + index}
        nets.append(5 + index)
    for index in range(60):
        kind = dice.choice(list(small.GATES))
        bits = [
            dice.choice([*nets[-9:], dice.choice(nets), "0", "1"]) for _ in small.GATES[kind][2]
        ]
        output = 100 + index
        cells[f"gate_{index}"] = kind, dict(zip(small.GATES[kind][2], bits, strict=True))
        cells[f"gate_{index}"][1]["Y"] = output
        nets.append(output)
    for index in range(12):
        cells[f"state_{index}"][1]["D"] = dice.choice(nets[-30:])
    ports = CLOCK | {"a": ("input", [3, 4]), "y": ("output", [dice.choice(nets) for _ in range(3)])}
    return module(ports, cells)


def slow_analysis(top: dict) -> dict[str, float]:
    """End -> what its latest signal needs: recursively, by the formulas of the library."""
    cells, loads, driver = top["cells"], {}, {}
    for cell in cells.values():
        for pin, (bit,) in cell["connections"].items():
            if pin in ("Q", "Y"):
                driver[bit] = cell
            else:
                for edge in EDGES:
                    loads[bit, edge] = loads.get((bit, edge), 0) + small.CAPACITANCE[edge]

    @cache
    def at(bit, edge):
        """(arrival, transition) of an edge of a net."""
        load = loads.get((bit, edge), 0)
        if isinstance(bit, str):
            return -np.inf, 0
        if bit not in driver:
            return 0, 0
        cell = driver[bit]
        if cell["type"] == "DFF":
            launched = small.delay(edge, load, 0, small.CLOCK_TO_OUTPUT)
            return launched, small.transition_of(edge, load, 0)
        sense = small.GATES[cell["type"]][3]
        other = "fall" if edge == "rise" else "rise"
        sources = {"positive_unate": [edge], "negative_unate": [other]}.get(sense, EDGES)
        latest, slowest = -np.inf, 0
        for pin, (source,) in cell["connections"].items():
            for source_edge in sources if pin != "Y" else ():
                arrival, transition = at(source, source_edge)
                if np.isfinite(arrival):
                    latest = max(latest, arrival + small.delay(edge, load, transition))
                    slowest = max(slowest, small.transition_of(edge, load, transition))
        return latest, slowest

    ends = {}
    for name, cell in cells.items():
        if cell["type"] == "DFF":
            found = [(*at(cell["connections"]["D"][0], edge), small.SETUP[edge]) for edge in EDGES]
            ends[name] = max(a + setup + 0.2 * transition for a, transition, setup in found)
    for index, bit in enumerate(top["ports"]["y"]["bits"]):
        ends[f"y[{index}]"] = max(at(bit, edge)[0] for edge in EDGES)
    return {name: time for name, time in ends.items() if np.isfinite(time)}


@pytest.mark.parametrize("seed", range(20))
def test_random_netlists_as_the_slow_analysis(seed, library):
    top = random_netlist(seed)
    expected = slow_analysis(top)
    found = timing(library, top).longest(lambda name: name)
    assert {end: path.time for end, path in found.items()} == pytest.approx(expected, rel=RELATIVE)
    assert all(path.end == end for end, path in found.items())


def test_hierarchy_makes_no_difference(library):
    flat = {
        "state": ("DFF", {"CK": 2, "D": 5, "Q": 4}),
        "part.gate": ("NAND2", {"A": 4, "B": "1", "Y": 5}),
    }
    inner = module(
        {"a": ("input", [7, 8]), "y": ("output", [9])},
        {"gate": ("NAND2", {"A": 7, "B": 8, "Y": 9})},
    )
    outer = {
        "state": ("DFF", {"CK": 2, "D": 5, "Q": 4}),
        "part": ("inner", {"a": [4, "1"], "y": 5}),
    }
    expected = timing(library, module(CLOCK, flat)).longest(everything)
    assert timing(library, module(CLOCK, outer), inner=inner).longest(everything) == expected


def test_flip_flops_are_called_as_what_they_hold(library):
    cells = {
        "$1": ("DFF", {"CK": 2, "D": 5, "Q": 4}),
        "$2": ("DFF", {"CK": 2, "D": 4, "Q": 5}),
    }
    top = module(CLOCK, cells, {"count": [9, 4], "done": [5]})
    found = timing(library, top).longest(lambda name: name)
    assert {name: path.start for name, path in found.items()} == {
        "count[1]": "done",
        "done": "count[1]",
    }


def test_memories_begin_and_end_paths(library):
    bits = {"read_address": [4] * 6, "write_enable": ["0"], "write_address": ["0"] * 6}
    bits |= {"write_data": [5, 5], "read_data": [6, 7], "clk": [2]}
    cells = {
        "ram": ("penstock_ram_64x2x1", bits),
        "address": ("DFF", {"CK": 2, "D": 6, "Q": 4}),
        "gate": ("INV", {"A": 7, "Y": 5}),
    }
    found = timing(library, module(CLOCK, cells)).longest(lambda name: name)
    assert (found["address"].start, found["address"].delay) == ("ram", 0)
    gate = small.delay("rise", 0, 0)
    launched = small.delay("rise", 0, 0, small.CLOCK_TO_OUTPUT)
    assert max(gate, launched) == launched
    assert (found["ram"].start, found["ram"].end, found["ram"].cells) == ("address", "ram", 0)
    assert (found["ram"].delay, found["ram"].setup) == (pytest.approx(launched, rel=RELATIVE), 0)


def test_refusals(library):
    ring = {"a": ("INV", {"A": 4, "Y": 5}), "b": ("INV", {"A": 5, "Y": 4})}
    with pytest.raises(PenstockError, match=r"must have no loop of gates, has one through [ab]$"):
        timing(library, module(CLOCK, ring))
    with pytest.raises(PenstockError, match=r"^x: must be mapped to a cell .*, is \$_AND_$"):
        timing(library, module(CLOCK, {"x": ("$_AND_", {"A": 4, "B": 4, "Y": 5})}))


def test_tables_between_their_points_and_beyond():
    """One bilinear function on axes of other lengths; an axis of one point."""
    axes = [
        (np.array([0.0, 0.5, 2.0]), np.array([1.0, 3.0])),
        (np.array([-1.0, 4.0]), np.arange(5.0)),
    ]

    def function(x, y):
        return 3 + 2 * x - y + 0.5 * x * y

    tables = [Table(x, y, function(x[:, None], y[None])) for x, y in axes]
    tables.append(Table(np.zeros(1), np.array([0.0, 1.0]), np.array([[1.0, 3.0]])))
    lookup = Tables(tables)
    dice = np.random.default_rng(1)
    index, x, y = dice.integers(0, 3, 200), dice.uniform(-3, 6, 200), dice.uniform(-3, 6, 200)
    expected = np.where(index == 2, 1 + 2 * y, function(x, y))
    assert np.allclose(lookup.look_up(index, x, y), expected, rtol=RELATIVE, atol=1e-12)


def test_table_is_bilinear_in_each_of_its_cells():
    corners = np.array([[0.0, 1.0, 5.0], [2.0, 2.0, 2.0]])
    lookup = Tables([Table(np.array([0.0, 1.0]), np.array([0.0, 1.0, 2.0]), corners)])
    x, y = np.array([0.5, 0.5, 0.0, 1.0]), np.array([0.5, 1.5, 1.5, 3.0])
    assert lookup.look_up(np.zeros(4, dtype=int), x, y).tolist() == [1.25, 2.5, 3.0, 2.0]
