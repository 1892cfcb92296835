"""`penstock synth` for an iCE40: the whole flow on a small top, and what it refuses."""

import importlib
import json

import pytest

from penstock import boards
from penstock.boards.record import load_record
from penstock.cli import main

RESOURCES = {"lut": "ICESTORM_LC", "dsp": "ICESTORM_DSP", "bram": "ICESTORM_RAM"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with the record of one seed and the bitstream, its build folder beside them."""
    folder = tmp_path_factory.mktemp("synth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(boards.BOARDS, "small-ice40", "synthesis_top_ice40")
        patch.setenv("PENSTOCK_BUILD", str(folder / "build"))
        importlib.import_module("synthesis_top_ice40")
        arguments = ["--board", "small-ice40", "--json", str(folder / "boards.json")]
        assert main(["synth", *arguments]) == 0
    return folder


def test_record_is_nextpnr_s(made):
    (entry,) = load_record(made / "boards.json")["boards"]
    (path,) = (made / "build/synth").glob("seed-*/report.json")
    report = json.loads(path.read_text())
    for resource, kind in RESOURCES.items():
        assert entry[resource] == report["utilization"][kind]["used"]
        assert entry["available"][resource] == report["utilization"][kind]["available"]
        assert sum(block[resource] for block in entry["blocks"]) == entry[resource]
    assert (entry["device"], entry["macs"], entry["clock_mhz"]) == ("iCE40UP5K-SG48", 9, 24.0)
    blocks = {block["name"]: block for block in entry["blocks"]}
    assert list(blocks) == ["array", "weights", "control", "link", "other"]
    assert (blocks["array"]["dsp"], blocks["weights"]["bram"]) == (1, 1)
    assert blocks["control"]["ff"] >= 8 + 2 * 8 and 20 < blocks["link"]["ff"] < entry["ff"]
    assert entry["ff"] <= entry["lut"]  # cells whose flip-flop is in use, among all
    assert entry["fmax_mhz"] == pytest.approx(
        min(clock["achieved"] for clock in report["fmax"].values()), abs=0.01
    )
    assert entry["critical_path"]["nanoseconds"] == pytest.approx(
        1000 / entry["fmax_mhz"], rel=1e-3
    )


def test_floorplan_lies_on_the_device(made):
    plan = load_record(made / "boards.json")["boards"][0]["floorplan"]
    assert (plan["width"], plan["height"]) == (26, 32)
    for tiles in plan["cells"].values():
        for x, y, *_ in (tile for found in tiles.values() for tile in found):
            assert 0 <= x < 26 and 0 <= y < 32
    assert {x for x, _ in plan["cells"]["array"]["dsp"]} <= {0, 25}  # columns of SB_MAC16
    assert {x for x, _ in plan["cells"]["weights"]["bram"]} <= {6, 19}


def test_files_of_the_folder(made):
    folder = made / "build" / "small-ice40"
    assert sorted(path.name for path in folder.iterdir()) == [
        *("nextpnr.log", "small-ice40.bin", "small-ice40.pcf", "small-ice40.v", "yosys.log")
    ]
    bitstream = (folder / "small-ice40.bin").read_bytes()
    assert bytes.fromhex("7eaa997e") in bitstream[:64] and len(bitstream) > 100_000


@pytest.mark.parametrize(
    ("board", "config", "engine", "device"),
    [
        ("icebreaker", "ulx3s-25f", "array", "iCE40UP5K-SG48"),
        ("ulx3s-25f", "icebreaker", "compact", "LFE5U-25F-6BG381C"),
    ],
)
def test_an_engine_that_is_not_made_for_the_device_is_refused(
    board, config, engine, device, capsys
):
    assert main(["synth", "--board", board, "--config", config]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"penstock: error: {board}-{config}: configuration {config} has the engine {engine}, "
        f"which is not made for {device}"
    )
