"""The file of a synthesis record, docs/formats.md: read, extended and written."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from penstock.errors import PenstockError

FORMAT = "penstock boards 1"
"""What the field ``format`` of a record says."""


def load_record(path: str | os.PathLike) -> dict:
    """The record in a file. Raises PenstockError for anything else."""
    try:
        record = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise PenstockError(f"{path}: must be a readable file ({error.strerror})") from None
    except ValueError:
        record = None
    came = record.get("format", "none") if isinstance(record, dict) else "none"
    if came != FORMAT:
        raise PenstockError(
            f"{path}: must be a synthesis record, its format {FORMAT!r}, not {came!r}"
        )
    return record


def record_text(record: Mapping) -> str:
    """A record as JSON, a line for each field of a board."""
    boards = [
        ",\n".join(f'    "{name}": {json.dumps(value)}' for name, value in board.items())
        for board in record["boards"]
    ]
    listed = ",\n".join(f"  {{\n{fields}\n  }}" for fields in boards)
    return f'{{\n"format": "{record["format"]}",\n"boards": [\n{listed}\n]\n}}\n'


def with_board(record: Mapping, board: Mapping) -> dict:
    """A record in which this board's entry takes the place of one of its name, or is the last."""
    boards = [board if each["name"] == board["name"] else each for each in record["boards"]]
    if board not in boards:
        boards.append(board)
    return {"format": FORMAT, "boards": boards}
