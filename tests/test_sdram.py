"""The SDRAM controller with a model of its chip, at several clocks, and planted faults."""

import dataclasses
import json

import pytest

from penstock.boards.sdram import MIN_CLOCK_HZ, ULX3S, W9825G6_6, sdram_cycles
from penstock.errors import PenstockError
from penstock.sim.runner import SimulationError, build_component, run
from penstock.sim.sdram_board import MODEL, SdramBoard, chip_times

TESTS = 11
CLOCKS = {
    "50": (50_000_000, ULX3S, {"read": 270, "write": 270, "read of random blocks": 276}),
    "100": (100_000_000, ULX3S, {"read": 268, "write": 268, "read of random blocks": 272}),
}


def bench(build, clock_hz, chip, limits, folder, *, tests=TESTS, seed=1, **changed):
    plusargs = [f"+{k}={v}" for k, v in (chip_times(chip, clock_hz) | changed).items()]
    parameters = {"limits": limits}
    run(
        build,
        "penstock.sim.tb_sdram",
        parameters,
        tests=tests,
        seed=seed,
        folder=folder,
        plusargs=plusargs,
    )


@pytest.mark.parametrize("clock", CLOCKS)
def test_sdram(clock, tmp_path):
    clock_hz, chip, limits = CLOCKS[clock]
    build = build_component(SdramBoard(clock_hz, chip), sources=[MODEL])
    bench(build, clock_hz, chip, limits, tmp_path)
    print(json.loads((tmp_path / "measured.json").read_text()))
