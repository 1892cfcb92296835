"""Simulated runs, their comparison with the golden model, and what they refuse."""

import dataclasses

import numpy as np
import pytest
from random_networks import random_case

from penstock.config import preset
from penstock.errors import PenstockError, SimulationError
from penstock.gold.runner import run as golden
from penstock.memory_map import image_bytes
from penstock.network import INPUT, Classifier
from penstock.program import WORD_BYTES
from penstock.registers import Code
from penstock.sim.runner import run as run_bench
from penstock.sim.simulate import (
    Job,
    Run,
    build_accelerator,
    compare,
    simulate,
    simulate_many,
)

CONFIG = preset("tiny")


@pytest.fixture(scope="module")
def case():
    """A random network with a classifier and a gated layer."""
    for seed in range(100):
        program, images = random_case(np.random.default_rng(seed), CONFIG, cycles=4000)
        layers = program.network.layers
        gated = any(getattr(layer, "thresholds", None) is not None for layer in layers)
        if gated and isinstance(layers[-1], Classifier):
            return program, images
    raise AssertionError("no such network in 100 seeds")


@pytest.fixture
def faultless(case):
    """The run of a core that does everything right."""
    program, images = case
    result = golden(program.network, images)
    tensors = dict(result.tensors)
    decisions = result.decisions.values()
    return Run(
        code=Code.OK,
        logits=tensors.pop(program.network.layers[-1].name),
        tensors=tensors,
        counters={
            "OUTPUTS": sum(decision.size for decision in decisions),
            "TASKS": sum(int(decision.sum()) for decision in decisions),
        },
        cycles=1,
        layer_cycles=np.ones((len(images), len(program.descriptors)), np.int64),
        image_cycles=np.ones(len(images), np.int64),
        bytes_read=0,
        bytes_written=0,
        speed=1.0,
        errors=[],
    )


@pytest.mark.parametrize("core_alone", [False, True])
def test_the_hardware_equals_gold(case, core_alone):
    program, images = case
    jobs = [Job(program=program, images=images, gating=gating) for gating in (True, False)]
    gated, dense = simulate_many(jobs, seed=3, core_alone=core_alone)
    for run, gating in ((gated, True), (dense, False)):
        assert run.code == Code.OK
        comparisons = compare(run, program, images, gating)
        assert {each.layer for each in comparisons} >= {
            INPUT,
            *(layer.name for layer in program.network.layers),
        }
        assert [each for each in comparisons if each.mismatches] == []
        assert run.layer_cycles.shape == (len(images), len(program.descriptors))
        assert 0 < run.layer_cycles.sum() < run.image_cycles.sum() < run.cycles
        assert (run.image_cycles > run.layer_cycles.sum(axis=1)).all()
        # Weights are resident: images alone are read, outputs alone written.
        assert run.bytes_read == len(images) * program.header["input_beats"] * WORD_BYTES
        assert run.bytes_written == len(images) * program.header["output_beats"] * WORD_BYTES
        assert run.speed > 0
    assert dense.counters["OUTPUTS"] == 0


def test_axi_costs_next_to_nothing(case):
    program, images = case
    axi, core = (simulate(program, images, core_alone=alone).cycles for alone in (False, True))
    assert core < axi <= 1.02 * core


def test_another_bench_may_run(case, tmp_path, monkeypatch):
    program, images = case
    text = "import cocotb\n@cocotb.test()\nasync def jobs(dut):\n    raise ValueError('another')\n"
    (tmp_path / "tb_another.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SimulationError, match="ValueError: another"):
        simulate_many([Job(program=program, images=images)], bench="tb_another")


def test_axi_driver():
    run_bench(build_accelerator(CONFIG), "penstock.sim.tb_axi_driver", tests=2)


def test_an_error_of_the_core_is_returned(case):
    program, images = case
    words = program.to_words()
    corrupt = dataclasses.replace(program)
    words[-1] ^= np.uint64(1)
    object.__setattr__(corrupt, "to_words", lambda: words)
    run = simulate(corrupt, images)
    assert run.code == Code.BAD_CRC
    assert run.tensors == {} and run.logits is None
    assert all(each.mismatches for each in compare(run, program, images) if each.elements > 1)


def test_a_faultless_run_compares_equal(case, faultless):
    program, images = case
    assert all(each.mismatches == 0 for each in compare(faultless, program, images))


def test_the_first_difference_is_named(case, faultless):
    program, images = case
    name = program.network.layers[0].name
    tensor = faultless.tensors[name].copy()
    place = tuple(size - 1 for size in tensor.shape)
    tensor[place] ^= 1
    run = dataclasses.replace(faultless, tensors={**faultless.tensors, name: tensor})
    (found,) = (each for each in compare(run, program, images) if each.mismatches)
    assert (found.layer, found.elements, found.mismatches) == (name, tensor.size, 1)
    assert found.first == (*place, int(tensor[place]), int(faultless.tensors[name][place]))


@pytest.mark.parametrize(
    "change, layer",
    [
        ({"counters": {"OUTPUTS": 1, "TASKS": 0}}, "counter OUTPUTS"),
        ({"errors": ["a write too many"]}, "writes"),
        ({"logits": None}, None),
    ],
)
def test_other_differences_are_found(case, faultless, change, layer):
    program, images = case
    different = compare(dataclasses.replace(faultless, **change), program, images)
    wrong = [each.layer for each in different if each.mismatches]
    assert (layer or program.network.layers[-1].name) in wrong


def test_images_lie_as_documented(case):
    program, images = case
    stored = image_bytes(program, images)
    word, (_, channels, height, width) = CONFIG.word, images.shape
    assert stored.shape == (len(images), program.header["input_beats"] * WORD_BYTES)
    for channel, y, x in [(0, 0, 0), (channels - 1, height - 1, width - 1), (0, 0, 1)]:
        place = ((channel // word * height + y) * width + x) * word + channel % word
        assert stored[1, place] == images[1, channel, y, x].view(np.uint8)


def test_foreign_images_are_refused(case):
    program, images = case
    with pytest.raises(PenstockError, match=r"images: must be \(N, .*\) with N of 1 or more, not"):
        simulate(program, images[:, :, 1:])
    with pytest.raises(PenstockError, match=r"images: must be u?int8, not float64"):
        simulate(program, images.astype(float))


def test_jobs_of_another_configuration_are_refused(case):
    program, images = case
    other = dataclasses.replace(program, config=preset("ulx3s-85f"))
    jobs = [Job(program=each, images=images) for each in (program, other)]
    with pytest.raises(PenstockError, match="must be compiled for tiny, not ulx3s-85f"):
        simulate_many(jobs)
