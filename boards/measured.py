"""What a synthesis record says of a board, from what the tools left behind."""

import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from penstock.boards.blocks import BLOCKS, part, words
from penstock.boards.devices import Ecp5
from penstock.boards.synthesis import Seed

RESOURCES = {
    "TRELLIS_COMB": "lut",
    "TRELLIS_FF": "ff",
    "MULT18X18D": "dsp",
    "DP16KD": "bram",
}
"""Type of a packed cell -> the resource that it takes one of."""


def fmax_mhz(report: Mapping) -> float:
    """What the slowest clock reaches: the others drive a few registers of IO cells."""
    return min(clock["achieved"] for clock in report["fmax"].values())


def best(seeds: Sequence[Seed]) -> Seed:
    """The fastest one that was routed."""
    return max((seed for seed in seeds if seed.routed), key=lambda seed: fmax_mhz(seed.report()))


def measured(device: Ecp5, seeds: Sequence[Seed]) -> dict:
    """The fields of a record that come from the seeds, at least one of them routed."""
    chosen = best(seeds)
    cells = chosen.cells()
    reached = [fmax_mhz(seed.report()) for seed in seeds if seed.routed]
    return {
        "fmax_mhz": round(max(reached), 2),
        "fmax_median_mhz": round(statistics.median(reached), 2),
        "fmax_worst_mhz": round(min(reached), 2),
        "seeds": [_seed(seed) for seed in seeds],
        **_resources(cells.values()),
        "available": {name: getattr(device, name) for name in RESOURCES.values()},
        "blocks": _blocks(cells),
        "critical_path": critical_path(chosen.report()),
        "floorplan": _floorplan(device, cells),
    }


def _seed(seed: Seed) -> dict:
    fmax = round(fmax_mhz(seed.report()), 2) if seed.routed else None
    return {
        "seed": seed.number,
        "fmax_mhz": fmax,
        "seconds": seed.seconds,
        "routed": seed.routed,
    }


def _resources(cells) -> dict[str, int]:
    counts = Counter(RESOURCES.get(kind) for kind, _ in cells)
    return {resource: counts[resource] for resource in RESOURCES.values()}


def _by_block(cells: Mapping[str, tuple[str, str]]) -> dict[str, list[tuple[str, str]]]:
    """The cells of each block, in the order of BLOCKS."""
    found = defaultdict(list)
    for name, cell in cells.items():
        if cell[0] in RESOURCES:
            found[part(name)[1]].append(cell)
    return {block: found[block] for block in BLOCKS if block in found}


def _blocks(cells: Mapping[str, tuple[str, str]]) -> list[dict]:
    return [{"name": block, **_resources(inside)} for block, inside in _by_block(cells).items()]


def _floorplan(device: Ecp5, cells: Mapping[str, tuple[str, str]]) -> dict:
    """Tiles of each block's cells; those of logic with how many of its sites are used."""
    blocks = {}
    for block, inside in _by_block(cells).items():
        tiles = {"dsp": [], "bram": []}
        logic = Counter()
        for kind, site in inside:
            x, y = map(int, re.match(r"X(\d+)/Y(\d+)/", site).groups())
            if RESOURCES[kind] in tiles:
                tiles[RESOURCES[kind]].append([x, y])
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
