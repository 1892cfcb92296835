"""The tables of docs/boards.md, on a record made up for them."""

import pytest

from penstock.boards import page
from penstock.boards.record import FORMAT

BOARD = {
    "name": "ulx3s-25f",
    "device": "LFE5U-25F-6BG381C",
    "config": "ulx3s-25f",
    "macs": 18,
    "network": "digits",
    "clock_mhz": 37.5,
    "fmax_mhz": 41.26,
    "fmax_median_mhz": 39.0,
    "fmax_worst_mhz": 36.94,
    "seeds": [
        {"seed": 1, "fmax_mhz": 41.26, "seconds": 100.0, "routed": True},
        {"seed": 2, "fmax_mhz": 36.94, "seconds": 110.0, "routed": True},
        {"seed": 3, "fmax_mhz": None, "seconds": 90.0, "routed": False},
    ],
    **{"lut": 13000, "ff": 10400, "dsp": 21, "bram": 48},
    "available": {"lut": 24288, "ff": 24288, "dsp": 28, "bram": 56},
    "blocks": [
        {"name": "array", "lut": 1000, "ff": 400, "dsp": 18, "bram": 0},
        {"name": "other", "lut": 12000, "ff": 10000, "dsp": 3, "bram": 48},
    ],
    "critical_path": {"text": "array -> other; 70 % wire"},
    **{"cycles_gated": 70000.4, "cycles_dense": None},
    **{"images_per_second_gated": 535.7, "images_per_second_dense": None},
    "tools": {"yosys": "0.70", "nextpnr": "0.11.1"},
}
MISSED = BOARD | {"name": "slow", "fmax_mhz": 37.4, "network": None}
RECORD = {"format": FORMAT, "boards": [BOARD, MISSED]}


def rows(table: str) -> list[list[str]]:
    """Cells of a table's rows, without its head."""
    return [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]


def test_clocks():
    first, second = rows(page.clocks(RECORD))
    assert first == [
        *("`ulx3s-25f`", "LFE5U-25F-6BG381C", "18", "37.5 MHz", "41.3", "39.0", "36.9"),
        *("2 of 3", "array -> other; 70 % wire"),
    ]
    assert second[3:5] == ["37.5 MHz (missed)", "37.4"]


def test_resources():
    tables = page.resources(RECORD).split("\n\n")
    assert len(tables) == 2
    assert rows(tables[0]) == [
        ["array", "1,000", "400", "18", "0"],
        ["other", "12,000", "10,000", "3", "48"],
        ["**all**", "**13,000**", "**10,400**", "**21**", "**48**"],
        ["of", "24,288 (54%)", "24,288 (43%)", "28 (75%)", "56 (86%)"],
    ]


def test_speeds_are_those_of_runs():
    assert [row.rstrip() for row in page.speeds(RECORD).splitlines()[2:]] == [
        "| `ulx3s-25f` | digits | 70,000 |  | 536 |  |"
    ]


def test_commands_are_those_of_known_boards():
    assert rows(page.commands(RECORD)) == [
        ["`penstock synth --board ulx3s-25f --seeds 3`", "yosys 0.70, nextpnr 0.11.1", "5"]
    ]


def test_boards_without_a_run_have_no_speeds():
    record = {"format": FORMAT, "boards": [MISSED]}
    assert page.speeds(record) == "No record holds a run yet.\n"


@pytest.mark.parametrize("table", [page.clocks, page.resources, page.commands])
def test_an_empty_record_has_no_rows(table):
    assert table({"format": FORMAT, "boards": []}) == "No board has a record yet.\n"
