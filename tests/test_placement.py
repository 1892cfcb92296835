"""Where maps lie: nothing that is still needed is ever overwritten, by this image or the next."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from random_networks import random_network

from penstock.config import preset
from penstock.errors import PenstockError
from penstock.lowering import lower
from penstock.network import INPUT
from penstock.placement import map_addresses, place_maps

NETWORKS = 400
"""Random networks for each size of the buffers; many do not fit the small ones."""


def overwritten(operations, image, config) -> tuple[list[str], Counter]:
    """What is wrong with a placement, from its regions alone, and the cases that it shows.

    Layer i reads its source and residual and writes its output during step i. Two tensors clash
    where both are needed during a step and share addresses; an output may take the exact place of
    its own residual. The next image comes from the start of ``load_layer`` on.
    """
    maps = place_maps(operations, image, config)
    reads = [[op.source] + ([op.residual.source] if op.residual else []) for op in operations]
    written = {INPUT: -1} | {op.output: i for i, op in enumerate(operations) if not op.raw}
    needed = {name: set() for name in written}  # steps during which a tensor must be whole
    for name, first in written.items():
        last = max((i for i, names in enumerate(reads) if name in names), default=first)
        needed[name] |= set(range(max(first, 0), last + 1))
    if maps.load_layer is not None:
        needed[INPUT] |= set(range(maps.load_layer, len(operations)))
    sizes = {op.output: map_addresses(op.stored, config.word) for op in operations if not op.raw}
    sizes[INPUT] = map_addresses(image, config.word)
    wrong, seen = [], Counter(early=maps.load_layer is not None)
    for name, region in maps.regions.items():
        if region.size < sizes[name] or region.end > config.map_words or region.base < 0:
            wrong.append(f"{name} of {sizes[name]} addresses lies in {region}")
        for other, place in maps.regions.items():
            if name >= other or not region.overlaps(place):
                continue
            for step in sorted(needed[name] & needed[other]):
                op = operations[step]
                in_place = op.residual and {op.output, op.residual.source} == {name, other}
                if in_place and region == place:
                    seen["in place"] += 1
                else:
                    wrong.append(f"{name} and {other} share addresses in layer {op.name}")
        seen["reused"] += any(region.overlaps(maps.regions[each]) for each in sizes if each != name)
    return wrong, seen


@pytest.mark.parametrize("map_words", [17, 24, 40, 256])
def test_nothing_needed_is_overwritten(map_words):
    config = dataclasses.replace(preset("tiny"), word=1, rows=3, map_words=map_words)
    rng = np.random.default_rng(map_words)
    total = Counter()
    for index in range(NETWORKS):
        network = random_network(rng, config, cycles=2000)
        try:
            operations = lower(network, config)
            wrong, seen = overwritten(operations, network.input, config)
        except PenstockError:
            continue
        assert not wrong, f"network {index}: {wrong}"
        total += seen
        total["fit"] += 1
    assert total["fit"] > 20
    assert min(total["early"], total["reused"]) > 10
    assert total["in place"] > 0
