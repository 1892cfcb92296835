"""Where multipliers and block RAMs of the core lie on an ECP5-85F.

Left to itself the placer scatters each row of the array over the whole chip, as both kinds are
nearly all taken. Each row gets a quarter of the chip's width: its multipliers, its activation banks
between them, and a quarter of the weights, whose words all rows take.
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

ROW_CELLS, WEIGHT_CELLS = 36 + 18, 120
"""Multipliers and activation banks of a row; block RAMs of the weights."""

SLICE = 36
"""Bits of a weight word whose block RAMs lie together."""


def floorplan(module: dict, config: Config):
    """Fix sites of a top module in yosys' JSON netlist, in place.

    For the sizes of ``ulx3s-85f``, with two to four rows; anything else is left to the placer.
    Raises PenstockError where the netlist has other cells than this floorplan knows.
    """
    sizes = config.lanes, config.map_words, config.weight_words
    if config.rows not in QUARTERS or sizes != (36, 512, 7680):
        return
    quarters = QUARTERS[config.rows]
    sites = _multipliers(module, quarters) | _banks(module, quarters) | _weights(module)
    cells = config.rows * ROW_CELLS + WEIGHT_CELLS
    if len(sites) != cells:
        raise PenstockError(f"floorplan: must find {cells} cells in the netlist, not {len(sites)}")
    for name, site in sites.items():
        module["cells"][name]["attributes"]["BEL"] = site


def _cells(module: dict, kind: str, pattern: str):
    """(name, numbers in it) of the cells of a kind."""
    for name, cell in module["cells"].items():
        match = re.fullmatch(pattern, name)
        if match and cell["type"] == kind:
            yield name, *map(int, match.groups())


def _multipliers(module: dict, quarters: Sequence[int]) -> dict[str, str]:
    """Three taps a row of multipliers, neighbours in the adder tree side by side."""
    sites = {}
    for name, row, lane in _cells(module, "MULT18X18D", r".*array\.multipliers_(\d+)\.dsp_(\d+)"):
        x, site = MULTIPLIERS[QUARTER * quarters[row] + lane % 12]
        sites[name] = f"X{x}/Y{MULTIPLIER_ROWS[lane // 12]}/{site}"
    return sites


def _banks(module: dict, quarters: Sequence[int]) -> dict[str, str]:
    """The same bank of either buffer side by side, in the two rows between the multipliers."""
    sites = {}
    for name, row, buffer, bank in _cells(module, "DP16KD", r".*bank_(\d+)_(\d+)_(\d+)\..*"):
        place = 2 * bank + buffer
        y, place = (RAM_ROWS[0], place) if place < 8 else (RAM_ROWS[1], place - 8)
        x, site = RAMS[QUARTER * quarters[row] + 1 + place]
        sites[name] = f"X{x}/Y{y}/{site}"
    return sites


def _weights(module: dict) -> dict[str, str]:
    """Two slices of the word in each quarter."""
    bit = {
        number: index
        for net, data in module["netnames"].items()
        if net.endswith("weight_write__data")
        for index, number in enumerate(data["bits"])
    }
    slices = defaultdict(list)
    for name, _ in _cells(module, "DP16KD", r".*engine\.weights.*memory_(\d+)\..*"):
        ports = module["cells"][name]["connections"]
        bits = [bit[n] for port, (n, *_) in ports.items() if port.startswith("DI") and n in bit]
        slices[min(bits) // SLICE].append(name)
    halves = (
        [(70, place) for place in range(7)] + [(82, place) for place in range(7)] + [(46, 0)],
        [(70, place) for place in range(7, 13)]
        + [(82, place) for place in range(7, 13)]
        + [(46, 11), (46, 12), (22, 12)],
    )
    sites = {}
    for index, names in slices.items():
        quarter, half = divmod(index, 2)
        for name, (y, place) in zip(names, halves[half], strict=True):
            x, site = RAMS[QUARTER * quarter + place]
            sites[name] = f"X{x}/Y{y}/{site}"
    return sites
