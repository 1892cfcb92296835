"""The cycle model: how long a program runs on an image, from the gates' decisions alone.

It follows the dispatcher group by group. A group of `rows` pixels takes one cycle for each step
word. Whenever a group ends, a group of tasks goes next if the task queue has one; else the next
base group, if the task queue has room for whatever unjudged groups may still send, and the write
queue for every group in flight; else the array idles. Judged base groups compact their active
pixels into task groups of one output channel. The write queue empties one group in as many cycles
as the busiest bank has results. A layer ends with its last write.

The constants below are latencies of the generated hardware in cycles.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from penstock.channel_stream import StreamProgram
from penstock.compact_cycles import estimate_stream
from penstock.config import BANKS, Config
from penstock.cycle_counts import Estimate, LayerCycles, checked_decisions, executed_macs
from penstock.program import Program

JUDGE_LATENCY = 20
"""From a base group's last step to its judgement, without the levels of the adder tree."""
PUSH_LATENCY = 3
"""From the judgement to the group of tasks that it completes being ready for dispatch."""
WRITE_LATENCY = 39
"""From a group's last step to its results in the write queue, without adder tree and rows."""
LAYER_OVERHEAD = 13
"""From the end of one layer to the first step of the next."""
STREAM_LATENCY = 32
"""From a layer's start to the first weight word of the next one, where weights are streamed."""
GROUP_LATENCY = 4
"""From the need of another entry of the group table to its use by the dispatcher."""


def estimate(
    program: Program | StreamProgram, decisions: Mapping[str, np.ndarray], gating: bool = True
) -> Estimate:
    """Cycles of a program on one image.

    decisions: for every gated layer by name, (O, H, W) bool, True where the conditional path is
    taken; ignored with gating off. Raises PenstockError where a layer's decisions are missing or of
    another shape.
    """
    if isinstance(program, StreamProgram):
        return estimate_stream(program, decisions, gating)
    layers = []
    for index, descriptor in enumerate(program.descriptors):
        gated = gating and bool(descriptor["gated"])
        shape = (descriptor["channels"], descriptor["height"], descriptor["width"])
        name = program.layer_names[index][0]
        taken = checked_decisions(name, shape, decisions) if gated else None
        layers.append(_layer(program, index, taken, gating))
    return Estimate(layers=tuple(layers))


def _layer(program: Program, index: int, taken: np.ndarray | None, gating: bool) -> LayerCycles:
    config = program.config
    run = _Dispatcher(program, index, judged=taken is not None)
    run.dispatch(_blocks(config, program.descriptors[index], taken))
    macs = executed_macs(program, index, taken)
    cycles = run.finished + LAYER_OVERHEAD
    waiting = max(_streaming(program, index) - cycles, 0)
    return LayerCycles(
        names=program.layer_names[index],
        cycles=cycles + waiting,
        base_steps=run.base_steps,
        conditional_steps=run.conditional_steps,
        idle=run.time - run.base_steps - run.conditional_steps,
        drain=run.finished - run.time,
        overhead=LAYER_OVERHEAD,
        waiting=waiting,
        macs=macs,
        ideal=macs / config.multipliers,
    )


def _streaming(program: Program, index: int) -> int:
    """Cycles that the next layer's weights take to load while this one runs."""
    layers = program.descriptors
    if program.config.weights != "streamed" or len(layers) == 1:
        return 0
    words = layers[(index + 1) % len(layers)]["weight_words"]
    return STREAM_LATENCY + words * program.config.weight_beats


@dataclass(frozen=True)
class _Channel:
    """What the base groups of one output channel lead to, block by block."""

    written: list[bool]  # the base group has results that are final
    completed: list[int]  # task groups that its judgement completes
    task_writes: list[int]  # cycles that each task group takes to leave the write queue


