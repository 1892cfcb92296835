"""Where multipliers and block RAMs of the core lie on an ECP5-85F.

Left to itself the placer scatters each row of the array over the whole chip, as both kinds are
nearly all taken. Each row gets a quarter of the chip's width: its multipliers and its activation
banks between them. Below them lie the weights, whose words all rows take, and in the middle the
parameters and the program.
"""

import re
from collections import defaultdict
from collections.abc import Sequence

from penstock.config import Config
from penstock.errors import PenstockError

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

LANES = [(0, place) for place in range(13)]
LANES += [(1, place) for place in range(10)]
LANES += [(2, place) for place in range(13)]
REQUANTIZER = {"low": (1, 10), "high": (1, 11), "residual": (1, 12)}
"""(row of multipliers, place in it) within a quarter."""

BANKS = (1, 5, 9)
"""Place of the banks of each u in a row of block RAMs, one of each buffer; others lie between."""

OTHERS = (0, 3, 4, 7, 8, 11, 12)

SLICES = (
    [(0, 3, n) for n in range(7)] + [(0, y, n) for y in (2, 1) for n in OTHERS[:4]],
    [(0, 3, n) for n in range(7, 13)] + [(0, y, n) for y in (2, 1, 0) for n in OTHERS[4:]],
    [(1, 3, n) for n in range(7)]
    + [(1, y, n) for y in (2, 1) for n in OTHERS[:3]]
    + [(0, 0, n) for n in OTHERS[2:4]],
    [(1, 3, n) for n in range(7, 13)]
    + [(1, y, n) for y in (2, 1) for n in OTHERS[3:]]
    + [(1, 0, OTHERS[0])],
)
"""Sites of the slices, half a part of the weight memory each, for the widest block RAMs first.

(quarter, row, place) in the left half of the chip; the right half is the same, mirrored.
"""

CENTRE = [(quarter, 0, n) for n in OTHERS[1:] for quarter in (1, 2)]
"""Sites of the parameters and the program."""


def floorplan(module: dict, config: Config):
    """Fix sites of a top module in yosys' JSON netlist, in place.

    For the sizes of ``ulx3s-85f``, with two to four rows; anything else is left to the placer.
    Raises PenstockError where the netlist has other cells than this floorplan knows.
    """
    sizes = config.lanes, config.map_words, config.weight_words
    if config.rows not in QUARTERS or sizes != (36, 512, 7680):
        return
    quarters = QUARTERS[config.rows]
    sites = _multipliers(module, quarters) | _banks(module, quarters)
    sites |= _weights(module) | _parameters_and_program(module)
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


def _multipliers(module: dict, quarters: Sequence[int]) -> dict[str, str]:
    """Neighbours in the adder tree side by side, those of the requantizer in the middle row."""
    sites = {}
    pattern = r".*array\.multipliers_(\d+)\.dsp_(\d+)"
    for name, row, lane in _cells(module, "MULT18X18D", pattern):
        sites[name] = _multiplier(quarters[int(row)], *LANES[int(lane)])
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


def _weights(module: dict) -> dict[str, str]:
    """The widest block RAMs of a slice nearest to each other: their wires are the most."""
    memories = defaultdict(list)
    pattern = r".*engine\.weights.*part_(\d+)\.memory_(\d+)\.memory\.0\.(\d+)"
    for name, *numbers in _cells(module, "DP16KD", pattern):
        part, first, index = map(int, numbers)
        memories[part, first].append((index, name))
    slices = defaultdict(list)
    for (part, _), cells in memories.items():
        for place, (_, name) in enumerate(sorted(cells)):
            half = 2 * place // len(cells)
            slices[2 * part + half].append((len(cells), name))
    sites = {}
    for index, cells in slices.items():
        left = index < len(SLICES)
        places = SLICES[index if left else 2 * len(SLICES) - 1 - index]
        for (_, name), (quarter, row, place) in zip(sorted(cells), places, strict=True):
            sites[name] = _ram(quarter if left else 3 - quarter, row, place)
    return sites


def _parameters_and_program(module: dict) -> dict[str, str]:
    cells = _cells(module, "DP16KD", r".*engine\.(?:parameters|program)\.memory\..*")
    names = [name for name, *_ in cells]
    return {name: _ram(*place) for name, place in zip(sorted(names), CENTRE, strict=True)}
