"""The cycle model of the compact engine, from the gates' decisions alone.

It follows the stream word by word and each channel step by step. A channel starts when the one
before is out and its CHANNEL record has been read; its weights were read meanwhile. The base phase
takes a cycle a step. A task can start JUDGE_LATENCY cycles behind the last step of its base sum.
"""

from collections.abc import Mapping

import numpy as np

from penstock.channel_stream import (
    BLOCK_BYTES,
    CHANNEL_WORDS,
    STEP_WORDS,
    StreamLayer,
    StreamProgram,
)
from penstock.cycle_counts import Estimate, LayerCycles, checked_decisions, executed_macs

JUDGE_LATENCY = 6
"""From a base sum's last step to the first cycle in which its task may start."""

WRITE_LATENCY = 7
"""From a sum's last step to the write of its result."""

IDLE_LATENCY = 9
"""From a channel's last step to the first cycle in which its successor's record is read."""

MEMORY_LATENCY = 32
"""From the cycle in which the memory takes a request to its first beat."""

BLOCK_WORDS = BLOCK_BYTES // 2
LAYER_WORDS = 8
RESULT_WORDS = 2 * BLOCK_BYTES // 8
"""Results of a block in memory."""


class _Stream:
    """The reader: words are taken one a cycle, and a block is asked for when it is needed.

    ``ahead``: when the block before it begins.
    """

    def __init__(self, latency: int):
        self.gap = latency + 3
        self.left = 0  # words of the block being read
        self.since = self.gap - 1  # from then on the next word is there
        self.later: int | None = None  # the same of the block behind, where that is asked for

    def take(self, words: int, time: int) -> int:
        """Take words, the first one not before ``time``; the cycle behind the last one."""
        while words:
            time = max(time, self.since)
            if not self.left:
                self.left = BLOCK_WORDS
            count = min(words, self.left)
            words, self.left, time = words - count, self.left - count, time + count
            if not self.left:
                self.since = time - 1 + self.gap
                if self.later is not None:
                    self.since, self.later = self.later, self.since
        return time

    def ahead(self):
        """From the next block on, which was not yet asked for, the block behind is asked for."""
        self.later = self.since + 2

    def align(self, time: int) -> int:
        """Drop the rest of the block; the first cycle in which another one may be asked for."""
        time = self.take(self.left, time) + 1
        self.since = time - 1 + self.gap
        return time


def estimate_stream(
    program: StreamProgram,
    decisions: Mapping[str, np.ndarray],
    gating: bool = True,
    latency: int = MEMORY_LATENCY,
) -> Estimate:
    """As penstock.cycles.estimate; ``latency`` of the memory in cycles."""
    stream = _Stream(latency)
    time = stream.take(BLOCK_WORDS, 0)
    time = stream.take(LAYER_WORDS + program.image.tables.size, time)
    time = stream.align(time)
    size = program.image.shape
    pixels = size.channels * size.height * size.width
    # Two pixels a word, one a cycle.
    time = stream.align(_image(stream, pixels, time))
    stream.ahead()
    runs = []
    for index, layer in enumerate(program.layers):
        taken = None
        if layer.fields["gated"] and gating:
            shape = layer.shape.channels, layer.shape.height, layer.shape.width
            taken = checked_decisions(layer.names[0], shape, decisions)
        run = _Layer(stream, layer, taken, latency)
        time = run.run(time)
        runs.append((run, executed_macs(program, index, taken)))
    # What was asked for is dropped while the last channel runs.
    time = max(time, stream.take(stream.left + BLOCK_WORDS, run.begin))
    period = time + run.flush() + 1
    starts = [run.first for run, _ in runs[1:]] + [period + runs[0][0].first]
    multipliers = program.config.multipliers
    layers = [
        LayerCycles(
            names=layer.names,
            cycles=start - run.first,
            base_steps=run.base_steps,
            conditional_steps=run.conditional_steps,
            idle=run.end - run.first - run.base_steps - run.conditional_steps - run.drain,
            drain=run.drain,
            overhead=start - run.end,
            waiting=0,
            macs=macs,
            ideal=macs / multipliers,
        )
        for (run, macs), layer, start in zip(runs, program.layers, starts, strict=True)
    ]
    return Estimate(layers=tuple(layers))


def _image(stream: _Stream, pixels: int, time: int) -> int:
    """Load the image's bytes, two cycles a word; the cycle behind the last one."""
    while pixels:
        time = max(time, stream.since)
        count = min(pixels, 2 * BLOCK_WORDS)
        time, pixels = time + count, pixels - count
        stream.left = BLOCK_WORDS - -(-count // 2) if count % 2 == 0 else BLOCK_WORDS - count // 2
        if not stream.left:
            stream.since = time - 1 + stream.gap
    return time


class _Layer:
    """One layer; times in cycles from the start of the image."""

    def __init__(self, stream: _Stream, layer: StreamLayer, taken: np.ndarray | None, latency: int):
        self.stream, self.layer, self.latency = stream, layer, latency
        channels = layer.shape.channels
        fields = layer.fields
        self.taken = None if taken is None else taken.reshape(channels, -1)
        if taken is None and fields["gated"]:  # gating off: every output takes both paths
            self.taken = np.ones((channels, len(layer.tables)), bool)
        self.base = fields["base_steps"] + 1
        self.conditional = fields["conditional_steps"] + 1
        self.base_steps = channels * len(layer.tables) * self.base
        self.conditional_steps = (
            0 if self.taken is None else int(self.taken.sum()) * self.conditional
        )
        self.results = 0

    def run(self, time: int) -> int:
        """All channels; the cycle in which the engine is idle behind the last one."""
        layer, stream = self.layer, self.stream
        time = stream.take(LAYER_WORDS + layer.tables.size, time)
        loaded, idle, self.first = time, time, None
        for channel in range(layer.shape.channels):
            loaded = stream.take(STEP_WORDS * layer.weights.shape[1], loaded)
            begin = loaded = stream.take(CHANNEL_WORDS, max(loaded, idle))
            if self.first is None:
                self.first = begin
            last = self._last_step(begin, channel)
            idle = last + IDLE_LATENCY
            self.begin, self.end = begin, last + WRITE_LATENCY + 1
            if layer.fields["raw"]:
                self.end = idle + 1
                idle = max(idle, self._result(last + WRITE_LATENCY + 1))
            self.drain = self.end - last - 1
        return idle

    def _last_step(self, begin: int, channel: int) -> int:
        """The cycle of a channel's last step."""
        time = begin + len(self.layer.tables) * self.base
        if self.taken is None:
            return time - 1
        pixels = np.flatnonzero(self.taken[channel])
        for pixel in pixels.tolist():
            judged = begin + (pixel + 1) * self.base - 1
            time = max(time, judged + JUDGE_LATENCY) + self.conditional
        return time - 1

    def _result(self, time: int) -> int:
        """When the writer is idle again behind a result of that cycle."""
        self.results += 1
        place = (self.results - 1) % RESULT_WORDS
        if place % 2 == 0:
            return time
        time += 2 if place == 1 else 1
        return time + self.latency if place == RESULT_WORDS - 1 else time

    def flush(self) -> int:
        """Cycles from the last result to the end of the image."""
        place = self.results % RESULT_WORDS
        if not self.layer.fields["raw"] or place == 0:
            return 1
        beats = RESULT_WORDS // 2 - place // 2
        return 1 + (place == 1) + beats + self.latency
