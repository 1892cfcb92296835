"""The page of one run: its JSON as HTML, with charts, pictures and tables, in one file.

Without scripts, fonts or anything else from outside. Every text of the JSON is escaped.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from penstock.charts import bar, strip
from penstock.display import design
from penstock.pictures import data_uri, shades
from penstock.record import spent, unpacked, ways
from penstock.registers import COUNTERS, REGISTERS

_STYLE = Path(__file__).with_name("report_page.css")
_GATING = {"gated": "gating on", "dense": "gating off"}

_STALL = "cycles without a step: "
_MEANINGS = {
    "BASE_STEPS": "base steps",
    "CONDITIONAL_STEPS": "conditional steps",
    **{
        register.name: register.doc.removeprefix(_STALL)
        for register in REGISTERS
        if register.doc.startswith(_STALL)
    },
    "START": "the accepted START itself",
}
"""What a running cycle was spent on, by the names of `penstock.record.spent`."""

_DEFINITIONS = {
    "Cycles per image": "from the accepted START to its end, divided by its images. Gating off is "
    "one control bit: the same program on the same hardware, as dense convolutions.",
    "MACs": "multiply-accumulate operations of the whole network, those on padding included. "
    "Executed: those of the base paths, and of the conditional path where a gate opened.",
    "MAC reduction": "dense MACs / executed MACs: what gating promises on paper.",
    "Speed-up": "cycles with gating off / cycles with gating on: what it gives in hardware.",
    "Efficiency": "speed-up / MAC reduction. 1 would be all that the counted MACs promise.",
    "Utilization": "executed MACs / (cycles x multipliers).",
    "Ideal": "executed MACs / multipliers: every multiplier busy in every cycle.",
    "Gate density": "share of the gated outputs whose gate opened, so that they took the "
    "conditional path.",
}


def page(run: Mapping) -> str:
    """HTML of a run as `penstock.record.load_run` reads it."""
    sections = (_layers, _destinations, _gates, _pictures, _traffic, _tensors)
    body = "".join(section(run) for section in sections)
    title = escape(f"{run['network']} on {run['config']}")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}: Penstock run</title>\n<style>\n{_STYLE.read_text()}</style>\n</head>\n"
        f"<body>\n<main>\n{_head(run, title)}{body}{_foot(run)}</main>\n</body>\n</html>\n"
    )


def _head(run: Mapping, title: str) -> str:
    subject = f"{run['multipliers']:,} multipliers, {design(run)}, {_count(run['images'], 'image')}"
    tiles = "".join(
        f'<div class="tile"><dt>{name}</dt><dd>{value}</dd><dd class="note">{note}</dd></div>'
        for name, value, note in _key_figures(run)
    )
    meanings = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in _DEFINITIONS.items())
    return (
        f'<header>\n<p class="kicker">Penstock run</p>\n<h1>{title}</h1>\n'
        f'<p class="subject">{escape(subject)}</p>\n{_verdict(run)}'
        f'<dl class="tiles">{tiles}</dl>\n'
        + _details("What these figures mean", f'<dl class="meanings">{meanings}</dl>')
        + "</header>\n"
    )


def _verdict(run: Mapping) -> str:
    if "mismatches" not in run:
        style, text = "unknown", "Not compared with the golden model; penstock compare does that."
    elif run["mismatches"]:
        style = "bad"
        text = f"DIFFERS: {run['mismatches']:,} mismatches in {run['compared']:,} values compared"
        names = [one["name"] for one in run["tensors"] if _differing(run, one)]
        text += f" with the golden model, in {', '.join(names)}."
    else:
        style = "good"
        text = f"Bit-exact: {run['compared']:,} values compared with the golden model, 0 mismatches"
    return f'<p class="verdict {style}">{escape(text)}</p>\n'


def _differing(run: Mapping, tensor: Mapping) -> int:
    return sum(tensor[f"mismatches_{way}"] for way in ways(run))


def _key_figures(run: Mapping) -> list[tuple[str, str, str]]:
    """(name, value, note) of the figures that matter; those that are absent are left out."""
    figures = []
    if len(ways(run)) == 2:
        cycles = f"{run['cycles_dense']:,.1f} &rarr; {run['cycles_gated']:,.1f} cycles per image"
        figures.append(("Speed-up", f"{run['speedup']:.3f}&times;", cycles))
    else:
        (way,) = ways(run)
        figures.append(("Cycles per image", f"{run[f'cycles_{way}']:,.1f}", _GATING[way]))
    if "cycles_gated" in run:
        macs = f"{run['macs_dense']:,} &rarr; {run['macs_executed']:,.0f} MACs per image"
        figures.append(("MAC reduction", f"{run['mac_reduction']:.3f}&times;", macs))
    if len(ways(run)) == 2:
        low, high = run["efficiency_range"]
        note = f"speed-up / MAC reduction; single images {low:.3f} to {high:.3f}"
        figures.append(("Efficiency", f"{run['efficiency']:.3f}", note))
    used = [(run[name], way) for name, way in _UTILIZATIONS if name in run]
    notes = [f"{value:.3f} with {_GATING[way]}" for value, way in used[1:]]
    note = "; ".join([f"with {_GATING[used[0][1]]}", *notes])
    figures.append(("Utilization", f"{used[0][0]:.3f}", note))
    if "accuracy" in run:
        note = f"of the {_count(run['images'], 'simulated image')}, by the hardware's output"
        if "held_out_accuracy" in run:
            share, count = run["held_out_accuracy"], run["held_out_images"]
            note += f"; {share:.1%} of {count:,} held-out images by the golden model"
        figures.append(("Accuracy", f"{run['accuracy']:.1%}", note))
    return figures


_UTILIZATIONS = ("utilization", "gated"), ("utilization_dense", "dense")


def _layers(run: Mapping) -> str:
    present = ways(run)
    longest = max((layer[f"cycles_{way}"] for layer in run["layers"] for way in present), default=0)
    longest = max([longest, *(_ideal(run, each, way) for each in run["layers"] for way in present)])
    drawn = []
    for layer in run["layers"]:
        bars = "".join(_layer_bar(run, layer, way, longest) for way in present)
        drawn.append(f'<div class="row"><h3>{_names(layer)}</h3><div>{bars}</div></div>\n')
    key = [(way, f"cycles, {_GATING[way]}") for way in present]
    note = (
        "Per image, from a layer's first base fetch to its last write; all bars on one scale. The "
        "line across a bar is the ideal: the layer's executed MACs / multipliers."
    )
    table = _table(
        ("layer", *(f"{what}, {_GATING[way]}" for way in present for what in _LAYER_COLUMNS)),
        (
            [_names(each), *(cell for way in present for cell in _layer_cells(run, each, way))]
            for each in run["layers"]
        ),
    )
    return _section(
        "Cycles by layer", note, _legend([*key, ("mark", "ideal")]) + "".join(drawn), table
    )


_LAYER_COLUMNS = "MACs", "cycles", "ideal", "cycle model's error"


def _layer_cells(run: Mapping, layer: Mapping, way: str) -> list[str]:
    return [
        f"{_macs(layer, way):,.0f}",
        f"{layer[f'cycles_{way}']:,.1f}",
        f"{_ideal(run, layer, way):,.1f}",
        f"{layer[f'model_error_{way}']:+.1%}",
    ]


def _layer_bar(run: Mapping, layer: Mapping, way: str, longest: float) -> str:
    cycles, ideal = layer[f"cycles_{way}"], _ideal(run, layer, way)
    text = f"{cycles:,.1f} cycles, {_GATING[way]}; ideal {ideal:,.1f}"
    scale = longest or 1
    drawn = bar([(way, cycles / scale, text)], mark=ideal / scale, label=f"{_names(layer)}: {text}")
    value = f'{cycles:,.0f} <span class="note">ideal {ideal:,.0f}</span>'
    return f'<div class="line">{drawn}<span class="value">{value}</span></div>'


def _macs(whole: Mapping, way: str) -> float:
    """Of a layer, or of a run."""
    return whole["macs_executed" if way == "gated" else "macs_dense"]


def _ideal(run: Mapping, layer: Mapping, way: str) -> float:
    return _macs(layer, way) / run["multipliers"]


def _destinations(run: Mapping) -> str:
    images = run["images"]
    parts = {way: spent(run[f"counters_{way}"]) for way in ways(run)}
    longest = max(sum(each.values()) for each in parts.values()) or 1
    used = [name for name in _MEANINGS if any(each[name] for each in parts.values())]
    drawn = []
    for way, each in parts.items():
        total = sum(each.values())
        segments = [
            (name.lower(), each[name] / longest, f"{_MEANINGS[name]}: {each[name] / images:,.1f}")
            for name in used
        ]
        label = f"{_GATING[way]}: {total / images:,.1f} cycles per image"
        ideal = _macs(run, way) * images / run["multipliers"]
        chart = bar(segments, mark=ideal / longest, label=label)
        drawn.append(
            f'<div class="row"><h3>{_GATING[way]}</h3><div class="line tall">{chart}'
            f'<span class="value">{total / images:,.1f}</span></div></div>\n'
        )
    rows = [
        [f'<i class="key {name.lower()}"></i>{_MEANINGS[name]}', *_shares(parts, name, images)]
        for name in used
    ]
    rows.append(["<b>all</b>", *_shares(parts, None, images)])
    heads = ("a cycle's use", *(head for way in parts for head in (_GATING[way], "share")))
    note = (
        "Per image, by the hardware's own counters: each running cycle has a step of the array or "
        "one cause why not. A step is one use of all multipliers; the line is the ideal, where "
        "each of them would do a MAC in every cycle."
    )
    return _section("Where the cycles went", note, "".join(drawn) + _table(heads, rows))


def _shares(parts: Mapping[str, Mapping], name: str | None, images: int) -> list[str]:
    cells = []
    for each in parts.values():
        total = sum(each.values())
        cycles = total if name is None else each[name]
        cells += [f"{cycles / images:,.1f}", f"{cycles / total if total else 0:.1%}"]
    return cells


def _top(run: Mapping) -> float:
    """Upper end of the one scale of colours: the highest share shown, rounded up to tenths."""
    shares = [share for layer in run["layers"] for share in layer.get("channel_density", ())]
    maps = [unpacked(packed) for one in run["shown"] for packed in one["maps"].values()]
    highest = max([0.1, *shares, *(int(values.max()) / 255 for values in maps)])
    return math.ceil(10 * highest - 1e-9) / 10


def _gates(run: Mapping) -> str:
    top = _top(run)
    gated = [layer for layer in run["layers"] if layer.get("density") is not None]
    if not gated:
        return ""
    drawn, rows = [], []
    for layer in gated:
        density, channels = layer["density"], layer["channel_density"]
        label = f"{_names(layer)}: {density:.3f} of its gates open"
        never = sum(share == 0 for share in channels)
        always = sum(share == 1 for share in channels)
        low, high = min(channels, default=0), max(channels, default=0)
        drawn.append(
            f'<div class="row"><h3>{_names(layer)}</h3><div><div class="line">'
            + bar([("open", density, label)], label=label)
            + f'<span class="value">{density:.3f}</span></div><div class="line">'
            + strip(channels, top, label=f"{_names(layer)}: open gates of {len(channels)} channels")
            + f'<span class="value note">{len(channels)} channels</span></div></div></div>\n'
        )
        rows.append(
            [_names(layer), f"{density:.3f}", f"{low:.3f}", f"{high:.3f}", f"{never}", f"{always}"]
        )
    heads = "layer", "density", "least of a channel", "most", "channels never open", "always open"
    note = (
        "The bar is the layer's share of open gates, over all images; below it, the same for each "
        "output channel, one cell a channel."
    )
    return _section(
        "Open gates by layer and channel", note, _ramp(top) + "".join(drawn), _table(heads, rows)
    )


def _ramp(top: float) -> str:
    stops = ", ".join(f"#{bytes(colour).hex()}" for colour in shades([k / 8 for k in range(9)]))
    return (
        f'<p class="legend">0 <i class="ramp" role="img" aria-label="from 0 to {top:.1f}" '
        f'style="background: linear-gradient(90deg, {stops})"></i> {top:.1f} of the gates open'
        "</p>\n"
    )


def _pictures(run: Mapping) -> str:
    shown = [one for one in run["shown"] if one["maps"]]
    if not shown:
        return ""
    top = _top(run)
    drawn = [_gallery(index, one, top) for index, one in enumerate(shown)]
    note = (
        "The first images with the hardware's answer; beside each, for every gated layer, the "
        "share of output channels whose gate opened at that pixel, and its mean."
    )
    return _section("Where gates opened", note, _ramp(top) + "".join(drawn))


def _gallery(index: int, one: Mapping, top: float) -> str:
    """One image beside its maps."""
    name = f"image {index}" + ("" if one.get("class") is None else f": class {one['class']}")
    figures = [_figure(_picture(one), name)] if one.get("pixels") else []
    for layer, packed in one["maps"].items():
        shares = unpacked(packed) / 255
        source = data_uri(shades(shares / top))
        figures.append(_figure(source, f"{layer}: {shares.mean():.2f}"))
    return f'<div class="gallery" role="group" aria-label="{name}">{"".join(figures)}</div>\n'


def _picture(one: Mapping) -> str:
    pixels = unpacked(one["pixels"])
    return data_uri(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))


def _figure(source: str, caption: str) -> str:
    text = escape(caption)
    picture = f'<img src="{source}" alt="{text}">'
    return f"<figure>{picture}<figcaption>{text}</figcaption></figure>"


def _traffic(run: Mapping) -> str:
    present = ways(run)
    what = {"bytes_read": "read", "bytes_written": "written"}
    most = max(run[f"{name}_{way}"] for name in what for way in present) or 1
    drawn = []
    for name, text in what.items():
        bars = ""
        for way in present:
            count = run[f"{name}_{way}"]
            rate = f"{count / run[f'cycles_{way}']:.3f} bytes/cycle"
            label = f"{count:,.0f} bytes {text} per image, {_GATING[way]}; {rate}"
            bars += (
                f'<div class="line">{bar([(way, count / most, label)], label=label)}'
                f'<span class="value">{count:,.0f} <span class="note">{rate}</span></span></div>'
            )
        drawn.append(f'<div class="row"><h3>{text}</h3><div>{bars}</div></div>\n')
    note = (
        "Bytes on the memory's bus per image, from START to its end: images, outputs, and weights "
        "where they are streamed. The program is loaded before and does not count."
    )
    key = _legend([(way, _GATING[way]) for way in present])
    return _section("Memory traffic", note, key + "".join(drawn))


def _tensors(run: Mapping) -> str:
    if "tensors" not in run:
        return ""
    present = ways(run)
    rows = []
    for tensor in run["tensors"]:
        verdicts = [_agreement(tensor[f"mismatches_{way}"]) for way in present]
        rows.append([escape(tensor["name"]), f"{tensor['values']:,}", *verdicts])
    heads = "tensor", "values", *(_GATING[way] for way in present)
    note = "Each layer's output, element by element, and the counters, against the golden model."
    table = _details("Every tensor", _table(heads, rows), opened=run["mismatches"] > 0)
    return _section("Hardware against golden model", note, table)


def _agreement(mismatches: int) -> str:
    return f'<b class="bad">{mismatches:,} differ</b>' if mismatches else "agree"


def _foot(run: Mapping) -> str:
    facts = [f"simulated at {run['simulation_speed']:,.0f} cycles a second"]
    if "seed" in run:
        facts.append(f"images drawn by seed {run['seed']}")
    counters = _table(
        ("register", *(_GATING[way] for way in ways(run))),
        ([name, *(f"{run[f'counters_{way}'][name]:,}" for way in ways(run))] for name in COUNTERS),
    )
    figures = _details("Counters, all images", counters)
    return f"<footer>\n{figures}<p>{'; '.join(facts)}.</p>\n</footer>\n"


def _names(layer: Mapping) -> str:
    return escape("+".join(map(str, layer["names"])))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _section(title: str, note: str, content: str, table: str = "") -> str:
    figures = _details("The figures", table) if table else ""
    return (
        f'<section>\n<h2>{title}</h2>\n<p class="note">{note}</p>\n{content}{figures}</section>\n'
    )


def _legend(entries: Iterable[tuple[str, str]]) -> str:
    keys = "".join(f'<span><i class="key {style}"></i>{text}</span>' for style, text in entries)
    return f'<p class="legend">{keys}</p>\n'


def _details(summary: str, content: str, opened: bool = False) -> str:
    return (
        f"<details{' open' if opened else ''}>\n<summary>{summary}</summary>\n{content}</details>\n"
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML."""
    head = "".join(f'<th scope="col">{cell}</th>' for cell in heads)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in others)}</tr>\n'
        for first, *others in rows
    )
    table = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>"
    return f'<div class="table"><table>\n{table}</table></div>\n'
