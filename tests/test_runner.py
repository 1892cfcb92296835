"""The golden runner against loops over single multiplications, on random networks."""

import numpy as np
import pytest

from penstock.errors import PenstockError
from penstock.gold.convolution import convolution
from penstock.gold.requantize import embed_channels, requantize
from penstock.gold.runner import run
from penstock.network import (
    INPUT,
    Classifier,
    Convolution,
    Network,
    Pool,
    Residual,
    Shape,
    output_size,
)


def random_convolution(rng, name, shapes, source, **fixed):
    """A gated or plain convolution on a tensor of (channels, height, width), adding its own."""
    channels, height, width = shapes[source]
    groups = int(rng.choice([1, 2])) if channels % 2 == 0 else 1
    kernel = int(rng.choice([1, 3]))
    options = {
        "groups": groups,
        "stride": int(rng.integers(1, 3)),
        "padding": tuple(int(side) for side in rng.integers(0, kernel, 4)),
        "channels": int(rng.choice([2, 4, 6])),
        "relu_before_add": False,
        "residual": None,
    } | fixed
    out_channels = options.pop("channels")
    kernel = options.pop("kernel", kernel)
    gated = options["groups"] > 1 or rng.random() < 0.3
    spread = 40 * kernel * channels
    low, high = [(0, 255), (-128, 127), (0, 100)][rng.integers(3)]
    top, left, bottom, right = options["padding"]
    shapes[name] = (
        out_channels,
        output_size(height, kernel, options["stride"], top, bottom),
        output_size(width, kernel, options["stride"], left, right),
    )
    return Convolution(
        name=name,
        source=source,
        weights=rng.integers(-12, 13, (out_channels, channels, kernel, kernel), np.int8),
        multipliers=rng.integers(-300, 900, out_channels).astype(np.int16),
        bias=rng.integers(-(2**15), 2**17, out_channels),
        shift=int(rng.integers(9, 13)),
        low=low,
        high=high,
        thresholds=rng.integers(-spread, spread, out_channels).astype(np.int32) if gated else None,
        **options,
    )


def random_network(seed):
    """Plain and gated layers, both poolings, a residual with its own scale, a classifier."""
    rng = np.random.default_rng(seed)
    signed = bool(rng.integers(2))
    shapes = {INPUT: (int(rng.integers(1, 4)), int(rng.integers(5, 8)), int(rng.integers(5, 8)))}
    same = {"kernel": 3, "stride": 1, "padding": (1, 1, 1, 1)}
    layers = [
        random_convolution(rng, "stem", shapes, INPUT, channels=4, **same),
        random_convolution(rng, "first", shapes, "stem", channels=4, **same),
        random_convolution(
            rng,
            "second",
            shapes,
            "first",
            channels=int(rng.choice([4, 8])),
            kernel=3,
            stride=2,
            padding=(1, 1, 1, 1),
            residual=Residual(
                source="stem", stride=2, multiplier=int(rng.integers(-(2**11), 2**12))
            ),
            relu_before_add=bool(rng.integers(2)),
        ),
        random_convolution(rng, "third", shapes, "second"),
        Pool(name="largest", source="third", kind="max", window=(1, 2), padding=(0, 1, 0, 1)),
        Pool(name="mean", source="largest", kind="average", multiplier=1500, shift=13),
        Classifier(
            name="classes",
            source="mean",
            weights=rng.integers(-128, 128, (5, shapes["third"][0]), np.int8),
            bias=rng.integers(-(2**20), 2**20, 5).astype(np.int32),
        ),
    ]
    channels, height, width = shapes[INPUT]
    network = Network(
        name="random",
        input=Shape(channels=channels, height=height, width=width, signed=signed),
        input_scale=1.0,
        layers=tuple(layers),
    )
    bounds = (-128, 128, np.int8) if signed else (0, 256, np.uint8)
    images = rng.integers(bounds[0], bounds[1], (2, channels, height, width), bounds[2])
    return network, images


def gated_output(layer, x, o, row, column):
    """(base sum, conditional sum, base MACs, conditional MACs) of one output, tap by tap."""
    out_channels, in_channels, kernel, _ = layer.weights.shape
    group = o * layer.groups // out_channels
    sums, macs = [0, 0], [0, 0]
    for c in range(in_channels):
        path = 0 if c * layer.groups // in_channels == group else 1
        for i in range(kernel):
            for j in range(kernel):
                y = row * layer.stride - layer.padding[0] + i
                z = column * layer.stride - layer.padding[1] + j
                macs[path] += 1
                if 0 <= y < x.shape[1] and 0 <= z < x.shape[2]:
                    sums[path] += int(x[c, y, z]) * int(layer.weights[o, c, i, j])
    return *sums, *macs


@pytest.mark.parametrize("seed", range(12))
def test_gated_layers_equal_single_multiplications(seed):
    network, images = random_network(seed)
    shapes = network.shapes()
    result = run(network, images)
    for layer in network.layers[:4]:
        shape = shapes[layer.name]
        for n, image in enumerate(result.tensors[layer.source]):
            executed = 0
            psum = np.zeros((1, shape.channels, shape.height, shape.width), np.int64)
            for o, y, x in np.ndindex(*psum.shape[1:]):
                base, conditional, base_macs, more = gated_output(layer, image, o, y, x)
                opened = True
                if layer.thresholds is not None:
                    opened = base > int(layer.thresholds[o])
                    assert result.decisions[layer.name][n, o, y, x] == opened
                psum[0, o, y, x] = base + conditional * opened
                executed += base_macs + more * opened
            assert result.layer_macs_executed[layer.name][n] == executed, f"replay: {seed=}"
            residual, multiplier = None, 0
            if layer.residual is not None:
                source = result.tensors[layer.residual.source][n : n + 1]
                residual = embed_channels(source, shape.channels, layer.residual.stride)
                multiplier = layer.residual.multiplier
            expected = requantize(
                psum,
                layer.multipliers,
                layer.bias,
                layer.shift,
                layer.low,
                layer.high,
                residual,
                multiplier,
                layer.relu_before_add,
            )
            np.testing.assert_array_equal(result.tensors[layer.name][n], expected[0])


