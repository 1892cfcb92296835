"""Reading back JSON records of measurements: each mistake is one line that names the field."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from penstock.errors import PenstockError

NUMBER = (int, float)
_KINDS = {str: "a text", int: "an integer", NUMBER: "a number", list: "a list", dict: "an object"}
_KINDS |= {bool: "true or false"}


def load_record(
    path: str | os.PathLike, what: str, form: str, check_content: Callable[[dict], None]
) -> dict:
    """The object of a JSON file whose ``format`` is ``form``; ``what`` names it in errors.

    Raises PenstockError with the path: for another file, and for what ``check_content`` refuses.
    """
    try:
        record = json.loads(Path(path).read_bytes(), parse_constant=_no_number)
    except OSError as error:
        raise PenstockError(f"{path}: must be a readable file ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise PenstockError(
            f"{path}: must be the JSON of {what}, not another kind of file"
        ) from None
    came = record.get("format", "none") if isinstance(record, dict) else "none"
    if came != form:
        raise PenstockError(
            f"{path}: must be the JSON of {what}, its format {form!r}, not {came!r}"
        )
    try:
        check_content(record)
    except PenstockError as error:
        raise PenstockError(f"{path}: {error}") from None
    return record


def _no_number(text: str):
    raise ValueError(text)


def check(values: Mapping, fields: Mapping, where: str = ""):
    """Each field must be there and of its kind: a key of `_KINDS`."""
    for name, kind in fields.items():
        if name not in values:
            raise PenstockError(f"{where}{name}: must be there, is missing")
        check_kind(values[name], kind, f"{where}{name}")


def check_kind(value, kind, where: str):
    """A bool is no number."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise PenstockError(f"{where}: must be {_KINDS[kind]}, not {json.dumps(value)[:40]}")


def check_positive(values: Mapping, names, where: str = ""):
    """Numbers that something is divided by."""
    for name in names:
        if values[name] <= 0:
            raise PenstockError(f"{where}{name}: must be more than 0, not {values[name]}")
