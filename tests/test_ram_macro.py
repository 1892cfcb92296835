"""Memories of the target ASIC: their modules, as simulators and as synthesis see them."""

import dataclasses

import pytest
from verilog_tools import lint, yosys

from penstock.config import preset
from penstock.hw.ram import Ram
from penstock.hw.ram_macro import SMALLEST, Macro, macro_of, macros
from penstock.hw.verilog import core_verilog, to_verilog
from penstock.hw.weight_memory import WeightMemory


@pytest.fixture(scope="module")
def core():
    """The Verilog of the core of `tiny` for an ASIC."""
    return core_verilog(dataclasses.replace(preset("tiny"), target="asic"))


def test_names():
    macro = Macro(words=512, width=32, lanes=4)
    assert macro.name == "penstock_ram_512x32x4"
    assert macro_of(macro.name) == macro
    assert macro_of("penstock_ram_generic") is None
    assert (macro.bits, macro.address_bits) == (16384, 9)


def test_core_has_a_module_for_each_size(core):
    config = preset("tiny")
    sizes = {
        (config.map_words, 8 * config.word, config.word),  # activations
        (config.weight_words, 8 * config.lanes // WeightMemory(config).parts, 1),
        (config.program_words, 64, 1),
        (config.channels, 128, 1),  # parameters
    }
    found = macros(core)
    assert sizes < {(macro.words, macro.width, macro.lanes) for macro in found}
    for macro in found:
        assert core.count(f"module {macro.name} (") == 1
        assert macro.words >= SMALLEST
    assert core.count(f"  {Macro(config.map_words, 16, 2).name} ") == 9 * 2 * config.rows


def test_lint_has_no_warnings(tmp_path):
    ram = Ram(width=6, depth=70, lanes=2, target="asic")
    (tmp_path / "ram.v").write_text(to_verilog(ram, "ram"))
    done = lint(tmp_path / "ram.v", options=("--top-module", "ram"))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("depth", [SMALLEST // 2, SMALLEST])
def test_synthesis_sees_black_boxes_and_flip_flops(depth, tmp_path):
    ram = Ram(width=6, depth=depth, lanes=2, target="asic")
    (tmp_path / "ram.v").write_text(to_verilog(ram, "ram"))
    boxes, words = (1, 0) if depth >= SMALLEST else (0, depth)
    code, log = yosys(
        tmp_path,
        "read_verilog ram.v",
        "hierarchy -check -top ram",
        "proc",
        "flatten",
        "memory -nomap",
        "memory_map",
        "check -assert",
        f"select -assert-count {boxes} t:{Macro(depth, 6, 2).name}",
        "splitnets -ports",
        "simplemap",
        f"select -assert-min {6 * words + 6} t:$_DFF*_",
        f"select -assert-max {6 * words + 12} t:$_DFF*_",
    )
    assert code == 0, log[-2000:]
    assert "Warning" not in log
