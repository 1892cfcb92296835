"""What the recorder wrote becomes tensors again, and wrong writes are found."""

import numpy as np
import pytest
from random_networks import random_case

from penstock.config import preset
from penstock.gold.runner import run as golden
from penstock.network import INPUT
from penstock.sim import records
from penstock.sim.records import DONE, MARK, POOL, START, WRITE, observe, records_of_mark

CONFIG = preset("tiny")
IMAGES = 2


def writes(keys, values) -> list[tuple]:
    """(kind, index, what, where, value, lane) of one write for each element."""
    word = CONFIG.word
    entries = []
    for key, value in zip(np.ravel(keys).tolist(), np.ravel(values).tolist(), strict=True):
        place, lane = divmod(key, word)
        entries.append((WRITE, place // 2048, 1 << lane, place % 2048, value & 0xFF, lane))
    return entries


def image_writes(program, image) -> list[tuple]:
    """Channel by channel, as the loader's words would be."""
    keys = records.input_keys(program)
    padded = np.zeros(keys.shape, image.dtype)
    padded[: len(image)] = image
    return writes(keys, padded)


def layer_events(program, layer: int, tensors: dict, image: int) -> list[tuple]:
    """START, the values into a fused pooling, the writes, DONE."""
    names = program.layer_names[layer]
    descriptor = program.descriptors[layer]
    events = [(START, 0, layer, image, 0, 0)]
    if descriptor["pool"]:
        for (channel, y, x), value in np.ndenumerate(tensors[names[0]][image]):
            events.append((POOL, 0, channel, y | x << 8, int(value) & 0xFF, 0))
    if not descriptor["raw"]:
        events += writes(records.output_keys(program, layer), tensors[names[-1]][image])
    return [*events, (DONE, 0, layer, image, 0, 0)]


def recorded(program, images) -> np.ndarray:
    """What a faultless core would have the recorder write: an event a cycle."""
    tensors = golden(program.network, images).tensors
    events = image_writes(program, images[0])
    for image in range(len(images)):
        for layer in range(len(program.descriptors)):
            events += layer_events(program, layer, tensors, image)
        if image + 1 < len(images):
            events += image_writes(program, images[image + 1])
    table = np.zeros(len(events), records.record_dtype(CONFIG))
    for cycle, (kind, index, what, where, value, lane) in enumerate(events):
        row = table[cycle]
        row["cycle"], row["kind"], row["index"], row["what"] = cycle, kind, index, what
        row["where"] = where
        row["data"][lane] = value
    return table


@pytest.fixture(scope="module", params=range(4))
def case(request):
    program, images = random_case(np.random.default_rng(request.param), CONFIG, cycles=3000)
    return program, images[:IMAGES], recorded(program, images[:IMAGES])


def test_tensors_come_back(case):
    program, images, table = case
    observed = observe(table, program, IMAGES)
    assert observed.errors == []
    tensors = golden(program.network, images).tensors
    assert np.array_equal(observed.tensors[INPUT], images)
    for name, tensor in observed.tensors.items():
        assert tensor.dtype == tensors[name].dtype
        assert np.array_equal(tensor, tensors[name]), name
    assert len(observed.tensors) >= len(tensors) - 1  # the classifier's logits go to memory


def a_result(program, table) -> int:
    """Index of a write behind the first layer's start."""
    first = np.flatnonzero(table["kind"] == START)[0]
    return int(first + np.flatnonzero(table["kind"][first:] == WRITE)[0])


def test_a_missing_write_is_found(case):
    program, _, table = case
    errors = observe(np.delete(table, a_result(program, table)), program, IMAGES).errors
    assert len(errors) == 1 and "1 elements missing, first (channel, y, x) = " in errors[0]


def test_a_write_done_twice_is_found(case):
    program, _, table = case
    index = a_result(program, table)
    errors = observe(np.insert(table, index, table[index]), program, IMAGES).errors
    assert len(errors) == 1 and "1 elements written twice, first" in errors[0]


def test_a_stray_write_is_found(case):
    program, _, table = case
    index = a_result(program, table)
    stray = table[index].copy()
    stray["where"] = 2047
    errors = observe(np.insert(table, index, stray), program, IMAGES).errors
    assert errors == [error for error in errors if "belong nowhere, first to buffer" in error] != []


def test_a_layer_that_does_not_end_is_found(case):
    program, _, table = case
    last = int(np.flatnonzero(table["kind"] == DONE)[-1])
    observed = observe(np.delete(table, last), program, IMAGES)
    assert "layers must be done" in observed.errors[0]
    assert observed.tensors == {}


def test_marks_tell_runs_apart():
    table = np.zeros(7, records.record_dtype(CONFIG))
    table["kind"] = [WRITE, MARK, WRITE, WRITE, MARK, START, WRITE]
    table["what"] = [0, 1, 0, 0, 2, 0, 0]
    table["cycle"] = range(7)
    assert records_of_mark(table, 1)["cycle"].tolist() == [2, 3]
    assert records_of_mark(table, 2)["cycle"].tolist() == [5, 6]
