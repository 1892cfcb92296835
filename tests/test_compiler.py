"""The compiler against the golden model, by an interpreter of programs; its refusals; its files."""

import dataclasses

import numpy as np
import pytest
from interpreter import Interpreter
from random_networks import ONE_ROW, random_case, random_images, random_network, resnet20

from penstock.compiler import compile_network, report
from penstock.config import PRESETS, Config, preset
from penstock.errors import PenstockError
from penstock.gold.convolution import base_path
from penstock.gold.runner import run
from penstock.network import INPUT, Classifier, Convolution, Network, Pool, Residual, Shape
from penstock.placement import place_weights
from penstock.program import DESCRIPTOR, HEADER, WORD_BYTES, load_program, save_program

SEEDS = 15
ARRAYS = [*(config for config in PRESETS.values() if config.engine == "array"), ONE_ROW]


def assert_equals_golden(program, images: np.ndarray):
    """Every tensor and decision of every image, gating on and off, is the golden model's."""
    judged = {
        names[0]
        for names, descriptor in zip(program.layer_names, program.descriptors, strict=True)
        if descriptor["gated"]
    }
    for gating in (True, False):
        golden = run(program.network, images, gating)
        executions = Interpreter(program).run(images, gating)
        assert len(executions) == len(images)
        for index, execution in enumerate(executions):
            assert set(execution.tensors) == set(golden.tensors)
            for name, tensor in golden.tensors.items():
                got = execution.tensors[name]
                assert got.size == tensor[index].size
                assert np.array_equal(got.ravel(), tensor[index].ravel()), (name, index, gating)
            assert set(execution.decisions) == (judged if gating else set())
            for name, decisions in execution.decisions.items():
                assert np.array_equal(decisions, golden.decisions[name][index]), (name, index)


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("config", ARRAYS, ids=lambda config: config.name)
def test_random_networks_equal_golden(config, seed):
    rng = np.random.default_rng(seed)
    program, images = random_case(rng, config)
    others = random_images(rng, program.network.input, 1)
    assert_equals_golden(program, np.concatenate([images, others]))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_tightest_buffers_equal_golden(seed):
    """With hardly an address to spare, maps still do not overwrite each other."""
    rng = np.random.default_rng(100 + seed)
    network = random_network(rng, preset("tiny"))
    program, config = None, preset("ulx3s-85f")
    for map_words in (512, *range(160, 15, -1)):
        config = dataclasses.replace(config, map_words=map_words)
        try:
            program = compile_network(network, config)
        except PenstockError:
            break
    assert program is not None and program.config.map_words < 512
    assert_equals_golden(program, random_images(rng, network.input, 3))


def test_random_networks_vary():
    """The generator reaches what it promises, over all arrays together."""
    seen, densities = set(), []
    for config in ARRAYS:
        for seed in range(40):
            program, images = random_case(np.random.default_rng(seed), config)
            golden = run(program.network, images)
            densities += [decisions.mean() for decisions in golden.decisions.values()]
            seen |= set(_features(program)) | set(_ties(program.network, golden))
    missing = FEATURES - seen
    assert not missing
    assert min(densities) == 0 and max(densities) == 1
    assert all(count > 10 for count in np.histogram(densities, 5, (0, 1))[0])


FEATURES = {
    *("pointwise", "gated", "raw", "pool", "residual", "relu_before_add"),
    *("input_signed", "residual_signed", "load_input", "no load_input", "jump", "mixed words"),
    *("in place", "option A", "residual stride 2", "other scale", "odd map", "asymmetric padding"),
    *("stride 2", "partial word", "small pool", "gate without conditional path", "no classifier"),
    *("several superwords", "tie"),
}


def _features(program):
    network = program.network
    if not any(descriptor["load_input"] for descriptor in program.descriptors):
        yield "no load_input"
    if not program.descriptors[-1]["raw"]:
        yield "no classifier"
    for index, descriptor in enumerate(program.descriptors):
        yield from (name for name, value in descriptor.items() if value == 1)
        if descriptor["pointwise"] and program.layer_groups(index)[0]["base_steps"] > 1:
            yield "several superwords"
        yield from ("jump" for group in program.layer_groups(index) if group["before"])
        if descriptor["height"] % 2 and descriptor["width"] % 2:
            yield "odd map"
    for entry in report(program):
        yield from ["mixed words"] * (entry.mixed_steps > 0)
        yield from ["in place"] * (entry.residual is not None and entry.residual == entry.output)
    shapes = network.shapes()
    for layer in network.layers:
        if isinstance(layer, Pool) and layer.window is not None:
            yield "small pool"
        if not isinstance(layer, Convolution):
            continue
        top, left, bottom, right = layer.padding
        yield from ["asymmetric padding"] * (top != bottom or left != right)
        yield from ["stride 2"] * (layer.stride == 2)
        yield from ["partial word"] * (layer.weights.shape[1] % program.config.word > 0)
        if layer.thresholds is not None and layer.groups == 1:
            yield "gate without conditional path"
        if layer.residual is not None:
            source = shapes[layer.residual.source]
            yield from ["option A"] * (source.channels < layer.weights.shape[0])
            yield from ["residual stride 2"] * (layer.residual.stride == 2)
            yield from ["other scale"] * (layer.residual.multiplier != 1 << layer.shift)


