"""The dispatcher's credits are places: no queue behind it can overflow, and none stays blocked."""

import functools

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from penstock.config import Config, preset
from penstock.hw.credits import Credits
from penstock.hw.dispatcher import Dispatcher
from penstock.hw.group_entries import TABLE_LATENCY
from penstock.hw.layouts import record_layout, task_group_layout
from penstock.program import DESCRIPTOR, GROUP
from penstock.sim.formal.inside import Inside
from penstock.sim.formal.prover import Proof
from penstock.sim.formal.reductions import FEW_GROUPS, shortened

LONGEST_WAIT = 9
"""Cycles in which a task group may wait although the array is free and a write credit is there."""


def _ports(cfg: Config) -> dict[str, wiring.Member]:
    return {
        "layer": In(record_layout(DESCRIPTOR)),  # anything, and another one in every cycle
        "gating": In(1),
        "start": In(1),
        "group_entry": In(record_layout(GROUP)),
        "offered": In(1),  # a task group
        "tasks": In(task_group_layout(cfg)),
        "new_group": In(1),
        "judged": In(1),
        "pushed": In(1),
        "written": In(1),
        "pooled": In(1),
        "collects": In(1),  # a verdict leaves tasks behind that are not yet pushed
    }


def _connect(m: Module, ports, dispatcher: Dispatcher):
    for name in ("layer", "gating", "start", "group_entry", "judged", "pushed", "written"):
        m.d.comb += getattr(dispatcher, name).eq(getattr(ports, name))
    m.d.comb += [
        dispatcher.pooled.eq(ports.pooled),
        dispatcher.tasks.valid.eq(ports.offered),
        dispatcher.tasks.payload.work.eq(ports.tasks),
        dispatcher.tasks.payload.new_group.eq(ports.new_group),
    ]


