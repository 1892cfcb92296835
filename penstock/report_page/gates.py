"""Where gates opened: by layer and channel, and beside the images."""

import math
from collections.abc import Mapping
from html import escape

from penstock.record import unpacked
from penstock.report_page.charts import bar, strip
from penstock.report_page.markup import names, section, table
from penstock.report_page.pictures import data_uri, shades


def _top(run: Mapping) -> float:
    """Upper end of the one scale of colours: the highest share shown, rounded up to tenths."""
    shares = [share for layer in run["layers"] for share in layer.get("channel_density", ())]
    maps = [unpacked(packed) for one in run["shown"] for packed in one["maps"].values()]
    highest = max([0.1, *shares, *(int(values.max()) / 255 for values in maps)])
    return math.ceil(10 * highest - 1e-9) / 10


def layers(run: Mapping) -> str:
    """Share of open gates of each gated layer and of its channels; nothing without gates."""
    top = _top(run)
    gated = [layer for layer in run["layers"] if layer.get("density") is not None]
    if not gated:
        return ""
    drawn, rows = [], []
    for layer in gated:
        density, channels = layer["density"], layer["channel_density"]
        label = f"{names(layer)}: {density:.3f} of its gates open"
        never = sum(share == 0 for share in channels)
        always = sum(share == 1 for share in channels)
        low, high = min(channels, default=0), max(channels, default=0)
        drawn.append(
            f'<div class="row"><h3>{names(layer)}</h3><div><div class="line">'
            + bar([("open", density, label)], label=label)
            + f'<span class="value">{density:.3f}</span></div><div class="line">'
            + strip(channels, top, label=f"{names(layer)}: open gates of {len(channels)} channels")
            + f'<span class="value note">{len(channels)} channels</span></div></div></div>\n'
        )
        rows.append(
            [names(layer), f"{density:.3f}", f"{low:.3f}", f"{high:.3f}", f"{never}", f"{always}"]
        )
    heads = "layer", "density", "least of a channel", "most", "channels never open", "always open"
    note = (
        "The bar is the layer's share of open gates, over all images; below it, the same for each "
        "output channel, one cell a channel."
    )
    return section(
        "Open gates by layer and channel", note, _ramp(top) + "".join(drawn), table(heads, rows)
    )


def _ramp(top: float) -> str:
    stops = ", ".join(f"#{bytes(colour).hex()}" for colour in shades([k / 8 for k in range(9)]))
    return (
        f'<p class="legend">0 <i class="ramp" role="img" aria-label="from 0 to {top:.1f}" '
        f'style="background: linear-gradient(90deg, {stops})"></i> {top:.1f} of the gates open'
        "</p>\n"
    )


def pictures(run: Mapping) -> str:
    """The images that the run shows, each beside its maps of open gates."""
    shown = [one for one in run["shown"] if one["maps"]]
    if not shown:
        return ""
    top = _top(run)
    drawn = [_gallery(index, one, top) for index, one in enumerate(shown)]
    note = (
        "The first images with the hardware's answer; beside each, for every gated layer, the "
        "share of output channels whose gate opened at that pixel, and its mean."
    )
    return section("Where gates opened", note, _ramp(top) + "".join(drawn))


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
