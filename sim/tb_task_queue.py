"""Bench of the task queue: every kept task leaves once, in order, in full groups of one channel."""

import itertools
import random
from collections import deque

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge

from penstock.hw.layouts import queued_tasks_layout
from penstock.hw.task_queue import verdict_layout
from penstock.sim.runner import bench_config
from penstock.sim.streams import StreamSink, pack, start_clock


def random_task(cfg) -> dict:
    bits = cfg.accumulator_bits
    return {
        "pixel": {"valid": 1, "y": random.randrange(16), "x": random.randrange(16)},
        "partial_sum": random.randrange(-(1 << bits - 1), 1 << bits - 1),
    }


def random_channels(cfg, density: float, channels: int) -> list[dict]:
    """Verdicts of some channels, each closed by its last; ``density`` of the outputs are kept."""
    verdicts = []
    for channel in range(channels):
        groups = random.randint(1, 30)
        for index in range(groups):
            verdicts.append(
                {
                    "keep": sum((random.random() < density) << row for row in range(cfg.rows)),
                    "closing": index == groups - 1,
                    "work": {
                        "channel": channel,
                        "group": channel // 2 % 7,  # some channels share theirs
                        "weight_address": 3 * channel,
                        "tasks": [random_task(cfg) for _ in range(cfg.rows)],
                    },
                }
            )
    return verdicts


def expected_groups(cfg, verdicts: list[dict]) -> list[dict]:
    """Kept tasks of each channel in groups of `rows`, the last one of a channel perhaps partial."""
    groups, kept = [], []
    for verdict in verdicts:
        work = verdict["work"]
        kept += [task for row, task in enumerate(work["tasks"]) if verdict["keep"] >> row & 1]
        while len(kept) >= cfg.rows or (kept and verdict["closing"]):
            groups.append({**work, "tasks": kept[: cfg.rows]})
            kept = kept[cfg.rows :]
    return groups


def valid_tasks(group: dict) -> dict:
    """A group without the places that hold no task."""
    valid = [bool(task["pixel"]["valid"]) for task in group["tasks"]]
    assert valid == sorted(valid, reverse=True), "tasks must fill a group from its front"
    return {**group, "tasks": [task for task in group["tasks"] if task["pixel"]["valid"]]}


def groups_left(sink: StreamSink) -> list[dict]:
    """The task groups that have left, without the places that hold no task."""
    for before, after in itertools.pairwise(sink.words):
        changed = before["work"]["group"] != after["work"]["group"]
        assert after["new_group"] == changed, "a new input group must be told, and no other"
    return [valid_tasks(queued["work"]) for queued in sink.words]


class Dispatcher:
    """Sends verdicts as the dispatcher does: only with a place in the queue for their tasks."""

    def __init__(self, dut, cfg, idle: float):
        self._dut = dut
        self._layout = verdict_layout(cfg)
        self._idle = idle
        self.credit = cfg.queue_groups
        self.judged = self.pushed = 0
        self.waiting = deque()
        dut.tasks__i__valid.value = 0
        cocotb.start_soon(self._run())

    async def _run(self):
        dut, edge = self._dut, RisingEdge(self._dut.clk)
        while True:
            send = self.waiting and self.credit > 1 and random.random() >= self._idle
            if send:
                self.credit -= 1
                verdict = pack(self._layout, self.waiting.popleft())
            else:  # anything, but none to keep
                kept_bits = self._layout["keep"].width
                verdict = random.getrandbits(self._layout.size) >> kept_bits << kept_bits
            dut.tasks__i__payload.value = verdict
            dut.tasks__i__valid.value = bool(send)
            await edge
            self.judged += int(dut.tasks__judged.value)
            self.pushed += int(dut.tasks__pushed.value)
            taken = dut.tasks__o__valid.value and dut.tasks__o__ready.value
            self.credit += int(dut.tasks__judged.value) - int(dut.tasks__pushed.value) + bool(taken)


async def started(dut, idle: float, stalls: float):
    cfg = bench_config()
    sink = StreamSink(dut, "tasks__o", queued_tasks_layout(cfg), stalls=stalls, seed=3)
    dispatcher = Dispatcher(dut, cfg, idle)
    await start_clock(dut)
    return cfg, dispatcher, sink


async def check(dut, idle: float, stalls: float, density: float):
    cfg, dispatcher, sink = await started(dut, idle, stalls)
    verdicts = random_channels(cfg, density, channels=12)
    dispatcher.waiting.extend(verdicts)
    expected = expected_groups(cfg, verdicts)
    await sink.wait_for(len(expected))
    while dispatcher.waiting:
        await RisingEdge(dut.clk)
    await ClockCycles(dut.clk, 40)
    assert groups_left(sink) == expected
    assert dispatcher.judged == len(verdicts)
    assert dispatcher.pushed == len(expected)
    assert dispatcher.credit == cfg.queue_groups


@cocotb.test(timeout_time=60, timeout_unit="us")
@cocotb.parametrize(idle=[0.0, 0.5], stalls=[0.0, 0.7], density=[0.05, 0.5, 1.0])
async def tasks_leave_once_in_order(dut, idle, stalls, density):
    """At any density, with idle cycles before and refusals behind the queue, and with neither."""
    await check(dut, idle, stalls, density)


@cocotb.test(timeout_time=60, timeout_unit="us")
async def nothing_kept_nothing_leaves(dut):
    """With no task kept the queue stays empty and every credit comes back."""
    await check(dut, 0.2, 0.0, 0.0)


@cocotb.test(timeout_time=60, timeout_unit="us")
async def full_groups_do_not_wait(dut):
    """A full group leaves although its channel is still open; what remains waits for the end."""
    cfg, dispatcher, sink = await started(dut, 0.0, 0.0)
    verdicts = random_channels(cfg, 1.0, channels=1)[:1] * 3
    verdicts = [{**verdict, "keep": 1, "closing": 0} for verdict in verdicts] * cfg.rows
    dispatcher.waiting.extend(verdicts)
    await ClockCycles(dut.clk, len(verdicts) + 12)
    assert len(sink.words) == 3
    dispatcher.waiting.extend([{**verdicts[0], "closing": 1}])
    await ClockCycles(dut.clk, 12)
    assert len(sink.words) == 4
    assert len(groups_left(sink)[-1]["tasks"]) == 1


@cocotb.test(timeout_time=60, timeout_unit="us")
async def the_queue_fills_and_holds(dut):
    """While nobody takes groups the queue fills to its length, and then nothing is lost."""
    cfg, dispatcher, sink = await started(dut, 0.0, 1.0)
    verdicts = [
        {**verdict, "keep": (1 << cfg.rows) - 1}
        for verdict in random_channels(cfg, 1.0, channels=3 * cfg.queue_groups)
    ]
    dispatcher.waiting.extend(verdicts)
    await ClockCycles(dut.clk, 10 * cfg.queue_groups)
    assert dispatcher.credit <= 1
    assert dispatcher.pushed >= cfg.queue_groups - 2
    sink.stalls = 0.3
    expected = expected_groups(cfg, verdicts)
    await sink.wait_for(len(expected))
    assert groups_left(sink) == expected
