"""The task queue loses, doubles and reorders nothing, and credits keep it from overflowing."""

import dataclasses
import functools

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from penstock.config import Config, preset
from penstock.hw.layouts import queued_tasks_layout
from penstock.hw.pipeline import select
from penstock.hw.task_queue import TaskQueue, verdict_layout
from penstock.sim.formal.inside import Inside, InsideFifo
from penstock.sim.formal.prover import Proof
from penstock.sim.formal.reductions import END_BITS, FEW_GROUPS, ends, shortened, whole

LONGEST_WAY = 5
"""Cycles from the verdict that completes a group to its offer, when the queue is empty."""


def _count(bits) -> Value:
    return sum(bits[index] for index in range(len(bits)))


class TasksInOrder(wiring.Component):
    """Every kept task leaves once, in its place; every group has the tasks of one channel.

    The specification numbers the kept tasks of a channel in the order of verdicts and rows: task n
    belongs to the channel's group ``n // rows``, place ``n % rows``. ``inside`` counts the complete
    groups that have not left: with `rows` tasks, or fewer and their channel closed. ``watch``
    marks one task at a time, any task: ``ahead`` groups are to leave before its own. ``bits`` tells
    which bits of the words are compared, `ends` or `whole`.
    """

    def __init__(self, cfg: Config, bits=ends):
        self.cfg, self.bits = cfg, bits
        super().__init__(
            {
                "valid": In(1),
                "verdict": In(verdict_layout(cfg)),
                "ready": In(1),
                "dispatch": In(1),  # a group that will be judged starts
                "watch": In(range(cfg.rows)),
            }
        )
        self.credit = Signal(range(cfg.queue_groups + 1), init=cfg.queue_groups)
        self.travelling = Signal.like(self.credit, init=0)  # started, no verdict yet
        # The last verdict: what its channel has and whether it closed it.
        common = self.shared(self.verdict.work)
        self.common, self.ended = Signal(len(common)), Signal(init=1)
        self.position = Signal(range(cfg.rows))  # tasks of the open channel's incomplete group
        self.inside = Signal(range(cfg.queue_groups + 4))
        # The marked task and its group.
        self.watching, self.gathering = Signal(), Signal()  # gathering: group not yet complete
        self.ahead = Signal.like(self.inside)
        self.slot = Signal(range(cfg.rows))
        self.size = Signal(range(cfg.rows + 1))  # tasks of its group so far
        self.task = Signal(len(self.content(self.verdict.work.tasks[0])))
        self.work = Signal.like(self.common)

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = TaskQueue(self.cfg)
        self.left = Signal()
        m.d.comb += [
            queue.i.valid.eq(self.valid),
            queue.i.payload.eq(self.verdict),
            queue.o.ready.eq(self.ready),
            self.left.eq(queue.o.valid & self.ready),
        ]
        self._contract(m, queue)
        self._specification(m)
        self._outputs(m, queue)
        QueueInside(self, queue).tie(m)
        return m

    def _contract(self, m: Module, queue: TaskQueue):
        """Dispatcher and array: a verdict for each started group, no start without a credit."""
        common = self.shared(self.verdict.work)
        m.d.sync += [
            # Dispatcher: queue_credit.
            self.credit.eq(self.credit - self.dispatch + queue.judged - queue.pushed + self.left),
            self.travelling.eq(self.travelling + self.dispatch - self.valid),
        ]
        m.d.comb += [
            Assume(~self.dispatch | (self.credit > 1)),  # Dispatcher: take_base
            Assume(~self.valid | (self.travelling != 0)),  # the array judges what was started
            Assume(self.valid | (self.verdict.keep == 0)),  # Engine: asked
            # BaseWalk goes through one channel after the other, the array keeps the order, and
            # group and weights belong to the channel.
            Assume(~self.valid | self.ended | (common == self.common)),
            Assume(self.watch < self.cfg.rows),
        ]
        with m.If(self.valid):
            m.d.sync += [self.common.eq(common), self.ended.eq(self.verdict.closing)]

    def _specification(self, m: Module):
        """What complete groups there are, and where the marked task must be."""
        rows, keep, closing = self.cfg.rows, self.verdict.keep, self.verdict.closing
        total, rest = Signal(range(2 * rows)), Signal(range(rows))
        full, formed = Signal(), Signal(2)
        self.formed = formed  # groups that this verdict completes
        m.d.comb += [
            total.eq(self.position + _count(keep)),
            full.eq(total >= rows),
            rest.eq(Mux(full, total - rows, total)),
            formed.eq(Mux(self.valid, full + (closing & (rest != 0)), 0)),
        ]
        m.d.sync += self.inside.eq(self.inside + formed - self.left)
        with m.If(self.valid):
            m.d.sync += self.position.eq(Mux(closing, 0, rest))
        with m.If(self.left & self.watching):
            m.d.sync += [self.ahead.eq(self.ahead - 1), self.watching.eq(self.ahead != 0)]
        with m.If(self.valid & self.gathering):
            m.d.sync += [self.size.eq(Mux(full, rows, rest)), self.gathering.eq(~full & ~closing)]
        ranks = [_count(keep[:row]) if row else 0 for row in range(rows)]
        place, second = Signal(range(2 * rows)), Signal()
        m.d.comb += [
            place.eq(self.position + select(ranks, self.watch)),
            second.eq(place >= rows),
        ]
        with m.If(self.valid & ~self.watching & keep.bit_select(self.watch, 1)):
            m.d.sync += [
                self.watching.eq(1),
                self.gathering.eq((~full | second) & ~closing),
                self.ahead.eq(self.inside + second - self.left),
                self.slot.eq(Mux(second, place - rows, place)),
                self.size.eq(Mux(full & ~second, rows, rest)),
                self.task.eq(
                    select([self.content(t) for t in self.verdict.work.tasks], self.watch)
                ),
                self.work.eq(self.shared(self.verdict.work)),
            ]

    def shared(self, work) -> Value:
        """What all tasks of a group share."""
        return self.bits(work.channel, work.group, work.weight_address)

    def content(self, task) -> Value:
        """A task but for its valid bit, which the queue sets."""
        return self.bits(task.pixel.y, task.pixel.x, task.partial_sum)

    def is_marked(self, group) -> Value:
        """Whether this is the marked task's group: complete, every task in its place."""
        valid = Cat(task.pixel.valid for task in group.tasks)
        return (
            ~self.gathering
            & (select([self.content(task) for task in group.tasks], self.slot) == self.task)
            & (self.shared(group) == self.work)
            & (valid == ((1 << self.size) - 1)[: len(valid)])
        )

    def _outputs(self, m: Module, queue: TaskQueue):
        """What leaves is what the specification says, and in time."""
        qg = self.cfg.queue_groups
        offered, refused = queue.o.valid, Signal()
        verdict, verdict_before = Signal(), Signal()
        unpushed, held = Signal.like(self.inside), Signal.like(self.inside)
        waiting, unpushed_for = Signal(range(LONGEST_WAY + 1)), Signal(range(3))
        m.d.sync += [
            refused.eq(offered & ~self.ready),
            verdict.eq(self.valid),
            verdict_before.eq(verdict),
            held.eq(held + queue.pushed - self.left),
            waiting.eq(Mux((self.inside == 0) | offered, 0, waiting + 1)),
            unpushed_for.eq(Mux((unpushed == 0) | queue.pushed, 0, unpushed_for + 1)),
        ]
        m.d.comb += [
            unpushed.eq(self.inside - held),
            Assert(~offered | (self.inside != 0)),
            Assert(
                ~(offered & self.watching & (self.ahead == 0))
                | self.is_marked(queue.o.payload.work)
            ),
            Assert(offered | ~refused),
            Assert(queue.judged == verdict_before),
            Assert(~queue.pushed | (unpushed != 0)),
            Assert((held <= self.inside) & (held + self.travelling <= qg)),
            Assert(waiting < LONGEST_WAY),
            Assert((unpushed_for < 2) | queue.pushed),
            Cover((held == qg) & self.left),  # every place taken
            Cover(self.formed == 2),  # a full group and the rest of a channel in one verdict
            Cover(self.left & self.watching & (self.ahead == 0) & (self.size < self.cfg.rows)),
            Cover(self.valid & verdict & self.ended & (self.formed != 0)),  # channel after channel
        ]
        self.held, self.unpushed, self.waiting = held, unpushed, waiting
        self.unpushed_for = unpushed_for


