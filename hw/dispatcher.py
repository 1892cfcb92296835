"""The dispatcher: decides every cycle which group of pixels the array works on next."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from penstock.config import Config
from penstock.hw.base_walk import BaseWalk
from penstock.hw.credits import Credits
from penstock.hw.group_entries import GroupEntries
from penstock.hw.layouts import group_tag_layout, queued_tasks_layout, record_layout, step_layout
from penstock.hw.step_walk import StepWalk
from penstock.program import DESCRIPTOR, GROUP


class Dispatcher(wiring.Component):
    """Turns a layer into steps: groups from the task queue first, base groups otherwise.

    One step per cycle with no gap between groups or channels; where the input group changes, base
    groups wait until 5 cycles after the start of the last one before. The outputs are registered
    and take no backpressure: a group starts only with a write credit in hand (a place in the write
    queue for its results) and, if it will be judged, a queue credit (a place in the task queue for
    its tasks). A fused pooling limits the output channels that are open at once.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(
            {
                "layer": In(record_layout(DESCRIPTOR)),
                "gating": In(1),
                "start": In(1),  # begin the layer
                "idle": Out(1),  # every group of the layer has been dispatched
                "group_address": Out(6),  # of the group table, 2 cycles latency
                "group_entry": In(record_layout(GROUP)),
                "tasks": In(stream.Signature(queued_tasks_layout(cfg))),
                "judged": In(1),  # a judged group has left its tasks in the queue
                "pushed": In(1),  # the task queue has taken up a place
                "written": In(1),  # a group has left the write queue
                "pooled": In(1),  # a pooled channel has been written
                "step": Out(step_layout()),
                # Of the group of the current step; the partial sums are there in the first step of
                # a task.
                "tag": Out(group_tag_layout(cfg)),
                "all_returned": Out(1),  # every credit is back
                # Why the current cycle has no step although the layer has work left.
                "stall": Out(data.StructLayout({"queue": 1, "write": 1, "pool": 1})),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layer = self.layer
        m.submodules.base = base = BaseWalk(self.cfg)
        m.submodules.entries = entries = GroupEntries()
        m.submodules.steps = steps = StepWalk(self.cfg)
        judge, dense = Signal(), Signal()
        take_task, take_base = Signal(), Signal()
        m.d.comb += [
            judge.eq(layer.gated & self.gating),
            dense.eq(~judge & (entries.base.conditional_steps != 0)),
            base.layer.eq(layer),
            base.start.eq(self.start),
            base.take.eq(take_base),
            base.group_steps.eq(entries.base.base_steps + entries.base.conditional_steps),
            entries.start.eq(self.start),
            self.group_address.eq(entries.address),
            entries.entry.eq(self.group_entry),
            entries.base_group.eq(base.group),
            entries.base_wanted.eq(base.left),
            entries.base_done.eq(take_base & base.leaving_group),
            entries.task_group.eq(self.tasks.payload.work.group),
            entries.task_is_new.eq(self.tasks.payload.new_group),
            entries.task_wanted.eq(self.tasks.valid),
            entries.task_done.eq(take_task),
            self.tasks.ready.eq(take_task),
            steps.layer.eq(layer),
            steps.begin.eq(take_base | take_task),
            steps.of_task.eq(entries.task_ready),
            steps.dense.eq(dense),
            steps.base.eq(entries.base),
            steps.task.eq(entries.task),
            steps.base_weights.eq(base.weight_address),
            steps.task_weights.eq(self.tasks.payload.work.weight_address),
            self.step.eq(steps.step),
            self.idle.eq(~base.left & ~steps.step.valid),
        ]
        self._choose(m, base, entries, steps.free, judge, take_task, take_base)
        self._tag(m, base, entries, judge, steps.free)
        return m

    def _choose(self, m: Module, base, entries, free, judge, take_task, take_base):
        """Which group goes next, and the credits that it takes."""
        cfg = self.cfg
        m.submodules.write_places = write = Credits(cfg.write_groups)
        # One place is for tasks still being collected.
        m.submodules.queue_places = queue = Credits(cfg.queue_groups, kept=1)
        m.submodules.pool_places = pool = Credits(cfg.pool_channels)
        opening = self.layer.pool & base.opening
        base_wants, pool_blocked, waiting = Signal(), Signal(), Signal()
        stall = Signal(self.stall.shape())
        m.d.comb += [
            base_wants.eq(base.left & entries.base_ready),
            pool_blocked.eq(opening & ~pool.enough),
            take_task.eq(free & entries.task_ready & write.enough),
            take_base.eq(
                free
                & ~take_task
                & base_wants
                & write.enough
                & (~judge | queue.enough)
                & ~pool_blocked
            ),
            waiting.eq(free & ~take_task & ~take_base & (base_wants | self.tasks.valid)),
            stall.write.eq(waiting & ~write.enough),
            stall.pool.eq(waiting & write.enough & base_wants & pool_blocked),
            stall.queue.eq(waiting & ~stall.write & ~stall.pool),
            write.give_next.eq(self.written),
            pool.give_next.eq(self.pooled),
            queue.give_next.eq(self.judged),
            queue.take_next.eq(self.pushed),
            self.all_returned.eq(write.all_free & queue.all_free & pool.all_free),
        ]
        m.d.sync += [
            self.stall.eq(stall),
            write.take.eq(take_task | take_base),
            queue.take.eq(take_base & judge),
            queue.give.eq(take_task),
            pool.take.eq(take_base & opening),
        ]

    def _tag(self, m: Module, base, entries, judge, free):
        """What goes with the group through the array.

        Taken while no group is at work: that of a task if one waits, as tasks go first.
        """
        tag = Signal(group_tag_layout(self.cfg), reset_less=True)
        m.d.comb += self.tag.eq(tag)
        following = Signal.like(tag)
        with m.If(entries.task_ready):
            m.d.comb += [following.work.eq(self.tasks.payload.work), following.conditional.eq(1)]
        with m.Else():
            m.d.comb += [
                following.work.channel.eq(base.channel),
                following.work.group.eq(base.group),
                following.work.weight_address.eq(base.weight_address + entries.base.base_steps),
                following.judged.eq(judge),
                following.closing.eq(base.closing),
            ]
            for row in range(self.cfg.rows):
                m.d.comb += following.work.tasks[row].pixel.eq(base.pixels[row])
        with m.If(free):
            m.d.sync += tag.eq(following)
        # Partial sums are many bits. They are looked at in a first step alone, of a task.
        for kept, task in zip(tag.work.tasks, self.tasks.payload.work.tasks, strict=True):
            m.d.sync += kept.partial_sum.eq(task.partial_sum)
