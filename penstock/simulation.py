"""Runs a program on the simulated hardware for the command line, with progress."""

from pathlib import Path

import numpy as np

from penstock.hw.accelerator import Accelerator
from penstock.hw.engine_choice import make_core
from penstock.memory_map import check_images
from penstock.network import write_whole
from penstock.output import progress
from penstock.program import Program
from penstock.sim.runner import Build
from penstock.sim.simulate import (
    Job,
    Run,
    build_accelerator,
    build_core,
    simulate_many,
)
from penstock.sim.waves import Waves, save_file, wave_kind


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

    ``core_alone``: without the accelerator's AXI. ``wave`` names a VCD or FST file; it appears
    whole or not at all, and beside it GTKWave's save file, which groups the signals. Raises
    PenstockError for images that the network does not take, SimulationError where the simulation
    fails.
    """
    check_images(program.network, images)
    kind = wave and wave_kind(wave)
    build = build or build_simulator(program, core_alone=core_alone, waves=kind)
    jobs = [Job(program=program, images=images, gating=gating) for gating in ways]
    partial = wave and wave.with_name(wave.name + ".partial")
    try:
        gating = " and ".join("on" if way else "off" for way in ways)
        with progress(f"simulating {len(images)} images, gating {gating}"):
            runs = simulate_many(jobs, seed=seed, waves=partial, core_alone=core_alone, build=build)
        if wave:
            partial.replace(wave)
            write_whole(save_path(wave), _save_file(program, wave, core_alone).encode())
    finally:
        if wave:
            partial.unlink(missing_ok=True)
    return dict(zip(ways, runs, strict=True))


def save_path(wave: Path) -> Path:
    """Where GTKWave's save file of a wave file goes."""
    return wave.with_suffix(".gtkw")


def _save_file(program: Program, wave: Path, core_alone: bool) -> str:
    design = (make_core if core_alone else Accelerator)(program.config)
    return save_file(Waves(design).groups, wave.name)


def build_simulator(
    program: Program, *, core_alone: bool = False, waves: str | None = None
) -> Build:
    """The simulator of a program's configuration: minutes the first time, then found again.

    ``waves``: see penstock.sim.runner.build_component.
    """
    make = build_core if core_alone else build_accelerator
    with progress(f"building the simulator of {program.config.name} (minutes, once)"):
        return make(program.config, waves=waves)
