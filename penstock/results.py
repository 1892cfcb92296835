"""Accuracy against real cycles: trained networks as integers on all test images, and in the RTL."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from penstock.compiler import compile_network
from penstock.config import Config
from penstock.errors import PenstockError
from penstock.gold.measure import measure as measure_integers
from penstock.network import Network, load_network
from penstock.output import progress
from penstock.report import DENSE, GATED, check_runs, compare_runs, comparison_figures, measure

IMAGES = 8
"""Images of one START in the RTL, drawn by the seed."""

SHIPPED = Path(__file__).with_name("networks")
"""Folder of the networks that come with Penstock; these also run in the RTL."""

STREAMED = "_streamed"
"""How the names of figures end that were measured with streamed weights."""


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

    images (N, C, H, W) uint8 and labels (N,) are those that training has not seen. Networks in
    SHIPPED run in the RTL, too: IMAGES of the images, gating on and off, weights as ``config`` has
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
        shipped = path.parent.resolve() == SHIPPED.resolve()
        hardware = run_hardware(network, images[chosen], config, seed) if shipped else {}
        networks.append({"name": path.stem, "shipped": shipped, **figures, **hardware})
    return {
        "dataset": dataset,
        "test_images": len(images),
        "config": config.name,
        "seed": seed,
        "networks": networks,
    }


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


def run_hardware(network: Network, images: np.ndarray, config: Config, seed: int) -> dict:
    """Figures of the RTL on ``images``, compared bit by bit: weights as in config, and streamed."""
    figures = _run(network, images, config, seed)
    streamed = dataclasses.replace(config, name=f"{config.name}{STREAMED}", weights="streamed")
    other = _run(network, images, streamed, seed)
    layers = figures.pop("layers")
    return {
        **figures,
        "mismatches": figures["mismatches"] + other["mismatches"],
        "compared": figures["compared"] + other["compared"],
        **{
            f"{name}{STREAMED}": other[name]
            for name in ("cycles_gated", "cycles_dense", "speedup", "efficiency", "bus_bytes")
        },
        "layers": layers,
    }


def _run(network: Network, images: np.ndarray, config: Config, seed: int) -> dict:
    from penstock.simulation import run_program

    program = compile_network(network, config)
    runs = run_program(program, images, [GATED, DENSE], seed=seed)
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
