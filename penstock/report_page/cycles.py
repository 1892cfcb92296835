"""Cycles of a run: layer by layer, and where they went."""

from collections.abc import Mapping

from penstock.record import spent, ways
from penstock.registers import REGISTERS
from penstock.report_page.charts import bar
from penstock.report_page.markup import GATING, legend, names, section, table

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


def layers(run: Mapping) -> str:
    """A bar for each layer and way, its ideal across it."""
    present = ways(run)
    longest = max((layer[f"cycles_{way}"] for layer in run["layers"] for way in present), default=0)
    longest = max([longest, *(_ideal(run, each, way) for each in run["layers"] for way in present)])
    drawn = []
    for layer in run["layers"]:
        bars = "".join(_layer_bar(run, layer, way, longest) for way in present)
        drawn.append(f'<div class="row"><h3>{names(layer)}</h3><div>{bars}</div></div>\n')
    key = [(way, f"cycles, {GATING[way]}") for way in present]
    note = (
        "Per image, from a layer's first base fetch to its last write; all bars on one scale. The "
        "line across a bar is the ideal: the layer's executed MACs / multipliers."
    )
    figures = table(
        ("layer", *(f"{what}, {GATING[way]}" for way in present for what in _LAYER_COLUMNS)),
        (
            [names(each), *(cell for way in present for cell in _layer_cells(run, each, way))]
            for each in run["layers"]
        ),
    )
    return section(
        "Cycles by layer", note, legend([*key, ("mark", "ideal")]) + "".join(drawn), figures
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
    text = f"{cycles:,.1f} cycles, {GATING[way]}; ideal {ideal:,.1f}"
    scale = longest or 1
    drawn = bar([(way, cycles / scale, text)], mark=ideal / scale, label=f"{names(layer)}: {text}")
    value = f'{cycles:,.0f} <span class="note">ideal {ideal:,.0f}</span>'
    return f'<div class="line">{drawn}<span class="value">{value}</span></div>'


def _macs(whole: Mapping, way: str) -> float:
    """Of a layer, or of a run."""
    return whole["macs_executed" if way == "gated" else "macs_dense"]


def _ideal(run: Mapping, layer: Mapping, way: str) -> float:
    return _macs(layer, way) / run["multipliers"]


def destinations(run: Mapping) -> str:
    """Steps and stalls by cause: one bar for each way, and their table."""
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
        label = f"{GATING[way]}: {total / images:,.1f} cycles per image"
        ideal = _macs(run, way) * images / run["multipliers"]
        chart = bar(segments, mark=ideal / longest, label=label)
        drawn.append(
            f'<div class="row"><h3>{GATING[way]}</h3><div class="line tall">{chart}'
            f'<span class="value">{total / images:,.1f}</span></div></div>\n'
        )
    rows = [
        [f'<i class="key {name.lower()}"></i>{_MEANINGS[name]}', *_shares(parts, name, images)]
        for name in used
    ]
    rows.append(["<b>all</b>", *_shares(parts, None, images)])
    heads = ("a cycle's use", *(head for way in parts for head in (GATING[way], "share")))
    note = (
        "Per image, by the hardware's own counters: each running cycle has a step of the array or "
        "one cause why not. A step is one use of all multipliers; the line is the ideal, where "
        "each of them would do a MAC in every cycle."
    )
    return section("Where the cycles went", note, "".join(drawn) + table(heads, rows))


def _shares(parts: Mapping[str, Mapping], name: str | None, images: int) -> list[str]:
    cells = []
    for each in parts.values():
        total = sum(each.values())
        cycles = total if name is None else each[name]
        cells += [f"{cycles / images:,.1f}", f"{cycles / total if total else 0:.1%}"]
    return cells
