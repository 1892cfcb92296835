"""`penstock synth` for a Gowin part: the whole flow on a small top."""

import importlib
import json

import pytest

from penstock import boards
from penstock.boards.record import load_record
from penstock.cli import main


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with the record of one seed and the bitstream, its build folder beside them."""
    folder = tmp_path_factory.mktemp("synth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(boards.BOARDS, "small-gowin", "synthesis_top_gowin")
        patch.setenv("PENSTOCK_BUILD", str(folder / "build"))
        importlib.import_module("synthesis_top_gowin")
        arguments = ["--board", "small-gowin", "--json", str(folder / "boards.json")]
        assert main(["synth", *arguments]) == 0
    return folder


def test_record_is_nextpnr_s(made):
    (entry,) = load_record(made / "boards.json")["boards"]
    (path,) = (made / "build/synth").glob("seed-*/report.json")
    report = json.loads(path.read_text())
    used = {name: kind["used"] for name, kind in report["utilization"].items()}
    there = {name: kind["available"] for name, kind in report["utilization"].items()}
    assert used["RAM16SDP4"] > 0
    # nextpnr puts LUTs in front of some flip-flops after it has counted.
    counted = used["LUT4"] + used["ALU"] + 4 * used["RAM16SDP4"]
    assert counted <= entry["lut"] <= counted + used["DFF"]
    assert entry["ff"] == used["DFF"]
    assert entry["dsp"] == used["MULT9X9"] + 2 * used["MULT18X18"] > 0
    assert entry["bram"] == used["BSRAM"] == 1
    kinds = {"lut": "LUT4", "ff": "DFF", "dsp": "MULT9X9", "bram": "BSRAM"}
    assert entry["available"] == {name: there[kind] for name, kind in kinds.items()}
    blocks = {block["name"]: block for block in entry["blocks"]}
    for resource in kinds:
        assert sum(block[resource] for block in blocks.values()) == entry[resource]
    assert list(blocks) == ["array", "weights", "control", "link", "memory controller", "other"]
    assert (blocks["array"]["dsp"], blocks["weights"]["bram"]) == (entry["dsp"], 1)
    assert blocks["memory controller"]["lut"] >= 4 * used["RAM16SDP4"]
    assert (entry["device"], entry["clock_mhz"]) == ("GW1NR-LV9QN88PC6/I5", 27.0)
    clocks = report["fmax"].values()
    assert entry["fmax_mhz"] == pytest.approx(min(each["achieved"] for each in clocks), abs=0.01)
    assert {each["constraint"] for each in clocks} == {27}


def test_floorplan_lies_on_the_device(made):
    plan = load_record(made / "boards.json")["boards"][0]["floorplan"]
    assert (plan["width"], plan["height"]) == (47, 29)
    for tiles in plan["cells"].values():
        for x, y, *_ in (tile for found in tiles.values() for tile in found):
            assert 0 <= x < 47 and 0 <= y < 29


def test_files_of_the_folder(made):
    folder = made / "build" / "small-gowin"
    assert sorted(path.name for path in folder.iterdir()) == [
        *("nextpnr.log", "small-gowin.cst", "small-gowin.fs", "small-gowin.v", "yosys.log")
    ]
    bits = (folder / "small-gowin.fs").read_text().split()
    assert set("".join(bits)) == {"0", "1"} and len(bits) > 500
    assert "1010010111000011" in bits  # the word that a device looks for
