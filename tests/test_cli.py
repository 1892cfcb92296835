"""The command line: what each command prints and writes, and one line for whatever is wrong."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Fragment
from safetensors.numpy import save

from penstock import __version__, bench, cli, demo, simulation
from penstock.compiler import compile_network
from penstock.config import Config, preset
from penstock.configuration_file import load_config
from penstock.errors import PenstockError, SimulationError
from penstock.gold import runner as gold
from penstock.hw import integration
from penstock.images import held_out_digits
from penstock.network import (
    INPUT,
    SHIPPED,
    Classifier,
    Convolution,
    Network,
    Pool,
    Shape,
    load_network,
)
from penstock.program import WORD_BYTES, load_program, save_program
from penstock.record import load_run
from penstock.registers import Code
from penstock.report import failures
from penstock.report_page import page
from penstock.sim.simulate import Run, build_accelerator

TINY = preset("tiny")
FIELDS = {
    *("config", "network", "images", "mismatches", "cycles_gated", "cycles_dense", "macs_dense"),
    *("macs_executed", "mac_reduction", "speedup", "efficiency", "utilization"),
    *("utilization_dense", "layers"),
}
"""What the JSON of a whole-network run has at least."""


def small_network(rng: np.random.Generator) -> Network:
    """1x16x16 pixels, a gated layer, global pooling and ten classes: fits `tiny`."""
    stem = Convolution(
        name="stem",
        source=INPUT,
        weights=rng.integers(-127, 128, (4, 1, 3, 3), dtype=np.int8),
        multipliers=np.full(4, 8, np.int16),
        bias=np.full(4, 2**15),
        shift=12,
        low=0,
        high=255,
        padding=(1, 1, 1, 1),
        stride=2,
    )
    gated = dataclasses.replace(
        stem,
        name="gated",
        source="stem",
        weights=rng.integers(-127, 128, (8, 4, 3, 3), dtype=np.int8),
        multipliers=np.full(8, 4, np.int16),
        bias=np.full(8, 2**18),
        stride=1,
        groups=2,
        thresholds=np.zeros(8, np.int32),
    )
    return Network(
        name="small",
        input=Shape(channels=1, height=16, width=16, signed=False),
        input_scale=1 / 255,
        layers=(
            stem,
            gated,
            Pool(name="pool", source="gated", kind="average", multiplier=256, shift=14),
            Classifier(
                name="classifier",
                source="pool",
                weights=rng.integers(-127, 128, (10, 8), dtype=np.int8),
                bias=rng.integers(-1000, 1000, 10).astype(np.int32),
            ),
        ),
    )


@pytest.fixture(scope="module")
def network() -> Network:
    return small_network(np.random.default_rng(0))


@pytest.fixture(scope="module")
def program(network):
    return compile_network(network, TINY)


@pytest.fixture
def folder(tmp_path, program):
    """A folder with `small.bin`, its program; what a failed command may leave unchanged."""
    save_program(program, tmp_path / "small.bin")
    return tmp_path


@pytest.fixture
def refused(folder, capsys):
    """Call with a command line: it must end with 2, one line on stderr, and no new file."""

    def call(*arguments) -> str:
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        capsys.readouterr()
        assert cli.main([str(argument) for argument in arguments]) == cli.BAD_INPUT
        captured = capsys.readouterr()
        assert captured.out == ""
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
        lines = captured.err.splitlines()
        assert len(lines) == 1, captured.err
        assert lines[0].startswith("penstock: error: ")
        return lines[0].removeprefix("penstock: error: ")

    return call


@pytest.fixture
def no_simulator(monkeypatch):
    """Bad input must be found before the simulator is built."""

    def fail(*arguments, **options):
        raise AssertionError("the simulator must not be built")

    monkeypatch.setattr(simulation, "build_accelerator", fail)
    monkeypatch.setattr(simulation, "build_core", fail)


@pytest.fixture(scope="module")
def tiny_simulator():
    """The simulator of `tiny`, found or built once for this module."""
    return build_accelerator(TINY)


@pytest.fixture
def quick(tiny_simulator, monkeypatch):
    """No search for the simulator of `tiny`: generating its Verilog takes seconds each time."""
    monkeypatch.setattr(simulation, "build_accelerator", lambda config, waves: tiny_simulator)


# Commands that work.


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"penstock {__version__}\n"


def test_module_is_the_command(tmp_path):
    command = [sys.executable, "-m", "penstock", "compile", "digits", "--config", "ulx3s-85f"]
    done = subprocess.run([*command, "-o", "p.bin"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert load_program(tmp_path / "p.bin").config == preset("ulx3s-85f")


def test_compile_starts_without_simulator_and_torch(tmp_path):
    code = (
        "import sys; from penstock import cli; cli.main(['compile', 'digits', '--config', 'asic', "
        "'-o', sys.argv[1]]); print(sorted({'torch', 'amaranth', 'cocotb'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "p")], capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_compile_prints_its_report(folder, capsys):
    output = folder / "digits.bin"
    assert cli.main(["compile", "digits", "--config", "asic", "-o", str(output)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"block1_conv1 +64 +16 +32 +16 \(33%\) +67% +48", printed)
    assert re.search(r"block3_shortcut +4 +64 +0 +0 +44% +64", printed)
    shipped = load_network(SHIPPED["digits"])
    again = compile_network(shipped, preset("asic"))
    assert np.array_equal(load_program(output).to_words(), again.to_words())


def test_verilog_is_written_with_its_kit(folder, capsys):
    output = folder / "acc.v"
    arguments = ["verilog", "--config", "tiny", "--target", "ecp5", "-o", str(output)]
    assert cli.main(arguments) == 0
    text = output.read_text()
    assert '"name": "tiny"' in text
    assert '"target": "ecp5"' in text
    assert "MULT18X18D" in text
    assert "module penstock(" in text
    assert text.rstrip().endswith("endmodule")
    names = {
        *("acc.v", "acc_instance.v", "acc.json", "acc.sdc", "acc.lpf", "penstock_registers.md"),
        *("penstock_registers.h", "penstock.h", "penstock.c"),
    }
    assert {path.name for path in folder.iterdir()} == {"small.bin", *names}
    printed = capsys.readouterr().out
    assert {line.split()[0] for line in printed.splitlines()[1:]} == names
    assert printed.startswith(f"tiny, {preset('tiny').hash:#010x}")
    config = dataclasses.replace(preset("tiny"), target="ecp5")
    assert load_config(str(folder / "acc.json")) == config


@pytest.fixture
def no_verilog(monkeypatch):
    """A kit without its Verilog, which takes seconds. Amaranth still wants its components used."""

    def fake(config, component, name):
        Fragment.get(component, None)
        return f"// {name}\n"

    monkeypatch.setattr(integration, "verilog_file", fake)


@pytest.mark.parametrize(
    ("options", "top", "ports"),
    [
        ((), "penstock", {"m_axi_wdata": 64, "aresetn": 1}),
        (("--axi-bits", "128"), "penstock", {"m_axi_wdata": 128, "aresetn": 1}),
        (("--core",), "penstock_core", {"memory__write_data__payload": 65, "rst": 1}),
    ],
)
def test_verilog_s_options(options, top, ports, folder, no_verilog):
    assert cli.main(["verilog", "--config", "tiny", *options, "-o", str(folder / "p.v")]) == 0
    assert (folder / "p.v").read_text() == f"// {top}\n"
    content = json.loads((folder / "p.json").read_text())
    assert content["top"] == top
    widths = {port["name"]: port["width"] for port in content["ports"]}
    assert ports.items() <= widths.items()
    bits = int(options[1]) if len(options) > 1 else 64
    assert load_config(str(folder / "p.json")) == dataclasses.replace(TINY, axi_bits=bits)


def test_verilog_of_a_configuration_file(folder, no_verilog, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "mine.json").write_text('{"name": "mine", "rows": 2}')
    assert cli.main(["verilog", "--config", "mine.json", "-o", "a.v"]) == 0
    assert load_config("a.json") == Config(name="mine", rows=2)
    assert cli.main(["verilog", "--config", "a.json", "-o", "b.v"]) == 0
    assert (folder / "b.json").read_text() == (folder / "a.json").read_text()


def test_compare_agrees(folder, network, capsys):
    report = folder / "report.json"
    program = str(folder / "small.bin")
    arguments = ["compare", program, "--images", "3", "--seed", "5", "--config", "tiny"]
    assert cli.main([*arguments, "--json", str(report)]) == 0
    figures = json.loads(report.read_text())
    assert set(figures) >= FIELDS
    golden = gold.run(network, held_out_digits(3, seed=5)[0])
    assert (figures["config"], figures["network"], figures["images"]) == ("tiny", "small", 3)
    assert (figures["design"], figures["axi_bits"]) == ("axi", 64)
    assert figures["mismatches"] == 0
    assert figures["tensors"][2] == {
        **{"name": "gated", "values": 3 * 8 * 8 * 8},
        **{"mismatches_gated": 0, "mismatches_dense": 0},
    }
    assert figures["compared"] == 2 * sum(tensor["values"] for tensor in figures["tensors"])
    assert figures["macs_dense"] == golden.macs_dense == 16 * 16 // 4 * 9 * 4 * (1 + 8) + 80
    assert figures["macs_executed"] == golden.macs_executed.mean()
    assert figures["mac_reduction"] == golden.mac_reduction
    cycles = {way: figures[f"counters_{way}"]["CYCLES"] / 3 for way in ("gated", "dense")}
    assert figures["cycles_gated"] == cycles["gated"]
    assert figures["cycles_dense"] == cycles["dense"]
    assert figures["speedup"] == cycles["dense"] / cycles["gated"]
    assert figures["efficiency"] == figures["speedup"] / figures["mac_reduction"]
    assert figures["utilization"] == figures["macs_executed"] / (cycles["gated"] * 36)
    assert figures["utilization_dense"] == figures["macs_dense"] / (cycles["dense"] * 36)
    assert [layer["names"] for layer in figures["layers"]] == [
        ["stem"],
        ["gated", "pool"],
        ["classifier"],
    ]
    assert sum(layer["macs_executed"] for layer in figures["layers"]) == figures["macs_executed"]
    assert sum(layer["cycles_gated"] for layer in figures["layers"]) < figures["cycles_gated"]
    printed = capsys.readouterr().out
    assert re.search(r"gated +1,536 +agree +agree", printed)
    assert re.search(r"classifier +30 +agree +agree", printed)
    assert "small on tiny, AXI of 64 bits, 3 images" in printed
    assert "0 mismatches" in printed


@pytest.mark.parametrize("gating", ["on", "off"])
def test_compare_shows_the_first_difference(folder, program, gating, quick, capsys):
    """The hardware runs other weights than the golden model, in channel 5 of the second layer."""
    weights = program.weights.copy()
    first = (
        program.descriptors[1]["weight_address"] + 5 * program.descriptors[1]["weight_words"] // 8
    )
    weights[first] ^= 1
    wrong = folder / "wrong.bin"
    save_program(dataclasses.replace(program, weights=weights), wrong)
    code = cli.main(["compare", str(wrong), "--images", "2", "--gating", gating])
    assert code == cli.DIFFER
    printed = capsys.readouterr().out
    assert re.search(r"stem +512 +agree", printed)
    assert re.search(r"gated +1,024 +\d+ differ", printed)
    match = re.search(
        rf"first difference, gating {gating}: layer gated, image (\d), channel 5, "
        r"pixel \((\d), (\d)\): hardware (\d+), golden (\d+)",
        printed,
    )
    image, y, x, hardware, golden = map(int, match.groups())
    images = held_out_digits(2)[0]
    tensor = gold.run(program.network, images, gating == "on").tensors["gated"]
    assert hardware != golden == tensor[image, 5, y, x]


def test_simulate_prints_and_writes(folder, quick, capsys):
    figures, program = folder / "run.json", str(folder / "small.bin")
    assert cli.main(["simulate", program, "--images", "2", "--json", str(figures)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"simulation speed +[\d,]+ cycles/s", printed)
    assert re.search(r"BASE_STEPS +\d", printed)
    gated = json.loads(figures.read_text())
    assert (
        cli.main(["simulate", program, "--images", "2", "--gating", "off", "--json", str(figures)])
        == 0
    )
    dense = json.loads(figures.read_text())
    assert {"cycles_gated", "utilization"} <= set(gated)
    assert not {"cycles_dense", "utilization_dense", "efficiency", "mismatches"} & set(gated)
    assert {"cycles_dense", "utilization_dense"} <= set(dense)
    assert not {"cycles_gated", "utilization", "efficiency", "mismatches"} & set(dense)
    assert dense["counters_dense"]["OUTPUTS"] == 0 < gated["counters_gated"]["OUTPUTS"]


def test_simulate_the_core_alone(folder, capsys):
    report, program = folder / "run.json", str(folder / "small.bin")
    cycles = {}
    for options in ([], ["--core"]):
        arguments = ["simulate", program, "--images", "2", *options, "--json", str(report)]
        assert cli.main(arguments) == 0
        figures = json.loads(report.read_text())
        cycles[figures["design"]] = figures["cycles_gated"]
    assert "axi_bits" not in figures
    assert "small on tiny, core alone, 2 images" in capsys.readouterr().out
    assert cycles["core"] < cycles["axi"] < 1.02 * cycles["core"]


def test_axi_bits_choose_the_simulator(folder, monkeypatch, capsys):
    """Those of the option, or else of the program's configuration."""
    built = []

    def note(config, waves):
        built.append(config)
        raise SimulationError("enough")

    monkeypatch.setattr(simulation, "build_accelerator", note)
    program = load_program(folder / "small.bin")
    wide = dataclasses.replace(TINY, axi_bits=128)
    save_program(dataclasses.replace(program, config=wide), folder / "wide.bin")
    for arguments in (["small.bin"], ["small.bin", "--axi-bits", "32"], ["wide.bin"]):
        assert cli.main(["simulate", str(folder / arguments[0]), *arguments[1:]]) == cli.DIFFER
    assert [config.axi_bits for config in built] == [64, 32, 128]
    assert {config.hash for config in built} == {TINY.hash}


