"""Synthesis of the AXI wrapper, by tools that did not write it."""

import pytest
from verilog_tools import yosys

from penstock.hw.axi_memory import AxiMemory
from penstock.hw.axi_registers import AxiRegisters
from penstock.hw.verilog import to_verilog

PARTS = {f"memory-{bits}": lambda bits=bits: AxiMemory(bits) for bits in (32, 64, 128)}
PARTS["registers"] = AxiRegisters
CHECKS = ("check -assert", "select -assert-none t:$dlatch t:$adlatch t:$_DLATCH* t:TRELLIS_L*")


@pytest.mark.parametrize("synthesis", ["synth_ecp5", "synth"])
@pytest.mark.parametrize("part", PARTS)
def test_wrapper_synthesizes_clean(tmp_path, part, synthesis):
    (tmp_path / "part.v").write_text(to_verilog(PARTS[part](), "part"))
    code, log = yosys(tmp_path, "read_verilog part.v", f"{synthesis} -top part", *CHECKS)
    assert code == 0, log[-2000:]
    assert "Warning" not in log
