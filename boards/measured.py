"""What a synthesis record says of a board, from what the tools left behind."""

import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from penstock.boards.blocks import BLOCKS, part, words
from penstock.boards.family import Device, Family
from penstock.boards.synthesis import Seed
from penstock.boards_record import RESOURCES

_Blocks = dict[str, list[tuple[str, str]]]
"""Block, in the order of BLOCKS -> (resource, site) of what its cells take."""


def fmax_mhz(report: Mapping) -> float:
    """What the slowest clock reaches: the others drive a few registers of IO cells."""
    return min(clock["achieved"] for clock in report["fmax"].values())


def best(seeds: Sequence[Seed]) -> Seed:
    """The fastest one that was routed."""
    return max((seed for seed in seeds if seed.routed), key=lambda seed: fmax_mhz(seed.report()))


def measured(device: Device, seeds: Sequence[Seed]) -> dict:
    """The fields of a record that come from the seeds, at least one of them routed."""
    chosen = best(seeds)
    blocks = _by_block(device.family, chosen.cells())
    reached = [fmax_mhz(seed.report()) for seed in seeds if seed.routed]
    return {
        "fmax_mhz": round(max(reached), 2),
        "fmax_median_mhz": round(statistics.median(reached), 2),
        "fmax_worst_mhz": round(min(reached), 2),
        "seeds": [_seed(seed) for seed in seeds],
        **_resources(use for inside in blocks.values() for use in inside),
        "available": {name: getattr(device, name) for name in RESOURCES},
        "blocks": [{"name": name, **_resources(inside)} for name, inside in blocks.items()],
        "critical_path": critical_path(chosen.report()),
        "floorplan": _floorplan(device, blocks),
    }


def _seed(seed: Seed) -> dict:
    fmax = round(fmax_mhz(seed.report()), 2) if seed.routed else None
    return {
        "seed": seed.number,
        "fmax_mhz": fmax,
        "seconds": seed.seconds,
        "routed": seed.routed,
    }


def _resources(uses: Iterable[tuple[str, str]]) -> dict[str, int]:
    counts = Counter(resource for resource, _ in uses)
    return {resource: counts[resource] for resource in RESOURCES}


def _by_block(family: Family, cells: Mapping[str, tuple[str, str]]) -> _Blocks:
    found = defaultdict(list)
    for name, (kind, site) in cells.items():
        for resource in family.resources.get(kind, ()):
            found[part(name)[1]].append((resource, site))
    return {block: found[block] for block in BLOCKS if block in found}


def _floorplan(device: Device, by_block: _Blocks) -> dict:
    """Tiles of each block's cells; those of logic with how many of its sites are used."""
    blocks = {}
    for block, inside in by_block.items():
        tiles = {"dsp": [], "bram": []}
        logic = Counter()
        for resource, site in inside:
            x, y = map(int, re.match(r"X(\d+)/?Y(\d+)/", site).groups())
            if resource in tiles:
                tiles[resource].append([x, y])
            else:
                logic[x, y] += 1
        lut = [[x, y, count] for (x, y), count in sorted(logic.items())]
        blocks[block] = {name: sorted(found) for name, found in tiles.items()} | {"lut": lut}
    return {"width": device.width, "height": device.height, "cells": blocks}


def critical_path(report: Mapping) -> dict:
    """The longest path of the slowest clock, from nextpnr's report."""
    clock = min(report["fmax"], key=lambda name: report["fmax"][name]["achieved"])
    edge = f"posedge {clock}"
    path = next(
        found["path"]
        for found in report["critical_paths"]
        if (found["from"], found["to"]) == (edge, edge)
    )
    steps = [_step(each) for each in path]
    total = sum(step["nanoseconds"] for step in steps)
    wire = sum(step["nanoseconds"] for step in steps if step["kind"] == "wire")
    way = words([path[0]["from"]["cell"], *(each["to"]["cell"] for each in path)])
    return {
        "nanoseconds": round(total, 3),
        "logic": round(total - wire, 3),
        "wire": round(wire, 3),
        "text": f"{way}; {wire / total:.0%} wire".replace("%", " %"),
        "steps": steps,
    }


def _step(step: Mapping) -> dict:
    cell, (x, y) = step["to"]["cell"], step["to"]["loc"]
    return {
        "kind": "wire" if step["type"] == "routing" else "logic",
        "nanoseconds": round(step["delay"], 3),
        "block": part(cell)[1],
        "cell": cell,
        "x": x,
        "y": y,
    }


def performance(run: Mapping | None, clock_mhz: float) -> dict:
    """Cycles and images per second from a run's JSON (penstock.record), None without one."""
    found = {"network": run["network"] if run else None}
    for way in ("gated", "dense"):
        cycles = run.get(f"cycles_{way}") if run else None
        found[f"cycles_{way}"] = cycles
        found[f"images_per_second_{way}"] = cycles and round(1e6 * clock_mhz / cycles, 1)
    return found