def test_simulate_takes_a_file_of_images(folder, quick):
    images = np.random.default_rng(1).integers(0, 256, (3, 1, 16, 16), dtype=np.uint8)
    np.save(folder / "images.npy", images)
    arguments = ["simulate", folder / "small.bin", "--input", folder / "images.npy"]
    for count, expected in ((None, 3), (2, 2)):
        given = [] if count is None else ["--images", count]
        report = folder / "run.json"
        assert cli.main([str(each) for each in (*arguments, *given, "--json", report)]) == 0
        assert json.loads(report.read_text())["images"] == expected


def test_waves_appear_whole(folder, monkeypatch):
    """What the simulator leaves is moved into place; after a failure nothing is left."""

    def fake(jobs, *, seed, waves, core_alone, build):
        waves.write_text("$enddefinitions")
        if failing:
            raise SimulationError("tb_core, seed 0: must run 1 tests, ran 0")
        return ["run"]

    monkeypatch.setattr(simulation, "build_accelerator", lambda config, waves: waves)
    monkeypatch.setattr(simulation, "simulate_many", fake)
    program, wave = load_program(folder / "small.bin"), folder / "run.vcd"
    images = held_out_digits(1)[0]
    failing = True
    with pytest.raises(SimulationError):
        simulation.run_program(program, images, [True], wave=wave)
    assert not list(folder.glob("run.*"))
    failing = False
    assert simulation.run_program(program, images, [True], wave=wave) == {True: "run"}
    assert {path.name for path in folder.glob("run.*")} == {"run.vcd", "run.gtkw"}


