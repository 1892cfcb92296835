"""The floorplan of a board as SVG: tiles coloured by block, the critical path over them."""

from collections.abc import Iterable, Mapping
from html import escape
from itertools import groupby

from penstock.report_page.markup import count

COLOURS = 9
"""Blocks that have a colour of their own: the classes block1, block2, .. of the style sheet."""

_SHAPES = {"dsp": "multiplier", "bram": "block RAM"}


def classes(board: Mapping) -> dict[str, str]:
    """Block -> class of its colour: block0, grey, for "other" and for those beyond `COLOURS`."""
    named = [block["name"] for block in board["blocks"] if block["name"] != "other"]
    numbers = {name: index for index, name in enumerate(named[:COLOURS], 1)}
    return {block["name"]: f"block{numbers.get(block['name'], 0)}" for block in board["blocks"]}


def floorplan(board: Mapping) -> str:
    """The chip as it is placed, its origin at the top left.

    A tile of logic has the colour of the block that uses most of its sites. All tiles of a block
    are one path, a stroke for each run of tiles in a row, so that a full chip stays small.
    """
    plan = board["floorplan"]
    width, height = plan["width"], plan["height"]
    colours, tiles = classes(board), _tiles(plan["cells"])
    drawn = [f'<rect class="chip" width="{width}" height="{height}"/>']
    for name in colours:
        cells = plan["cells"].get(name, {})
        paths = _path("logic", _runs(tiles.get(name, ())))
        paths += "".join(_path(kind, _dots(cells.get(kind, ()))) for kind in ("bram", "dsp"))
        if paths:
            title = escape(f"{name}: {_contents(tiles.get(name, ()), cells)}")
            drawn.append(f'<g class="{colours[name]}"><title>{title}</title>{paths}</g>')
    holes = [place for cells in plan["cells"].values() for place in cells["bram"]]
    drawn += [_path("hole", _dots(holes)), _critical(board["critical_path"])]
    return (
        f'<svg class="floorplan" role="img" aria-label="{escape(_label(board, tiles))}" '
        f'viewBox="0 0 {width} {height}">{"".join(drawn)}</svg>\n'
    )


def legend() -> str:
    """What the shapes are; colours are those of the table of blocks."""
    shapes = {"logic": "logic", **_SHAPES}
    keys = "".join(
        f'<span><svg class="key floorplan" viewBox="0 0 2 2" aria-hidden="true">'
        f"{_path(kind, 'M0 1h2' if kind == 'logic' else _dots([(0.5, 0.5)]))}"
        f"{_path('hole', _dots([(0.5, 0.5)])) if kind == 'bram' else ''}</svg>{text}</span>"
        for kind, text in shapes.items()
    )
    path = '<span><i class="key path"></i>critical path, its end a square</span>'
    return f'<p class="legend">{keys}{path}</p>\n'


def _tiles(cells: Mapping[str, Mapping]) -> dict[str, list[tuple[int, int]]]:
    """Block -> (y, x) of the tiles of which it uses the most sites, sorted."""
    most: dict[tuple[int, int], tuple[int, str]] = {}
    for name, kinds in cells.items():
        for x, y, used in kinds["lut"]:
            if used > most.get((y, x), (0, ""))[0]:
                most[y, x] = used, name
    tiles: dict[str, list] = {}
    for place in sorted(most):
        tiles.setdefault(most[place][1], []).append(place)
    return tiles


def _runs(places: Iterable[tuple[int, int]]) -> str:
    """Sorted (y, x) as a path, a stroke for each run of neighbours in a row."""
    path, at = [], None
    for row, group in groupby(places, key=lambda place: place[0]):
        columns = [x for _, x in group]
        for _, run in groupby(enumerate(columns), key=lambda pair: pair[1] - pair[0]):
            first, *others = (x for _, x in run)
            move = f"M{first} {row}" if at is None else f"m{first - at[0]} {row - at[1]}"
            path.append(f"{move}h{1 + len(others)}")
            at = first + 1 + len(others), row
    return "".join(path)


def _dots(places: Iterable) -> str:
    """Strokes without a length: the caps of their class make the shape."""
    return "".join(f"M{x} {y}h0" for x, y in places)


def _path(style: str, path: str) -> str:
    return f'<path class="{style}" d="{path}"/>' if path else ""


def _critical(path: Mapping) -> str:
    """The places of its steps, joined: twice, the first as a halo."""
    places = [place for place, _ in groupby((step["x"], step["y"]) for step in path["steps"])]
    if not places:
        return ""
    line = "M" + "L".join(f"{x} {y}" for x, y in places)
    title = f"<title>{escape('critical path: ' + path['text'])}</title>"
    return (
        f'<g class="critical">{title}{_path("halo", line + _dots(places))}{_path("line", line)}'
        f"{_path('joint', _dots(places[:-1]))}{_path('end', _dots(places[-1:]))}</g>"
    )


def _contents(tiles, cells: Mapping) -> str:
    counts = {"logic tile": len(tiles)}
    counts |= {text: len(cells.get(kind, ())) for kind, text in _SHAPES.items()}
    return ", ".join(count(number, text) for text, number in counts.items() if number) or "nothing"


def _label(board: Mapping, tiles: Mapping) -> str:
    plan = board["floorplan"]
    blocks = [
        f"{name}: {_contents(tiles.get(name, ()), cells)}" for name, cells in plan["cells"].items()
    ]
    steps = board["critical_path"]["steps"]
    ends = [f"({step['x']}, {step['y']})" for step in steps[:1] + steps[-1:]]
    path = f" Critical path from {ends[0]} to {ends[1]}." if len(ends) == 2 else ""
    size = f"{plan['width']} x {plan['height']} tiles"
    return f"Floorplan of {board['device']}, {size}. {'; '.join(blocks)}.{path}"
