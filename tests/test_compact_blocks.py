"""Blocks of the compact engine; what is a primitive of an iCE40 on yosys' model of it, too."""

from penstock.config import preset
from penstock.sim.compact_blocks import ADDERS, TARGETS, CompactBlocks
from penstock.sim.netlist import cell_models
from penstock.sim.runner import build_component, run

TESTS = {
    "penstock.sim.tb_compact": (2 + len(ADDERS)) * len(TARGETS) + 1 + 2,
    "penstock.sim.tb_spram": (3 + 1 + 1) * len(TARGETS),
}


def test_blocks(tmp_path):
    models = tmp_path / "cells.v"
    models.write_text(cell_models(["SB_MAC16", "SB_SPRAM256KA"]))
    build = build_component(CompactBlocks(preset("icebreaker")), sources=[models])
    for bench, tests in TESTS.items():
        run(build, bench, tests=tests, seed=1)
