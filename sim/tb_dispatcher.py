"""Bench of the dispatcher: every group once, with the right steps, never without its credits.

Parameter ``layers``: random layers in each test.
"""

import random
from collections import deque

import cocotb
from cocotb.triggers import RisingEdge

from penstock.hw.layouts import (
    group_tag_layout,
    queued_tasks_layout,
    record_layout,
    step_layout,
)
from penstock.program import DESCRIPTOR, GROUP
from penstock.sim.dispatch import Behind, Layer, Pace, Pulses, random_layer
from penstock.sim.runner import bench_config, bench_parameters
from penstock.sim.streams import pack, start_clock, unpack

PACES = {
    "prompt": Pace(),
    "judgements late": Pace(judge_idle=0.9),
    "tasks late": Pace(task_idle=0.95),
    "writes late": Pace(write=100, write_idle=0.8),
    "pool late": Pace(pool=50, pool_idle=0.9),
    "anything": Pace(judge_idle=0.4, task_idle=0.5, write_idle=0.5, pool_idle=0.8),
    "at once": Pace(judge=1),
}
KINDS = ("gated", "gated", "plain", "lowered")
DENSITIES = (0.0, 0.05, 0.5, 0.9, 1.0)
ENTRY_LATENCY = 4
"""Cycles without a step that a change of the input group costs."""
TABLE_LATENCY = 2
TIMEOUT = 3000
"""Cycles without a step after which the dispatcher hangs."""
CAUSES = ("queue", "write", "pool")


class Credits:
    """The dispatcher's credits, from what it was told and what it did."""

    def __init__(self, cfg):
        self.cfg = cfg
        self.write, self.queue, self.open = cfg.write_groups, cfg.queue_groups, 0
        self.most_open = 0
        self.least_write, self.least_queue = self.write, self.queue

    def count(self, started: dict | None, opening: bool, pulses: Pulses):
        """Go on by one cycle, in which a group was taken, or None."""
        taken = started is not None
        judged = taken and started["judged"]
        task = taken and started["conditional"]
        self.write += pulses.written - taken
        self.queue += pulses.judged - pulses.pushed - judged + task
        self.open += opening - pulses.pooled
        assert self.write >= 0, "no place in the write queue for a group in flight"
        assert self.queue >= pulses.staged, "the task queue could overflow"
        assert self.open <= self.cfg.pool_channels, "too many pooled channels open"
        self.least_write = min(self.least_write, self.write)
        self.least_queue = min(self.least_queue, self.queue)
        self.most_open = max(self.most_open, self.open)

    @property
    def all_returned(self) -> bool:
        full = self.write == self.cfg.write_groups and self.queue == self.cfg.queue_groups
        return full and self.open == 0