def test_random_networks_contain_what_they_should():
    decisions, signed, kinds = [], set(), set()
    for seed in range(12):
        network, images = random_network(seed)
        result = run(network, images)
        decisions += [decision.mean() for decision in result.decisions.values()]
        signed.add(network.input.signed)
        kinds |= {(layer.groups, layer.relu_before_add) for layer in network.layers[:4]}
    assert signed == {False, True}
    assert kinds == {(1, False), (2, False), (1, True), (2, True)}
    assert sum(0.1 < density < 0.9 for density in decisions) >= 10


@pytest.mark.parametrize("seed", range(4))
def test_shapes_and_dtypes_are_those_of_the_network(seed):
    network, images = random_network(seed)
    result = run(network, images)
    for name, shape in network.shapes().items():
        tensor = result.tensors[name]
        if name == "classes":
            assert (tensor.dtype, tensor.shape) == (np.int32, (2, shape.channels))
        else:
            assert tensor.dtype == (np.int8 if shape.signed else np.uint8)
            assert tensor.shape == (2, shape.channels, shape.height, shape.width)


@pytest.mark.parametrize("seed", range(4))
def test_pooling_and_classifier(seed):
    network, images = random_network(seed)
    tensors = run(network, images).tensors
    third, largest = tensors["third"].astype(int), tensors["largest"]
    columns = third.shape[3] + 1
    for column in range(columns):
        pair = third[..., max(column - 1, 0) : column + 1].max(axis=3)
        np.testing.assert_array_equal(largest[..., column], pair)
    mean = (largest.astype(int).sum(axis=(2, 3)) * 1500 + 2**12) >> 13
    np.testing.assert_array_equal(tensors["mean"][..., 0, 0], mean.clip(0, 255))
    classifier = network.layers[-1]
    exact = tensors["mean"][..., 0, 0].astype(int) @ classifier.weights.astype(int).T
    np.testing.assert_array_equal(tensors["classes"], exact + classifier.bias)


@pytest.mark.parametrize("seed", range(12))
def test_gating_off_is_the_plain_convolution(seed):
    network, images = random_network(seed)
    result = run(network, images, gating=False)
    assert result.decisions == {}
    assert (result.macs_executed == result.macs_dense).all()
    assert result.mac_reduction == 1
    for layer in network.layers[:2]:
        plain = requantize(
            convolution(result.tensors[layer.source], layer.weights, layer.stride, layer.padding),
            layer.multipliers,
            layer.bias,
            layer.shift,
            layer.low,
            layer.high,
        )
        np.testing.assert_array_equal(result.tensors[layer.name], plain)


def test_images_do_not_influence_each_other():
    network, images = random_network(3)
    together = run(network, images)
    for n in range(len(images)):
        alone = run(network, images[n : n + 1])
        assert alone.macs_executed[0] == together.macs_executed[n]
        for name, tensor in alone.tensors.items():
            np.testing.assert_array_equal(tensor[0], together.tensors[name][n])


def one_gated_layer(threshold):
    """1x1 convolution of 4 channels in 2 groups; every partial sum of ones is 2."""
    layer = Convolution(
        name="gated",
        source=INPUT,
        weights=np.ones((2, 4, 1, 1), np.int8),
        multipliers=np.full(2, 2, np.int16),
        bias=np.zeros(2, np.int64),
        shift=1,
        low=0,
        high=255,
        groups=2,
        thresholds=np.full(2, threshold, np.int32),
    )
    shape = Shape(channels=4, height=3, width=5, signed=False)
    return Network(name="one", input=shape, input_scale=1.0, layers=(layer,))


@pytest.mark.parametrize("threshold, value, macs", [(1, 4, 120), (2, 2, 60), (3, 2, 60)])
def test_a_skipped_output_keeps_its_partial_sum(threshold, value, macs):
    result = run(one_gated_layer(threshold), np.ones((2, 4, 3, 5), np.uint8))
    assert (result.tensors["gated"] == value).all()
    assert result.macs_dense == 120
    assert result.macs_executed.tolist() == [macs, macs]
    assert result.mac_reduction == 120 / macs


def test_reduction_weighs_images_by_their_macs():
    images = np.ones((2, 4, 3, 5), np.uint8)
    images[1] = 0
    assert run(one_gated_layer(1), images).mac_reduction == 240 / 180


def test_classes_are_the_first_largest():
    network, images = random_network(0)
    result = run(network, images)
    assert result.classes.tolist() == [int(np.argmax(row)) for row in result.output]


@pytest.mark.parametrize(
    "images, message",
    [
        (
            np.zeros((2, 4, 3, 4), np.uint8),
            "images: must be uint8 (N, 4, 3, 5), not uint8 (2, 4, 3, 4)",
        ),
        (
            np.zeros((2, 4, 3, 5), np.int8),
            "images: must be uint8 (N, 4, 3, 5), not int8 (2, 4, 3, 5)",
        ),
        (np.zeros((4, 3, 5), np.uint8), "images: must be uint8 (N, 4, 3, 5), not uint8 (4, 3, 5)"),
    ],
)
def test_foreign_images_are_refused(images, message):
    with pytest.raises(PenstockError) as caught:
        run(one_gated_layer(0), images)
    assert str(caught.value) == message
