"""The record of `penstock synth --board --json`: boards with clock, resources and floorplan."""

import os
from collections.abc import Mapping

from penstock.boards.record import FORMAT
from penstock.errors import PenstockError
from penstock.record_checks import NUMBER, check, check_kind, check_positive, load_record

RESOURCES = ("lut", "ff", "dsp", "bram")
"""Look-up tables, flip-flops, multipliers, block RAMs."""

_COUNTS = dict.fromkeys(RESOURCES, int)
_CLOCKS = dict.fromkeys(("clock_mhz", "fmax_mhz", "fmax_median_mhz", "fmax_worst_mhz"), NUMBER)
_BOARD = {
    **{"name": str, "device": str, "config": str, "macs": int, **_CLOCKS, "seeds": list},
    **{**_COUNTS, "available": dict, "blocks": list, "critical_path": dict, "floorplan": dict},
    "tools": dict,
}
_PATH = {"nanoseconds": NUMBER, "logic": NUMBER, "wire": NUMBER, "text": str, "steps": list}
_STEP = {"kind": str, "nanoseconds": NUMBER, "block": str, "cell": str, "x": int, "y": int}
_PLACE = {"dsp": 2, "bram": 2, "lut": 3}
"""Kind of cell -> numbers of an entry: x, y, and of ``lut`` how many sites of the tile are used."""


def load_boards(path: str | os.PathLike) -> list[dict]:
    """The boards of a record. Raises PenstockError for anything else, naming the field."""
    return load_record(path, "a record of boards", FORMAT, _check_record)["boards"]


def boards_of(boards: list[dict], run: Mapping) -> list[dict]:
    """Those with the configuration of a run.

    Raises PenstockError where there is none, naming those that there are; and where one has
    another number of multipliers, so that its configuration only has the same name.
    """
    found = [board for board in boards if board["config"] == run["config"]]
    if not found:
        there = ", ".join(f"{board['name']} ({board['config']})" for board in boards) or "none"
        raise PenstockError(
            f"boards: must hold one of the run's configuration, {run['config']}, not {there}"
        )
    for board in found:
        if board["macs"] != run["multipliers"]:
            raise PenstockError(
                f"board {board['name']}: must have the run's {run['multipliers']} multipliers, "
                f"not {board['macs']}"
            )
    return found


def _check_record(record: dict):
    check(record, {"boards": list})
    for index, board in enumerate(record["boards"]):
        where = f"boards[{index}]"
        check_kind(board, dict, where)
        check(board, _BOARD, f"{where}.")
        check_positive(board, _CLOCKS, f"{where}.")
        check(board["available"], _COUNTS, f"{where}.available.")
        for name, version in board["tools"].items():
            check_kind(version, str, f"{where}.tools.{name}")
        for number, seed in enumerate(board["seeds"]):
            check_kind(seed, dict, f"{where}.seeds[{number}]")
            check(seed, {"seed": int, "routed": bool}, f"{where}.seeds[{number}].")
        for number, block in enumerate(board["blocks"]):
            check_kind(block, dict, f"{where}.blocks[{number}]")
            check(block, {"name": str, **_COUNTS}, f"{where}.blocks[{number}].")
        _check_floorplan(board, f"{where}.floorplan")
        _check_path(board, f"{where}.critical_path")


def _check_floorplan(board: dict, where: str):
    plan = board["floorplan"]
    check(plan, {"width": int, "height": int, "cells": dict}, f"{where}.")
    check_positive(plan, ("width", "height"), f"{where}.")
    names = {block["name"] for block in board["blocks"]}
    for name, cells in plan["cells"].items():
        at = f"{where}.cells[{name!r}]"
        if name not in names:
            raise PenstockError(f"{at}: must be one of the blocks, {', '.join(sorted(names))}")
        check_kind(cells, dict, at)
        check(cells, dict.fromkeys(_PLACE, list), f"{at}.")
        for kind, numbers in _PLACE.items():
            for number, place in enumerate(cells[kind]):
                if not _is_place(place, numbers, plan):
                    raise PenstockError(
                        f"{at}.{kind}[{number}]: must be {numbers} integers, x and y within "
                        f"{plan['width']} x {plan['height']}, not {str(place)[:40]}"
                    )


def _is_place(place, numbers: int, plan: Mapping) -> bool:
    if not isinstance(place, list) or len(place) != numbers:
        return False
    if not all(type(each) is int for each in place):
        return False
    return 0 <= place[0] < plan["width"] and 0 <= place[1] < plan["height"]


def _check_path(board: dict, where: str):
    path, plan = board["critical_path"], board["floorplan"]
    check(path, _PATH, f"{where}.")
    check_positive(path, ("nanoseconds",), f"{where}.")
    for number, step in enumerate(path["steps"]):
        at = f"{where}.steps[{number}]"
        check_kind(step, dict, at)
        check(step, _STEP, f"{at}.")
        if step["kind"] not in ("logic", "wire"):
            raise PenstockError(f"{at}.kind: must be logic or wire, not {step['kind']!r}")
        if not _is_place([step["x"], step["y"]], 2, plan):
            raise PenstockError(
                f"{at}: must lie within {plan['width']} x {plan['height']}, "
                f"not at {step['x']}, {step['y']}"
            )