class Bench:
    """Runs layers on the dispatcher and checks every cycle."""

    def __init__(self, dut):
        self.dut, self.cfg = dut, bench_config()
        self.edge = RisingEdge(dut.clk)
        self.layouts = {
            "step": step_layout(),
            "tag": group_tag_layout(self.cfg),
            "task": queued_tasks_layout(self.cfg),
            "entry": record_layout(GROUP),
        }
        self.stall_bits = {"queue": 1, "write": 2, "pool": 4}
        self.time = 0
        self.head = None  # the task group offered
        self.head_bits = self.head_group = 0  # as the queue offers it; its input group
        for name in ("start", "tasks__valid", "judged", "pushed", "written", "pooled"):
            self._port(name).value = 0

    def _port(self, name: str):
        return getattr(self.dut, f"dispatcher__{name}")

    async def run(self, layer: Layer, gating: bool, pace: Pace, density: float):
        """Run one layer to its end."""
        self.layer = layer
        self.behind = Behind(self.cfg, layer, pace, density)
        self.credits = Credits(self.cfg)
        self.base = deque(layer.base_groups(self.cfg, gating))
        self.judging = gating and layer.descriptor["gated"]
        self.group, self.steps = None, deque()
        self.first_step = self.last_step = None
        self.stalls = dict.fromkeys(CAUSES, 0)
        self.two_causes = 0  # cycles in which places of the write queue and of the pool lacked
        self.pulses, self.taken = Pulses(), None
        self._begin(layer, gating)
        self._port("start").value = 1
        await self.edge
        self.time += 1
        self._port("start").value = 0
        self.loading_base = self.loading_task = self.step_seen = self.time
        while True:
            self._drive()
            await self.edge
            self.time += 1
            self._observe()
            if self._port("idle").value and self._port("all_returned").value:
                break
        assert not self.base, "base groups are left"
        behind = self.behind
        left = (behind.judging, behind.offering, behind.writing, behind.pooling)
        assert behind.offered is None and not any(map(len, left)), "work is left"

    def _begin(self, layer: Layer, gating: bool):
        fields = {member.name: 0 for member in DESCRIPTOR.fields} | layer.descriptor
        self._port("layer").value = pack(record_layout(DESCRIPTOR), fields)
        self._port("gating").value = int(gating)
        entries = range(len(layer.groups))
        self.entries = [pack(self.layouts["entry"], layer.entry(group)) for group in entries]
        self.addresses = deque([0] * TABLE_LATENCY)

    def _drive(self):
        """Inputs of the coming cycle."""
        self.before = self.pulses
        self.pulses = self.behind.cycle(self.time)
        for name in ("judged", "pushed", "written", "pooled"):
            self._port(name).value = getattr(self.pulses, name)
        offered = self.behind.offered
        self._port("tasks__valid").value = offered is not None
        if offered is not self.head:
            self.head, self.loading_task, self.head_bits = offered, self.time, 0
            if offered:
                new = offered["group"] != self.head_group
                self.head_group = offered["group"]
                self.head_bits = pack(self.layouts["task"], {"work": offered, "new_group": new})
        self._port("tasks__payload").value = self.head_bits
        address = self.addresses.popleft()
        inside = address < len(self.entries)
        entry = self.entries[address] if inside else random.getrandbits(8)
        self._port("group_entry").value = entry

    def _observe(self):
        """Outputs of the cycle that ends now; a step shows what was decided a cycle before."""
        step = unpack(self.layouts["step"], int(self._port("step").value))
        stall = int(self._port("stall").value)
        started, opening = None, False
        if step["valid"]:
            assert not stall, "a stall is reported in a cycle with a step"
            self.step_seen = self.time
            if step["first"]:
                started, opening = self._start()
            self._check_step(step)
        else:
            assert not self.steps, "a group's steps have a gap"
            self._check_stall(stall)
            assert self.time - self.step_seen < TIMEOUT, "the dispatcher hangs"
        self.credits.count(started, opening, self.before)
        returned = bool(self._port("all_returned").value)
        assert returned == self.credits.all_returned
        assert bool(self._port("idle").value) == (not self.base and not step["valid"])
        self.taken = None
        if self.behind.offered is not None and self._port("tasks__ready").value:
            self.taken, self.behind.offered = self.behind.offered, None
        self.addresses.append(int(self._port("group_address").value))

    def _start(self) -> tuple[dict, bool]:
        """The group whose first step this is: the task group taken, or else the next base group."""
        assert not self.steps, "a group begins before the last one ends"
        assert self.credits.write > 0, "a group without a place in the write queue"
        tag = unpack(self.layouts["tag"], int(self._port("tag").value))
        opening = False
        if self.taken:
            self.group = self._task_group(self.taken)
        else:
            assert self.base, "a group that nobody asked for"
            self.group = self.base.popleft()
            opening = self._check_base()
            for task in tag["work"]["tasks"]:
                del task["partial_sum"]
        assert tag == {key: value for key, value in self.group.items() if key != "steps"}
        self.tag = self._held_tag()
        self.steps.extend(self.group["steps"])
        self.first_step = self.time if self.first_step is None else self.first_step
        return self.group, opening

    def _held_tag(self) -> dict:
        """All of the tag but the partial sums, which are there in the first step alone."""
        tag = unpack(self.layouts["tag"], int(self._port("tag").value))
        for task in tag["work"]["tasks"]:
            del task["partial_sum"]
        return tag

    def _task_group(self, taken: dict) -> dict:
        words = self.layer.groups[taken["group"]].conditional
        steps = self.layer.steps(words, taken["weight_address"], True)
        return {"work": taken, "conditional": 1, "judged": 0, "closing": 0, "steps": steps}

    def _check_base(self) -> bool:
        """Whether this base group opens a pooled channel; it must be the best that could start."""
        work = self.group["work"]
        waited = self.time - 1 - self.loading_task
        assert self.behind.offered is None or waited <= 2 * ENTRY_LATENCY, "tasks go first"
        after = self.base[0]["work"]["group"] if self.base else None
        if after != work["group"]:
            self.loading_base = self.time
        corner = work["tasks"][0]["pixel"]
        opening = self.layer.descriptor["pool"] and (corner["y"], corner["x"]) == (0, 0)
        assert not self.judging or self.credits.queue > 1, "a group without a place for its tasks"
        return bool(opening)

    def _check_step(self, step: dict):
        assert self.steps, "a step that nobody asked for"
        expected = self.steps.popleft()
        first = len(self.steps) + 1 == len(self.group["steps"])
        expected = {**expected, "first": int(first), "last": int(not self.steps)}
        assert step == expected
        assert self._held_tag() == self.tag, "the tag must hold for all steps"
        if not self.steps:
            self.behind.finished(self.time, self.group)
            self.last_step = self.time

    def _check_stall(self, stall: int):
        """A cycle without a step has a reason; the flag tells which, once all entries are there."""
        assert stall.bit_count() <= 1, "one cause at a time"
        for cause in CAUSES:
            self.stalls[cause] += bool(stall & self.stall_bits[cause])
        loading = max(self.loading_base, self.loading_task)
        if self.taken or self.time - loading <= 2 * ENTRY_LATENCY + 2:
            return
        cause = self._cause()
        self.two_causes += cause == "write" and bool(self.base) and self._pool_blocks()
        assert stall == self.stall_bits.get(cause, 0), f"must be stalled by {cause}, {stall:#b}"
        if cause == "queue":
            assert self.judging and self.credits.queue <= 1, "a group could have started"

    def _cause(self) -> str | None:
        """Why nothing could start, by the credits of the cycle of the decision."""
        if not self.base and self.behind.offered is None:
            return None
        if not self.credits.write:
            return "write"
        if self.base and self._pool_blocks():
            return "pool"
        return "queue"

    def _pool_blocks(self) -> bool:
        corner = self.base[0]["work"]["tasks"][0]["pixel"]
        opening = self.layer.descriptor["pool"] and (corner["y"], corner["x"]) == (0, 0)
        return opening and self.credits.open == self.cfg.pool_channels