class QueueInside:
    """What ties the queue's inner state to the specification, for the induction."""

    def __init__(self, spec: TasksInOrder, queue: TaskQueue):
        self.spec, self.rows = spec, spec.cfg.rows
        inside = Inside(queue)
        self.queued, self.fifo = inside.block("fifo"), inside["fifo"]
        self.buffer, self.offered = inside.block("buffer"), queue.o.valid
        self.spare_held = ~self.buffer["free"]
        self.level = Signal.like(spec.inside)  # complete groups in `fifo` and `buffer`
        self.pushed, self.group = queue.pushed, inside["group"]
        self.judged, self.arrived = queue.judged, inside["arrived"]
        self.closing, self.arriving_count = inside["arriving_closing"], inside["arriving_count"]
        self.flush, self.held, self.count = inside["flush"], inside["held"], inside["staged_count"]
        self.common = [spec.shared(inside[f"{kind}_common"]) for kind in ("arriving", "staged")]
        self.tasks = [spec.content(task) for task in (*inside["staged"], *inside["arriving"])]

    def tie(self, m: Module):
        spec, rows = self.spec, self.rows
        total, rest, full = Signal(range(2 * rows + 1)), Signal(range(rows + 1)), Signal()
        unpushed, staged_before = Signal(range(5)), Signal()
        base, closing = self.held, self.closing
        m.d.sync += staged_before.eq(self.count != 0)
        m.d.comb += [
            total.eq(base + self.arriving_count),
            full.eq(total >= rows),
            rest.eq(Mux(full, total - rows, total)),
            unpushed.eq(self.pushed + self.flush + full + (closing & (rest != 0))),
            Assert((self.count <= rows) & (self.arriving_count <= rows)),
            Assert((base < rows) & (base == Mux(self.flush, 0, self.count))),
            Assert(~self.flush | (self.count != 0)),
            Assert(self.arrived | (~closing & (self.arriving_count == 0))),
            Assert(spec.position == Mux(closing, 0, rest)),
            Assert(spec.unpushed == unpushed),
            Assert((spec.unpushed_for == 0) | self.pushed | self.flush),
            Assert((spec.unpushed_for < 2) | self.pushed),
            self.level.eq(self.fifo.level + self.spare_held),
            Assert(spec.held == self.level),
            Assert(self.fifo.w_rdy | ~self.fifo.w_en),
            Assert(
                spec.credit + spec.travelling + self.arrived + self.judged + spec.held
                == spec.cfg.queue_groups
            ),
            # The dispatcher's proof relies on these two: what is staged has a place.
            Assert(spec.credit >= staged_before),
            Assert(~self.pushed | staged_before),
        ]
        self._in_time(m)
        arriving, staged = self.common
        behind = InsideFifo(m, self.queued).at(spec.ahead - self.spare_held)
        first = self.spare_held & (spec.ahead == 0)
        queued = Mux(first, self.buffer["spare"].as_value(), behind)
        with m.If(self.arrived):
            m.d.comb += Assert((arriving == spec.common) & (self.closing == spec.ended))
        with m.Elif(self.count != 0):
            m.d.comb += Assert((staged == spec.common) & ((base == 0) | ~spec.ended))
        with m.If(self.arrived & (base != 0)):
            m.d.comb += Assert(arriving == staged)
        with m.If(spec.watching):
            self._marked(m, queued, base, total, rest, full, closing)

    def _in_time(self, m: Module):
        """How long the first complete group can have been on its way, by where it is."""
        waiting, stages = self.spec.waiting, (self.level != 0, self.pushed, self.flush)
        with m.If(self.spec.inside != 0):
            with m.If(self.offered):
                m.d.comb += Assert(waiting < LONGEST_WAY)
            for index, stage in enumerate(stages):
                with m.Elif(stage):
                    m.d.comb += Assert(waiting < LONGEST_WAY - 1 - index)
            with m.Else():
                m.d.comb += Assert(waiting == 0)

    def _marked(self, m: Module, queued, base, total, rest, full, closing):
        """Where the marked task is."""
        spec, rows, level = self.spec, self.rows, self.level
        arriving, staged = self.common
        behind = Signal(2)
        m.d.comb += behind.eq(spec.ahead - level - self.pushed)
        with m.If(spec.ahead < level):
            group = data.View(queued_tasks_layout(spec.cfg), queued)
            m.d.comb += Assert(spec.is_marked(group.work))
        with m.Elif((spec.ahead == level) & self.pushed):
            m.d.comb += Assert(spec.is_marked(self.group))
        with m.Elif((behind == 0) & self.flush):
            m.d.comb += [
                Assert((spec.slot < self.count) & ~spec.gathering & (spec.size == self.count)),
                Assert(select(self.tasks[:rows], spec.slot) == spec.task),
                Assert(staged == spec.work),
            ]
        with m.Else():
            second, place = Signal(), Signal(range(2 * rows))
            index = Signal(range(2 * rows))  # in `tasks`
            m.d.comb += [
                second.eq(behind - self.flush != 0),
                place.eq(Mux(second, spec.slot + rows, spec.slot)),
                index.eq(Mux(place < base, place, rows + place - base)),
                Assert(spec.ahead <= level + self.pushed + self.flush + 1),
                Assert(place < total),
                Assert(select(self.tasks, index) == spec.task),
                Assert(spec.work == Mux(self.arrived, arriving, staged)),
                Assert(spec.size == Mux(full & ~second, rows, rest)),
                Assert(spec.gathering == ((~full | second) & ~closing)),
            ]


PROOFS = [
    Proof(
        block="task_queue",
        name="order",
        configuration=name,
        statement="every kept task leaves once, in its place of the next group of its channel;"
        " with the dispatcher's credits nothing overflows; a complete group is offered within"
        f" {LONGEST_WAY} cycles when none is before it",
        top=functools.partial(TasksInOrder, cfg, bits),
        depth=2,
        cover_depth=30,
        quick=cfg.queue_groups == FEW_GROUPS,
    )
    for name, cfg, bits in (
        (
            f"tiny, {FEW_GROUPS} groups, all bits",
            shortened(preset("tiny"), queue_groups=FEW_GROUPS),
            whole,
        ),
        (f"tiny, {END_BITS}", preset("tiny"), ends),
        (f"tiny, 4 rows, {END_BITS}", dataclasses.replace(preset("tiny"), rows=4), ends),
    )
]
