"""Programs for the benches of the whole accelerator, with the outputs that they must give."""

import dataclasses
from pathlib import Path

import numpy as np
from random_networks import random_case, random_images

from penstock.compiler import compile_network
from penstock.config import Config, preset
from penstock.gold import runner as gold
from penstock.network import INPUT, Classifier, Network, Shape
from penstock.program import WORD_BYTES, Program
from penstock.sim.simulate import Job, write_job

RANDOM_BENCH, RANDOM_TESTS = "penstock.sim.tb_axi_random", 3
"""The bench of random accesses, corrupted programs and faults, and how many tests it has."""

STREAMED = dataclasses.replace(preset("tiny"), name="tiny-streamed", weights="streamed")


def small_case(
    config: Config, *, words: int = 300, seed: int = 0, cycles: int = 3000
) -> tuple[Program, np.ndarray]:
    """A random gated program of three layers or more and at most ``words`` words.

    It ends with a classifier, so that memory shows what was computed.
    """
    rng = np.random.default_rng(seed)
    while True:
        program, images = random_case(rng, config, cycles=cycles)
        gated = any(descriptor["gated"] for descriptor in program.descriptors)
        short = len(program.to_words()) <= words and len(program.descriptors) >= 3
        if gated and short and isinstance(program.network.layers[-1], Classifier):
            return program, images


def wide_case(config: Config, classes: int = 150) -> tuple[Program, np.ndarray]:
    """A program of one layer whose output takes more than one burst."""
    rng = np.random.default_rng(classes)
    shape = Shape(channels=5, height=1, width=1, signed=True)
    weights = rng.integers(-128, 128, (classes, shape.channels)).astype(np.int8)
    bias = rng.integers(-(2**20), 2**20, classes).astype(np.int32)
    layer = Classifier(name="classifier", source=INPUT, weights=weights, bias=bias)
    network = Network(name="wide", input=shape, input_scale=1.0, layers=(layer,))
    return compile_network(network, config), random_images(rng, shape, 3)


def bench_job(program: Program, images: np.ndarray, folder: Path, index: int = 0) -> dict:
    """What AxiBench takes for one job."""
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}
    size = program.header["output_beats"] * WORD_BYTES
    for gating in (False, True):
        logits = gold.run(program.network, images, gating).output.astype("<i4")
        expected[int(gating)] = [row.tobytes().ljust(size, b"\0").hex() for row in logits]
    job = write_job(Job(program=program, images=images), index, folder)
    job["memory"] = str(folder / job["memory"])
    return job | {"expected": expected, "program_bytes": len(program.to_words()) * WORD_BYTES}


def random_parameters(
    config: Config,
    jobs: list[dict],
    *,
    latency: tuple[int, int],
    stalls: float,
    accesses: int,
    rounds: int,
    programs: int,
    faults: int,
) -> dict:
    """What RANDOM_BENCH takes: jobs of `bench_job`, how memory answers, how much of each test."""
    return {
        "bits": config.axi_bits,
        "jobs": jobs,
        "latency": latency,
        "stalls": stalls,
        "hash": config.hash,
        "weight_beats": config.weight_beats,
        "watchdog": 20_000,
        "accesses": accesses,
        "rounds": rounds,
        "programs": programs,
        "faults": faults,
    }
