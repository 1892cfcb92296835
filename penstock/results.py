"""Accuracy against real cycles: trained networks as integers on all test images, and in the RTL."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from penstock.compiler import compile_network
from penstock.config import Config
from penstock.errors import PenstockError
from penstock.gold.measure import measure as measure_integers
from penstock.network import SHIPPED_FOLDER, Network, load_network
from penstock.output import progress, progress_bar
from penstock.program import Program
from penstock.report import DENSE, GATED, check_runs, compare_runs, comparison_figures, measure

if TYPE_CHECKING:  # cocotb and Amaranth are slow to import
    from penstock.sim.simulate import Run

IMAGES = 8
"""Images of one START in the RTL, drawn by the seed."""

STREAMED = "_streamed"
"""How the names of figures end that were measured with streamed weights."""

Key = tuple[str, str]
"""A program: the names of its network and of its configuration."""


def results(
    records: Sequence[str | os.PathLike],
    images: np.ndarray,
    labels: np.ndarray,
    config: Config,
    *,
    dataset: str,
    seed: int = 0,
) -> dict:
    """What each network does; ``records`` are the files of ``penstock train --json``.

    images (N, C, H, W) uint8 and labels (N,) are those that training has not seen. Shipped
    networks run in the RTL, too: IMAGES of the images, gating on and off, weights as ``config`` has
    them and streamed. Returns a dict whose fields docs/command_line.md defines. Raises
    PenstockError where a file is missing or foreign, SimulationError where the hardware stops with
    an error.
    """
    chosen = np.sort(np.random.default_rng(seed).choice(len(images), IMAGES, replace=False))
    loaded = {path: load_record(path) for path in map(Path, records)}
    networks = []
    for path, (record, network) in loaded.items():
        with progress(f"{path.stem}: golden model, {len(images):,} images"):
            figures = integer_figures(record, network, images, labels)
        networks.append({"name": path.stem, "shipped": _is_shipped(path), **figures})
    shipped = {
        path.stem: network
        for (path, (_, network)), figures in zip(loaded.items(), networks, strict=True)
        if figures["shipped"]
    }
    hardware = run_hardware(shipped, images[chosen], config, seed)
    networks = [
        {**figures, **hardware[figures["name"]]} if figures["shipped"] else figures
        for figures in networks
    ]
    return {
        "dataset": dataset,
        "test_images": len(images),
        "config": config.name,
        "seed": seed,
        "networks": networks,
    }


def _is_shipped(record: Path) -> bool:
    return record.parent.resolve() == SHIPPED_FOLDER.resolve()


def load_record(path: Path) -> tuple[dict, Network]:
    """(the figures of a training, its network), which lies beside them."""
    try:
        record = json.loads(path.read_text())
        network = path.parent / record["network"]
    except OSError as error:
        raise PenstockError(f"{path}: must be a readable file ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise PenstockError(f"{path}: must be a file of penstock train --json") from None
    return record, load_network(network)


def integer_figures(record: dict, network: Network, images: np.ndarray, labels: np.ndarray) -> dict:
    """Accuracy and work of the integers on all images, beside what training measured in floats."""
    measured = measure_integers(network, images)
    return {
        "command": record["command"],
        "versions": record["versions"],
        "target": record["threshold_target"] if measured.open_gates else None,
        "accuracy_float": record["float_accuracy"],
        "accuracy_int": measured.accuracy(labels),
        "density": measured.density,
        "mac_reduction": measured.mac_reduction,
        "mac_reduction_range": measured.mac_reduction_range,
        "macs_dense": measured.macs_dense,
        "open_gates": measured.open_gates,
    }


def run_hardware(
    networks: Mapping[str, Network], images: np.ndarray, config: Config, seed: int
) -> dict[str, dict]:
    """Figures of the RTL on ``images`` for networks by name, compared bit by bit.

    Weights as in ``config``, and streamed; a simulation on each processor at a time.
    """
    streamed = dataclasses.replace(config, name=f"{config.name}{STREAMED}", weights="streamed")
    programs = {
        (name, each.name): compile_network(network, each)
        for name, network in networks.items()
        for each in (config, streamed)
    }
    runs = _run(programs, images, seed)
    both = {key: _figures(program, images, runs[key]) for key, program in programs.items()}
    return {name: _joined(both[name, config.name], both[name, streamed.name]) for name in networks}


def _run(programs: Mapping[Key, Program], images: np.ndarray, seed: int) -> dict[Key, dict]:
    """Each program's runs by whether gating is on."""
    from penstock.sim.simulate import Job, simulate_many
    from penstock.simulation import build_simulator

    builds = {key: build_simulator(program) for key, program in programs.items()}
    keys = [(key, gating) for gating in (DENSE, GATED) for key in programs]  # longest first
    text = f"simulating {len(images)} images, {len(keys)} times"
    with progress_bar(text, len(keys)) as advance, ThreadPoolExecutor(os.cpu_count()) as pool:

        def simulate(key: Key, gating: bool) -> Run:
            job = Job(program=programs[key], images=images, gating=gating)
            run = simulate_many([job], seed=seed, build=builds[key])[0]
            advance(1)
            return run

        done = dict(zip(keys, pool.map(lambda key: simulate(*key), keys), strict=True))
    return {key: {gating: done[key, gating] for gating in (GATED, DENSE)} for key in programs}


def _figures(program: Program, images: np.ndarray, runs: Mapping[bool, Run]) -> dict:
    check_runs(program, runs)
    figures = measure(program, images, runs)
    compared = comparison_figures(compare_runs(program, images, runs))
    return {
        "images": len(images),
        "mismatches": compared["mismatches"],
        "compared": compared["compared"],
        **{
            name: figures[name]
            for name in ("cycles_gated", "cycles_dense", "speedup", "efficiency")
        },
        "efficiency_min": figures["efficiency_range"][0],
        "mac_reduction_images": figures["mac_reduction"],
        "utilization": figures["utilization"],
        "utilization_dense": figures["utilization_dense"],
        "bus_bytes": figures["bytes_read_gated"] + figures["bytes_written_gated"],
        "layers": figures["layers"],
    }


def _joined(figures: dict, streamed: dict) -> dict:
    """One network's figures as configured, and some of those with streamed weights beside them."""
    layers = figures.pop("layers")
    return {
        **figures,
        "mismatches": figures["mismatches"] + streamed["mismatches"],
        "compared": figures["compared"] + streamed["compared"],
        **{
            f"{name}{STREAMED}": streamed[name]
            for name in ("cycles_gated", "cycles_dense", "speedup", "efficiency", "bus_bytes")
        },
        "layers": layers,
    }
