"""Reads what a wave file declares, and the values of a VCD file."""

import re
from collections.abc import Iterator
from pathlib import Path

_HIERARCHY = 6  # FST's block type of the hierarchy as an LZ4 block
_SCOPE, _UP, _ATTRIBUTE, _ATTRIBUTE_END = 254, 255, 252, 253


def declared(path: Path) -> dict[str, int]:
    """Width of every signal by its path, scopes joined by dots."""
    return fst_signals(path) if path.suffix == ".fst" else vcd_signals(path)[0]


def vcd_signals(path: Path) -> tuple[dict[str, int], dict[str, str]]:
    """(widths, identifier codes) of a VCD file's signals by path."""
    scopes, widths, codes = [], {}, {}
    with path.open() as lines:
        for line in lines:
            words = line.split()
            if words[:1] == ["$enddefinitions"]:
                break
            if words[:1] == ["$scope"]:
                scopes.append(words[2])
            elif words[:1] == ["$upscope"]:
                scopes.pop()
            elif words[:1] == ["$var"]:
                name = ".".join([*scopes, re.sub(r"\[.*", "", words[4])])
                widths[name], codes[name] = int(words[2]), words[3]
    return widths, codes


def vcd_values(path: Path, names: list[str]) -> Iterator[dict[str, int]]:
    """Values of some signals after each time at which anything changes."""
    code_of = vcd_signals(path)[1]
    values = dict.fromkeys(names, 0)
    wanted: dict[str, list[str]] = {}
    for name in names:
        wanted.setdefault(code_of[name], []).append(name)
    with path.open() as lines:
        for line in lines:
            if line.startswith("#"):
                yield dict(values)
                continue
            found = re.fullmatch(r"(?:b([01]+) |([01]))(\S+)\n", line)
            for name in wanted.get(found[3], []) if found else []:
                values[name] = int(found[1] or found[2], 2)
    yield dict(values)


def fst_signals(path: Path) -> dict[str, int]:
    """Widths of an FST file's signals by path."""
    content, at = path.read_bytes(), 0
    while content[at] != _HIERARCHY:
        at += 1 + int.from_bytes(content[at + 1 : at + 9], "big")
    length = int.from_bytes(content[at + 1 : at + 9], "big")
    text = lz4_block(content[at + 17 : at + 1 + length])
    assert len(text) == int.from_bytes(content[at + 9 : at + 17], "big")
    scopes, widths, at = [], {}, 0
    while at < len(text):
        kind, at = text[at], at + 1
        if kind == _SCOPE:
            name, at = _text(text, at + 1)
            _, at = _text(text, at)
            scopes.append(name)
        elif kind == _UP:
            scopes.pop()
        elif kind == _ATTRIBUTE:
            _, at = _text(text, at + 2)
            _, at = _number(text, at)
        elif kind != _ATTRIBUTE_END:
            name, at = _text(text, at + 1)
            width, at = _number(text, at)
            _, at = _number(text, at)
            widths[".".join([*scopes, re.sub(r" ?\[.*", "", name)])] = width
    return widths


def lz4_block(content: bytes) -> bytes:
    """What a block in the LZ4 format holds."""
    made, at = bytearray(), 0
    while True:
        token, at = content[at], at + 1
        count, at = _length(content, at, token >> 4)
        made += content[at : at + count]
        at += count
        if at == len(content):
            return bytes(made)
        offset = int.from_bytes(content[at : at + 2], "little")
        count, at = _length(content, at + 2, token & 15)
        for _ in range(count + 4):
            made.append(made[-offset])


def _length(content: bytes, at: int, count: int) -> tuple[int, int]:
    if count == 15:
        while content[at] == 255:
            count, at = count + 255, at + 1
        count, at = count + content[at], at + 1
    return count, at


def _text(content: bytes, at: int) -> tuple[str, int]:
    end = content.index(0, at)
    return content[at:end].decode(), end + 1


def _number(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte, at = content[at], at + 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
