"""The syntax of Liberty files: groups, attributes and lists, whatever they mean."""

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from penstock.errors import PenstockError

_STATEMENT = re.compile(
    r"""(?P<kind>\w+)\s*\((?P<arguments>(?:"[^"]*"|[^"(){}])*)\)\s*(?P<open>[{;]?)
    |(?P<name>\w+)\s*:\s*(?P<value>"[^"]*"|[^"\s;{}][^;{}\n]*?)\s*(?:;|(?=[\n}]))
    |(?P<close>\})
    |;""",
    re.VERBOSE,
)
_BLANK = re.compile(r"(?:\s|\\\n)*")
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


@dataclass
class Group:
    """``kind (arguments) { ... }``: values of ``name : value;``, lists of ``name (...);``."""

    kind: str
    arguments: list[str]
    values: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    groups: list["Group"] = field(default_factory=list)

    def every(self, kind: str) -> Iterator["Group"]:
        """Its groups of that kind, in order."""
        return (group for group in self.groups if group.kind == kind)


def liberty_text(path: Path) -> str:
    """The text of a Liberty file, plain or compressed by gzip.

    Raises PenstockError for a file that cannot be read.
    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise PenstockError(f"{path}: must be a readable Liberty file ({reason})") from None
    return content.decode("utf-8", "replace")


def parse(text: str, path: Path) -> Group:
    """The ``library`` group of a Liberty text; ``path`` is for messages.

    Raises PenstockError for a text that is no Liberty, with the line.
    """
    text = _COMMENT.sub(lambda comment: "\n" * comment[0].count("\n"), text)
    root = Group("", [])
    inside = [root]
    position = _BLANK.match(text).end()
    while position < len(text):
        statement = _STATEMENT.match(text, position)
        outside = len(inside) == 1
        if statement is None or (outside and (root.groups or statement["kind"] != "library")):
            raise _error(path, text, position)
        if statement["close"]:
            inside.pop()
        elif statement["open"] == "{":
            group = Group(statement["kind"], _arguments(statement["arguments"]))
            inside[-1].groups.append(group)
            inside.append(group)
        elif statement["kind"]:
            inside[-1].lists[statement["kind"]] = _arguments(statement["arguments"])
        elif statement["name"]:
            inside[-1].values[statement["name"]] = statement["value"].strip('"')
        position = _BLANK.match(text, statement.end()).end()
    if len(inside) > 1 or not root.groups:
        raise _error(path, text, len(text))
    return root.groups[0]


def _error(path: Path, text: str, position: int) -> PenstockError:
    found = repr(text[position : position + 30].splitlines()[0]) if text[position:] else "its end"
    line = text.count("\n", 0, position) + 1
    return PenstockError(f"{path}: must be a Liberty file: line {line} has {found}")


def _arguments(text: str) -> list[str]:
    """What stands between parentheses, without quotes."""
    return [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|([^\s,"]+)', text)]
