"""The compute blocks of the hardware, each against its reference, in three array shapes."""

import dataclasses

import pytest

from penstock.config import preset
from penstock.sim.blocks import Blocks
from penstock.sim.runner import build_component, run

TINY = preset("tiny")
CONFIGS = {
    "2x2": TINY,
    "1x1": dataclasses.replace(TINY, rows=1, word=1),
    "4x4": dataclasses.replace(TINY, rows=4, word=4, accumulator_bits=26),
}


@pytest.fixture(scope="module", params=CONFIGS)
def bench(request):
    """Runs a block's bench in one array shape."""
    cfg = CONFIGS[request.param]
    build = build_component(Blocks(cfg))

    def run_bench(module: str, tests: int):
        parameters = {"config": dataclasses.asdict(cfg)}
        run(build, f"penstock.sim.{module}", parameters, tests=tests, seed=1)

    return run_bench


def test_gate(bench):
    bench("tb_gate", tests=1)


def test_requantizer(bench):
    bench("tb_requantizer", tests=2)


def test_task_queue(bench):
    bench("tb_task_queue", tests=15)


def test_write_queue(bench):
    bench("tb_write_queue", tests=10)


def test_array(bench):
    bench("tb_array", tests=1)


def test_pool(bench):
    bench("tb_pool", tests=4)


def test_window(bench):
    bench("tb_window", tests=2)
