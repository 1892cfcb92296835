"""Multipliers and memories of the target ECP5, with models of its multiplier and block RAM."""

from pathlib import Path

import penstock.sim
from penstock.boards.devices import LFE5U_85F
from penstock.config import preset
from penstock.hw.ram_macro import Macro
from penstock.sim.ecp5_blocks import MEMORIES, MULTIPLIERS, Ecp5Blocks
from penstock.sim.netlist import build_netlist
from penstock.sim.runner import build_component, run

MODEL, MEMORY_MODEL = (
    Path(penstock.sim.__file__).parent / name for name in ("ecp5.sv", "ecp5_memory.sv")
)
BENCH, TESTS = "penstock.sim.tb_ecp5", len(MULTIPLIERS) + len(MEMORIES)


def test_primitives_do_as_their_generic_twins():
    build = build_component(Ecp5Blocks(preset("tiny")), sources=[MODEL])
    run(build, BENCH, tests=TESTS, seed=1)


def test_netlist_does_as_the_generic_twins(tmp_path):
    """What yosys makes of them, block RAMs with their output registers among it."""
    macros = tmp_path / "macros.v"
    macros.write_text(Macro(70, 6, 2).module())
    blocks = Ecp5Blocks(preset("tiny"))
    build = build_netlist(blocks, LFE5U_85F, sources=[MODEL, MEMORY_MODEL, macros])
    run(build, BENCH, tests=TESTS, seed=1)
