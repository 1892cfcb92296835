"""What ``--config`` takes: the name of a preset, or a JSON file."""

import json
import re
import typing
from pathlib import Path

from penstock.config import Config, preset
from penstock.errors import PenstockError

_TYPES = typing.get_type_hints(Config)
_KINDS = {int: "an integer", str: "text", bool: "true or false"}


def load_config(name_or_path: str) -> Config:
    """The preset of that name, or the configuration in a file whose name ends in ``.json``.

    The file holds one object of Config's fields, others keep their defaults; or the JSON file of
    ``penstock verilog``, whose ``config`` is such an object. Raises PenstockError for an unknown
    preset, a file that cannot be read or is no such JSON, and fields that Config refuses.
    """
    if not name_or_path.endswith(".json"):
        return preset(name_or_path)
    try:
        return _config(_read(Path(name_or_path)))
    except PenstockError as error:
        raise PenstockError(f"config {name_or_path}: {error}") from None


def _read(path: Path) -> dict:
    """The object of Config's fields in a file."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise PenstockError(f"must be a readable file ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise PenstockError(f"must be JSON ({error})") from None
    if isinstance(content, dict) and "config" in content:
        content = content["config"]
    if not isinstance(content, dict):
        raise PenstockError(f"must be an object of fields, not {content!r:.40}")
    return content


def _config(fields: dict) -> Config:
    for name, value in fields.items():
        if name not in _TYPES:
            raise PenstockError(f"a field must be one of {', '.join(_TYPES)}, not {name!r}")
        if type(value) is not _TYPES[name]:  # a bool is no size
            raise PenstockError(f"{name} must be {_KINDS[_TYPES[name]]}, not {value!r:.40}")
    name = fields.get("name", Config.name)
    if not re.fullmatch(r"[\w.-]+", name, re.ASCII):  # it goes into comments of generated files
        raise PenstockError(f"name must be letters, digits and any of . _ -, not {name!r:.40}")
    return Config(**fields)