async def started(dut) -> Bench:
    bench = Bench(dut)
    await start_clock(dut)
    return bench


@cocotb.test(timeout_time=2000, timeout_unit="us")
@cocotb.parametrize(pace=list(PACES), gating=[True, False])
async def layers(dut, pace, gating):
    """Random layers one after the other: every group once, in order, with all its steps."""
    bench = await started(dut)
    for index in range(bench_parameters()["layers"]):
        layer = random_layer(bench.cfg, KINDS[index % len(KINDS)])
        await bench.run(layer, gating, PACES[pace], random.choice(DENSITIES))


@cocotb.test(timeout_time=2000, timeout_unit="us")
async def the_task_queue_fills(dut):
    """With all outputs kept and slow tasks every place is used."""
    bench = await started(dut)
    layer = large_layer(bench.cfg, gated=1)
    await bench.run(layer, True, Pace(task=100, task_idle=0.97), 1.0)
    assert bench.credits.least_queue == 0
    assert bench.stalls["queue"]


@cocotb.test(timeout_time=2000, timeout_unit="us")
@cocotb.parametrize(gated=[0, 1])
async def the_write_queue_fills(dut, gated):
    """With slow writes every place of the write queue is used, by base groups and by tasks."""
    bench = await started(dut)
    layer = large_layer(bench.cfg, gated=gated)
    await bench.run(layer, True, Pace(write=500, write_idle=0.5), 0.9)
    assert bench.credits.least_write == 0
    assert bench.stalls["write"]


@cocotb.test(timeout_time=2000, timeout_unit="us")
async def pooled_channels_fill(dut):
    """With slow pooled writes as many channels are open as may be."""
    bench = await started(dut)
    layer = large_layer(bench.cfg, pool=1, height=2, width=2)
    await bench.run(layer, True, Pace(pool=200), 0.0)
    assert bench.credits.most_open == bench.cfg.pool_channels
    assert bench.stalls["pool"]


@cocotb.test(timeout_time=2000, timeout_unit="us")
async def pool_and_write_queue_fill(dut):
    """Where both lack places, the write queue alone is the cause."""
    bench = await started(dut)
    side = 8 * bench.cfg.rows // 2  # two channels fill the write queue
    layer = large_layer(bench.cfg, pool=1, height=side, width=8)
    await bench.run(layer, True, Pace(write=400, write_idle=0.9, pool=1500), 0.0)
    assert bench.two_causes and bench.stalls["write"] and bench.stalls["pool"]


@cocotb.test(timeout_time=2000, timeout_unit="us")
@cocotb.parametrize(gated=[0, 1])
async def no_idle_cycle(dut, gated):
    """A step a cycle, but for at most 4 cycles at a change of the input group; gating off."""
    bench = await started(dut)
    layer = large_layer(bench.cfg, gated=gated)
    steps = sum(len(group["steps"]) for group in layer.base_groups(bench.cfg, False))
    await bench.run(layer, False, Pace(), 0.0)
    # The next entry is read while the last block of the group before has more than one step.
    loading = sum(max(0, ENTRY_LATENCY + 1 - words.steps) for words in layer.groups[:-1])
    assert bench.last_step - bench.first_step + 1 == steps + loading
    assert not any(bench.stalls.values())


def large_layer(cfg, **descriptor: int) -> Layer:
    """A layer of some groups with more blocks than any queue has places."""
    while True:
        kind = "gated" if descriptor.get("gated") else "lowered"
        layer = random_layer(cfg, kind, blocks=10_000)
        changed = {"pool": 0, "height": 9, "width": 9, **descriptor}
        high, wide = cfg.block
        changed["block_rows"] = -(-changed["height"] // high)
        changed["block_columns"] = -(-changed["width"] // wide)
        short = all(words.steps <= 5 for words in layer.groups)
        if len(layer.groups) > 2 and layer.descriptor["group_channels"] > 1 and short:
            return Layer({**layer.descriptor, **changed}, layer.groups, layer.map_base)
