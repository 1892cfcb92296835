"""The embedded images, and the shipped network on those held out from training; no PyTorch."""

import subprocess
import sys
from importlib import resources

import numpy as np
import pytest
from sklearn.datasets import load_digits

from penstock.errors import PenstockError
from penstock.gold.digits import load_digits_images
from penstock.gold.runner import run
from penstock.network import Convolution, load_network


@pytest.fixture(scope="module")
def network():
    return load_network(resources.files("penstock") / "networks" / "digits.safetensors")


@pytest.fixture(scope="module")
def held_out(network):
    images, labels = load_digits_images("test")
    return run(network, images), labels


def test_every_fifth_image_is_held_out():
    originals = load_digits()
    (test, test_labels), (train, train_labels) = map(load_digits_images, ("test", "train"))
    assert (len(test), len(train)) == (360, 1437)
    assert test.shape[1:] == train.shape[1:] == (1, 16, 16)
    assert test.dtype == np.uint8
    merged, labels = list(train), list(train_labels)
    for index, (image, label) in enumerate(zip(test, test_labels, strict=True)):
        merged.insert(5 * index, image)
        labels.insert(5 * index, label)
    assert labels == originals.target.tolist()
    for y, x in np.ndindex(16, 16):
        levels = np.array(merged)[:, 0, y, x]
        np.testing.assert_array_equal(levels, originals.images[:, y // 2, x // 2] * 15)


def test_other_splits_are_refused():
    with pytest.raises(PenstockError) as caught:
        load_digits_images("validation")
    assert str(caught.value) == "split must be one of train, test, not 'validation'"


def test_accuracy_and_reduction(held_out):
    result, labels = held_out
    assert len(labels) == 360
    assert (result.classes == labels).mean() >= 0.96
    assert result.mac_reduction >= 1.8
    assert result.macs_dense == 3_019_392
    assert result.mac_reduction < 3_019_392 / sum(
        macs // (4 if name in result.decisions else 1)
        for name, macs in result.layer_macs_dense.items()
    )


def test_densities_differ_from_image_to_image(held_out):
    result, _ = held_out
    assert len(set(result.macs_executed.tolist())) > 100
    for name, decision in result.decisions.items():
        densities = decision.mean(axis=(1, 2, 3))
        assert densities.std() > 0.005, name
        assert 0.05 < densities.mean() < 0.8, name


def test_structure(network, held_out):
    result, _ = held_out
    convolutions = {layer.name: layer for layer in network.layers if isinstance(layer, Convolution)}
    gated = {name for name, layer in convolutions.items() if layer.thresholds is not None}
    assert gated == {f"block{block}_conv{conv}" for block in (1, 2, 3) for conv in (1, 2)}
    assert {layer.groups for layer in convolutions.values()} == {1, 4}
    assert {layer.weights.shape[2] for layer in convolutions.values()} == {1, 3}
    assert {layer.stride for layer in convolutions.values()} == {1, 2}
    assert sorted({len(layer.weights) for layer in convolutions.values()}) == [16, 32, 64]
    assert result.tensors["block3_shortcut"].min() < 0
    assert convolutions["block2_conv2"].relu_before_add
    assert convolutions["block2_conv2"].residual.stride == 2
    for layer in convolutions.values():
        assert np.abs(layer.bias).max() < 2**39
        assert np.abs(layer.weights.astype(int)).max() <= 127


def test_the_golden_model_needs_no_torch():
    code = (
        "import sys\n"
        "from importlib import resources\n"
        "from penstock.gold.digits import load_digits_images\n"
        "from penstock.gold.runner import run\n"
        "from penstock.network import load_network\n"
        "network = load_network(resources.files('penstock') / 'networks/digits.safetensors')\n"
        "print(run(network, load_digits_images()[0][2:6]).classes.tolist())\n"
        "assert not {'torch', 'amaranth'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("[0, 5, 0, 5]\n", 0), done.stderr
