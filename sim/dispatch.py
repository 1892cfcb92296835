"""Random layers for the dispatcher's bench, and a model of all that lies behind it."""

import itertools
import random
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from penstock.config import TAPS, Config

MAP_WORDS = 2048
SHORTEST_WAY = 3
"""Least cycles from a judgement to the write of its group; the array's are more."""


@dataclass(frozen=True)
class StepWords:
    """Step words of one group of a layer, in the order of its steps."""

    base: list[int]
    conditional: list[int]

    @property
    def steps(self) -> int:
        """Steps, and weight words, of one output channel."""
        return len(self.base) + len(self.conditional)


@dataclass(frozen=True)
class Layer:
    """A layer as the dispatcher sees it: descriptor, and the step words of its groups."""

    descriptor: dict[str, int]
    groups: list[StepWords]
    map_base: int

    def step_word(self, word: int) -> dict[str, int]:
        """Address and bank phases of one step word."""
        plane = word * (TAPS if self.descriptor["pointwise"] else 1)
        address = self.map_base + word * self.descriptor["step"]
        return {"address": address, "a": plane // 3 % 3, "b": plane % 3}

    def entry(self, group: int) -> dict[str, int]:
        """The GROUP record."""
        words = self.groups[group]
        runs = _runs(words.conditional)
        firsts = {"base": words.base[0]}
        firsts |= {"conditional": runs[0][0], "jump": runs[-1][0]} if runs else {}
        places = {
            f"{kind}_{name}": value
            for kind, word in firsts.items()
            for name, value in self.step_word(word).items()
        }
        return {
            **places,
            "base_steps": len(words.base),
            "conditional_steps": len(words.conditional),
            "before": len(runs[0]) if len(runs) == 2 else 0,
        }

    def steps(self, words: list[int], weight_address: int, conditional: bool) -> list[dict]:
        """The steps of some step words, as the array takes them, but for first and last."""
        return [
            {
                "valid": 1,
                "conditional": int(conditional),
                "weight_address": weight_address + index,
                **self.step_word(word),
            }
            for index, word in enumerate(words)
        ]

    def base_groups(self, cfg: Config, gating: bool) -> Iterator[dict]:
        """Every base group in order: its tag and its steps."""
        layer, (high, wide) = self.descriptor, cfg.block
        judged = bool(layer["gated"] and gating)
        address = layer["weight_address"]
        corners = list(
            itertools.product(range(0, layer["height"], high), range(0, layer["width"], wide))
        )
        for channel in range(layer["channels"]):
            group = channel // layer["group_channels"]
            words = self.groups[group]
            conditional = address + len(words.base)
            steps = self.steps(words.base, address, False)
            if not judged:
                steps += self.steps(words.conditional, conditional, True)
            for y, x in corners:
                tasks = [
                    {"pixel": self._pixel(y + row // wide, x + row % wide)}
                    for row in range(cfg.rows)
                ]
                work = {"channel": channel, "group": group, "weight_address": conditional}
                yield {
                    "work": {**work, "tasks": tasks},
                    "conditional": 0,
                    "judged": int(judged),
                    "closing": int((y, x) == corners[-1]),
                    "steps": steps,
                }
            address += words.steps

    def _pixel(self, y: int, x: int) -> dict[str, int]:
        inside = y < self.descriptor["height"] and x < self.descriptor["width"]
        return {"valid": int(inside), "y": y, "x": x}


def _runs(words: list[int]) -> list[list[int]]:
    """Step words in runs without a gap."""
    runs = []
    for word in words:
        if runs and runs[-1][-1] == word - 1:
            runs[-1].append(word)
        else:
            runs.append([word])
    return runs


def random_layer(cfg: Config, kind: str, blocks: int = 120) -> Layer:
    """A layer of a kind: gated, plain, or groups without conditional steps (a lowered pooling).

    At most about ``blocks`` base groups; a fused pooling behind half of the layers.
    """
    groups = 1 if kind == "plain" else random.randint(1, min(5, cfg.groups))
    group_channels = random.randint(1, 4)
    channels = groups * group_channels
    height, width = random.randint(1, 9), random.randint(1, 9)
    high, wide = cfg.block
    while channels * -(-height // high) * -(-width // wide) > blocks:
        height, width = max(1, height - 1), max(1, width - 1)
        if (height, width) == (1, 1):
            break
    pointwise, plane = random.getrandbits(1), random.randint(1, 15)
    descriptor = {
        "pointwise": pointwise,
        "gated": int(kind == "gated"),
        "pool": random.getrandbits(1),
        "channels": channels,
        "block_columns": -(-width // wide),
        "block_rows": -(-height // high),
        "height": height,
        "width": width,
        "group_channels": group_channels,
        "groups": groups,
        "plane": plane,
        "step": plane * (TAPS if pointwise else 1),
        "weight_address": random.randrange(cfg.weight_words),
    }
    words = [_random_words(kind == "gated") for _ in range(groups)]
    last = max(max(each.base + each.conditional) for each in words)
    map_base = random.randrange(MAP_WORDS - last * descriptor["step"])
    return Layer(descriptor=descriptor, groups=words, map_base=map_base)


def _random_words(gated: bool) -> StepWords:
    """Base words in one run; conditional words around them, mixed ones in both."""
    count = random.choice((1, 2, 3, 5, 12))
    if not gated:
        first = random.randrange(count)
        return StepWords(list(range(first, count)), [])
    while True:
        first, last = sorted(random.choices(range(count), k=2))
        base = list(range(first, last + 1))
        pure = base[random.getrandbits(1) : len(base) - random.getrandbits(1)]
        conditional = [word for word in range(count) if word not in pure]
        if conditional:
            return StepWords(base, conditional)


@dataclass(frozen=True)
class Pace:
    """Cycles from a group's last step to its judgement, and so on; ``*_idle``: chance to wait on.

    After a judgement a group of tasks is offered, a group written, a pooled channel written.
    """

    judge: int = 20
    judge_idle: float = 0.0
    task: int = 2
    task_idle: float = 0.0
    write: int = SHORTEST_WAY
    write_idle: float = 0.0
    pool: int = 2
    pool_idle: float = 0.0


class Line:
    """Items that leave in order, one a cycle at most, ``latency`` cycles after they came or later.

    ``idle`` is the chance that an item that could leave waits for another cycle.
    """

    def __init__(self, latency: int, idle: float):
        self.latency, self.idle = latency, idle
        self._items = deque()

    def push(self, time: int, item):
        """Take an item in."""
        self._items.append((time + self.latency, item))

    def pop(self, time: int):
        """The item that leaves now, or None."""
        if not self._items or self._items[0][0] > time or random.random() < self.idle:
            return None
        return self._items.popleft()[1]

    def __len__(self) -> int:
        return len(self._items)


@dataclass
class Pulses:
    """What the dispatcher is told in one cycle; ``staged``: tasks wait for their group to fill."""

    judged: int = 0
    pushed: int = 0
    written: int = 0
    pooled: int = 0
    staged: bool = False


@dataclass
class Verdict:
    """A judged group: the tasks that it leaves, all with the group's channel."""

    group: dict
    kept: list[dict]


@dataclass
class TaskCollector:
    """Collects kept outputs into groups of ``rows`` tasks, one group a cycle at most."""

    rows: int
    tasks: list[dict] = field(default_factory=list)
    closed: bool = False
    work: dict = field(default_factory=dict)

    def cycle(self, verdict: Verdict | None) -> dict | None:
        """Take in a verdict; the group of tasks that leaves, not yet padded."""
        leaving = None
        if len(self.tasks) == self.rows or (self.closed and self.tasks):
            leaving = {**self.work, "tasks": self.tasks}
            self.tasks, self.closed = [], False
        if verdict:
            self.tasks = self.tasks + verdict.kept
            self.closed = bool(verdict.group["closing"])
            self.work = {k: verdict.group["work"][k] for k in ("channel", "group")}
            self.work["weight_address"] = verdict.group["work"]["weight_address"]
            if not leaving and len(self.tasks) > self.rows:
                leaving = {**self.work, "tasks": self.tasks[: self.rows]}
                self.tasks = self.tasks[self.rows :]
        return leaving


class Behind:
    """All that lies behind the dispatcher: judgements, task queue, write queue, fused pooling."""

    def __init__(self, cfg: Config, layer: Layer, pace: Pace, density: float):
        self.cfg, self.layer, self.density = cfg, layer, density
        self.judging = Line(pace.judge, pace.judge_idle)
        self.offering = Line(pace.task, pace.task_idle)
        self.writing = Line(pace.write, pace.write_idle)
        self.pooling = Line(pace.pool, pace.pool_idle)
        self.collector = TaskCollector(cfg.rows)
        self.offered = None  # the task group at the head of the queue
        descriptor = layer.descriptor
        blocks = descriptor["block_columns"] * descriptor["block_rows"]
        self._results = Counter({c: blocks for c in range(descriptor["channels"])})

    def finished(self, time: int, group: dict):
        """The last step of a group has left the dispatcher."""
        self.judging.push(time, group)

    def cycle(self, time: int) -> Pulses:
        """What happens in this cycle."""
        pulses = Pulses()
        group = self.judging.pop(time)
        verdict = None
        if group:
            self.writing.push(time, group)
            if group["judged"]:
                verdict = self._judge(group)
        pulses.judged = int(verdict is not None)
        tasks = self.collector.cycle(verdict)
        if tasks:
            pulses.pushed = 1
            self.offering.push(time, self._padded(tasks))
        pulses.staged = bool(self.collector.tasks)
        if self.offered is None:
            self.offered = self.offering.pop(time)
        written = self.writing.pop(time)
        if written:
            pulses.written = 1
            self._written(time, written)
        pulses.pooled = int(self.pooling.pop(time) is not None)
        return pulses

    def _judge(self, group: dict) -> Verdict:
        kept = []
        for task in group["work"]["tasks"]:
            if task["pixel"]["valid"] and random.random() < self.density:
                bits = self.cfg.accumulator_bits
                kept.append({**task, "partial_sum": random.getrandbits(bits - 1)})
        self._results[group["work"]["channel"]] += len(kept)
        return Verdict(group, kept)

    def _padded(self, group: dict) -> dict:
        """The group with something in the places that hold no task."""
        tasks = list(group["tasks"])
        while len(tasks) < self.cfg.rows:
            pixel = {"valid": 0, "y": random.getrandbits(8), "x": random.getrandbits(8)}
            tasks.append({"pixel": pixel, "partial_sum": random.getrandbits(8)})
        return {**group, "tasks": tasks}

    def _written(self, time: int, group: dict):
        """Count what a channel still waits for; a pooled channel is written when all is there."""
        channel = group["work"]["channel"]
        tasks = [task for task in group["work"]["tasks"] if task["pixel"]["valid"]]
        self._results[channel] -= len(tasks) if group["conditional"] else 1
        assert self._results[channel] >= 0
        if not self._results[channel] and self.layer.descriptor["pool"]:
            self.pooling.push(time, channel)
