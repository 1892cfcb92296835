"""Whole data sets: chunks side by side give what one run gives."""

import numpy as np
from random_networks import random_images, resnet20

from penstock.gold import measure as module
from penstock.gold.measure import measure
from penstock.gold.runner import run


def test_chunks_give_what_one_run_gives(monkeypatch):
    rng = np.random.default_rng(0)
    network = resnet20(rng)
    images = random_images(rng, network.input, 7)
    monkeypatch.setattr(module, "CHUNK", 3)
    for gating in (True, False):
        told = []
        measured, result = (
            measure(network, images, gating, told.append),
            run(network, images, gating),
        )
        np.testing.assert_array_equal(measured.classes, result.classes)
        np.testing.assert_array_equal(measured.macs_executed, result.macs_executed)
        assert measured.mac_reduction == result.mac_reduction
        assert sorted(told) == [1, 3, 3]
        assert measured.open_gates == {
            name: decision.mean() for name, decision in result.decisions.items()
        }
    assert measured.density == 1.0 and measured.mac_reduction == 1.0


def test_density_of_gates_that_never_and_always_open():
    rng = np.random.default_rng(0)
    network = resnet20(rng)
    images = random_images(rng, network.input, 2)
    for threshold, density in ((2**25 - 1, 0.0), (-(2**25), 1.0)):
        for layer in network.layers:
            if getattr(layer, "thresholds", None) is not None:
                layer.thresholds[:] = threshold
        measured = measure(network, images)
        assert measured.density == density
        assert set(measured.open_gates.values()) == {density}
