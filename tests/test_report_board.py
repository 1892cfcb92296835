"""A board on a run's page: what the record of synthesis holds is drawn; others are refused."""

import copy
import json
import re
import time

import numpy as np
import pytest
from report_cases import Page, measured, percent

from penstock import cli
from penstock.boards.record import FORMAT
from penstock.boards_record import RESOURCES, boards_of, load_boards
from penstock.errors import PenstockError
from penstock.report_page import _STYLE, page
from penstock.report_page.floorplan import COLOURS, classes, floorplan

ARRAY, QUEUE, OTHER = "array", "gate and queue", "other"
AVAILABLE = {"lut": 200, "ff": 200, "dsp": 40, "bram": 10}
CELLS = {
    ARRAY: {
        "dsp": [[1, 0], [2, 0], [5, 0]],
        "bram": [],
        "lut": [[0, 1, 8], [1, 1, 8], [2, 1, 1], [4, 1, 5], [4, 2, 1], [5, 2, 1]],
    },
    QUEUE: {"dsp": [], "bram": [[1, 3], [3, 3]], "lut": [[2, 1, 7], [0, 2, 4]]},
    OTHER: {"dsp": [], "bram": [], "lut": []},
}
STEPS = [
    {"kind": "logic", "nanoseconds": 0.5, "block": ARRAY, "cell": "a.q<0>", "x": 0, "y": 1},
    {"kind": "wire", "nanoseconds": 3.5, "block": QUEUE, "cell": "b", "x": 5, "y": 3},
    {"kind": "logic", "nanoseconds": 1.0, "block": QUEUE, "cell": "b", "x": 5, "y": 3},
]


def resources(lut: int, ff: int, dsp: int, bram: int) -> dict:
    return {"lut": lut, "ff": ff, "dsp": dsp, "bram": bram}


def small_board(**changes) -> dict:
    """A chip of 6 x 4 tiles with the run's configuration."""
    return {
        **{"name": "small-board", "device": "LFE5U-1F", "config": "tiny", "macs": 36},
        **{"network": None, "clock_mhz": 50.0, "fmax_mhz": 60.0, "fmax_median_mhz": 45.0},
        **{"fmax_worst_mhz": 40.0, **resources(100, 50, 39, 2), "available": AVAILABLE},
        "seeds": [
            {"seed": 1, "fmax_mhz": 60.0, "seconds": 9.5, "routed": True},
            {"seed": 2, "fmax_mhz": None, "seconds": 9.5, "routed": False},
        ],
        "blocks": [
            {"name": ARRAY, **resources(60, 20, 36, 0)},
            {"name": QUEUE, **resources(30, 25, 0, 2)},
            {"name": OTHER, **resources(10, 5, 3, 0)},
        ],
        "critical_path": {
            **{"nanoseconds": 5.0, "logic": 1.5, "wire": 3.5, "text": "array -> queue"},
            "steps": STEPS,
        },
        "floorplan": {"width": 6, "height": 4, "cells": CELLS},
        **{"cycles_gated": None, "cycles_dense": None, "bitstream": "small.bit"},
        **{"images_per_second_gated": None, "images_per_second_dense": None},
        "tools": {"yosys": "0.70", "nextpnr": "0.11.1"},
        **changes,
    }


@pytest.fixture
def run() -> dict:
    return json.loads(measured())


@pytest.fixture
def board() -> dict:
    return copy.deepcopy(small_board())


def path_of(group: str, style: str) -> str:
    return re.search(rf'class="{style}" d="([^"]*)"', group)[1]


def group_of(drawn: str, style: str) -> str:
    return re.search(rf'<g class="{style}">.*?</g>', drawn)[0]


def strokes(path: str) -> set[tuple[int, int]]:
    """The tiles (x, y) that a path of horizontal strokes covers, as SVG defines M, m and h."""
    x = y = 0
    covered = set()
    for command, numbers in re.findall(r"([Mmh])([^Mmh]*)", path):
        if command == "h":
            end = x + int(numbers)
            covered |= {(tile, y) for tile in range(x, end)}
            x = end
        else:
            dx, dy = map(int, numbers.split())
            x, y = (dx, dy) if command == "M" else (x + dx, y + dy)
    return covered


# What is drawn.


