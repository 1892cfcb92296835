"""GROUP records for the dispatcher, one read port for two users."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from penstock.hw.layouts import record_layout
from penstock.hw.ram import LATENCY as TABLE_LATENCY
from penstock.program import GROUP


class GroupEntries(wiring.Component):
    """GROUP records of the base walk's group and of the first waiting task, through one read port.

    A record is there 4 cycles after its group came; ``base_done`` and ``task_done`` end its use.
    A task that is not ``task_is_new`` is of the same group as the one before it.
    """

    def __init__(self):
        entry = record_layout(GROUP)
        super().__init__(
            {
                "start": In(1),
                "address": Out(6),
                "entry": In(entry),
                "base_group": In(6),
                "base_wanted": In(1),
                "base_done": In(1),
                "base": Out(entry),
                "base_ready": Out(1),
                "task_group": In(6),
                "task_is_new": In(1),
                "task_wanted": In(1),
                "task_done": In(1),
                "task": Out(entry),
                "task_ready": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        wait = Signal(range(TABLE_LATENCY + 1))
        reading, for_base = Signal(), Signal()
        held = Signal()  # `task` is of the waiting task or of the one before it
        current = Signal()  # of the waiting one
        m.d.comb += self.task_ready.eq(self.task_wanted & held & (current | ~self.task_is_new))
        with m.If(reading):
            m.d.sync += wait.eq(wait - 1)
            with m.If(wait == 0):
                m.d.sync += reading.eq(0)
                with m.If(for_base):
                    m.d.sync += [self.base.eq(self.entry), self.base_ready.eq(1)]
                with m.Else():
                    m.d.sync += [self.task.eq(self.entry), held.eq(1), current.eq(1)]
        with m.Elif(self.base_wanted & ~self.base_ready):
            m.d.sync += [reading.eq(1), for_base.eq(1), wait.eq(TABLE_LATENCY)]
            m.d.sync += self.address.eq(self.base_group)
        with m.Elif(self.task_wanted & ~self.task_ready):
            m.d.sync += [reading.eq(1), for_base.eq(0), wait.eq(TABLE_LATENCY), held.eq(0)]
            m.d.sync += self.address.eq(self.task_group)
        with m.If(self.task_done):
            m.d.sync += current.eq(0)
        with m.If(self.base_done):
            m.d.sync += self.base_ready.eq(0)
        with m.If(self.start):
            m.d.sync += [self.base_ready.eq(0), held.eq(0), reading.eq(0)]
        return m
