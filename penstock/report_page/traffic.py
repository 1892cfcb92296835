"""What a run moved over the memory's bus."""

from collections.abc import Mapping

from penstock.record import ways
from penstock.report_page.charts import bar
from penstock.report_page.markup import GATING, legend, section


def traffic(run: Mapping) -> str:
    """Bytes read and written, one bar for each way."""
    present = ways(run)
    what = {"bytes_read": "read", "bytes_written": "written"}
    most = max(run[f"{name}_{way}"] for name in what for way in present) or 1
    drawn = []
    for name, text in what.items():
        bars = ""
        for way in present:
            count = run[f"{name}_{way}"]
            rate = f"{count / run[f'cycles_{way}']:.3f} bytes/cycle"
            label = f"{count:,.0f} bytes {text} per image, {GATING[way]}; {rate}"
            bars += (
                f'<div class="line">{bar([(way, count / most, label)], label=label)}'
                f'<span class="value">{count:,.0f} <span class="note">{rate}</span></span></div>'
            )
        drawn.append(f'<div class="row"><h3>{text}</h3><div>{bars}</div></div>\n')
    note = (
        "Bytes on the memory's bus per image, from START to its end: images, outputs, and weights "
        "where they are streamed. The program is loaded before and does not count."
    )
    key = legend([(way, GATING[way]) for way in present])
    return section("Memory traffic", note, key + "".join(drawn))
