"""Waves: every signal that the save file names is there, and tells what the counters tell."""

import json
import random
import re
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from test_cli import small_network
from wave_files import declared, lz4_block, vcd_values

import penstock.sim
from penstock import cli
from penstock.compiler import compile_network
from penstock.config import preset
from penstock.errors import PenstockError
from penstock.hw.accelerator import Accelerator
from penstock.hw.core import Core
from penstock.program import save_program
from penstock.registers import COUNTERS, Code, State
from penstock.sim.waves import Waves, save_file, wave_kind

TINY = preset("tiny")
HEADERS = Path(penstock.sim.__file__).parent / "fst"


def shown_signals(save: str) -> dict[str, int]:
    """Width of each signal by its path, of a save file."""
    found = re.findall(r"^(top\.\S+?)(?:\[(\d+):0\])?$", save, re.MULTILINE)
    assert len(dict(found)) == len(found)
    return {name: int(high or 0) + 1 for name, high in found}


@pytest.mark.parametrize("make", [Core, Accelerator])
def test_the_save_file_groups_the_signals(make):
    groups = Waves(make(TINY)).groups
    save = save_file(groups, "run.vcd")
    assert save.startswith('[dumpfile] "run.vcd"\n')
    begins = re.findall(r"^@800200\n-(.*)$", save, re.MULTILINE)
    assert begins == re.findall(r"^@1000200\n-(.*)$", save, re.MULTILINE) == [*groups]
    assert begins[:4] == ["Run", "Phase", "Tasks", "Counters"]
    assert ("AXI4 m_axi" in begins) == (make is Accelerator)
    assert "@820\ntop.waves.phase[" in save  # as text
    assert "@28\ntop.waves.step\n" in save
    for name in COUNTERS:
        assert f"@24\ntop.waves.{name.lower()}[31:0]\n" in save


# Verilator builds a simulator for each: of the accelerator, and of the core alone.


@pytest.mark.parametrize("kind,design", [("fst", []), ("vcd", ["--core"])])
def test_every_signal_shown_is_in_the_waves(tmp_path, kind, design):
    program = compile_network(small_network(np.random.default_rng(0)), TINY)
    save_program(program, tmp_path / "small.bin")
    wave, figures = tmp_path / f"run.{kind}", tmp_path / "run.json"
    arguments = ["simulate", tmp_path / "small.bin", "--images", 1, *design, "--wave", wave]
    assert cli.main([str(each) for each in (*arguments, "--json", figures)]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"small.bin", wave.name, "run.gtkw", "run.json"}
    shown, there = shown_signals((tmp_path / "run.gtkw").read_text()), declared(wave)
    assert len(shown) > 60
    assert shown == {name: there.get(name) for name in shown}
    if kind == "vcd":
        check_values(wave, json.loads(figures.read_text())["counters_gated"])


def check_values(wave: Path, counters: dict):
    """The texts and counters in the waves tell what the registers told."""
    names = {name: f"top.waves.{name}" for name in ("phase", "state", "code", "tasks")}
    clock = "top.clk"
    phases, states, codes, before, last = [], [], [], 0, {}
    for values in vcd_values(wave, [*names.values(), clock]):
        if before and not values[clock]:  # everything has settled
            phases.append(text(values[names["phase"]]))
            states.append(text(values[names["state"]]))
            codes.append(text(values[names["code"]]))
        before, last = values[clock], values
    assert phases.count("base") == counters["BASE_STEPS"]
    assert phases.count("conditional") == counters["CONDITIONAL_STEPS"]
    for name in [name for name in COUNTERS if name.startswith("STALL_")]:
        assert phases.count(name.lower().replace("_", " ")) == counters[name]
    assert {State.IDLE.name, State.LOADING.name, State.RUNNING.name} == set(states)
    assert states.count(State.RUNNING.name) == counters["CYCLES"]
    assert set(codes) == {Code.OK.name}
    assert last[names["tasks"]] == counters["TASKS"]


def text(value: int) -> str:
    return value.to_bytes(-(-value.bit_length() // 8)).decode().rstrip()


def test_other_endings_are_refused(tmp_path, capsys):
    program = compile_network(small_network(np.random.default_rng(0)), TINY)
    save_program(program, tmp_path / "small.bin")
    wave = tmp_path / "run.ghw"
    with pytest.raises(PenstockError, match=r"must end in \.vcd or \.fst"):
        wave_kind(wave)
    assert cli.main(["simulate", str(tmp_path / "small.bin"), "--wave", str(wave)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"penstock: error: {wave}: must end in .vcd or .fst"
    assert [path.name for path in tmp_path.iterdir()] == ["small.bin"]


# The headers that stand for lz4 and zlib.

PROGRAM = """
#include <cstdio>
#include <vector>
#include "lz4.h"
#include "zlib.h"
int main(int count, char **) {
    std::vector<char> in;
    for (int c; (c = getchar()) != EOF;) in.push_back(c);
    std::vector<char> out(count > 1 ? compressBound(in.size()) : LZ4_compressBound(in.size()));
    uLongf made = out.size();
    if (count > 1)
        compress2((Bytef *)out.data(), &made, (const Bytef *)in.data(), in.size(), 9);
    else
        made = LZ4_compress_default(in.data(), out.data(), in.size(), out.size());
    fwrite(out.data(), 1, made, stdout);
    return made > out.size();
}
"""


@pytest.fixture(scope="module")
def compressor(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("compressor")
    (folder / "main.cpp").write_text(PROGRAM)
    command = ["c++", "-std=gnu++20", "-O1", f"-I{HEADERS}", "main.cpp", "-o", "main"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "main"


def contents() -> dict[str, bytes]:
    rng = random.Random(0)
    short = {f"{n} of two letters": bytes(rng.choices(b"ab", k=n)) for n in (*range(30), 300)}
    return short | {
        "zeros": bytes(200_000),
        "noise": rng.randbytes(70_000),
        "far matches": (block := rng.randbytes(60_000)) + block + rng.randbytes(9) + block,
        "long literals and matches": b"".join(
            rng.randbytes(n) + bytes(n) for n in range(0, 900, 7)
        ),
    }


@pytest.mark.parametrize("content", contents().values(), ids=contents().keys())
def test_compressed_is_what_others_read(compressor, content):
    def run(*arguments) -> bytes:
        return subprocess.run([compressor, *arguments], input=content, capture_output=True).stdout

    assert lz4_block(run()) == content
    assert zlib.decompress(run("zlib")) == content


def test_repetition_is_compressed(compressor):
    content = bytes(100_000)
    packed = subprocess.run([compressor], input=content, capture_output=True).stdout
    assert len(packed) < 500