def test_the_page_holds_the_board(run, board):
    text = Page(page(run, [board])).text
    for shown in (
        "On the board small-board",
        "on LFE5U-1F, after place and route (yosys 0.70, nextpnr 0.11.1)",
        "Clock 50.0 MHz met: 60.0 MHz, 20.0% more, by the best of 2 seeds; 1 did not route",
        "Images per second 25,000 gating on, 2,000.0 cycles each",
        "Images per second 12,500 gating off, 4,000.0 cycles each",
        "best seed: 60.0 MHz 60.0 MHz median median: 45.0 MHz 45.0 MHz worst worst: 40.0 MHz",
        "LUTs array: 60 gate and queue: 30 other: 10 100 50.0% of 200",
        "array 60 30.0% 20 10.0% 36 90.0% 0",
        "whole top 100 50.0% 50 25.0% 39 97.5% 2 20.0%",
        "the chip has 200 200 40 10",
        "Critical path , 5.0 ns, 1.5 in logic and 3.5 in wires: array → queue.",
        "wire 3.50 gate and queue b 5, 3",
        "a.q<0>",
    ):
        assert shown in text
    assert "Floorplan" not in page(run)


def test_a_clock_that_is_not_met_is_loud(run, board):
    board["fmax_mhz"] = 49.0
    text = page(run, [board])
    assert '<b class="bad">not met</b>: 49.0 MHz, 2.0% less, by the best of 2 seeds' in text


def test_bars_are_shares_of_the_chip(run, board):
    section = page(run, [board]).split("Resources by block")[1]
    bars = re.findall(r'<svg class="bar".*?</svg>', section)[: len(RESOURCES)]
    for name, drawn in zip(RESOURCES, bars, strict=True):
        widths = [percent(part["width"]) for part in Page(drawn).of("rect")]
        wanted = [100 * block[name] / AVAILABLE[name] for block in board["blocks"] if block[name]]
        assert widths == pytest.approx(wanted, abs=0.001)


def test_clocks_are_marked(run, board):
    section = page(run, [board]).split("On the board small-board</h2>")[1].split("</section>")[0]
    parsed = Page(section)
    assert [percent(part["width"]) for part in parsed.of("rect")] == pytest.approx(
        [100, 75, 66.667], abs=0.001
    )
    assert [percent(mark["x1"]) for mark in parsed.of("line", "mark")] == [83.333] * 3


def test_a_tile_has_the_colour_of_most_of_its_sites(board):
    drawn = floorplan(board)
    array, queue = group_of(drawn, "block1"), group_of(drawn, "block2")
    assert path_of(array, "logic") == "M0 1h2m2 0h1m-1 1h2"  # runs of tiles are one stroke
    assert strokes(path_of(array, "logic")) == {(0, 1), (1, 1), (4, 1), (4, 2), (5, 2)}
    assert strokes(path_of(queue, "logic")) == {(2, 1), (0, 2)}


def test_multipliers_and_block_rams_have_shapes(board):
    drawn = floorplan(board)
    array, queue = group_of(drawn, "block1"), group_of(drawn, "block2")
    assert path_of(array, "dsp") == "M1 0h0M2 0h0M5 0h0" and 'class="bram"' not in array
    assert path_of(queue, "bram") == "M1 3h0M3 3h0" == path_of(drawn, "hole")
    assert 'class="dsp"' not in queue


def test_the_critical_path_joins_its_places(board):
    critical = group_of(floorplan(board), "critical")
    assert path_of(critical, "line") == "M0 1L5 3"
    assert path_of(critical, "joint") == "M0 1h0" and path_of(critical, "end") == "M5 3h0"
    assert "<title>critical path: array -&gt; queue</title>" in critical
    board["critical_path"]["steps"] = []
    assert "critical" not in floorplan(board).split(">", 1)[1]


def test_the_floorplan_is_told_in_words(board):
    drawn = floorplan(board)
    (label,) = (svg["aria-label"] for svg in Page(drawn).of("svg"))
    assert label == (
        "Floorplan of LFE5U-1F, 6 x 4 tiles. array: 5 logic tiles, 3 multipliers; "
        "gate and queue: 2 logic tiles, 2 block RAMs; other: nothing. "
        "Critical path from (0, 1) to (5, 3)."
    )
    assert "<title>array: 5 logic tiles, 3 multipliers</title>" in drawn