def test_demo_on_a_small_network(folder, network, monkeypatch, capsys):
    monkeypatch.setattr(cli, "load_network", lambda path: network)
    output = folder / "build" / "demo"
    code = cli.main(["demo", "--images", "2", "--config", "tiny", "--output", str(output)])
    assert code == 0
    assert {path.name for path in output.iterdir()} == {
        *("report.html", "report.json", "penstock.v", "program.bin")
    }
    figures = json.loads((output / "report.json").read_text())
    assert set(figures) >= FIELDS
    assert (figures["images"], figures["held_out_images"], figures["mismatches"]) == (2, 360, 0)
    images, labels = held_out_digits(2)
    assert figures["accuracy"] == (gold.run(network, images).classes == labels).mean()
    assert figures["mac_reduction_range"][0] <= figures["mac_reduction"]
    printed = capsys.readouterr().out
    assert f"{figures['efficiency']:.3f} (speed-up / MAC reduction)" in printed
    assert "small on tiny, AXI of 64 bits, 2 held-out images" in printed
    assert "0 mismatches" in printed
    assert f"{output / 'report.html'}: these figures drawn" in "".join(printed.splitlines())
    assert (output / "report.html").read_text() == page(load_run(output / "report.json"))
    assert "module penstock(" in (output / "penstock.v").read_text()


