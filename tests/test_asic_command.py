"""``penstock synth --liberty``: what it prints and writes, and what it refuses."""

import json
import re

import pytest
import small_liberty
from small_core import small_core

from penstock import cli
from penstock.boards import asic_command
from penstock.config import preset
from penstock.hw.verilog import CORE_TOP

CLOCK = 50


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder with the small library; cores are the one in miniature."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(asic_command, "asic_verilog", lambda core: small_core())
    (tmp_path / "small.lib").write_text(small_liberty.small_liberty())
    return tmp_path


def synth(*arguments: str) -> int:
    return cli.main(["synth", "--liberty", "small.lib", *arguments])


def test_files_and_tables(folder, capsys, monkeypatch):
    (folder / "mine.json").write_text('{"name": "mine", "rows": 1}')
    configs = ["--config", "tiny", "--config", "mine.json"]
    arguments = [*configs, "--dont-use", "X*2", "--clock-mhz", str(CLOCK)]
    arguments += ["--json", "figures.json", "--markdown", "figures.md", "--folder", "out"]
    library = str(folder / "small.lib")
    monkeypatch.setattr("sys.argv", ["penstock", "synth", "--liberty", library])
    assert synth(*arguments, "--liberty", library) == 0
    output = capsys.readouterr()
    assert output.out.count("penstock_ram_100x4x1") == 2
    assert output.err == "mapping tiny ...\nmapping mine ...\n"

    names = {f"{CORE_TOP}.v", f"{CORE_TOP}_mapped.v", f"{CORE_TOP}.sdc", "config.json", "work"}
    for name in ("tiny", "mine"):
        assert {path.name for path in (folder / "out" / name).iterdir()} == names
    out = folder / "out" / "tiny"
    assert (out / f"{CORE_TOP}.v").read_text() == small_core()
    netlist = (out / f"{CORE_TOP}_mapped.v").read_text()
    assert " DFF " in netlist and not re.search(r" XN?OR2 ", netlist)
    assert "set period 20.0 ;# ns" in (out / f"{CORE_TOP}.sdc").read_text()
    hints = json.loads((out / "config.json").read_text())
    assert (hints["DESIGN_NAME"], hints["CLOCK_PORT"], hints["CLOCK_PERIOD"]) == (
        *(CORE_TOP, "clk"),
        1e3 / CLOCK,
    )
    for file in (*hints["VERILOG_FILES"], hints["PNR_SDC_FILE"], hints["SIGNOFF_SDC_FILE"]):
        assert (out / file.removeprefix("dir::")).exists()
    assert list(hints["MACROS"]) == ["penstock_ram_100x4x1"]

    record = json.loads((folder / "figures.json").read_text())
    assert record["library"] == {"name": "small", "nand2": "NAND2", "nand2_area": 2.5}
    tiny, mine = record["configurations"]
    assert (tiny["name"], mine["name"]) == ("tiny", "mine")
    assert tiny["multipliers"] == preset("tiny").multipliers
    assert tiny["core"] == mine["core"]
    page = (folder / "figures.md").read_text()
    core, array = tiny["core"], tiny["blocks"]["array"]
    assert (
        f"| tiny | 36 | {core['cells']} | 84 | {core['area']:,.0f} | {core['kilogates']:,.1f} | "
        f"{core['path']['time']:.3f} | {1e3 / core['path']['time']:.0f} | {array['area']:,.0f} | "
    ) in page
    assert f"| array | {array['cells']} | 54 | {array['area']:,.0f} | " in page
    assert f" | {array['path']['start']} | {array['path']['end']} |\n" in page
    assert (
        "| penstock_ram_100x4x1 | 100 x 4 | 1 | 1 write, 1 read | 1 cycle | 1 | buffers |" in page
    )
    assert "16 of the flip-flops are small memories: engine.tasks 4 x 4." in page
    assert "Written by `penstock synth --liberty small.lib`" in page


def test_period_is_that_of_the_longest_path(folder):
    assert synth("--config", "tiny", "--json", "figures.json") == 0
    time = json.loads((folder / "figures.json").read_text())["configurations"][0]["core"]["path"]
    out = folder / "build" / "asic" / "tiny"
    period = float(re.search(r"set period (\S+) ;", (out / f"{CORE_TOP}.sdc").read_text())[1])
    assert time["time"] <= period < time["time"] + 0.01
    assert json.loads((out / "config.json").read_text())["CLOCK_PERIOD"] == period


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "huge"], "config must be one of tiny, .*, not 'huge'"),
        (["--config", "tiny", "--config", "tiny"], "--config: names must differ, 'tiny' comes 2x"),
        (["--config", "tiny", "--liberty", "no.lib"], "no.lib: must be a readable Liberty file"),
        (["--config", "tiny", "--liberty", "x.v"], "x.v: must be a Liberty file: line 1 has "),
        (["--config", "tiny", "--dont-use", "D*"], "small.lib: must have a flip-flop to use"),
        (["--config", "tiny", "--dont-use", "NAND*"], "small.lib: must have a NAND gate of two"),
        (["--config", "tiny", "--clock-mhz", "0"], ".*must be a number of MHz above 0, not '0'"),
        (["--config", "tiny", "--json", "none/x.json"], "none/x.json: must be a writable file"),
        (["--config", "tiny", "--markdown", "none/x.md"], "none/x.md: must be a writable file"),
    ],
)
def test_refusals_leave_nothing(arguments, message, folder, capsys):
    (folder / "x.v").write_text("module x;\nendmodule\n")
    before = sorted(folder.iterdir())
    assert synth(*arguments) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(rf"penstock: error: {message}.*\n", error)
    assert sorted(folder.iterdir()) == before


def test_failing_yosys_leaves_no_result(folder, capsys, monkeypatch):
    monkeypatch.setattr(asic_command, "asic_verilog", lambda core: "module wrong(\n")
    monkeypatch.setattr("penstock.boards.asic._share_rows", lambda text: text)
    assert synth("--config", "tiny", "--json", "figures.json") == 1
    assert "penstock: yosys failed:\n" in capsys.readouterr().err
    assert [path.name for path in (folder / "build/asic/tiny").iterdir()] == ["work"]
    assert not (folder / "figures.json").exists()
