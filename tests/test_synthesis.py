"""`penstock synth`: the whole flow on a small top, its record, its cache, and what it refuses."""

import dataclasses
import importlib
import json
import stat
import sys

import pytest
from synthesis_top import MULTIPLIERS

from penstock import boards
from penstock.boards import synth_command, synthesis, tools
from penstock.boards.blocks import BLOCKS, OTHER, part, words
from penstock.boards.measured import critical_path, fmax_mhz, performance
from penstock.boards.record import FORMAT, load_record, record_text, with_board
from penstock.boards.router2 import misses_clock, stuck
from penstock.boards.run_record import board_cycles
from penstock.boards.tools import Tool
from penstock.boards.top import elaborate_top
from penstock.cli import main
from penstock.config import preset
from penstock.errors import PenstockError, SynthesisError

SMALL = ["synth", "--board", "small"]
SEEDS = 2


@pytest.fixture(scope="module")
def small():
    """The board `small` among the boards."""
    patch = pytest.MonkeyPatch()
    patch.setitem(boards.BOARDS, "small", "synthesis_top")
    yield importlib.import_module("synthesis_top")
    patch.undo()


@pytest.fixture(scope="module")
def made(small, tmp_path_factory):
    """A folder with the record of two seeds and the bitstream, its build folder beside them."""
    folder = tmp_path_factory.mktemp("synth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PENSTOCK_BUILD", str(folder / "build"))
        record = str(folder / "boards.json")
        assert main([*SMALL, "--seeds", str(SEEDS), "--json", record]) == 0
    return folder


@pytest.fixture
def entry(made):
    return load_record(made / "boards.json")["boards"][0]


@pytest.fixture
def cached(made, monkeypatch):
    """As after `made`, and no tool may be asked for more than its version."""
    monkeypatch.setenv("PENSTOCK_BUILD", str(made / "build"))
    run = Tool.run

    def packs_only(tool, arguments, folder, *others):
        assert tool.name == "ecppack", (tool.name, arguments)
        return run(tool, arguments, folder, *others)

    monkeypatch.setattr(Tool, "run", packs_only)


def reports(made) -> list[dict]:
    """nextpnr's own, of each seed."""
    found = (made / "build" / "synth").glob("seed-*/report.json")
    return [json.loads(path.read_text()) for path in found]


def slowest_clock(report: dict) -> float:
    return min(clock["achieved"] for clock in report["fmax"].values())


def test_fields_are_those_of_the_format(entry):
    assert list(entry) == [
        *("name", "device", "config", "macs", "clock_mhz"),
        *("fmax_mhz", "fmax_median_mhz", "fmax_worst_mhz", "seeds"),
        *("lut", "ff", "dsp", "bram", "available", "blocks", "critical_path", "floorplan"),
        *("network", "cycles_gated", "images_per_second_gated"),
        *("cycles_dense", "images_per_second_dense", "bitstream", "tools"),
    ]
    assert (entry["name"], entry["device"]) == ("small", "LFE5U-25F-6BG381C")
    assert (entry["config"], entry["macs"], entry["clock_mhz"]) == ("tiny", 36, 50.0)
    assert [entry[name] for name in ("network", "cycles_gated", "images_per_second_dense")] == [
        None
    ] * 3
    assert all(entry["tools"][tool].count(".") >= 1 for tool in ("yosys", "nextpnr"))


def test_clock_is_that_of_the_best_seed(made, entry):
    reached = sorted(map(slowest_clock, reports(made)))
    assert len(reached) == SEEDS and reached[0] < reached[1]
    assert entry["fmax_mhz"] == round(reached[1], 2) > entry["clock_mhz"]
    assert entry["fmax_worst_mhz"] == round(reached[0], 2)
    assert entry["fmax_median_mhz"] == pytest.approx(sum(reached) / 2, abs=0.01)
    assert [seed["seed"] for seed in entry["seeds"]] == [1, 2]
    assert {seed["fmax_mhz"] for seed in entry["seeds"]} == {round(each, 2) for each in reached}
    assert all(seed["routed"] and seed["seconds"] > 0 for seed in entry["seeds"])


