"""The tables of docs/boards.md, from the synthesis record in docs/boards.json and nothing else."""

from collections.abc import Mapping, Sequence

from penstock.boards import BOARDS

PEERS = (
    ("systars", 64, 54),
    ("Tensil, array", 64, 54),
    ("Gemmini, mesh", 64, 70),
    ("tiny-tpu", 64, 84),
    ("axis-systolic-array", 64, 90),
    ("hps_accel (CFU-Playground)", 32, 111),
)
"""(name, int8 multipliers, MHz) of other generators' arrays, on an LFE5U-85F by the same tools."""

_NONE = "No board has a record yet.\n"


def clocks(record: Mapping) -> str:
    """What each board's clock is and what the seeds reach, worst and median beside the best."""
    rows = []
    for board in record["boards"]:
        routed = sum(seed["routed"] for seed in board["seeds"])
        verdict = "" if board["fmax_mhz"] >= board["clock_mhz"] else " (missed)"
        rows.append(
            (
                f"`{board['name']}`",
                board["device"],
                board["macs"],
                f"{board['clock_mhz']:g} MHz{verdict}",
                *(f"{board[f'fmax{each}_mhz']:.1f}" for each in ("", "_median", "_worst")),
                f"{routed} of {len(board['seeds'])}",
                board["critical_path"]["text"],
            )
        )
    heads = ("board", "device", "multipliers", "clock", "best, MHz", "median", "worst")
    return _table((*heads, "seeds routed", "longest path of the best"), rows)


def resources(record: Mapping) -> str:
    """What each top takes, and its blocks."""
    parts = []
    for board in record["boards"]:
        kinds = list(board["available"])
        rows = [
            (block["name"], *(f"{block[kind]:,}" for kind in kinds)) for block in board["blocks"]
        ]
        rows.append(("**all**", *(f"**{board[kind]:,}**" for kind in kinds)))
        rows.append(
            (
                "of",
                *(
                    f"{there:,} ({board[kind] / there:.0%})"
                    for kind, there in board["available"].items()
                ),
            )
        )
        heads = (f"`{board['name']}`", "LUT4", "flip-flops", "multipliers", "block RAMs")
        parts.append(_table(heads, rows))
    return "\n".join(parts) or _NONE


def speeds(record: Mapping) -> str:
    """Images per second of those boards whose record holds the cycles of a run."""
    rows = []
    for board in record["boards"]:
        if board["network"] is None:
            continue
        ways = ("gated", "dense")
        cycles = [board[f"cycles_{way}"] for way in ways]
        images = [board[f"images_per_second_{way}"] for way in ways]
        cells = [f"{each:,.0f}" if each is not None else "" for each in (*cycles, *images)]
        rows.append((f"`{board['name']}`", board["network"], *cells))
    heads = ("board", "network", "cycles per image, gating on", "off", "images/s, gating on", "off")
    return _table(heads, rows) if rows else "No record holds a run yet.\n"


def peers(record: Mapping) -> str:
    """PEERS as a table."""
    return _table(("array", "multipliers", "MHz"), PEERS)


def commands(record: Mapping) -> str:
    """What made each entry, with which tools."""
    rows = [
        (
            f"`penstock synth --board {board['name']} --seeds {len(board['seeds'])}`",
            f"yosys {board['tools']['yosys']}, nextpnr {board['tools']['nextpnr']}",
            f"{sum(seed['seconds'] for seed in board['seeds']) / 60:.0f}",
        )
        for board in record["boards"]
        if board["name"] in BOARDS
    ]
    return _table(("command", "tools", "minutes of placement and routing"), rows)


TABLES = clocks, peers, resources, speeds, commands


def _table(heads: Sequence, rows: Sequence[Sequence]) -> str:
    if not rows:
        return _NONE
    lines = [heads, ("---",) * len(heads), *rows]
    return "".join(f"| {' | '.join(map(str, cells))} |\n" for cells in lines)