def test_demo_ends_with_1_on_a_mismatch(monkeypatch):
    monkeypatch.setattr(demo, "run_demo", lambda *arguments, **options: {"mismatches": 1})
    assert cli.main(["demo"]) == cli.DIFFER


def test_bench_prints_and_writes(folder, monkeypatch, capsys):
    row = {"channels": 16, "size": 32, "density": 0.25, "cycles": 100, "cycles_dense": 200}
    row |= {"macs_executed": 14_400, "ratio": 1.0, "model_cycles": 101, "mismatches": 0}
    result = {"config": "tiny", "design": "axi", "axi_bits": 64, "rows": [row]}
    monkeypatch.setattr(bench, "gating", lambda config, seed: result)
    report = folder / "bench.json"
    arguments = ["bench", "gating", "--config", "tiny", "--json", str(report)]
    assert cli.main(arguments) == 0
    assert json.loads(report.read_text()) == result
    printed = capsys.readouterr().out
    assert "Single gated layers on tiny, AXI of 64 bits" in printed
    assert re.search(r"16 +32x32 +0\.250 +100 +200 +14,400 +1\.000 +\+1\.0%", printed)
    row["mismatches"] = 3
    assert cli.main(arguments) == cli.DIFFER


def test_sizes_prints_and_writes(folder, capsys):
    report = folder / "sizes.json"
    assert cli.main(["bench", "sizes", "--config", "ulx3s-85f", "--json", str(report)]) == 0
    rows = json.loads(report.read_text())["rows"]
    assert [(row["rows"], row["lanes"] // 9) for row in rows] == list(bench.SHAPES)
    assert all(0 < row["utilization"] < 1 for row in rows)
    assert all(0 < row["efficiency"] < 1 for row in rows)
    assert "4 x 36" in capsys.readouterr().out


def test_train_writes_network_and_weights(folder, capsys):
    files = [folder / name for name in ("n.safetensors", "f.safetensors", "t.json")]
    arguments = ["--output", files[0], "--float", files[1], "--json", files[2], "--epochs", 1]
    assert cli.main(["train", *map(str, arguments)]) == 0
    assert load_network(files[0]).name == "digits"
    assert files[1].stat().st_size > 100_000
    assert json.loads(files[2].read_text())["epochs"] == 1
    assert re.search(r"integer accuracy +\d", capsys.readouterr().out)


def test_digits_are_drawn_by_the_seed_alone():
    images, labels = held_out_digits(8)
    again, _ = held_out_digits(8)
    other, _ = held_out_digits(8, seed=1)
    assert np.array_equal(images, again)
    assert not np.array_equal(images, other)
    assert (images.shape, images.dtype, labels.shape) == ((8, 1, 16, 16), np.uint8, (8,))
    everything, _ = held_out_digits(360)
    assert len(np.unique(everything.reshape(360, -1), axis=0)) > 350


# Bad input.


@pytest.mark.parametrize("command", ["compile", "verilog", "simulate", "compare", "bench", "demo"])
def test_unknown_preset(command, folder, refused):
    positional = {
        "compile": ["digits", "-o", folder / "x"],
        "verilog": ["-o", folder / "x.v"],
        "simulate": [folder / "small.bin"],
        "compare": [folder / "small.bin"],
        "bench": ["gating"],
        "demo": ["--output", folder / "x"],
    }
    message = refused(command, *positional[command], "--config", "huge")
    assert (
        message == "config must be one of tiny, icebreaker, ulx3s-25f, ulx3s-85f, asic, not 'huge'"
    )
    (folder / "huge.json").write_text('{"rows": 7}')
    message = refused(command, *positional[command], "--config", folder / "huge.json")
    rule = "rows must be one of 1, 2, 3, 4, 6, 9, not 7"
    assert message == f"config {folder / 'huge.json'}: {rule}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["nonsense"], "argument COMMAND: invalid choice: 'nonsense'"),
        (["compile", "digits"], "the following arguments are required: --config, -o/--output"),
        (["simulate"], "the following arguments are required: PROGRAM"),
        (["simulate", "p", "--images", "many"], "argument --images: invalid int value: 'many'"),
        (["train", "--seed", "-1"], "argument --seed: must be an integer in 0..4294967295, not"),
        (["simulate", "p", "--gating", "half"], "argument --gating: invalid choice: 'half'"),
        (["bench", "speed", "--config", "tiny"], "argument subject: invalid choice: 'speed'"),
        (
            ["compare", "p", "--axi-bits", "32", "--core"],
            "argument --core: not allowed with argument --axi-bits",
        ),
        (["verilog", "--config", "tiny", "-o", "penstock"], "penstock: must end in .v"),
        (["verilog", "--config", "tiny", "-o", "a.v", "--axi-bits", "48"], "axi_bits must be one "),
        (
            ["verilog", "--config", "tiny", "-o", "a.v", "--axi-bits", "wide"],
            "argument --axi-bits: invalid int value: 'wide'",
        ),
        (
            ["verilog", "--config", "tiny", "-o", "a.v", "--axi-bits", "32", "--core"],
            "argument --core: not allowed with argument --axi-bits",
        ),
    ],
)
def test_wrong_arguments(arguments, message, refused):
    assert refused(*arguments).startswith(message)