def test_resources_are_nextpnr_s_and_the_blocks_add_up(made, entry):
    used = max(reports(made), key=slowest_clock)
    kinds = {"lut": "TRELLIS_COMB", "ff": "TRELLIS_FF", "dsp": "MULT18X18D", "bram": "DP16KD"}
    for resource, kind in kinds.items():
        assert entry[resource] == used["utilization"][kind]["used"]
        assert entry["available"][resource] == used["utilization"][kind]["available"]
        assert sum(block[resource] for block in entry["blocks"]) == entry[resource]
    blocks = {block["name"]: block for block in entry["blocks"]}
    assert list(blocks) == ["array", "weights", "control", "link", "other"]
    assert (blocks["array"]["dsp"], blocks["weights"]["bram"]) == (MULTIPLIERS, 2)
    assert blocks["array"]["ff"] == MULTIPLIERS * 36 and blocks["link"]["ff"] > 20
    assert entry["dsp"] == MULTIPLIERS and entry["bram"] == 2
    assert blocks["other"]["lut"] <= 4  # constants, and logic of the top itself


def test_floorplan_holds_every_cell_once(entry):
    plan = entry["floorplan"]
    assert (plan["width"], plan["height"]) == (73, 51)
    blocks = {block["name"]: block for block in entry["blocks"]}
    assert list(plan["cells"]) == list(blocks)
    for name, tiles in plan["cells"].items():
        for x, y, *count in (tile for found in tiles.values() for tile in found):
            assert 0 <= x < plan["width"] and 0 <= y < plan["height"]
            assert not count or 1 <= count[0] <= 16  # sites of a tile
        assert len(tiles["dsp"]) == blocks[name]["dsp"]
        assert len(tiles["bram"]) == blocks[name]["bram"]
        assert sum(c for *_, c in tiles["lut"]) == blocks[name]["lut"] + blocks[name]["ff"]
    assert len({y for _, y in plan["cells"]["array"]["dsp"]}) >= 1
    assert {y for _, y in plan["cells"]["weights"]["bram"]} <= {13, 25, 37}  # rows of block RAMs


def test_longest_path_is_the_clock(entry):
    path = entry["critical_path"]
    assert path["nanoseconds"] == pytest.approx(1000 / entry["fmax_mhz"], rel=1e-3)
    assert path["logic"] + path["wire"] == pytest.approx(path["nanoseconds"], abs=0.002)
    for kind in ("logic", "wire"):
        steps = [step["nanoseconds"] for step in path["steps"] if step["kind"] == kind]
        assert sum(steps) == pytest.approx(path[kind], abs=0.01) and steps
    assert path["text"].endswith(f"{path['wire'] / path['nanoseconds']:.0%}"[:-1] + " % wire")
    assert {step["block"] for step in path["steps"]} <= set(BLOCKS)
    first, last = (path["steps"][index] for index in (0, -1))
    assert path["text"].startswith(part(first["cell"])[0])
    assert part(last["cell"])[0] in path["text"]
    assert (first["kind"], last["kind"]) == ("logic", "logic")


def test_files_of_the_folder(made):
    folder = made / "build" / "small"
    assert sorted(path.name for path in folder.iterdir()) == [
        *("nextpnr.log", "small.bit", "small.lpf", "small.v", "yosys.log")
    ]
    bitstream = (folder / "small.bit").read_bytes()
    assert b"Part: LFE5U-25F-6CABGA381" in bitstream[:200]
    assert bytes.fromhex("ffffbdb3") in bitstream[:300]
    assert len(list((made / "build/synth").iterdir())) == 1 + SEEDS