def _blocks(config: Config, descriptor: dict[str, int], taken: np.ndarray | None) -> Iterator:
    """One _Channel after the other."""
    pixels = _block_order(config, descriptor["height"], descriptor["width"])
    count = len(pixels)
    if taken is None:
        dense = _Channel([True] * count, [0] * count, [])
        yield from [dense] * descriptor["channels"]
        return
    banks = _banks(descriptor["height"], descriptor["width"])
    exists = pixels >= 0
    for decisions in taken.reshape(len(taken), -1):
        active = decisions[pixels] & exists
        done = np.cumsum(active.sum(axis=1)) // config.rows
        tasks = pixels[active]
        done[-1] = -(-len(tasks) // config.rows)
        yield _Channel(
            written=(exists & ~active).any(axis=1).tolist(),
            completed=np.diff(done, prepend=0).tolist(),
            task_writes=_busiest(banks[tasks], config.rows),
        )


def _block_order(config: Config, height: int, width: int) -> np.ndarray:
    """Pixel numbers (blocks, rows) in the order of base groups; -1 outside the map."""
    high, wide = config.block
    rows, columns = -(-height // high), -(-width // wide)
    numbers = np.full((rows * high, columns * wide), -1)
    numbers[:height, :width] = np.arange(height * width).reshape(height, width)
    blocks = numbers.reshape(rows, high, columns, wide).transpose(0, 2, 1, 3)
    return blocks.reshape(rows * columns, high * wide)


def _banks(height: int, width: int) -> np.ndarray:
    """Bank of every pixel of the first channel word, (H*W,); other words permute the banks."""
    y, x = np.divmod(np.arange(height * width), width)
    return 3 * (y % 3) + (x + width * (y // 3)) % 3


def _busiest(banks: np.ndarray, rows: int) -> list[int]:
    """For tasks in order, ``rows`` to a group: results for the busiest bank of each group."""
    groups = -(-len(banks) // rows)
    padded = np.full(groups * rows, BANKS)
    padded[: len(banks)] = banks
    hits = padded.reshape(groups, rows, 1) == np.arange(BANKS)
    return hits.sum(axis=1).max(axis=1, initial=0).tolist()


class _Dispatcher:
    """One layer, group by group; time in cycles from the first step."""

    def __init__(self, program: Program, index: int, judged: bool):
        self.judged = judged
        config, self.descriptor = program.config, program.descriptors[index]
        self.groups = program.layer_groups(index)
        self.config = config
        levels = (config.lanes - 1).bit_length()  # of the adder tree
        self.to_tasks = JUDGE_LATENCY + levels + PUSH_LATENCY
        self.to_write = WRITE_LATENCY + levels + config.rows - 1
        self.time = 0  # the array is free again
        self.finished = 0  # the write queue is empty again
        self.base_steps = self.conditional_steps = 0
        self.judgements: deque = deque()  # (time, task groups) of base groups not yet judged
        self.tasks: deque = deque()  # (pushed at, write cycles, channel) in the task queue
        self.in_flight: deque = deque()  # times at which write-queue slots become free
        self.base_entry = 0  # index of the group whose table entry base groups use
        self.base_since = 0  # time from which that entry is there
        self.task_entry = -1  # the same for tasks
        self.task_taken = 0  # when the last task group started
        self.last_write: dict[int, int] = {}  # by channel

    def dispatch(self, channels: Iterator[_Channel]):
        """Run all groups of the layer."""
        for number, channel in enumerate(channels):
            task_writes = iter(channel.task_writes)
            for written, completed in zip(channel.written, channel.completed, strict=True):
                writes = [next(task_writes) for _ in range(completed)]
                self._wait_for_base(number)
                self._start_base(int(written), writes, number)
        while self.tasks or any(tasks for _, tasks in self.judgements):
            if not self._start_task():
                self._idle()

    def _group(self, channel: int) -> int:
        """Index of the group that an output channel belongs to."""
        return channel // self.descriptor["group_channels"]

    def _start_base(self, writes: int, task_writes: list[int], channel: int):
        group = self.groups[self._group(channel)]
        base, conditional = group["base_steps"], group["conditional_steps"]
        self.base_steps += base
        self.base_since = self.time + 1 + GROUP_LATENCY
        self.base_entry = self._group(channel)
        if self.judged:
            self._start(base, writes, channel)
            pushed = self.time + self.to_tasks
            tasks = [(pushed, cycles, channel) for cycles in task_writes]
            self.judgements.append((pushed, tasks))
        else:  # both runs one after the other
            self._start(base + conditional, writes, channel)
            self.conditional_steps += conditional

    def _wait_for_base(self, channel: int):
        """Dispatch tasks, or idle, until a base group of this channel may start."""
        while True:
            self._advance()
            if self._start_task():
                continue
            if self._may_start_base(channel):
                return
            self._idle()

    def _may_start_base(self, channel: int) -> bool:
        entry_is_there = self._group(channel) == self.base_entry or self.time >= self.base_since
        room = self.config.queue_groups - len(self.tasks) > len(self.judgements) + 1
        credit = len(self.in_flight) < self.config.write_groups
        return entry_is_there and room and credit and self._may_open(channel)

    def _may_open(self, channel: int) -> bool:
        """Whether the fused pooling, if there is one, can take another channel.

        Tasks go first, so that a channel whose last write is over has no tasks left.
        """
        before = channel - self.config.pool_channels
        return not self.descriptor["pool"] or self.last_write.get(before, 0) <= self.time

    def _advance(self):
        """Take note of all that happened until now."""
        while self.judgements and self.judgements[0][0] <= self.time:
            self.tasks.extend(self.judgements.popleft()[1])
        while self.in_flight and self.in_flight[0] <= self.time:
            self.in_flight.popleft()

    def _start_task(self) -> bool:
        self._advance()
        if not self.tasks or len(self.in_flight) >= self.config.write_groups:
            return False
        pushed, writes, channel = self.tasks[0]
        group = self._group(channel)
        if self.time < self._task_since(pushed, group):
            return False
        self.tasks.popleft()
        self.task_entry, self.task_taken = group, self.time
        steps = self.groups[group]["conditional_steps"]
        self._start(steps, writes, channel)
        self.conditional_steps += steps
        return True

    def _task_since(self, pushed: int, group: int) -> int:
        """When the queue's first group of tasks can start: its table entry may have to be read."""
        if group == self.task_entry:
            return pushed
        return max(pushed, self.task_taken + 1) + GROUP_LATENCY

    def _start(self, steps: int, writes: int, channel: int):
        """Occupy the array for ``steps`` cycles and the write queue's exit for ``writes``."""
        self.time += steps
        arrival = self.time + self.to_write
        if self.descriptor["pool"] or self.descriptor["raw"]:
            writes = min(writes, 1)
        self.finished = max(self.finished, arrival) + writes
        self.in_flight.append(self.finished)
        self.last_write[channel] = self.finished

    def _idle(self):
        """Let time pass until the next judgement or write, or a table entry's arrival."""
        events = [time for time, _ in [*self.judgements][:1]] + [*self.in_flight][:1]
        events.append(self.base_since)
        if self.tasks:
            pushed, _, channel = self.tasks[0]
            events.append(self._task_since(pushed, self._group(channel)))
        self.time = min(time for time in events if time > self.time)