def test_each_block_has_its_colour(board):
    names = [f"block {index}" for index in range(COLOURS + 2)]
    board["blocks"] = [{"name": name, **resources(1, 1, 0, 0)} for name in [OTHER, *names]]
    colours = list(classes(board).values())
    assert colours == ["block0", *(f"block{k}" for k in range(1, COLOURS + 1)), "block0", "block0"]


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb. Source: WCAG 2.2."""
    levels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in levels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1])
def test_colours_stand_out_from_the_page(theme):
    """WCAG 2.2 asks 3 : 1 of graphics (1.4.11)."""
    css = _STYLE.read_text()
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#\w{6});", part)) for part in css.split("@media")[:2]
    )
    colours = (light, light | dark)[theme]
    assert len({colours[f"block-{k}"] for k in range(COLOURS + 1)}) == COLOURS + 1
    for k in range(COLOURS + 1):
        pair = sorted(luminance(colours[name]) for name in (f"block-{k}", "page"))
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 3, f"block-{k}"
        assert f".block{k} {{ color: var(--block-{k});" in css


def test_texts_are_escaped(run, board):
    nasty = '<script>alert("x")</script>&amp;'
    board["name"] = board["device"] = board["critical_path"]["text"] = nasty
    board["blocks"][0]["name"] = nasty
    board["floorplan"]["cells"] = {nasty: CELLS[ARRAY]}
    board["tools"]["yosys"] = nasty
    for step in board["critical_path"]["steps"]:
        step["block"] = step["cell"] = nasty
    text = page(run, [board])
    assert "<script" not in text and nasty in Page(text).text


def test_a_full_chip_stays_small_and_quick(run):
    """LFE5U-85F: 126 x 95 tiles, each used, placed at random, so that runs are short."""
    rng = np.random.default_rng(0)
    width, height = 126, 95
    names = [f"block {index}" for index in range(COLOURS + 1)]
    cells = {name: {"dsp": [], "bram": [], "lut": []} for name in names}
    for y in range(height):
        for x in range(width):
            cells[names[rng.integers(len(names))]]["lut"].append([x, y, 8])
    for kind, number in (("dsp", 156), ("bram", 208)):
        for place in rng.choice(width * height, number, replace=False):
            cells[names[0]][kind].append([int(place) % width, int(place) // width])
    blocks = [{"name": name, **resources(1, 1, 1, 1)} for name in names]
    plan = {"width": width, "height": height, "cells": cells}
    full = small_board(blocks=blocks, floorplan=plan)
    before = time.process_time()
    drawn = floorplan(full)
    assert time.process_time() - before < 1
    assert len(drawn) < 100_000
    covered = [strokes(path) for path in re.findall(r'class="logic" d="([^"]*)"', drawn)]
    assert sum(map(len, covered)) == width * height == len(set().union(*covered))
    assert len(page(run, [full])) - len(page(run)) < 120_000


# Which boards, and refusals.


def written(folder, *boards: dict, **changes) -> str:
    path = folder / "boards.json"
    path.write_text(json.dumps({"format": FORMAT, "boards": boards} | changes))
    return str(path)


def test_the_command_draws_the_boards_of_the_configuration(run, tmp_path, monkeypatch):
    boards = [
        small_board(name="another", config="icebreaker", macs=9),
        small_board(name="first"),
        small_board(name="second"),
    ]
    path = tmp_path / "run.json"
    path.write_text(json.dumps(run))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["report", str(path), "--synthesis", written(tmp_path, *boards)]) == 0
    text = (tmp_path / "report.html").read_text()
    assert text == page(run, boards[1:])
    titles = re.findall(r"<h2>On the board (\w+)</h2>", text)
    assert titles == ["first", "second"]


def refusal(run, folder, path: str, capsys) -> str:
    """The line of a refused record; nothing is written."""
    (folder / "run.json").write_text(json.dumps(run))
    before = sorted(each.name for each in folder.iterdir())
    arguments = ["report", str(folder / "run.json"), "--synthesis", path, "-o"]
    assert cli.main([*arguments, str(folder / "page.html")]) == cli.BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert sorted(each.name for each in folder.iterdir()) == before
    return line


@pytest.mark.parametrize(
    "boards,text",
    [
        (
            [small_board(config="asic"), small_board(name="b", config="icebreaker")],
            "one of the run's configuration, tiny, not small-board (asic), b (icebreaker)",
        ),
        ([], "one of the run's configuration, tiny, not none"),
        ([small_board(macs=72)], "board small-board: must have the run's 36 multipliers, not 72"),
    ],
)
def test_a_record_without_the_configuration_is_refused(run, boards, text, tmp_path, capsys):
    path = written(tmp_path, *boards)
    assert text in refusal(run, tmp_path, path, capsys)
    with pytest.raises(PenstockError, match=re.escape(text)):
        boards_of(load_boards(path), run)


ARRAY_AT = "boards[0].floorplan.cells['array']"


@pytest.mark.parametrize(
    "change,text",
    [
        (lambda b: b.pop("fmax_mhz"), "boards[0].fmax_mhz: must be there, is missing"),
        (lambda b: b.update(fmax_mhz=None), "boards[0].fmax_mhz: must be a number, not null"),
        (lambda b: b.update(clock_mhz=0), "boards[0].clock_mhz: must be more than 0, not 0"),
        (lambda b: b.update(lut=1.5), "boards[0].lut: must be an integer, not 1.5"),
        (lambda b: b["available"].pop("ff"), "boards[0].available.ff: must be there, is missing"),
        (lambda b: b["seeds"][1].pop("routed"), "boards[0].seeds[1].routed: must be there"),
        (lambda b: b["seeds"][0].update(routed=1), "seeds[0].routed: must be true or false, not 1"),
        (lambda b: b["blocks"].append("x"), 'boards[0].blocks[3]: must be an object, not "x"'),
        (lambda b: b["blocks"][0].pop("dsp"), "boards[0].blocks[0].dsp: must be there, is missing"),
        (lambda b: b["tools"].update(yosys=1), "boards[0].tools.yosys: must be a text, not 1"),
        (lambda b: b["floorplan"].update(width=0), "floorplan.width: must be more than 0, not 0"),
        (
            lambda b: b["floorplan"]["cells"].update(link={}),
            "cells['link']: must be one of the blocks, array, gate and queue, other",
        ),
        (
            lambda b: b["floorplan"]["cells"]["array"].pop("lut"),
            f"{ARRAY_AT}.lut: must be there, is missing",
        ),
        (
            lambda b: b["floorplan"]["cells"]["array"]["lut"].append([6, 0, 1]),
            f"{ARRAY_AT}.lut[6]: must be 3 integers, x and y within 6 x 4, not [6, 0, 1]",
        ),
        (
            lambda b: b["floorplan"]["cells"]["array"]["dsp"].append([0, 0, 1]),
            f"{ARRAY_AT}.dsp[3]: must be 2 integers, x and y within 6 x 4, not [0, 0, 1]",
        ),
        (
            lambda b: b["floorplan"]["cells"]["array"]["dsp"].append([0, 0.5]),
            f"{ARRAY_AT}.dsp[3]: must be 2 integers",
        ),
        (
            lambda b: b["critical_path"]["steps"][0].update(kind="via"),
            "boards[0].critical_path.steps[0].kind: must be logic or wire, not 'via'",
        ),
        (
            lambda b: b["critical_path"]["steps"][2].update(y=4),
            "boards[0].critical_path.steps[2]: must lie within 6 x 4, not at 5, 4",
        ),
        (lambda b: b["critical_path"].pop("wire"), "critical_path.wire: must be there, is missing"),
    ],
)
def test_malformed_records_are_refused(run, board, change, text, tmp_path, capsys):
    change(board)
    path = written(tmp_path, board)
    line = refusal(run, tmp_path, path, capsys)
    assert line.startswith(f"penstock: error: {path}: boards[0].") and text in line


def test_other_files_are_refused(run, tmp_path, capsys):
    text = f"must be the JSON of a record of boards, its format {FORMAT!r}, not "
    for came in ("penstock boards 2", "penstock run 1"):
        path = written(tmp_path, format=came)
        assert refusal(run, tmp_path, path, capsys).endswith(f"{text}{came!r}")
    assert "boards: must be a list, not 3" in refusal(
        run, tmp_path, written(tmp_path, boards=3), capsys
    )
    assert "no.json: must be a readable file" in refusal(
        run, tmp_path, str(tmp_path / "no.json"), capsys
    )