def test_all_is_found_again(cached, made, entry, tmp_path, capsys):
    record = tmp_path / "again.json"
    arguments = ["--seeds", str(SEEDS), "--json", str(record), "--folder", str(tmp_path / "out")]
    assert main([*SMALL, *arguments]) == 0
    assert load_record(record)["boards"] == [entry]
    assert (tmp_path / "out/small.bit").read_bytes() == (
        made / "build/small/small.bit"
    ).read_bytes()
    shown = "".join(capsys.readouterr().out.split())  # lines end where the terminal does
    for text in (
        f"openFPGALoader -b ulx3s {tmp_path}/out/small.bit",
        entry["critical_path"]["text"],
    ):
        assert "".join(text.split()) in shown


def test_a_missed_clock_is_said_and_recorded_with_the_cycles_of_a_run(
    cached, monkeypatch, tmp_path, capsys
):
    measured = synth_command.measured
    monkeypatch.setattr(
        synth_command, "measured", lambda *given: measured(*given) | {"fmax_mhz": 49.99}
    )
    run, record = tmp_path / "run.json", tmp_path / "boards.json"
    run.write_text(json.dumps(board_cycles("tiny", "net", 4, 1000.0, 4000.0)))
    options = ["--run", str(run), "--json", str(record), "--folder", str(tmp_path)]
    assert main([*SMALL, *options]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    missed = "small needs 50 MHz, seeds tried: 1, the best reaches 49.99"
    assert last == f"penstock: clock missed: {missed}"
    entry = load_record(record)["boards"][0]
    assert entry["fmax_mhz"] == 49.99
    assert (entry["network"], entry["cycles_gated"], entry["cycles_dense"]) == ("net", 1000, 4000)
    assert entry["images_per_second_gated"] == 50_000
    assert entry["images_per_second_dense"] == 12_500


def test_a_run_of_another_configuration_is_refused(small, tmp_path, capsys):
    run = tmp_path / "run.json"
    run.write_text(json.dumps(board_cycles("ulx3s-85f", "net", 4, 1000.0, 4000.0)))
    assert main([*SMALL, "--run", str(run)]) == 2
    assert capsys.readouterr().err == (
        f"penstock: error: {run}: must be a run of configuration tiny, not ulx3s-85f\n"
    )


def test_a_run_of_one_way():
    assert performance({"network": "n", "cycles_gated": 8.0}, 2.0) == {
        "network": "n",
        "cycles_gated": 8.0,
        "images_per_second_gated": 250_000.0,
        "cycles_dense": None,
        "images_per_second_dense": None,
    }


def fake_tool(folder, name: str, code: str) -> str:
    """A program that tells a version and otherwise runs the code; its path."""
    path = folder / name
    version = "if '--version' in sys.argv: print('fake 1.2'); sys.exit()"
    path.write_text(f"#!{sys.executable}\nimport sys\n{version}\n{code}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_seed_that_cannot_be_routed(made, monkeypatch, small, tmp_path, capsys):
    """Tools of the environment; one seed of two fails, then both."""
    monkeypatch.setenv("PENSTOCK_BUILD", str(made / "build"))
    copied = next((made / "build/synth").glob("seed-*"))
    fail = "print('ERROR: no way'); sys.exit(1)"
    works = f"""
import json, shutil
if sys.argv[sys.argv.index('--seed') + 1] == '1':
    {fail}
for name in ('report.json', 'top.config', 'nextpnr.log'):
    shutil.copy({str(copied)!r} + '/' + name, name)
cells = {{'core.x': {{'type': 'TRELLIS_FF', 'attributes': {{'NEXTPNR_BEL': 'X3/Y4/SLICEA.FF0'}},
    'connections': {{}}}}}}
json.dump({{'modules': {{'top': {{'cells': cells}}}}}}, open('placed.json', 'w'))
"""
    monkeypatch.setenv("NEXTPNR_ECP5", fake_tool(tmp_path, "half", works))
    record = tmp_path / "boards.json"
    options = ["--seeds", "2", "--json", str(record), "--folder", str(tmp_path)]
    assert main([*SMALL, *options]) == 0
    entry = load_record(record)["boards"][0]
    assert entry["tools"]["nextpnr"] == "1.2"
    assert [(seed["routed"], seed["fmax_mhz"] is None) for seed in entry["seeds"]] == [
        (False, True),
        (True, False),
    ]
    assert entry["floorplan"]["cells"] == {"control": {"dsp": [], "bram": [], "lut": [[3, 4, 1]]}}
    assert "by seed: not routed, " in capsys.readouterr().out

    before = record.read_bytes()
    monkeypatch.setenv("NEXTPNR_ECP5", fake_tool(tmp_path, "never", f"# other\n{fail}"))
    monkeypatch.setenv("PENSTOCK_BUILD", str(tmp_path / "build"))
    monkeypatch.setattr(synthesis.Flow, "synthesize", lambda flow, top: netlist(made))
    assert main([*SMALL, *options]) == 1
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "penstock: small: could not be placed and routed, seeds tried: 2",
        "ERROR: no way",
    ]
    assert record.read_bytes() == before


def iterations(*counts: int, late: tuple[int, ...] = ()) -> str:
    """A log of router2 with so many overused wires, and late connections, after each iteration."""
    text = ""
    for n, count in enumerate(counts):
        text += f"Info:     iter={n + 1} wires=7 overused={count} overuse={count + 1} "
        text += f"tmgfail={late[n]} archfail=NA\n" if late else "archfail=NA\n"
    return text


@pytest.mark.parametrize(
    ("counts", "is_stuck"),
    [
        ((), False),
        ((900, 300, 200, *range(400, 376, -1)), False),
        ((900, 300, 200, *range(400, 375, -1)), True),
        ((900, 40, *[30] * 40, 20), False),
        ((900, 20, *[66] * 40, 65), False),
        ((900, 20, *[60] * 40, 66), True),
        ((900, 2, *[1] * 60), False),
    ],
)
def test_a_routing_that_gets_nowhere(counts, is_stuck, tmp_path):
    (tmp_path / "nextpnr.log").write_text(iterations(*counts))
    assert (stuck(tmp_path) is not None) == is_stuck
    assert not misses_clock(tmp_path)


@pytest.mark.parametrize(
    ("counts", "late", "is_stuck", "is_late"),
    [
        ((900, 51), (9, 9), False, False),
        ((900, 50), (9, 9), False, True),
        # While wires are overused nothing is known of the clock.
        ((*[900] * 9, 800, *[50] * 60), (*[0] * 10, *[3] * 60), False, True),
        ((*[900] * 9, 800, *[50] * 61), (*[0] * 10, *[3] * 61), True, True),
        ((900, *[0] * 61), (7, 3, *[4] * 60), True, True),
        ((900, *[0] * 61), (7, *[4] * 60, 3), False, True),
        ((900, *[0] * 61), (7, 0, *[4] * 60), True, True),
        ((900, *[1] * 99), (7, *[4, 0] * 49, 0), False, True),
        ((900, *[1] * 300), (7, *[4, 0] * 150), False, True),
        ((900, *[1] * 301), (7, 4, *[4, 0] * 150), True, True),
    ],
)
def test_a_clock_that_is_not_met(counts, late, is_stuck, is_late, tmp_path):
    (tmp_path / "nextpnr.log").write_text(iterations(*counts, late=late))
    assert (stuck(tmp_path) is not None) == is_stuck
    assert misses_clock(tmp_path) == is_late


def test_what_misses_its_clock_is_routed_all_the_same(made, small, monkeypatch, tmp_path, capsys):
    """At 2 GHz nextpnr's router comes to no end, and is asked for less."""
    monkeypatch.setattr(tools, "_WATCHED_EVERY", 0.5)
    top = dataclasses.replace(elaborate_top(small.BOARD), megahertz=2000.0)
    folder = netlist(made)
    monkeypatch.setenv("PENSTOCK_BUILD", str(tmp_path / "build"))
    monkeypatch.setattr(synth_command, "elaborate_top", lambda board: top)
    monkeypatch.setattr(synthesis.Flow, "synthesize", lambda flow, top: folder)
    record = tmp_path / "boards.json"
    assert main([*SMALL, "--json", str(record), "--folder", str(tmp_path / "out")]) == 0
    assert 50 < load_record(record)["boards"][0]["fmax_mhz"] < 2000
    output = capsys.readouterr().err
    assert "placing and routing small, seeds: 1" in output
    assert "placing and routing small, whatever the clock, seeds: 1" in output
    tails = [path.read_text() for path in (tmp_path / "build/synth").glob("*/nextpnr-ecp5.out")]
    assert sum("connections too late for the clock" in tail for tail in tails) == 1


def test_such_a_routing_is_given_up(monkeypatch, tmp_path):
    monkeypatch.setattr(tools, "_WATCHED_EVERY", 0.1)
    log = iterations(900, 200, *[300] * 25)
    body = f"import time; open('nextpnr.log', 'w').write({log!r}); time.sleep(600)"
    monkeypatch.setenv("NEXTPNR_ECP5", fake_tool(tmp_path, "endless", body))
    nextpnr = Tool("nextpnr-ecp5")
    assert nextpnr.run([], tmp_path, stuck) == 1
    assert nextpnr.tail(tmp_path).endswith(
        "ERROR: routing given up after 27 iterations: 300 overused wires, 200 at best, 25"
        " iterations ago"
    )


def netlist(made):
    return next((made / "build/synth").glob("netlist-*"))


def test_a_tool_that_breaks_off(tmp_path, monkeypatch):
    monkeypatch.setenv("YOSYS", fake_tool(tmp_path, "yosys", "print('Segfault'); sys.exit(3)"))
    tool = Tool("yosys")
    assert tool.version == "1.2"
    with pytest.raises(SynthesisError, match=r"^yosys failed:\nSegfault$"):
        tool.check([], tmp_path)
    monkeypatch.setenv("YOSYS", str(tmp_path / "none"))
    with pytest.raises(PenstockError, match=r"^yosys: .*none must be a program \(No such file"):
        Tool("yosys")
    monkeypatch.delenv("YOSYS")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "elsewhere" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "elsewhere"))
    with pytest.raises(PenstockError, match=r"^yosys: must be installed: .* YOSYS must name it$"):
        Tool("yosys")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"weight_words": 65536},
            "536 block RAMs (DP16KD), LFE5U-25F-6BG381C has 56",
        ),
        (
            {"rows": 2},
            "42 multipliers (MULT18X18D), LFE5U-25F-6BG381C has 28",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_synthesis(changes, message, tmp_path, capsys):
    fields = dataclasses.asdict(preset("ulx3s-25f")) | changes | {"name": "mine"}
    (tmp_path / "mine.json").write_text(json.dumps(fields))
    options = ["--board", "ulx3s-25f", "--config", str(tmp_path / "mine.json")]
    assert main(["synth", *options]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"penstock: error: ulx3s-25f-mine: configuration mine needs {message}"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--board", "ulx4s"],
            f"board must be one of {', '.join([*boards.BOARDS, 'small'])}, not 'ulx4s'",
        ),
        ([*SMALL[1:], "--seeds", "0"], "argument --seeds: must be an integer in 1..64, not '0'"),
        ([*SMALL[1:], "--json", "none/x.json"], "none/x.json: must be a writable file"),
        ([*SMALL[1:], "--run", "none.json"], "none.json: must be a readable file"),
        ([*SMALL[1:], "--config", "large"], "config must be one of"),
        ([], "one of the arguments --board --liberty is required"),
    ],
)
def test_bad_input_is_refused(arguments, message, small, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["synth", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"penstock: error: {message}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "penstock run 1"}'])
def test_a_foreign_record_is_not_overwritten(content, small, tmp_path, capsys):
    (tmp_path / "boards.json").write_text(content)
    assert main([*SMALL, "--json", str(tmp_path / "boards.json")]) == 2
    assert "must be a synthesis record, its format 'penstock boards 1', not" in (
        capsys.readouterr().err
    )
    assert (tmp_path / "boards.json").read_text() == content


def test_longest_path_is_that_of_the_slowest_clock():
    def step(kind: str, delay: float, *cells: str) -> dict:
        ends = ({"cell": cell, "loc": [3, index]} for index, cell in enumerate(cells))
        return {"type": kind, "delay": delay} | dict(zip(("from", "to"), ends, strict=True))

    slow = [
        step("clk-to-q", 0.5, "core.engine.gate.a", "core.engine.gate.a"),
        step("routing", 3.0, "core.engine.gate.a", "core.engine.tasks.b"),
        step("logic", 0.25, "core.engine.tasks.b", "core.engine.tasks.b"),
        step("routing", 2.25, "core.engine.tasks.b", "x"),
        step("setup", 0.0, "x", "x"),
    ]
    edges = {"slow": "posedge slow", "fast": "posedge fast"}
    paths = [
        {"from": edges["fast"], "to": edges["fast"], "path": slow[:1]},
        {"from": "<async>", "to": edges["slow"], "path": slow[:2]},
        {"from": edges["slow"], "to": edges["slow"], "path": slow},
    ]
    fmax = {"fast": {"achieved": 300.0}, "slow": {"achieved": 166.6667}}
    report = {"fmax": fmax, "critical_paths": paths}
    assert fmax_mhz(report) == 166.6667
    found = critical_path(report)
    assert (found["nanoseconds"], found["logic"], found["wire"]) == (6.0, 0.75, 5.25)
    assert found["text"] == (
        "gate (gate and queue) -> task queue (gate and queue) -> other; 88 % wire"
    )
    assert [each["kind"] for each in found["steps"]] == ["logic", "wire", "logic", "wire", "logic"]
    assert found["steps"][1] == {
        "kind": "wire",
        "nanoseconds": 3.0,
        "block": "gate and queue",
        "cell": "core.engine.tasks.b",
        "x": 3,
        "y": 1,
    }


def test_a_record_s_text_is_its_json():
    for count in range(3):
        boards = [{"name": f"b{index}", "seeds": [{"seed": 1}]} for index in range(count)]
        record = {"format": FORMAT, "boards": boards}
        assert json.loads(record_text(record)) == record


def test_an_entry_takes_the_place_of_its_name():
    first, second, new = {"name": "a", "lut": 1}, {"name": "b"}, {"name": "a", "lut": 3}
    record = with_board({"format": FORMAT, "boards": []}, first)
    record = with_board(record, second)
    assert with_board(record, new) == {"format": FORMAT, "boards": [new, second]}
    assert record["boards"] == [first, second]


def test_parts_by_name():
    assert part("system.core.engine.array.multipliers_0.dsp_3") == ("array", "array")
    assert part("system.core.engine.fetch$310.address_TRELLIS_FF_Q") == ("layer fetch", "control")
    assert part("core.engine.result_sums_1_FF") == ("pipeline", "control")
    assert part("system.core.arbiter.fifo.storage.0.1") == ("read arbiter", "memory side")
    assert part("sdram.wait_TRELLIS_FF_Q") == ("memory controller", "memory controller")
    for unknown in ("", "$auto$123", "clocks.pll", "score.engine", "system.blink_FF"):
        assert part(unknown) == (OTHER, OTHER)
    names = ("core.engine.write_queue.a", "core.engine.write_queue.b", "core.engine.array.c", "d")
    assert words(names) == "write queue (control) -> array -> other"
