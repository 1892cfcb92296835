"""Runs a program on the simulated hardware for the command line, with progress."""

from pathlib import Path

import numpy as np

from penstock.output import progress
from penstock.program import Program
from penstock.sim.runner import Build
from penstock.sim.simulate import (
    Job,
    Run,
    build_accelerator,
    build_core,
    check_images,
    simulate_many,
)


def run_program(
    program: Program,
    images: np.ndarray,
    ways: list[bool],
    *,
    seed: int = 0,
    wave: Path | None = None,
    core_alone: bool = False,
    build: Build | None = None,
) -> dict[bool, Run]:
    """Run a program on images (N, C, H, W), once for each of ``ways``: whether the gates are on.

    ``core_alone``: without the accelerator's AXI. ``wave`` names a VCD file; it appears whole or
    not at all. Raises PenstockError for images that the network does not take, SimulationError
    where the simulation fails.
    """
    check_images(program.network, images)
    build = build or build_simulator(program, core_alone=core_alone, waves=wave is not None)
    jobs = [Job(program=program, images=images, gating=gating) for gating in ways]
    partial = wave and wave.with_name(wave.name + ".partial")
    try:
        gating = " and ".join("on" if way else "off" for way in ways)
        with progress(f"simulating {len(images)} images, gating {gating}"):
            runs = simulate_many(jobs, seed=seed, waves=partial, core_alone=core_alone, build=build)
        if wave:
            partial.replace(wave)
    finally:
        if wave:
            partial.unlink(missing_ok=True)
    return dict(zip(ways, runs, strict=True))


def build_simulator(program: Program, *, core_alone: bool = False, waves: bool = False) -> Build:
    """The simulator of a program's configuration: minutes the first time, then found again."""
    make = build_core if core_alone else build_accelerator
    with progress(f"building the simulator of {program.config.name} (minutes, once)"):
        return make(program.config, waves=waves)
