"""Whether hardware and golden model agree: in one line, and tensor by tensor."""

from collections.abc import Mapping
from html import escape

from penstock.record import ways
from penstock.report_page.markup import GATING, details, section, table


def verdict(run: Mapping) -> str:
    """One line; loud where something differs."""
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


def tensors(run: Mapping) -> str:
    """Every tensor with its verdict; nothing of a run that was not compared."""
    if "tensors" not in run:
        return ""
    present = ways(run)
    rows = []
    for tensor in run["tensors"]:
        verdicts = [_agreement(tensor[f"mismatches_{way}"]) for way in present]
        rows.append([escape(tensor["name"]), f"{tensor['values']:,}", *verdicts])
    heads = "tensor", "values", *(GATING[way] for way in present)
    note = "Each layer's output, element by element, and the counters, against the golden model."
    every = details("Every tensor", table(heads, rows), opened=run["mismatches"] > 0)
    return section("Hardware against golden model", note, every)


def _agreement(mismatches: int) -> str:
    return f'<b class="bad">{mismatches:,} differ</b>' if mismatches else "agree"
