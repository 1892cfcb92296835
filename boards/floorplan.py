"""Where multipliers and block RAMs of the core lie on an ECP5-85F.

Left to itself the placer scatters each row of the array over the whole chip, as both kinds are
nearly all taken. Each row gets a quarter of the chip's width: its multipliers and its activation
banks between them. Between and below them lie the weights, whose words all rows take, and at the
bottom the parameters and the program.
"""

import re
from collections.abc import Sequence

from penstock.config import Config
from penstock.errors import PenstockError
from penstock.hw.array import neighbours
from penstock.hw.weight_memory import PARTS

COLUMNS = (4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114)
"""First column of each group of four multipliers or block RAMs in a row of them."""

MULTIPLIER_ROWS = (10, 34, 58)
RAM_ROWS = (22, 46, 70, 82)

MULTIPLIERS = [(x + offset, f"MULT18_{offset}") for x in COLUMNS for offset in (0, 1, 4, 5)]
RAMS = [(x + 2 * index, f"EBR{index}") for x in COLUMNS for index in range(4)]
"""(column, name) of the sites of one row, from left to right."""

QUARTER = len(MULTIPLIERS) // 4

QUARTERS = {2: (1, 2), 3: (0, 1, 3), 4: (0, 1, 2, 3)}
"""Rows of the array -> the quarter of the chip's width that each gets."""

ROW_CELLS, COMMON_CELLS = 36 + 3 + 18, 120 + 12
"""Multipliers and activation banks of a row; block RAMs of weights, parameters and program."""

ARRAY = [(0, place) for place in range(13)]
ARRAY += [(1, place) for place in range(10)]
ARRAY += [(2, place) for place in range(13)]
REQUANTIZER = {"low": (1, 10), "high": (1, 11), "residual": (1, 12)}
"""(row of multipliers, place in it) within a quarter; of the array in the order of `neighbours`."""

BANKS = (1, 5, 9)
"""Place of the banks of each u in a row of block RAMs, one of each buffer; others lie between."""

OTHERS = (
    "c1 -- -- b1 a1 -- -- d0 a0 -- -- b0 e0 c2 -- -- c3 a3 -- -- d1 b3 -- -- a2 b2",
    ".. -- -- b4 a4 -- -- c4 c0 -- -- d2 b7 e1 -- -- a7 c7 -- -- d3 c6 -- -- b6 a6",
    ".. -- -- B7 A7 -- -- A4 B4 -- -- c5 a5 b5 -- -- C2 A2 -- -- B0 C0 -- -- P2 P5",
    "A6 B6 C6 C7 D3 E1 A5 C5 B5 D2 C4 C3 B3 A3 A1 B1 D1 B2 E0 A0 C1 D0 P0 P1 P4 P3",
)
"""What lies between the banks (--) in the left half of the chip; the right half is its mirror.

A letter is one of the memories of a part of the weights, in the order of their words, the number a
block RAM of two parts: c1 is of parts 0 and 1, on the right of 2 and 3; C1 of 4 and 5, on the right
of 6 and 7. P: parameters and program. Simulated annealing found it: the wires from the block RAMs
of each bit to one place, and from there to its multipliers, are short.
"""


def floorplan(module: dict, config: Config):
    """Fix sites of a top module in yosys' JSON netlist, in place.

    For the sizes of ``ulx3s-85f``, with two to four rows; anything else is left to the placer.
    Raises PenstockError where the netlist has other cells than this floorplan knows.
    """
    sizes = config.lanes, config.map_words, config.weight_words
    if config.rows not in QUARTERS or sizes != (36, 512, 7680):
        return
    quarters = QUARTERS[config.rows]
    sites = _multipliers(module, config, quarters) | _banks(module, quarters)
    sites |= _others(module)
    cells = config.rows * ROW_CELLS + COMMON_CELLS
    if len(sites) != cells:
        raise PenstockError(f"floorplan: must find {cells} cells in the netlist, not {len(sites)}")
    for name, site in sites.items():
        module["cells"][name]["attributes"]["BEL"] = site


def _cells(module: dict, kind: str, pattern: str):
    """(name, what the pattern's groups match in it) of the cells of a kind."""
    for name, cell in module["cells"].items():
        match = re.fullmatch(pattern, name)
        if match and cell["type"] == kind:
            yield name, *match.groups()


def _multiplier(quarter: int, row: int, place: int) -> str:
    x, site = MULTIPLIERS[QUARTER * quarter + place]
    return f"X{x}/Y{MULTIPLIER_ROWS[row]}/{site}"


def _ram(quarter: int, row: int, place: int) -> str:
    """Places of the right half of the chip count from the right."""
    if quarter >= 2:
        place = QUARTER - 1 - place
    x, site = RAMS[QUARTER * quarter + place]
    return f"X{x}/Y{RAM_ROWS[row]}/{site}"


def _multipliers(module: dict, config: Config, quarters: Sequence[int]) -> dict[str, str]:
    """Neighbours in the adder tree side by side, those of the requantizer in the middle row."""
    sites = {}
    lanes = dict(zip(neighbours(config), ARRAY, strict=True))
    pattern = r".*array\.multipliers_(\d+)\.dsp_(\d+)"
    for name, row, lane in _cells(module, "MULT18X18D", pattern):
        sites[name] = _multiplier(quarters[int(row)], *lanes[int(lane)])
    pattern = r".*requantizer\.([a-z]+)[^.]*\.dsp_(\d+)"
    for name, operand, row in _cells(module, "MULT18X18D", pattern):
        sites[name] = _multiplier(quarters[int(row)], *REQUANTIZER[operand])
    return sites


def _banks(module: dict, quarters: Sequence[int]) -> dict[str, str]:
    """In one row what a window chooses from first: the banks 3*u + v of one v, of both buffers."""
    sites = {}
    pattern = r".*bank_(\d+)_(\d+)_(\d+)\..*"
    for name, *numbers in _cells(module, "DP16KD", pattern):
        row, buffer, bank = map(int, numbers)
        u, v = divmod(bank, 3)
        sites[name] = _ram(quarters[row], v, BANKS[u] + buffer)
    return sites


def _others(module: dict) -> dict[str, str]:
    """Weights, parameters and program."""
    cells = {}
    pattern = r".*engine\.weights.*part_(\d+)\.memory_(\d+)\.memory\.0\.(\d+)"
    found = [(name, *map(int, numbers)) for name, *numbers in _cells(module, "DP16KD", pattern)]
    memories = sorted({first for _, _, first, _ in found})
    counts = {
        memory: sum(first == memory for _, _, first, _ in found) // PARTS for memory in memories
    }
    for name, part, first, index in found:
        letter = "abcde"[memories.index(first)]
        index += part % 2 * counts[first]
        cells[part // 2 % 2, (letter.upper() if part >= 4 else letter) + str(index)] = name
    pattern = r".*engine\.(?:parameters|program)\.memory\..*"
    names = sorted(name for (name,) in _cells(module, "DP16KD", pattern))
    for index, name in enumerate(names):
        cells[index % 2, f"P{index // 2}"] = name
    sites = {}
    for row, line in enumerate(OTHERS):
        for place, token in enumerate(line.split()):
            quarter, place = divmod(place, QUARTER)
            for right, name in ((0, cells.get((0, token))), (1, cells.get((1, token)))):
                if name:
                    sites[name] = _ram(3 - quarter if right else quarter, row, place)
    return sites