def test_unknown_target(folder, refused):
    message = refused("verilog", "--config", "tiny", "--target", "abacus", "-o", folder / "x.v")
    assert message == "target must be one of generic, ecp5, asic, not 'abacus'"


@pytest.mark.parametrize("command", ["simulate", "compare"])
@pytest.mark.parametrize("length", [0, 3, 40, 1000, -1, -500])
def test_truncated_program(command, length, folder, refused, no_simulator):
    content = (folder / "small.bin").read_bytes()
    (folder / "cut.bin").write_bytes(content[:length])
    message = refused(command, folder / "cut.bin")
    assert message.startswith(f"program {folder / 'cut.bin'}: ")
    assert length < 4 or "truncated" in message


@pytest.mark.parametrize("command", ["simulate", "compare"])
def test_foreign_program(command, folder, refused, no_simulator):
    (folder / "foreign.bin").write_bytes(b"\x7fELF" + bytes(4000))
    message = refused(command, folder / "foreign.bin")
    assert message == rf"program {folder / 'foreign.bin'}: must begin with PNST, not b'\x7fELF'"


def test_corrupt_program(folder, refused, no_simulator):
    content = bytearray((folder / "small.bin").read_bytes())
    content[40 * WORD_BYTES] ^= 1
    (folder / "corrupt.bin").write_bytes(content)
    assert "the file is corrupt" in refused("simulate", folder / "corrupt.bin")


