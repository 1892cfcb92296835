"""The task queue: outputs that take the conditional path, compacted into full groups."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from penstock.config import Config
from penstock.hw.layouts import (
    CHANNEL_BITS,
    WEIGHT_ADDRESS_BITS,
    task_group_layout,
    task_layout,
)
from penstock.hw.pipeline import select


def verdict_layout(cfg: Config) -> data.StructLayout:
    """A judged group: its pixels with their partial sums, and which of them go on."""
    return data.StructLayout(
        {
            "keep": cfg.rows,
            "closing": 1,  # last group of its channel
            "work": task_group_layout(cfg),
        }
    )


class TaskQueue(wiring.Component):
    """Collects kept outputs of one output channel into groups of `rows` tasks, in order.

    Takes a verdict per cycle; a full group is pushed as soon as there is one, a partial group when
    its channel closes. At most one push per cycle, `queue_groups` groups long. ``i`` takes no
    backpressure: each verdict needs a credit (see Dispatcher), given back by ``judged``;
    ``pushed`` takes up a place, ``o`` frees it.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(
            {
                "i": In(stream.Signature(verdict_layout(cfg), always_ready=True)),
                "o": Out(stream.Signature(task_group_layout(cfg))),
                "judged": Out(1),
                "pushed": Out(1),
            }
        )

    def elaborate(self, platform):
        cfg = self.cfg
        m = Module()
        rows = cfg.rows
        common = data.StructLayout(
            {"channel": CHANNEL_BITS, "group": 6, "weight_address": WEIGHT_ADDRESS_BITS}
        )

        # Compact the kept tasks to the front.
        arrived = Signal()
        arriving = [Signal(task_layout(cfg), name=f"arriving_{k}") for k in range(rows)]
        arriving_count = Signal(range(rows + 1))
        arriving_common = Signal(common)
        arriving_closing = Signal()
        work = self.i.payload.work
        keep = [self.i.payload.keep[row] for row in range(rows)]
        rank = [sum(keep[:row]) if row else 0 for row in range(rows)]
        m.d.sync += [
            arrived.eq(self.i.valid),
            arriving_count.eq(sum(keep)),
            arriving_closing.eq(self.i.payload.closing),
            arriving_common.eq(Cat(work.channel, work.group, work.weight_address)),
        ]
        for slot in range(rows):
            for row in reversed(range(slot, rows)):
                with m.If(keep[row] & (rank[row] == slot)):
                    m.d.sync += arriving[slot].eq(work.tasks[row])

        # Merge them with the tasks already collected.
        staged = [Signal(task_layout(cfg), name=f"staged_{k}") for k in range(rows)]
        count = Signal(range(rows + 1))
        staged_common = Signal(common)
        closed = Signal()
        flush = Signal()
        overflow = Signal()
        total = Signal(range(2 * rows + 1))
        merged = Signal(data.ArrayLayout(task_layout(cfg), rows))
        m.d.comb += [
            flush.eq((count == rows) | (closed & (count != 0))),
            total.eq(count + arriving_count),
            overflow.eq(arrived & ~flush & (total > rows)),
            self.judged.eq(arrived),
            self.pushed.eq(flush | overflow),
        ]
        for slot in range(rows):
            fill = (
                select([arriving[slot - held] for held in range(slot + 1)] + [arriving[0]], count)
                if slot
                else arriving[0]
            )
            m.d.comb += merged[slot].eq(Mux(count > slot, staged[slot], fill))
        with m.If(arrived):
            m.d.sync += [staged_common.eq(arriving_common), closed.eq(arriving_closing)]
            with m.If(flush):
                m.d.sync += count.eq(arriving_count)
                m.d.sync += [staged[slot].eq(arriving[slot]) for slot in range(rows)]
            with m.Elif(overflow):
                m.d.sync += count.eq(total - rows)
                for slot in range(rows):
                    # held = count: the first rows - held arriving tasks went into the pushed group
                    rest = [arriving[min(slot + rows - held, rows - 1)] for held in range(rows + 1)]
                    m.d.sync += staged[slot].eq(select(rest, count))
            with m.Else():
                m.d.sync += count.eq(total)
                m.d.sync += [staged[slot].eq(merged[slot]) for slot in range(rows)]
        with m.Elif(flush):
            m.d.sync += [count.eq(0), closed.eq(0)]

        pushing = Signal()
        group = Signal(task_group_layout(cfg))
        pushed_count = Mux(flush, count, rows)
        m.d.sync += pushing.eq(self.pushed)
        m.d.sync += Cat(group.channel, group.group, group.weight_address).eq(staged_common)
        for slot in range(rows):
            task = group.tasks[slot]
            m.d.sync += [
                task.eq(merged[slot]),
                task.pixel.valid.eq(slot < pushed_count),
            ]
        m.submodules.fifo = fifo = SyncFIFOBuffered(
            width=group.shape().size,
            depth=cfg.queue_groups + 1,  # one in the output register
        )
        m.d.comb += [
            fifo.w_en.eq(pushing),
            fifo.w_data.eq(group),
            self.o.valid.eq(fifo.r_rdy),
            self.o.payload.eq(fifo.r_data),
            fifo.r_en.eq(self.o.ready),
        ]
        return m