def _ties(network: Network, golden):
    for layer in network.layers:
        if layer.name in golden.decisions:
            source = golden.tensors[layer.source]
            psum = base_path(source, layer.weights, layer.groups, layer.stride, layer.padding)
            yield from ["tie"] * bool((psum == layer.thresholds[:, None, None]).any())


def test_resnet20_fits_ulx3s():
    rng = np.random.default_rng(20)
    network = resnet20(rng)
    program = compile_network(network, preset("ulx3s-85f"))
    assert program.header["weight_words"] == 7460
    entries = report(program)
    in_place = [
        entry.names[0] for entry in entries if entry.residual and entry.residual == entry.output
    ]
    assert len(in_place) == 6  # of the nine blocks: two widen the map, the last is pooled
    assert entries[-2].names == ("layer18", "layer19")
    assert entries[-1].output is None
    assert [index for index, entry in enumerate(entries) if entry.load_input] == [9]
    assert all(entry.mixed_steps == 0 for entry in entries)
    assert_equals_golden(program, random_images(rng, network.input, 1))


def image_shape(channels=4, side=6, signed=False) -> Shape:
    return Shape(channels=channels, height=side, width=side, signed=signed)


def some_convolution(name="conv", source=INPUT, inputs=4, outputs=4, kernel=3, **fields):
    """A convolution with all weights 1, padded to the map's size."""
    defaults = {
        "weights": np.ones((outputs, inputs, kernel, kernel), np.int8),
        "multipliers": np.ones(outputs, np.int16),
        "bias": np.zeros(outputs, np.int64),
        "shift": 4,
        "low": 0,
        "high": 255,
        "padding": (kernel // 2,) * 4,
    }
    return Convolution(name=name, source=source, **(defaults | fields))


def some_network(*layers, **shape) -> Network:
    return Network(name="test", input=image_shape(**shape), input_scale=1.0, layers=layers)


def some_gated(**fields):
    return some_convolution(groups=2, thresholds=np.zeros(4, np.int32), **fields)


HALF_POSITIVE = (
    np.full((4, 4, 3, 3), 100, np.int8) * np.array([1, 1, -1, -1], np.int8)[:, None, None]
)
TINY = preset("tiny")
STREAMED = dataclasses.replace(TINY, weights="streamed", weight_words=16)
REFUSALS = {
    "kernel": (
        some_network(some_convolution(kernel=5)),
        TINY,
        "layer conv: kernel must be 1x1 or 3x3, not 5x5",
    ),
    "max pool": (
        some_network(Pool(name="pool", source=INPUT, kind="max", window=(2, 2), stride=2)),
        TINY,
        "layer pool: pooling must be average, not max",
    ),
    "large pool": (
        some_network(Pool(name="pool", source=INPUT, kind="average", window=(4, 2))),
        TINY,
        (
            "layer pool: average pooling must have a window of at most 3x3, or be global behind a "
            "convolution that nothing else reads, not 4x2"
        ),
    ),
    "global pool of the input": (
        some_network(Pool(name="pool", source=INPUT, kind="average")),
        TINY,
        (
            "layer pool: average pooling must have a window of at most 3x3, or be global behind a "
            "convolution that nothing else reads, not 6x6"
        ),
    ),
    "global pool of a map that is read elsewhere": (
        some_network(
            some_convolution(),
            Pool(name="pool", source="conv", kind="average"),
            some_convolution("other", source="conv"),
        ),
        TINY,
        (
            "layer pool: average pooling must have a window of at most 3x3, or be global behind a "
            "convolution that nothing else reads, not 6x6"
        ),
    ),
    "weights out of range": (
        some_network(some_convolution(weights=np.full((4, 4, 3, 3), -9, np.int8))),
        dataclasses.replace(TINY, weight_bits=4),
        "layer conv: weights must be in -8..7 (4 bits), not -9..-9",
    ),
    "activations out of range": (
        some_network(some_convolution(low=-64, high=64)),
        dataclasses.replace(TINY, activation_bits=7),
        "layer conv: low and high must be in -64..63 (7 bits), not -64..64",
    ),
    "pooled activations out of range": (
        some_network(
            some_convolution(high=100),
            Pool(name="pool", source="conv", kind="average", multiplier=9, shift=9, high=200),
        ),
        dataclasses.replace(TINY, activation_bits=7),
        "layer pool: low and high must be in 0..127 (7 bits), not 0..200",
    ),
    "partial sums": (
        some_network(some_convolution(weights=np.full((4, 4, 3, 3), 127, np.int8))),
        dataclasses.replace(TINY, accumulator_bits=20),
        "layer conv: partial sums need 22 bits, there are 20",
    ),
    "partial sums at the padding, where a map that is never 0 reads 0": (
        some_network(
            some_convolution("a", low=200, high=200),
            some_convolution("b", "a", weights=HALF_POSITIVE),
        ),
        dataclasses.replace(TINY, accumulator_bits=18),
        "layer b: partial sums need 20 bits, there are 18",
    ),
    "bias": (
        some_network(some_convolution(bias=np.full(4, -(2**39) - 1))),
        TINY,
        "layer conv: bias need 41 bits, there are 40",
    ),
    "pooled sums": (
        some_network(
            some_convolution(outputs=1, weights=np.ones((1, 4, 3, 3), np.int8)),
            Pool(name="pool", source="conv", kind="average", multiplier=9, shift=9),
            side=24,
        ),
        dataclasses.replace(TINY, accumulator_bits=18),
        "layer pool: sums need 19 bits, there are 18",
    ),
    "classifier's results": (
        some_network(
            Classifier(
                name="fc",
                source=INPUT,
                weights=np.ones((2, 4), np.int8),
                bias=np.array([0, 2**31 - 1], np.int32),
            ),
            side=1,
        ),
        TINY,
        "layer fc: results need 33 bits, there are 32",
    ),
    "groups": (
        some_network(some_convolution(groups=4, thresholds=np.zeros(4, np.int32))),
        dataclasses.replace(TINY, groups=2),
        "layer conv: needs 4 groups, there are 2",
    ),
    "output channels": (
        some_network(
            some_convolution(
                inputs=1,
                outputs=5000,
                kernel=1,
                weights=np.ones((5000, 1, 1, 1), np.int8),
            ),
            channels=1,
            side=1,
        ),
        dataclasses.replace(TINY, channels=65536),
        "layer conv: must have at most 4095 output channels, not 5000",
    ),
    "steps": (
        some_network(some_convolution(inputs=1100), channels=1100, side=1),
        dataclasses.replace(TINY, word=1, map_words=2048),
        "layer conv: needs 1100 steps for one output, there are 1023",
    ),
    "side of the input": (
        some_network(some_convolution(), side=33),
        TINY,
        "network input: map must be at most 32x32 pixels, not 33x33",
    ),
    "side of a layer": (
        some_network(some_convolution(padding=(2, 2, 2, 2)), side=16),
        preset("icebreaker"),
        "layer conv: map must be at most 16x16 pixels, not 18x18",
    ),
    "input map": (
        some_network(some_convolution(inputs=8), channels=8, side=32),
        TINY,
        "network input: map needs 472 addresses of a buffer, there are 256",
    ),
    "output map": (
        some_network(some_convolution(inputs=1, outputs=6), channels=1, side=32),
        TINY,
        "layer conv: output map needs 354 addresses of a buffer, there are 256",
    ),
    "maps together": (
        some_network(
            some_convolution("a"),
            some_convolution("b", source="a"),
            some_convolution("c", source="b", residual=Residual(source="a", multiplier=1)),
            some_convolution("d", source="c", residual=Residual(source=INPUT, multiplier=1)),
            side=14,
        ),
        dataclasses.replace(TINY, map_words=64),
        "layer b: output map needs 48 addresses beside the maps in use, there are 16 in one piece",
    ),
    "residual of the layer's input": (
        some_network(some_convolution(residual=Residual(source=INPUT, multiplier=1))),
        TINY,
        "layer conv: residual must be another tensor than the layer's input, not input for both",
    ),
    "residual without an arrangement": (
        some_network(
            some_convolution("a"),
            some_convolution("b"),
            some_convolution("c", source="a", residual=Residual(source=INPUT, multiplier=1)),
            some_convolution("d", source="b", residual=Residual(source=INPUT, multiplier=1)),
            some_convolution("e", source="a", residual=Residual(source="b", multiplier=1)),
        ),
        TINY,
        (
            "layer e: residual must lie in the other buffer than the input; no arrangement of the "
            "maps allows that"
        ),
    ),
    "resident weights": (
        some_network(some_convolution("a"), some_convolution("b", source="a", outputs=8)),
        dataclasses.replace(TINY, weight_words=16),
        "layer b: weights up to it need 24 words on chip, there are 16",
    ),
    "streamed weights of one layer": (
        some_network(some_convolution(outputs=9)),
        STREAMED,
        "layer conv: weights need 18 words on chip, there are 16",
    ),
    "streamed weights of two layers": (
        some_network(some_convolution("a", outputs=4), some_convolution("b", "a", outputs=6)),
        STREAMED,
        "layer b: weights need 20 words on chip together with those of layer a, there are 16",
    ),
    "streamed weights of three layers": (
        some_network(
            some_convolution("a"), some_convolution("b", "a"), some_convolution("c", "b", outputs=3)
        ),
        STREAMED,
        (
            "layer c: weights of three layers in a row need 22 words on chip, since the number of "
            "layers is odd, there are 16"
        ),
    ),
    "parameters": (
        some_network(
            some_convolution("a", outputs=10),
            some_convolution("b", "a", inputs=10, outputs=10),
        ),
        dataclasses.replace(TINY, channels=16),
        "layer b: layers up to it need 20 output channels, there are 16",
    ),
    "tables": (
        some_network(
            *(some_convolution(f"l{i}", source=f"l{i - 1}" if i else INPUT) for i in range(10))
        ),
        dataclasses.replace(TINY, program_words=64),
        "layer l0: descriptors and tables up to it need 66 program words, there are 64",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(case):
    network, config, message = REFUSALS[case]
    with pytest.raises(PenstockError) as error:
        compile_network(network, config)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "above, message",
    [
        (-8, None),  # shift 4 rounds with 8
        (-7, "layer conv: psum*M + B + r*Mr + rounding need 39 bits, there are 38"),
        (1, "layer conv: psum*M + B need 39 bits, there are 38"),
    ],
)
def test_requantization_sums_are_bounded_exactly(above, message):
    config = dataclasses.replace(TINY, accumulator_bits=20)
    multipliers, weights = np.array([30000], np.int16), np.full((1, 4, 3, 3), 7, np.int8)
    bias = 2**37 - 1 - 4 * 9 * 7 * 255 * 30000 + above
    network = some_network(
        some_convolution(outputs=1, weights=weights, multipliers=multipliers, bias=np.array([bias]))
    )
    if message is None:
        compile_network(network, config)
        return
    with pytest.raises(PenstockError) as error:
        compile_network(network, config)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "weights, need",
    [
        ((64,) * 15 + (63,), None),
        ((64,) * 16, 19),  # the lowest sum is -2^17, which a threshold uses as "always on"
        ((-64,) * 15 + (-63,), None),
        ((-64,) * 16, 19),
    ],
)
def test_accumulator_bits_are_exact(weights, need):
    config = dataclasses.replace(TINY, accumulator_bits=18)
    packed = np.array(weights, np.int8).reshape(1, 16, 1, 1)
    layer = some_convolution(inputs=16, outputs=1, kernel=1, weights=packed)
    network = some_network(layer, channels=16, signed=True)
    if need is None:
        compile_network(network, config)
        return
    with pytest.raises(PenstockError) as error:
        compile_network(network, config)
    assert str(error.value) == f"layer conv: partial sums need {need} bits, there are 18"


def test_thresholds_move_into_the_accumulator_without_changing_decisions():
    extremes = np.array([-(2**31), 2**31 - 1, -(2**23), 5], np.int32)
    network = some_network(some_convolution(groups=2, thresholds=extremes))
    program = compile_network(network, TINY)
    compiled = [parameter["threshold"] for parameter in program.parameters]
    assert compiled == [-(2**23), 2**23 - 1, -(2**23), 5]
    assert_equals_golden(program, random_images(np.random.default_rng(0), network.input, 2))


def test_gate_with_one_group_is_compiled_ungated():
    network = some_network(some_convolution(groups=1, thresholds=np.zeros(4, np.int32)))
    program = compile_network(network, TINY)
    assert program.descriptors[0]["gated"] == 0
    assert_equals_golden(program, random_images(np.random.default_rng(0), network.input, 1))


def test_pool_of_more_words_than_groups():
    """Groups of several channel words keep a small pooling within the configuration's groups."""
    network = some_network(
        some_convolution(outputs=37),
        Pool(name="pool", source="conv", kind="average", window=(3, 2), multiplier=43, shift=8),
    )
    program = compile_network(network, ONE_ROW)
    descriptor = program.descriptors[1]
    assert (descriptor["groups"], descriptor["group_channels"]) == (13, 3)
    assert_equals_golden(program, random_images(np.random.default_rng(0), network.input, 2))


@pytest.mark.parametrize(
    "inputs, groups, expected",
    [
        # (base word, base steps, conditional word, conditional steps, before, word after the jump)
        (12, 3, [(0, 2, 2, 4, 0, 0), (2, 2, 0, 4, 2, 4), (4, 2, 0, 4, 0, 0)]),
        (10, 2, [(0, 3, 2, 3, 0, 0), (2, 3, 0, 3, 0, 0)]),  # word 2 holds channels of both
        (9, 3, [(0, 2, 1, 4, 0, 0), (1, 2, 0, 4, 2, 3), (3, 2, 0, 3, 0, 0)]),
        (3, 3, [(0, 1, 0, 2, 0, 0), (0, 1, 0, 2, 0, 0), (1, 1, 0, 1, 0, 0)]),
    ],
)
def test_group_records_walk_base_and_conditional_words(inputs, groups, expected):
    """Words of two channels; a last word with one channel is wholly base for the last group."""
    layer = some_convolution(
        inputs=inputs, outputs=groups, groups=groups, thresholds=np.zeros(groups, np.int32)
    )
    program = compile_network(some_network(layer, channels=inputs), TINY)
    plane = program.descriptors[0]["plane"]

    def pointer(prefix: str, word: int) -> dict[str, int]:
        address = program.header["input_base"] + plane * word
        places = {"address": address, "a": word // 3 % 3, "b": word % 3}
        return {f"{prefix}_{key}": value for key, value in places.items()}

    for record, numbers in zip(program.layer_groups(0), expected, strict=True):
        base, base_steps, conditional, conditional_steps, before, jump = numbers
        counts = {"base_steps": base_steps, "conditional_steps": conditional_steps}
        walk = pointer("base", base) | pointer("conditional", conditional) | pointer("jump", jump)
        assert record == walk | counts | {"before": before}


def test_residual_that_is_needed_again_is_not_replaced():
    plus_x = Residual(source="x", multiplier=16)
    network = some_network(
        some_convolution("x"),
        some_convolution("a", "x"),
        some_convolution("b", "a", residual=plus_x),
        some_convolution("c", "b"),
        some_convolution("d", "c", residual=plus_x),
    )
    program = compile_network(network, TINY)
    entries = report(program)
    assert entries[2].output != entries[2].residual
    assert entries[4].output == entries[4].residual
    assert_equals_golden(program, random_images(np.random.default_rng(0), network.input, 2))


def test_equal_tables_are_stored_once():
    program = compile_network(some_network(some_convolution("a"), some_convolution("b", "a")), TINY)
    first, second = program.descriptors
    assert first["row_table"] == second["row_table"]
    assert first["column_table"] == second["column_table"]


@pytest.mark.parametrize("seed", range(200))
def test_streamed_weights_share_no_address_with_neighbours(seed):
    rng = np.random.default_rng(seed)
    sizes = [int(size) for size in rng.integers(1, 40, rng.integers(2, 9))]
    operations = [dataclasses.make_dataclass("Named", ["name"])(f"l{i}") for i in range(len(sizes))]
    config = dataclasses.replace(STREAMED, weight_words=int(rng.integers(16, 120)))
    following = sizes[1:] + sizes[:1]
    pairs_fit = all(a + b <= config.weight_words for a, b in zip(sizes, following, strict=True))
    try:
        addresses = place_weights(operations, sizes, config)
    except PenstockError:
        assert not pairs_fit or len(sizes) % 2
        return
    ends = [address + size for address, size in zip(addresses, sizes, strict=True)]
    assert min(addresses) >= 0 and max(ends) <= config.weight_words
    for index in range(len(sizes)):
        after = (index + 1) % len(sizes)
        assert ends[index] <= addresses[after] or ends[after] <= addresses[index]


def some_program():
    return random_case(np.random.default_rng(3), TINY)[0]


@pytest.mark.parametrize(
    "damage",
    ["output over input", "early load", "weights over weights", "wrong table", "wrong lane"],
)
def test_interpreter_notices_damage(damage):
    """The checks of these tests can fail."""
    network = some_network(some_convolution("a"), some_gated(name="b", source="a"))
    program = compile_network(network, TINY)
    descriptors = [dict(descriptor) for descriptor in program.descriptors]
    parameters = [dict(parameter) for parameter in program.parameters]
    if damage == "output over input":
        descriptors[1]["output_buffer"] = descriptors[1]["input_buffer"]
        for parameter in parameters[4:]:
            parameter["output_address"] = parameters[0]["output_address"]
    elif damage == "early load":
        descriptors[0]["load_input"] = 1
    elif damage == "weights over weights":
        descriptors[1]["weight_address"] = descriptors[0]["weight_address"] + 1
    elif damage == "wrong table":
        descriptors[1]["row_table"] += 1
    else:
        parameters[1]["output_lane"] = parameters[0]["output_lane"]
    damaged = dataclasses.replace(
        program, descriptors=tuple(descriptors), parameters=tuple(parameters)
    )
    images = random_images(np.random.default_rng(0), network.input, 2)
    assert_equals_golden(program, images)
    with pytest.raises(AssertionError):
        assert_equals_golden(damaged, images)


def test_program_file_round_trip(tmp_path):
    program = some_program()
    save_program(program, tmp_path / "program")
    for loaded in (load_program(tmp_path / "program"), load_program(tmp_path / "program", TINY)):
        assert np.array_equal(loaded.to_words(), program.to_words())
        assert loaded.config == program.config
        assert loaded.layer_names == program.layer_names
        assert np.array_equal(loaded.weights, program.weights)
        assert_equals_golden(
            loaded, random_images(np.random.default_rng(0), program.network.input, 1)
        )


def test_program_header_counts_sections():
    program = some_program()
    words = program.to_words()
    header = HEADER.unpack(words[: len(HEADER.words)])
    assert header["length"] == len(words) == program.header["length"]
    assert header["layers"] * len(DESCRIPTOR.words) + len(program.tables) == header["program_words"]
    assert header["weight_offset"] + header["weight_words"] * TINY.weight_beats == len(words)


@pytest.fixture
def program_file(tmp_path):
    """A valid program file: (path, content, bytes of the program alone)."""
    path = tmp_path / "program"
    program = some_program()
    save_program(program, path)
    return path, path.read_bytes(), program.header["length"] * WORD_BYTES


def refusal(path, content: bytes, config: Config | None = None) -> str:
    path.write_bytes(content)
    with pytest.raises(PenstockError) as error:
        load_program(path, config)
    return str(error.value).replace(str(path), "FILE")


def test_truncated_program_files(program_file):
    path, content, size = program_file
    assert refusal(path, content[:40]) == (
        "program FILE: must have at least 64 bytes, not 40: truncated"
    )
    for kept in (64, size - 8, size):
        assert refusal(path, content[:kept]) == (
            f"program FILE: must have more than {size} bytes, not {kept}: truncated"
        )
    for kept in (size + 9, size + 100, len(content) - 1):
        assert refusal(path, content[:kept]).startswith(
            "program FILE: must carry its network and configuration: truncated ("
        )


def test_foreign_program_files(program_file):
    path, content, _ = program_file
    assert refusal(path, b"\x7fELF" + content[4:]) == (
        "program FILE: must begin with PNST, not b'\\x7fELF'"
    )
    assert refusal(path, b"") == "program FILE: must begin with PNST, not b''"
    assert refusal(path, content[:4] + b"\x02\x00" + content[6:]) == (
        "program FILE: version must be 1, not 2"
    )
    path.unlink()
    with pytest.raises(
        PenstockError, match=r"must be a readable file \(No such file or directory\)"
    ):
        load_program(path)


@pytest.mark.parametrize("place", [24, 64, -1])
def test_corrupt_program_files(program_file, place):
    path, content, size = program_file
    damaged = bytearray(content)
    damaged[place if place >= 0 else size - 1] ^= 1
    assert "the file is corrupt" in refusal(path, bytes(damaged))


def test_program_for_another_configuration(program_file):
    path, content, _ = program_file
    other = preset("icebreaker")
    assert refusal(path, content, other) == (
        f"program FILE: was compiled for configuration tiny ({TINY.hash:#010x}), "
        f"not icebreaker ({other.hash:#010x})"
    )
