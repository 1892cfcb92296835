"""Tables of docs/ that come from the code: ``python -m penstock.documentation`` writes them anew.

Each stands between two comments, ``<!-- NAME -->`` and ``<!-- /NAME -->``.
"""

import re
from collections.abc import Callable
from pathlib import Path

from penstock.boards import page as boards_page
from penstock.boards.frames import ANSWER, OPERATIONS, REQUEST, STATUSES
from penstock.boards.record import load_record
from penstock.channel_stream import STREAM_RECORDS
from penstock.config import PRESETS, TAPS
from penstock.program import RECORDS, Record
from penstock.registers import REGISTERS, Code, Command, State

ROOT = Path(__file__).parents[1]
"""The repository; an installation without it has no docs."""


def records() -> str:
    """All records of a program: word, bits, field, meaning."""
    return "\n\n".join(_record(record) for record in RECORDS)


def stream_records() -> str:
    """All records of the compact engine's stream."""
    return "\n\n".join(_record(record) for record in STREAM_RECORDS)


def _record(record: Record) -> str:
    words = len(record.words)
    lines = [f"**{record.name.upper()}**, {words} word{'s' if words > 1 else ''}", ""]
    lines += ["| word | bits | field | meaning |", "|---|---|---|---|"]
    for index, fields in enumerate(record.words):
        position = 0
        for field in fields:
            bits = f"{position + field.bits - 1}:{position}" if field.bits > 1 else str(position)
            meaning = ", ".join(filter(None, (field.doc, "signed" if field.signed else "")))
            lines.append(f"| {index} | {bits} | {field.name} | {meaning} |")
            position += field.bits
        if not fields:
            lines.append(f"| {index} | | | reserved, 0 |")
    return "\n".join(lines)


def registers() -> str:
    """The register map."""
    lines = ["| address | register | access | meaning |", "|---|---|---|---|"]
    lines += [
        f"| 0x{register.address:02X} | {register.name} | {register.access} | {register.doc} |"
        for register in REGISTERS
    ]
    return "\n".join(lines)


def codes() -> str:
    """Commands, states and status codes."""
    kinds = (("command", Command), ("state", State), ("code", Code))
    lines = ["| field | value | name |", "|---|---|---|"]
    lines += [f"| {kind} | {int(each)} | {each.name} |" for kind, all_ in kinds for each in all_]
    return "\n".join(lines)


def presets() -> str:
    """The presets and their main sizes."""
    lines = [
        "| preset | multipliers | weights on chip | activation maps | accumulator |",
        "|---|---|---|---|---|",
    ]
    for config in PRESETS.values():
        weights = f"{config.weight_words * config.lanes:,} bytes, {config.weights}"
        maps = f"2 x {9 * config.map_words * config.word:,} bytes, side up to {config.map_side}"
        lines.append(
            f"| `{config.name}` | {config.rows} x {TAPS}x{config.word} = {config.multipliers} "
            f"| {weights} | {maps} | {config.accumulator_bits} bits |"
        )
    return "\n".join(lines)


def frames() -> str:
    """The frames of the host link, its operations and status codes."""
    lines = []
    for name, fields in (("request", REQUEST), ("answer", ANSWER)):
        lines += [f"| {name} | bytes | meaning |", "|---|---|---|"]
        lines += [f"| {f.name} | {f.bytes or '8 * words'} | {f.doc} |" for f in fields]
        lines.append("")
    lines += ["| field | value | name | meaning |", "|---|---|---|---|"]
    for field, meanings in (("operation", OPERATIONS), ("status", STATUSES)):
        lines += [f"| {field} | {int(e)} | {e.name} | {doc} |" for e, doc in meanings.items()]
    return "\n".join(lines)


def board_file() -> str:
    """The module of a board, as an example."""
    return f"```python\n{(ROOT / 'boards/ulx3s_85f.py').read_text()}```"


def _of_boards(table: Callable[[dict], str]) -> Callable[[], str]:
    """The table of docs/boards.json."""

    def made() -> str:
        return table(load_record(ROOT / "docs/boards.json")).rstrip()

    made.__name__ = f"board_{table.__name__}"
    return made


PAGES: dict[str, tuple[Callable[[], str], ...]] = {
    "README.md": (presets,),
    "docs/boards.md": tuple(map(_of_boards, boards_page.TABLES)),
    "docs/compact.md": (stream_records,),
    "docs/extending.md": (board_file,),
    "docs/formats.md": (records,),
    "docs/host_link.md": (frames,),
    "docs/registers.md": (registers, codes),
}
"""Page -> the functions whose tables it holds."""


def refreshed(page: str, text: str) -> str:
    """A page's text with its tables as the code has them now."""
    for table in PAGES[page]:
        name = table.__name__
        begin, end = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        if len(pattern.findall(text)) != 1:
            raise ValueError(f"{page}: must hold one {begin.strip()} .. {end.strip()}")
        text = pattern.sub(lambda _: begin + table() + end, text)  # noqa: B023  used at once
    return text


if __name__ == "__main__":
    for page in PAGES:
        path = ROOT / page
        path.write_text(refreshed(page, path.read_text()))
