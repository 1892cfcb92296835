"""Cycles of a network on a simulated board: what penstock.sim.board_run writes."""

import os

from penstock.errors import PenstockError
from penstock.record import load_run
from penstock.record_checks import NUMBER, check, check_positive, load_record

FORMAT = "penstock board cycles 1"
"""What the field ``format`` says."""

_FIELDS = {
    **{"config": str, "network": str, "images": int},
    **{"cycles_gated": NUMBER, "cycles_dense": NUMBER},
}


def board_cycles(config: str, network: str, images: int, gated: float, dense: float) -> dict:
    """The record: cycles per image, gating on and off."""
    values = (config, network, images, gated, dense)
    return {"format": FORMAT, **dict(zip(_FIELDS, values, strict=True))}


def load_cycles(path: str | os.PathLike) -> dict:
    """A record of a simulated board, or of the core alone: a run's JSON (penstock.record).

    Raises PenstockError for anything else.
    """
    try:
        return load_record(path, "a simulated board", FORMAT, _check)
    except PenstockError:
        return load_run(path)


def _check(record: dict):
    check(record, _FIELDS)
    check_positive(record, ("images", "cycles_gated", "cycles_dense"))
