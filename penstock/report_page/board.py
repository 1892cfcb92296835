"""A run's configuration on a board: clock, images per second, resources by block, floorplan."""

from collections.abc import Mapping
from html import escape

from penstock.boards_record import RESOURCES
from penstock.record import ways
from penstock.report_page.charts import bar
from penstock.report_page.floorplan import classes, floorplan
from penstock.report_page.floorplan import legend as shapes
from penstock.report_page.markup import GATING, count, legend, section, table, tiles

_HEADS = {"lut": "LUTs", "ff": "flip-flops", "dsp": "multipliers", "bram": "block RAMs"}
_SEEDS = {"fmax_mhz": "best seed", "fmax_median_mhz": "median", "fmax_worst_mhz": "worst"}


def board(run: Mapping, placed: Mapping) -> str:
    """The sections of one board as `penstock.boards_record.load_boards` reads it."""
    return _clock(run, placed) + _resources(placed) + _plan(placed)


def _clock(run: Mapping, placed: Mapping) -> str:
    top = max(placed["clock_mhz"], placed["fmax_mhz"])
    mark = placed["clock_mhz"] / top
    rows = ""
    for field, text in _SEEDS.items():
        label = f"{text}: {placed[field]:.1f} MHz"
        drawn = bar([("gated", placed[field] / top, label)], mark=mark, label=label)
        rows += (
            f'<div class="row"><h3>{text}</h3><div class="line">{drawn}'
            f'<span class="value">{placed[field]:.1f} MHz</span></div></div>\n'
        )
    tools = ", ".join(f"{name} {version}" for name, version in placed["tools"].items())
    note = (
        f"The whole top of the board on {placed['device']}, after place and route ({tools}). "
        "Images per second are the clock / the cycles of this run; the simulated memory gives a "
        "beat a cycle, the board's may be slower."
    )
    key = legend([("gated", "reached after routing"), ("mark", "the board's clock")])
    return section(
        escape(f"On the board {placed['name']}"),
        escape(note),
        tiles(_figures(run, placed)) + key + rows,
    )


def _figures(run: Mapping, placed: Mapping) -> list[tuple[str, str, str]]:
    """(name, value, note) of clock and images per second."""
    clock, best = placed["clock_mhz"], placed["fmax_mhz"]
    margin = f"{abs(best / clock - 1):.1%}"
    routed, seeds = sum(seed["routed"] for seed in placed["seeds"]), len(placed["seeds"])
    verdict, change = "met", "more"
    if best < clock:
        verdict, change = '<b class="bad">not met</b>', "less"
    note = f"{verdict}: {best:.1f} MHz, {margin} {change}, by the best of {count(seeds, 'seed')}"
    if routed < seeds:
        note += f"; {seeds - routed} did not route"
    figures = [("Clock", f"{clock:.1f} MHz", note)]
    for way in reversed(ways(run)):
        cycles = run[f"cycles_{way}"]
        text = f"{GATING[way]}, {cycles:,.1f} cycles each"
        figures.append(("Images per second", f"{clock * 1e6 / cycles:,.0f}", text))
    return figures


def _resources(placed: Mapping) -> str:
    colours = classes(placed)
    rows = "".join(_resource_bar(placed, name, colours) for name in RESOURCES)
    blocks = [
        [
            f'<i class="key {colours[block["name"]]}"></i>{escape(block["name"])}',
            *(_share(block[name], placed["available"][name]) for name in RESOURCES),
        ]
        for block in placed["blocks"]
    ]
    blocks.append(
        ["<b>whole top</b>", *(_share(placed[n], placed["available"][n]) for n in RESOURCES)]
    )
    blocks.append(["the chip has", *(f"{placed['available'][name]:,}" for name in RESOURCES)])
    figures = table(("block of the core", *_HEADS.values()), blocks)
    note = "After packing, in shares of what the chip has; a bar's whole length is all of it."
    return section(f"Resources by block, {escape(placed['name'])}", note, rows + figures)


def _resource_bar(placed: Mapping, name: str, colours: Mapping[str, str]) -> str:
    used, there = placed[name], placed["available"][name]
    if not there:
        return ""
    scale = max(there, used)
    parts = [
        (colours[block["name"]], block[name] / scale, f"{block['name']}: {block[name]:,}")
        for block in placed["blocks"]
    ]
    drawn = bar(parts, label=f"{_HEADS[name]}: {used:,} of {there:,}")
    value = f'{used:,} <span class="note">{used / there:.1%} of {there:,}</span>'
    return (
        f'<div class="row"><h3>{_HEADS[name]}</h3><div class="line tall">{drawn}'
        f'<span class="value">{value}</span></div></div>\n'
    )


def _share(used: int, there: int) -> str:
    """A table's cell."""
    if not used:
        return "0"
    share = f" <small>{used / there:.1%}</small>" if there else ""
    return f"{used:,}{share}"


def _plan(placed: Mapping) -> str:
    path = placed["critical_path"]
    text = escape(path["text"]).replace(escape("->"), "&rarr;")
    words = (
        f"<p><b>Critical path</b>, {path['nanoseconds']:.1f} ns, {path['logic']:.1f} in logic and "
        f"{path['wire']:.1f} in wires: {text}.</p>\n"
    )
    steps = table(
        ("step", "ns", "block", "cell", "tile"),
        (
            [
                step["kind"],
                f"{step['nanoseconds']:.2f}",
                escape(step["block"]),
                escape(step["cell"]),
                f"{step['x']}, {step['y']}",
            ]
            for step in path["steps"]
        ),
    )
    note = (
        "The chip as placed and routed with the best seed, tile by tile; a tile of logic has the "
        "colour of the block that uses most of it, colours as in the table above."
    )
    title = f"Floorplan, {escape(placed['name'])}"
    return section(title, note, shapes() + floorplan(placed) + words, steps)