@pytest.mark.parametrize("command", ["simulate", "compare"])
def test_program_for_another_configuration(command, folder, refused, no_simulator):
    program = folder / "small.bin"
    message = refused(command, program, "--config", "asic")
    hashes = f"tiny ({TINY.hash:#010x}), not asic ({preset('asic').hash:#010x})"
    assert message == f"program {program}: was compiled for configuration {hashes}"


def test_layer_that_does_not_fit(folder, refused):
    message = refused("compile", "digits", "--config", "tiny", "-o", folder / "p.bin")
    need, words = 1040, TINY.weight_words
    assert message == (
        f"layer block2_conv2: weights up to it need {need} words on chip, there are {words}"
    )


@pytest.mark.parametrize("command", ["simulate", "compare"])
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 1, 8, 8), np.uint8), "must be (N, 1, 16, 16) with N of 1 or more"),
        (np.zeros((2, 3, 16, 16), np.uint8), "must be (N, 1, 16, 16) with N of 1 or more"),
        (np.zeros((0, 1, 16, 16), np.uint8), "must be (N, 1, 16, 16) with N of 1 or more"),
        (np.zeros((2, 1, 16, 16), np.int8), "must be uint8, not int8"),
        (np.full((2, 1, 16, 16), np.nan, np.float32), "must be uint8, not float32"),
        (np.zeros((16, 16), np.uint8), "must be one array (N, C, H, W), not shape (16, 16)"),
        (np.array([None]), "must be a whole .npy file of an array"),
    ],
)
def test_wrong_images(command, images, message, folder, refused, no_simulator):
    np.save(folder / "images.npy", images)
    got = refused(command, folder / "small.bin", "--input", folder / "images.npy")
    assert got.startswith("images")
    assert message in got


