"""Multipliers and memories of the target ECP5, with a model of its multiplier."""

from pathlib import Path

import penstock.sim
from penstock.config import preset
from penstock.sim.ecp5_blocks import MEMORIES, MULTIPLIERS, Ecp5Blocks
from penstock.sim.runner import build_component, run

MODEL = Path(penstock.sim.__file__).parent / "ecp5.sv"


def test_primitives_do_as_their_generic_twins():
    build = build_component(Ecp5Blocks(preset("tiny")), sources=[MODEL])
    run(build, "penstock.sim.tb_ecp5", tests=len(MULTIPLIERS) + len(MEMORIES), seed=1)