class CreditsArePlaces(wiring.Component):
    """Each credit is one place of a queue or in its owner's hands; a task group starts once.

    ``writing`` groups have started and are not yet written, ``judging`` ones await their judgement,
    ``held`` task groups are pushed and not yet taken; ``staged``: tasks are being collected.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(_ports(cfg))
        self.writing = Signal(range(cfg.write_groups + 2))
        self.judging = Signal(range(cfg.queue_groups + 2))
        self.held = Signal.like(self.judging)
        self.staged = Signal()

    def elaborate(self, platform):
        m = Module()
        m.submodules.dispatcher = dispatcher = Dispatcher(self.cfg)
        _connect(m, self, dispatcher)
        step, tag = dispatcher.step, dispatcher.tag
        self.started, self.to_judge, self.taken = Signal(), Signal(), Signal()
        m.d.comb += [
            self.started.eq(step.valid & step.first),
            self.to_judge.eq(self.started & tag.judged),
            self.taken.eq(self.offered & dispatcher.tasks.ready),
        ]
        inside = Inside(dispatcher)
        self.write, self.queue, pool = (
            self._free(m, inside[name]) for name in ("write", "queue", "pool")
        )
        self.open = self.cfg.pool_channels - pool
        self._behind(m)
        self._places(m, dispatcher, inside)
        self._tasks(m, dispatcher)
        return m

    def _free(self, m: Module, credits: Credits) -> Value:
        """How many places are free, and what ties the registers together, for the induction."""
        inside = Inside(credits)
        count, places = inside["count"], credits.places
        free = Signal(range(4 * places))
        m.d.comb += [
            free.eq(count + credits.give - credits.take),
            Assert(count <= places),
            Assert(inside["full"] == (count == places)),
            Assert(inside["one_held"] == (count == places - 1)),
            Assert(credits.enough == (free > credits.kept)),
            Assert(credits.all_free == (free == places)),
        ]
        for more, flag in enumerate(inside["least"]):
            m.d.comb += Assert(flag == (count >= credits.kept + more))
        return free

    def _behind(self, m: Module):
        """The array and the queues: any latency, nothing that was not started."""
        m.d.sync += [
            self.writing.eq(self.writing + self.started - self.written),
            self.judging.eq(self.judging + self.to_judge - self.judged),
            self.held.eq(self.held + self.pushed - self.taken),
        ]
        with m.If(self.judged | self.pushed):
            kept = self.staged & ~self.pushed
            m.d.sync += self.staged.eq(kept | (self.judged & self.collects))
        m.d.comb += [
            Assume(~self.written | (self.writing != 0)),  # WriteQueue
            Assume(~self.judged | (self.judging != 0)),  # TaskQueue, as is all that follows
            Assume(~self.pushed | self.staged),
            Assume(~self.offered | (self.held != 0)),
            Assume(~self.pooled | (self.open != 0)),  # GlobalAveragePool
        ]

    def _places(self, m: Module, dispatcher: Dispatcher, inside: Inside):
        cfg, stall = self.cfg, inside["waiting"]
        writing = Signal(range(4 * cfg.write_groups))
        places = Signal(range(4 * cfg.queue_groups))
        nothing = Signal()
        m.d.comb += [
            writing.eq(self.writing + self.started),
            places.eq(self.judging + self.to_judge + self.held),
            Assert(writing <= cfg.write_groups),
            Assert(places + self.staged <= cfg.queue_groups),
            Assert(self.open <= cfg.pool_channels),
            nothing.eq((writing == 0) & (places == 0) & (self.open == 0)),
            Assert(dispatcher.all_returned == nothing),
            Assert(~(stall & nothing)),  # who waits for a credit waits for something on its way
            Cover(
                (writing == min(cfg.write_groups, FEW_GROUPS))
                & (stall | (cfg.write_groups > FEW_GROUPS))
            ),
            Cover((places == cfg.queue_groups - 1) & self.staged & stall),
            Cover((self.open == cfg.pool_channels) & stall & (self.write != 0)),
            # The credits themselves, for the induction.
            Assert(self.write + writing == cfg.write_groups),
            Assert(self.queue + places == cfg.queue_groups),
            Assert(inside["write"].take == self.started),
            Assert(inside["queue"].take == self.to_judge),
            Assert(inside["queue"].give == (self.started & dispatcher.tag.conditional)),
            Assert(~inside["pool"].take | self.started),
        ]

    def _tasks(self, m: Module, dispatcher: Dispatcher):
        """A task group that is taken starts in the next cycle, and no other does."""
        step, tag = dispatcher.step, dispatcher.tag
        taken, work, before = Signal(), Signal.like(self.tasks), Signal.like(tag)
        m.d.sync += [taken.eq(self.taken), work.eq(self.tasks), before.eq(tag)]
        m.d.comb += [
            Assert(~dispatcher.tasks.ready | self.offered),
            Assert(~taken | (self.started & tag.conditional & (tag.work == work))),
            Assert(~(self.started & tag.conditional) | taken),
            Assert(~(tag.judged & tag.conditional)),
            Assert(~(step.valid & ~step.first) | (_held(tag) == _held(before))),
            Cover(taken & self.taken),
        ]


class TasksFirst(wiring.Component):
    """An offered task group is taken after at most LONGEST_WAIT cycles in which it could be."""

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(_ports(cfg))

    def elaborate(self, platform):
        m = Module()
        m.submodules.dispatcher = dispatcher = Dispatcher(self.cfg)
        _connect(m, self, dispatcher)
        inside = Inside(dispatcher)
        free = inside["steps"].free & inside["write"].enough
        waiting, refused = Signal(range(LONGEST_WAIT + 2)), Signal()
        tasks, head = Cat(self.tasks, self.new_group), Signal(len(self.tasks.as_value()) + 1)
        m.d.sync += [refused.eq(self.offered & ~dispatcher.tasks.ready), head.eq(tasks)]
        with m.If(self.offered & dispatcher.tasks.ready):
            m.d.sync += waiting.eq(0)
        with m.Elif(self.offered & free):
            m.d.sync += waiting.eq(waiting + 1)
        m.d.comb += [
            Assume(~refused | (self.offered & (tasks == head))),  # TaskQueue
            Assume(~(self.start & (self.offered | refused))),  # Engine: all groups are back
            Assert(waiting < LONGEST_WAIT),
            Assert((waiting == 0) | refused),
            Cover(waiting == LONGEST_WAIT - 1),
            Cover((waiting == 1) & dispatcher.tasks.ready),
        ]
        self._reads(m, inside.block("entries"), waiting)
        return m

    def _reads(self, m: Module, inside: Inside, waiting):
        """How many cycles the task's GROUP record takes to come, for the induction."""
        entries, read = inside.component, TABLE_LATENCY + 1
        reading, held, for_base = inside["reading"], inside["held"], inside["for_base"]
        wait, ready = inside["wait"], entries.base_ready
        left = Signal(range(LONGEST_WAIT))
        with m.If(reading):
            m.d.comb += left.eq(Mux(for_base, wait + 2 + read, wait + 1))
        with m.Else():
            m.d.comb += left.eq(Mux(entries.base_wanted & ~ready, 2 + 2 * read, 1 + read))
        m.d.comb += [
            Assert(~reading | (wait < read)),
            Assert(~(reading & Mux(for_base, ready, held))),
            Assert(~(reading & ~for_base) | (self.offered & (entries.address == self.tasks.group))),
            Assert(waiting + Mux(self.offered & ~entries.task_ready, left, 0) < LONGEST_WAIT),
        ]


def _held(tag):
    """Of a tag what holds for all steps of its group: all but partial sums."""
    pixels = Cat(task.pixel for task in tag.work.tasks)
    work = Cat(tag.work.channel, tag.work.group, tag.work.weight_address, pixels)
    return Cat(work, tag.conditional, tag.judged, tag.closing)


PROOFS = [
    *(
        Proof(
            block="dispatcher",
            name="credits",
            configuration=name,
            statement="groups on their way to the write queue and in it, and those to be judged,"
            " collected or in the task queue, never exceed its places; whoever waits for a credit"
            " waits for a group that is on its way; each task group taken starts once",
            top=functools.partial(CreditsArePlaces, cfg),
            depth=2,
            cover_depth=24,
            quick=cfg.write_groups == FEW_GROUPS,
        )
        for name, cfg in (
            ("tiny", preset("tiny")),
            (
                f"tiny, {FEW_GROUPS} groups",
                shortened(preset("tiny"), write_groups=FEW_GROUPS, queue_groups=FEW_GROUPS),
            ),
        )
    ),
    Proof(
        block="dispatcher",
        name="tasks first",
        configuration="tiny",
        statement=f"an offered task group starts after at most {LONGEST_WAIT} cycles in which the"
        " array is free and a write credit there",
        top=functools.partial(TasksFirst, preset("tiny")),
        depth=2,
        cover_depth=20,
    ),
]
