"""Networks, network files, program files and configurations that are wrong in random places.

Each must be taken, or refused by PenstockError with one line.
"""

import dataclasses
import json
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from fuzz_cases import NarrowBuilder, check_refusal, random_config
from safetensors.numpy import load, save

from penstock.compiler import compile_network
from penstock.config import Config
from penstock.configuration_file import load_config
from penstock.errors import PenstockError
from penstock.network import (
    Classifier,
    Convolution,
    Network,
    Pool,
    Residual,
    load_network,
    save_network,
)
from penstock.program import load_program, save_program

NUMBERS = -(2**40), -(2**15), -129, -1, 0, 1, 2, 3, 5, 31, 32, 64, 65, 255, 256, 2**15, 2**31
GENEROUS = Config(
    accumulator_bits=32,
    map_words=2048,
    map_side=128,
    weight_words=65536,
    channels=65536,
    groups=64,
    program_words=65536,
)
"""Nearly every random network fits it, so that only what was spoilt is refused."""

ODD = *NUMBERS, True, None, 0.5, float("nan"), "", "input", "layer0", [], [1, 1], {}, "x" * 50
"""Numbers, and what else may stand in a JSON file."""


def check_refusals(rng: np.random.Generator, count: int) -> Counter:
    """So many attempts of every kind; (kind, "taken" or "refused") counted.

    Raises AssertionError for a refusal of several lines, and whatever else came.
    """
    ends = Counter()
    for _ in range(count):
        config, network = random_config(rng), _some_network(rng)
        for attempt in (_compile, _spoilt_network, _network_file, _program_file, _config_file):
            try:
                attempt(rng, network, config)
                ends[attempt.__name__.strip("_"), "taken"] += 1
            except PenstockError as error:
                check_refusal(error)
                ends[attempt.__name__.strip("_"), "refused"] += 1
    return ends


def _some_network(rng: np.random.Generator) -> Network:
    while True:
        try:
            return NarrowBuilder(rng, GENEROUS, 4000, rng.uniform(0.3, 1)).build()
        except PenstockError:  # a residual that fits nowhere
            continue


def _compile(rng, network: Network, config: Config):
    """A sound network that nobody made for this configuration."""
    program = compile_network(network, config)
    words = program.to_words()
    assert len(words) == program.header["length"]


def _spoilt_network(rng, network: Network, config: Config):
    for _ in range(rng.integers(1, 3)):
        layers = list(network.layers)
        place = int(rng.integers(len(layers)))
        layers[place] = _spoilt(rng, layers[place], [layer.name for layer in layers])
        network = dataclasses.replace(network, layers=tuple(layers))
    compile_network(network, GENEROUS).to_words()


def _spoilt(rng, layer, names: list[str]):
    """A layer with another value, of the right type, in one of its fields."""

    def number() -> int:
        return int(rng.choice(NUMBERS))

    def some_array(array: np.ndarray) -> np.ndarray:
        other = (
            lambda: array[:-1],
            lambda: array.astype(np.int16),
            lambda: array.astype(np.float32) * np.float32("nan"),
            lambda: array.reshape(-1),
            lambda: array[..., np.newaxis],
            lambda: np.full_like(array, np.iinfo(array.dtype).min),
            lambda: np.full_like(array, np.iinfo(array.dtype).max),
            lambda: np.concatenate([array, array]),
            lambda: array[:0],
        )
        return other[rng.integers(len(other))]()

    fields: dict[str, Callable] = {
        "name": lambda: str(rng.choice([*names, "", "other"])),
        "source": lambda: str(rng.choice([*names, "", "input"])),
    }
    if isinstance(layer, Convolution | Classifier):
        arrays = [name for name, value in vars(layer).items() if isinstance(value, np.ndarray)]
        fields |= {name: lambda name=name: some_array(getattr(layer, name)) for name in arrays}
    if isinstance(layer, Convolution | Pool):
        fields |= {name: number for name in ("shift", "low", "high", "stride")}
        fields["padding"] = lambda: tuple(number() for _ in range(rng.choice([4, 4, 4, 3])))
    if isinstance(layer, Convolution):
        fields["groups"] = number
        fields["thresholds"] = lambda: np.zeros(len(layer.weights), np.int32)
        fields["relu_before_add"] = lambda: True
        fields["residual"] = lambda: Residual(
            source=str(rng.choice([*names, "input"])),
            stride=int(rng.integers(0, 4)),
            multiplier=number(),
        )
        kernel = int(rng.integers(0, 6))
        fields["weights"] = lambda: np.ones((*layer.weights.shape[:2], kernel, kernel), np.int8)
    if isinstance(layer, Pool):
        fields |= {"kind": lambda: "max", "multiplier": number}
        fields["window"] = lambda: (number(), number())
    name = rng.choice(list(fields))
    return dataclasses.replace(layer, **{name: fields[name]()})


def _network_file(rng, network: Network, config: Config):
    """A network file with other bytes, or other JSON in its description."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network"
        save_network(network, path)
        if rng.random() < 0.3:
            path.write_bytes(_other_bytes(rng, path.read_bytes()))
        else:
            content = path.read_bytes()
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            description = json.loads(header["__metadata__"]["penstock"])
            _put_odd(rng, description)
            metadata = {"penstock": json.dumps(description)}
            path.write_bytes(save(load(content), metadata=metadata))
        compile_network(load_network(path), GENEROUS)


def _put_odd(rng, description: dict | list):
    """Change, add or remove one entry somewhere inside of a JSON value."""
    while True:
        places = list(description) if isinstance(description, dict) else range(len(description))
        if not len(places):
            return
        place = places[rng.integers(len(places))]
        inner = description[place]
        if not (isinstance(inner, dict | list) and inner) or rng.random() < 0.1:
            break
        description = inner
    if rng.random() < 0.15:
        del description[place]
    elif isinstance(description, dict) and rng.random() < 0.1:
        description["other"] = ODD[rng.integers(len(ODD))]
    else:
        description[place] = ODD[rng.integers(len(ODD))]


def _program_file(rng, network: Network, config: Config):
    """A program file with other bytes; it may name another network or configuration."""
    program = compile_network(network, GENEROUS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program"
        save_program(program, path)
        path.write_bytes(_other_bytes(rng, path.read_bytes()))
        load_program(path).to_words()


def _other_bytes(rng, content: bytes) -> bytes:
    changed = np.frombuffer(content, np.uint8).copy()
    kind = rng.integers(4)
    if kind == 0:
        return content[: rng.integers(len(content))]
    if kind == 1:
        return rng.bytes(rng.integers(200))
    end = len(changed) if kind == 2 else min(len(changed), 200)
    for place in rng.integers(end, size=rng.integers(1, 5)):
        changed[place] ^= 1 << rng.integers(8)
    return changed.tobytes()


def _config_file(rng, network: Network, config: Config):
    fields = dataclasses.asdict(config)
    for _ in range(rng.integers(1, 3)):
        _put_odd(rng, fields)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps(fields))
        compile_network(network, load_config(str(path)))