@pytest.mark.parametrize("content", [b"", b"no numbers", b"\x93NUMPY\x01\x00"])
def test_file_without_images(content, folder, refused, no_simulator):
    (folder / "images.npy").write_bytes(content)
    message = refused("simulate", folder / "small.bin", "--input", folder / "images.npy")
    assert "must be a whole .npy file of an array" in message


def test_archive_of_images(folder, refused, no_simulator):
    np.savez(folder / "images.npz", np.zeros((2, 1, 16, 16), np.uint8))
    message = refused("simulate", folder / "small.bin", "--input", folder / "images.npz")
    assert "not an archive" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "0"], "images: must be at least 1, not 0"),
        (["--axi-bits", "48"], "axi_bits must be one of 32, 64, 128, not 48"),
        (["--images", "361"], "images: must be in 1..360 held-out digits, not 361"),
        (["--input", "few.npy", "--images", "3"], "images few.npy: must hold at least 3, not 2"),
        (["--input", "none.npy"], "images none.npy: no such file"),
        (["--json", "none/x.json"], "none/x.json: must be a writable file (none is no folder)"),
        (["--json", "."], ".: must be a writable file, not a folder"),
        (["--wave", "none/x.vcd"], "none/x.vcd: must be a writable file (none is no folder)"),
    ],
)
def test_wrong_options(arguments, message, folder, refused, no_simulator, monkeypatch):
    monkeypatch.chdir(folder)
    np.save("few.npy", np.zeros((2, 1, 16, 16), np.uint8))
    assert refused("simulate", "small.bin", *arguments) == message


def test_waves_of_two_runs(folder, refused, no_simulator):
    message = refused("compare", folder / "small.bin", "--wave", folder / "x.vcd")
    assert message == "--wave: needs --gating on or off, one run to record"


def test_network_without_default_images(folder, network, refused, no_simulator):
    other = dataclasses.replace(network.input, signed=True)
    program = compile_network(dataclasses.replace(network, input=other), TINY)
    save_program(program, folder / "other.bin")
    message = refused("simulate", folder / "other.bin")
    assert message == (
        "network small: needs images, --input FILE.npy, int8 (N, 1, 16, 16); "
        "only 1x16x16 unsigned has a default"
    )


def save_with_nan(network: Network, path):
    """A network file whose gated layer has floats for weights, one of them NaN."""
    from safetensors import safe_open

    from penstock.network import save_network

    save_network(network, path)
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in metadata and file.keys()}
    weights = tensors["gated.weights"].astype(np.float32)
    weights[0, 0, 0, 0] = np.nan
    path.write_bytes(save(tensors | {"gated.weights": weights}, metadata=metadata))


def test_nan_in_weights(folder, network, refused):
    save_with_nan(network, folder / "nan.safetensors")
    message = refused(
        *("compile", folder / "nan.safetensors", "--config", "tiny", "-o", folder / "p.bin")
    )
    assert message == "layer gated: weights must be integers, not NaN or infinite"


def test_nan_while_training(folder, refused, monkeypatch):
    """A training that diverged writes neither network nor weights."""
    from penstock.gold import train

    def diverge(trainer, **options):
        trainer.model.state_dict()["classifier.weight"][0, 0] = float("nan")

    monkeypatch.setattr(train.Trainer, "run", diverge)
    files = ["--output", folder / "n", "--float", folder / "f"]
    assert refused("train", *files) == (
        "weights classifier.weight: must be finite numbers, not NaN or infinite"
    )


def test_training_without_torch(folder, refused, monkeypatch):
    monkeypatch.delitem(sys.modules, "penstock.gold.train", raising=False)
    monkeypatch.setattr("penstock.gold.train", None, raising=False)
    monkeypatch.delattr("penstock.gold.train")
    monkeypatch.setitem(sys.modules, "torch", None)
    message = refused("train", "--output", folder / "n")
    assert message == "train: needs PyTorch, which is not installed: pip install 'penstock[train]'"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compile", "none", "--config", "tiny", "-o", "p"], "network none: no such file"),
        (["synth", "--liberty", "x"], "--config: must be given with --liberty"),
        (
            ["synth", "--board", "ulx3s-85f", "--clock-mhz", "3"],
            "--clock-mhz: goes with --liberty, not --board",
        ),
        (
            ["synth", "--liberty", "x", "--config", "tiny", "--seeds", "3"],
            "--seeds: goes with --board, not --liberty",
        ),
        (
            ["synth", "--board", "ulx3s-85f", "--config", "tiny", "--config", "asic"],
            "--config: a board takes one, not 2",
        ),
        (
            ["simulate", "none"],
            "program none: must be a readable file (No such file or directory)",
        ),
        (["compare", "."], "program .: must be a readable file (Is a directory)"),
        (
            ["compile", "small.bin", "--config", "tiny", "-o", "p"],
            "network small.bin: must be a safetensors file",
        ),
    ],
)
def test_missing_and_foreign_files(arguments, message, folder, refused, monkeypatch):
    monkeypatch.chdir(folder)
    assert refused(*arguments).startswith(message)


