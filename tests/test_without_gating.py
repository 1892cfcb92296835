"""The configuration without gating: a dense accelerator, otherwise the same."""

import contextlib
import dataclasses
import functools
import re

import numpy as np
import pytest
from amaranth.sim import Simulator
from random_networks import random_case
from verilog_tools import lint

from penstock import cli, simulation
from penstock.boards import host
from penstock.compiler import compile_network
from penstock.config import Config, preset
from penstock.errors import BoardError, PenstockError, SimulationError
from penstock.gold.runner import run as golden
from penstock.hw.control import Control
from penstock.hw.core import Core
from penstock.hw.layouts import REGISTER_LATENCY, group_tag_layout
from penstock.hw.verilog import core_verilog
from penstock.images import held_out_digits
from penstock.network import SHIPPED, load_network
from penstock.program import Program, load_program, save_program
from penstock.registers import ADDRESS, COUNTERS, Code
from penstock.sim.simulate import Job, Run, compare, simulate_many
from penstock.sim.waves import Waves

TINY = preset("tiny")
UNGATED = dataclasses.replace(TINY, name="ungated", gating=False)
OF_GATING = "CONDITIONAL_STEPS", "OUTPUTS", "TASKS", "STALL_QUEUE"
"""Counters that only gating needs."""


@functools.cache
def verilog(config: Config) -> str:
    return core_verilog(config)


def modules(config: Config) -> set[str]:
    """Names of the modules, as their path in the hierarchy."""
    found = re.findall(r"^module \\?([\w.]+)", verilog(config), re.MULTILINE)
    return {name.removeprefix("penstock_core.") for name in found}


def test_what_only_gating_needs_is_gone():
    tasks = {"engine.tasks", "engine.tasks.fifo", "engine.tasks.buffer"}
    gone = {"engine.gate", "engine.groups.word_1", *tasks}
    assert modules(TINY) - modules(UNGATED) == gone
    assert modules(UNGATED) <= modules(TINY)
    pixel, channel = 1 + 8 + 8, 12
    assert group_tag_layout(UNGATED).size == channel + UNGATED.rows * pixel


def test_verilog_passes_lint(tmp_path):
    (tmp_path / "core.v").write_text(verilog(UNGATED))
    done = lint(tmp_path / "core.v")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("config", "kept"), [(TINY, 1), (UNGATED, 0)])
def test_the_gating_register(config, kept):
    """What a host writes to GATING, and reads from it."""
    control = Control(config)
    simulator = Simulator(control)
    read = []

    async def host(context):
        context.set(control.bus.address, ADDRESS["GATING"])
        context.set(control.bus.write_data, 0xFFFFFFFF)
        context.set(control.bus.write, 1)
        await context.tick()
        context.set(control.bus.write, 0)
        await context.tick().repeat(REGISTER_LATENCY)
        read.append(context.get(control.bus.read_data))

    simulator.add_clock(1e-8)
    simulator.add_testbench(host)
    simulator.run()
    assert read == [kept]


def test_files_and_hash_of_gated_configurations_say_nothing_of_it():
    assert (TINY.hash, preset("ulx3s-85f").hash) == (0x2FD6019F, 0x851994D4)
    assert "gating" not in TINY.fields()
    assert UNGATED.fields()["gating"] is False
    assert Config(**UNGATED.fields()) == UNGATED
    assert UNGATED.hash not in (TINY.hash, dataclasses.replace(UNGATED, rows=1).hash)


@pytest.mark.parametrize("value", [0, 1, "no", None])
def test_gating_is_true_or_false(value):
    with pytest.raises(PenstockError, match=f"^gating must be true or false, not {value!r}$"):
        Config(gating=value)


def test_a_program_holds_dense_layers(tmp_path):
    network = load_network(SHIPPED["digits"])
    config = dataclasses.replace(preset("ulx3s-85f"), gating=False)
    save_program(compile_network(network, config), tmp_path / "dense.bin")
    program = load_program(tmp_path / "dense.bin")
    assert program.config == config
    assert not any(descriptor["gated"] for descriptor in program.descriptors)
    images = held_out_digits(3)[0]
    result, expected = golden(program.network, images), golden(network, images, gating=False)
    assert result.decisions == {}
    assert np.array_equal(result.output, expected.output)
    assert result.macs_dense == expected.macs_dense


