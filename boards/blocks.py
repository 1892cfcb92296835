"""Which part of a top a cell belongs to, by its name, which keeps the path of instances."""

import re
from collections.abc import Iterable

from penstock.channel_stream import STEP_WORDS
from penstock.config import TAPS
from penstock.hw.compact.loader import TABLES

OTHER = "other"

_PARTS = {
    "core": ("core", "control"),
    "core.control": ("registers", "control"),
    "core.sequencer": ("sequencer", "control"),
    "core.arbiter": ("read arbiter", "memory side"),
    "core.program_loader": ("program loader", "memory side"),
    "core.input_loader": ("input loader", "memory side"),
    "core.output_writer": ("output writer", "memory side"),
    "core.weight_loader": ("weight loader", "weights"),
    "core.engine": ("pipeline", "control"),
    "core.engine.dispatcher": ("dispatcher", "control"),
    "core.engine.fetch": ("layer fetch", "control"),
    "core.engine.groups": ("group table", "control"),
    "core.engine.program": ("program memory", "control"),
    "core.engine.in_flight": ("groups in flight", "control"),
    "core.engine.pointers": ("result pointers", "control"),
    "core.engine.write_queue": ("write queue", "control"),
    "core.engine.array": ("array", "array"),
    "core.engine.gate": ("gate", "gate and queue"),
    "core.engine.tasks": ("task queue", "gate and queue"),
    "core.engine.buffers": ("buffers", "buffers"),
    "core.engine.window_address": ("window address", "buffers"),
    "core.engine.window_align": ("window alignment", "buffers"),
    "core.engine.weights": ("weights", "weights"),
    "core.engine.parameters": ("parameters", "requantization"),
    "core.engine.requantizer": ("requantizer", "requantization"),
    "core.engine.pool": ("pooling", "requantization"),
    "core.loader": ("stream loader", "memory side"),
    "core.loader.crc": ("program check", "memory side"),
    "core.reader": ("block reader", "memory side"),
    "core.results": ("result writer", "memory side"),
    "core.datapath": ("pipeline", "control"),
    "core.datapath.walk": ("channel walk", "control"),
    **{f"core.datapath.{name}_table": ("tables", "control") for name in TABLES},
    "core.datapath.task_pixels": ("task queue", "gate and queue"),
    "core.datapath.task_sums": ("task queue", "gate and queue"),
    "core.datapath.address": ("window address", "buffers"),
    "core.datapath.align": ("window alignment", "buffers"),
    "core.datapath.maps": ("maps", "buffers"),
    **{f"core.datapath.weights_{index}": ("weights", "weights") for index in range(STEP_WORDS)},
    **{f"core.datapath.pair_{index}": ("array", "array") for index in range(TAPS // 2)},
    "core.datapath.ninth": ("array", "array"),
    "core.datapath.requantizer": ("requantizer", "requantization"),
    "link": ("link", "link"),
    "receiver": ("serial receiver", "link"),
    "transmitter": ("serial transmitter", "link"),
    "share": ("memory share", "link"),
    "sdram": ("memory controller", "memory controller"),
    "spram": ("memory controller", "memory controller"),
    "psram": ("memory controller", "memory controller"),
    "pads": ("memory pads", "memory controller"),
}
"""Instances, wherever they lie in a top -> (name of the part, its block)."""

BLOCKS = (
    *("array", "gate and queue", "buffers", "weights", "requantization", "control"),
    *("memory side", "link", "memory controller", OTHER),
)
"""In the order of tables."""


def part(name: str) -> tuple[str, str]:
    """(part, block) of a cell or net; of one that nobody knows, OTHER for both."""
    # Amaranth numbers an instance whose name is another's, too.
    path = [re.sub(r"\$\d+$", "", instance) for instance in name.split(".")]
    for first in range(len(path)):
        for end in range(len(path), first, -1):
            if found := _PARTS.get(".".join(path[first:end])):
                return found
    return OTHER, OTHER


def words(names: Iterable[str]) -> str:
    """The way of a path through these cells, each part named once where it is entered."""
    way = []
    for name in names:
        known, block = part(name)
        text = known if known == block else f"{known} ({block})"
        if way[-1:] != [text]:
            way.append(text)
    return " -> ".join(way)