@pytest.mark.parametrize("target", ["none/x", "folder", "small.bin/x"])
@pytest.mark.parametrize("command", ["compile", "verilog", "train", "bench", "demo"])
def test_unwritable_output(command, target, folder, refused, monkeypatch):
    if command == "demo":
        target = "small.bin"  # a folder is wanted, and would be made
    for name in ("folder", "folder.v"):
        (folder / name).mkdir()
    monkeypatch.chdir(folder)
    arguments = {
        "compile": ["digits", "--config", "asic", "-o", target],
        "verilog": ["--config", "tiny", "-o", f"{target}.v"],
        "train": ["--output", target],
        "bench": ["gating", "--config", "tiny", "--json", target],
        "demo": ["--output", target],
    }
    message = refused(command, *arguments[command])
    assert message.startswith(f"{target}: must be a writable fo" if command == "demo" else target)


@pytest.mark.parametrize("name", ["penstock.h", "acc.json", "acc.v"])
def test_unwritable_file_of_a_kit(name, folder, refused, monkeypatch):
    """Found before any work, and no other file is written."""

    def fail(*arguments):
        raise AssertionError("nothing must be generated")

    monkeypatch.setattr(integration, "verilog_file", fail)
    (folder / name).mkdir()
    message = refused("verilog", "--config", "tiny", "-o", folder / "acc.v")
    assert message == f"{folder / name}: must be a writable file, not a folder"


def test_full_disk_leaves_the_old_kit(folder, no_verilog, monkeypatch, capsys):
    (folder / "penstock.h").write_text("old")
    write = Path.write_bytes

    def full(path, content):
        if path.name.startswith("penstock.c"):
            raise OSError(28, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    arguments = ["verilog", "--config", "tiny", "-o", str(folder / "acc.v")]
    assert cli.main(arguments) == cli.BAD_INPUT
    message = f"{folder / 'penstock.c'}: must be a writable file (No space left on device)"
    assert capsys.readouterr().err.splitlines()[1:] == [f"penstock: error: {message}"]
    assert (folder / "penstock.h").read_text() == "old"
    assert {path.name for path in folder.iterdir()} == {"small.bin", "penstock.h"}


def test_epochs_must_be_positive(folder, refused):
    message = refused("train", "--epochs", "0", "--output", folder / "n")
    assert message == "epochs must be at least 1, not 0"


# The hardware and the machine around it.


def test_core_that_stopped_is_reported(program):
    run = Run(
        code=Code.TIMEOUT,
        tensors={},
        logits=None,
        counters={"LAYER": 1},
        cycles=4321,
        layer_cycles=np.zeros((1, 0)),
        image_cycles=np.zeros(1),
        bytes_read=0,
        bytes_written=0,
        speed=0.0,
        errors=[],
    )
    assert failures(program, {False: run}) == [
        "the core stopped with TIMEOUT (gating off), layer gated+pool, after 4,321 cycles"
    ]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (PenstockError("thing: rule, what came"), 2, "penstock: error: thing: rule, what came"),
        (SimulationError("tb_core failed"), 1, "penstock: tb_core failed"),
        (KeyboardInterrupt(), 130, "penstock: interrupted"),
        (OSError(28, "No space left"), 2, "penstock: error: [Errno 28] No space left"),
    ],
)
def test_exit_codes(error, code, line, monkeypatch, capsys):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(cli, "load_network", fail)
    assert cli.main(["compile", "digits", "--config", "tiny", "-o", "x"]) == code
    assert capsys.readouterr().err == line + "\n"