@functools.cache
def runs() -> list[tuple[Program, Program, np.ndarray, dict[str, Run]]]:
    """(gated program, dense program, images, runs): random networks on both kinds of hardware."""
    cases = []
    for seed in range(4):
        gated, images = random_case(np.random.default_rng(seed), TINY, cycles=4000)
        cases.append((gated, compile_network(gated.network, UNGATED), images))
    plain = [compile_network(gated.network.without_gates(), TINY) for gated, _, _ in cases]

    def simulate(programs, gating: bool) -> list[Run]:
        jobs = [
            Job(program=program, images=images, gating=gating)
            for program, (_, _, images) in zip(programs, cases, strict=True)
        ]
        return simulate_many(jobs, seed=1, core_alone=True)

    ungated = [dense for _, dense, _ in cases]
    by_kind = {
        "ungated": simulate(ungated, False),
        "ungated, bit set": simulate(ungated, True),
        "gating off": simulate([gated for gated, _, _ in cases], False),
        "plain": simulate(plain, True),
    }
    return [
        (*case, {kind: made[index] for kind, made in by_kind.items()})
        for index, case in enumerate(cases)
    ]


def test_the_hardware_equals_gold():
    """Gates of the network are of no account, nor is the control bit."""
    assert any(descriptor["gated"] for gated, *_ in runs() for descriptor in gated.descriptors)
    for gated, program, images, made in runs():
        expected = golden(gated.network, images, gating=False)
        for kind in ("ungated", "ungated, bit set"):
            run = made[kind]
            assert run.code == Code.OK
            comparisons = compare(run, program, images)
            assert [each for each in comparisons if each.mismatches] == []
            for name, tensor in expected.tensors.items():
                seen = run.tensors.get(name, run.logits)
                assert np.array_equal(seen, tensor)
            assert [run.counters[name] for name in OF_GATING] == [0, 0, 0, 0]


def test_cycles_are_those_of_gated_hardware_or_fewer():
    fewer = []
    for _, program, _, made in runs():
        cycles = {kind: run.cycles for kind, run in made.items()}
        assert cycles["ungated"] == cycles["ungated, bit set"] == cycles["plain"]
        assert cycles["ungated"] <= cycles["gating off"]
        fewer.append(cycles["ungated"] < cycles["gating off"])
        counters = [
            {name: made[kind].counters[name] for name in COUNTERS} for kind in ("ungated", "plain")
        ]
        assert counters[0] == counters[1]
        words = [compile_network(program.network, each).to_words() for each in (TINY, UNGATED)]
        assert np.flatnonzero(words[0] != words[1]).tolist() == [1]  # that of the hash
    assert any(fewer)


def test_waves_show_no_tasks():
    groups = Waves(Core(UNGATED)).groups
    assert "Tasks" in Waves(Core(TINY)).groups
    assert "Tasks" not in groups
    assert all(shown.bits for group in groups.values() for shown in group)


# The command line.


@pytest.fixture
def asked(monkeypatch) -> list[bool]:
    """Instead of a simulation: whether gating was asked for in each run."""
    asked = []

    def run_program(program, images, ways, **options):
        asked.extend(ways)
        raise SimulationError("enough")

    monkeypatch.setattr(simulation, "run_program", run_program)
    return asked


@pytest.fixture
def program(tmp_path, monkeypatch):
    """``program.bin`` and its configuration ``ungated.json``, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ungated.json").write_text('{"name": "ungated", "gating": false}')
    arguments = ["compile", "digits", "--config", "ungated.json", "-o", "program.bin"]
    assert cli.main(arguments) == 0
    return "program.bin"


@pytest.mark.parametrize(
    ("command", "purpose"),
    [
        (["simulate", "program.bin", "--gating", "on"], "--gating on"),
        (["compare", "program.bin", "--gating", "on"], "--gating on"),
        (["demo", "--config", "ungated.json"], "demo"),
        (["bench", "gating", "--config", "ungated.json"], "bench gating"),
        (["bench", "sizes", "--config", "ungated.json"], "bench sizes"),
        (["results", "r.json", "--data", ".", "--config", "ungated.json"], "results"),
    ],
)
def test_gating_is_refused(command, purpose, program, asked, tmp_path, capsys):
    files = set(tmp_path.iterdir())
    capsys.readouterr()
    assert cli.main(command) == cli.BAD_INPUT
    message = f"{purpose}: needs a configuration with gating, ungated leaves it out"
    assert capsys.readouterr().err == f"penstock: error: {message}\n"
    assert set(tmp_path.iterdir()) == files


@pytest.mark.parametrize("command", [["simulate"], ["compare"], ["compare", "--gating", "off"]])
def test_it_runs_with_gating_off(command, program, asked):
    assert cli.main([*command, program]) == cli.DIFFER
    assert asked == [False]


def test_a_board_runs_with_gating_off(program, monkeypatch):
    asked = []

    class Board(contextlib.nullcontext):
        def load(self, program, advance):
            pass

        def run(self, images, gating, advance):
            asked.append(gating)
            raise BoardError("enough")

        def __enter__(self):
            return self

    monkeypatch.setattr(host, "Board", lambda port, baud: Board())
    assert cli.main(["run", "--port", "none", program]) == cli.DIFFER
    assert asked == [False]
