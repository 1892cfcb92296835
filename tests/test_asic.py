"""Mapping to standard cells, on a core in miniature and a small library."""

import re
import shutil
import subprocess

import pytest
import small_liberty
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from shared_data import shared
from small_core import SIZES, small_core
from verilog_tools import yosys

from penstock.boards import asic
from penstock.boards.asic import LIBRARY, NETLIST, map_core, small_memories
from penstock.boards.asic_files import rounded_up
from penstock.boards.liberty import read_liberty
from penstock.boards.timing import Timing
from penstock.boards.tools import Tool
from penstock.config import preset
from penstock.errors import SynthesisError
from penstock.hw.ram_macro import Macro
from penstock.hw.verilog import CORE_TOP, to_verilog

SKY130 = shared("data/liberty/sky130hd_tt.lib.gz")


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """(folder, library, netlist, figures) of the core in miniature."""
    folder = tmp_path_factory.mktemp("asic")
    (folder / LIBRARY).write_text(small_liberty.small_liberty())
    library = read_liberty(folder / LIBRARY)
    netlist = map_core(small_core(), library, (), folder, Tool("yosys"))
    figures = asic.figures(preset("tiny"), small_core(), library, netlist)
    return folder, library, netlist, figures


def test_every_cell_has_its_block(mapped):
    _, _, netlist, figures = mapped
    product = sum(SIZES.values())
    # Two rows: operands, and a product with two registers; a gate's two bits; four words of four
    # bits, which are read through two registers; the output register of a macro.
    flip_flops = {
        "array": 2 * 3 * product,
        "gate and queue": 2 + 4 * 4 + 2 * 4,
        "buffers": 4,
        "control": 0,
    }
    blocks = figures["blocks"]
    assert {name: block["flip_flops"] for name, block in blocks.items()} == flip_flops
    core = figures["core"]
    assert core["flip_flops"] == sum(flip_flops.values())
    for field in ("cells", "area"):
        assert core[field] == sum(block[field] for block in blocks.values())
    areas = {name: gate[0] for name, gate in small_liberty.GATES.items()} | {"DFF": 10.0}
    kinds = {kind: len(cells.names) for kind, cells in netlist.cells.items()}
    assert core["area"] == sum(areas[kind] * count for kind, count in kinds.items())
    assert core["kilogates"] == round(core["area"] / 2.5 / 1e3, 3)


def test_paths_by_block(mapped):
    _, library, netlist, figures = mapped
    paths = {name: block["path"] for name, block in figures["blocks"].items()}
    assert figures["core"]["path"] == max(paths.values(), key=lambda path: path["time"])
    assert re.fullmatch(r"engine\.array\.multipliers_[01]\..+", paths["array"]["start"])
    assert re.fullmatch(r"engine\.gate\.keep\[[01]\]", paths["gate and queue"]["end"])
    assert paths["buffers"]["end"] == "engine.buffers.memory"
    every = Timing(netlist, library).longest(lambda name: name)
    for block, path in paths.items():
        ends = [found.time for name, found in every.items() if asic.block_of(name) == block]
        assert path["time"] == max(ends)


def test_memories(mapped):
    figures = mapped[-1]
    size = {"module": "penstock_ram_100x4x1", "words": 100, "width": 4, "lanes": 1}
    assert figures["memories"] == [size | {"count": 1, "block": "buffers"}]
    assert small_memories(small_core()) == [{"instance": "engine.tasks", "words": 4, "width": 4}]


