"""A network of real size, ResNet-20 on 32x32 pixels, on the whole core at the size of the ULX3S."""

import numpy as np
from random_networks import random_images, resnet20

from penstock.compiler import compile_network
from penstock.config import preset
from penstock.cycles import estimate
from penstock.gold import runner as gold
from penstock.registers import Code
from penstock.sim.simulate import Job, compare, simulate_many


def test_resnet20_is_bit_exact_and_the_cycle_model_holds():
    config = preset("ulx3s-85f")
    rng = np.random.default_rng(20)
    network = resnet20(rng)
    program = compile_network(network, config)
    images = random_images(rng, network.input, 2)
    decisions = gold.run(network, images).decisions
    jobs = [Job(program=program, images=images, gating=gating) for gating in (True, False)]
    for job, run in zip(jobs, simulate_many(jobs, seed=20), strict=True):
        assert run.code == Code.OK
        assert [each for each in compare(run, program, images, job.gating) if each.mismatches] == []
        for image in range(len(images)):
            taken = {name: layer[image] for name, layer in decisions.items()}
            layers = estimate(program, taken, gating=job.gating).layers
            model = np.array([layer.running for layer in layers])
            measured = run.layer_cycles[image]
            assert (np.abs(model - measured) <= 0.03 * measured).all(), (model, measured)
        total = sum(layer.cycles for layer in layers) * len(images)
        assert abs(total - run.cycles) <= 0.03 * run.cycles