class Queue(wiring.Component):
    """A queue, one of its nine words in the output register."""

    def __init__(self):
        super().__init__({"i": In(6), "o": Out(6)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = SyncFIFOBuffered(width=6, depth=9)
        m.d.comb += [queue.w_data.eq(self.i), self.o.eq(queue.r_data)]
        return m


def test_queues_are_small_memories():
    text = to_verilog(Queue(), CORE_TOP)
    assert small_memories(text) == [{"instance": "queue", "words": 8, "width": 6}]


def test_mapped_netlist_is_proven_equal(mapped):
    """Every flip-flop, output and input of a memory, by yosys' induction."""
    folder = mapped[0]
    macro = Macro(100, 4, 1)
    (folder / "rtl.v").write_text(small_core())
    (folder / "macro.v").write_text(macro.module())
    prepare = ("proc", "flatten", "opt_clean", f"expose -evert t:{macro.name}")
    code, log = yosys(
        folder,
        "read_verilog rtl.v",
        f"hierarchy -top {CORE_TOP}",
        "proc",
        "flatten",
        "memory_map",
        "setattr -unset init w:*",
        *prepare,
        "design -stash gold",
        f"read_liberty -ignore_miss_func {LIBRARY}",
        f"read_verilog macro.v {NETLIST}",
        f"hierarchy -top {CORE_TOP}",
        *prepare,
        "design -stash gate",
        f"design -copy-from gold -as gold {CORE_TOP}",
        f"design -copy-from gate -as gate {CORE_TOP}",
        "equiv_make gold gate equiv",
        "hierarchy -top equiv",
        "equiv_simple",
        "equiv_induct",
        "equiv_status -assert",
    )
    assert code == 0, log[-2000:]
    assert "Equivalence successfully proven" in log


class NoTool:
    """A yosys that says its version, and whether it was run."""

    def __init__(self, version: str):
        self.version = version

    def check(self, arguments, folder):
        raise SynthesisError("run")


def test_what_is_mapped_already_is_not_mapped_again(mapped):
    folder, library, netlist, _ = mapped
    same = NoTool(Tool("yosys").version)
    again = map_core(small_core(), library, (), folder, same)
    assert Timing(again, library).arrival.tolist() == Timing(netlist, library).arrival.tolist()
    done = (folder / "done").read_text()
    for text, unused, tool in (
        (small_core() + "\n", (), same),
        (small_core(), ("X*",), same),
        (small_core(), (), NoTool("0")),
    ):
        with pytest.raises(SynthesisError, match="run"):
            map_core(text, library, unused, folder, tool)
        assert not (folder / "done").exists()
        (folder / "done").write_text(done)


def test_rows_that_differ_are_mapped_apart():
    text = small_core()
    assert len(asic._modules(text)) - len(asic._modules(asic._share_rows(text))) == 1
    second = text.index("multipliers_1 (", text.index("endmodule"))
    other = text[:second] + text[second:].replace("posedge", "negedge", 1)
    assert asic._share_rows(other) == other


def test_period_is_rounded_up():
    assert [rounded_up(period) for period in (2.0, 2.001, 2.009, 2.01, 1e3 / 30)] == [
        *(2.0, 2.01, 2.01, 2.01, 33.34)
    ]


def worst_slack(folder, library, constraints: str) -> float:
    """OpenSTA's worst slack of the mapped core in miniature."""
    (folder / "macro.v").write_text(Macro(100, 4, 1).module())
    commands = f"read_liberty {library}\nread_verilog {NETLIST}\nlink_design {CORE_TOP}\n"
    (folder / "sta.tcl").write_text(f"{commands}{constraints}\nreport_worst_slack -digits 6\n")
    done = subprocess.run(
        ["sta", "-no_splash", "-exit", "sta.tcl"], cwd=folder, capture_output=True, text=True
    )
    return float(re.search(r"worst slack (\S+)", done.stdout)[1])


@pytest.mark.skipif(not shutil.which("sta"), reason="no OpenSTA here")
def test_opensta_finds_the_same_path(mapped):
    folder, _, _, figures = mapped
    constraints = "create_clock -name clk -period 10 [get_ports clk]"
    slack = worst_slack(folder, LIBRARY, constraints)
    assert slack == pytest.approx(10 - figures["core"]["path"]["time"], abs=1e-5)


@pytest.mark.skipif(SKY130 is None, reason="no sky130 library here")
def test_real_library(tmp_path):
    from penstock.boards.liberty_syntax import liberty_text

    (tmp_path / LIBRARY).write_text(liberty_text(SKY130))
    unused = ("*lpflow*", "*probe*")
    library = read_liberty(SKY130, unused)
    netlist = map_core(small_core(), library, unused, tmp_path, Tool("yosys"))
    figures = asic.figures(preset("tiny"), small_core(), library, netlist)
    assert figures["core"]["flip_flops"] == 84
    assert all(library.cells[kind].usable for kind in netlist.cells)
    assert 1 < figures["core"]["path"]["time"] < 5
    assert 0.5 < figures["core"]["kilogates"] < 2
