"""The task queue: outputs that take the conditional path, compacted into full groups."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from penstock.config import Config
from penstock.hw.layouts import (
    CHANNEL_BITS,
    WEIGHT_ADDRESS_BITS,
    queued_tasks_layout,
    task_group_layout,
    task_layout,
)
from penstock.hw.pipeline import datapath_register, select, spread
from penstock.hw.register_slice import SkidBuffer


def verdict_layout(cfg: Config) -> data.StructLayout:
    """A judged group: its pixels with their partial sums, and which of them go on."""
    return data.StructLayout(
        {
            "keep": cfg.rows,  # none where no group is judged
            "closing": 1,  # last group of its channel
            "work": task_group_layout(cfg),
        }
    )


class TaskQueue(wiring.Component):
    """Collects kept outputs of one output channel into groups of `rows` tasks, in order.

    Takes a verdict per cycle; a full group is pushed as soon as there is one, a partial group when
    its channel closes. At most one push per cycle, `queue_groups` groups long. ``i`` takes no
    backpressure: each verdict needs a credit (see Dispatcher), given back by ``judged``, 2 cycles
    after it came; ``pushed`` takes up a place, ``o`` frees it.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(
            {
                "i": In(stream.Signature(verdict_layout(cfg), always_ready=True)),
                "o": Out(stream.Signature(queued_tasks_layout(cfg))),
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
        arriving = [datapath_register(task_layout(cfg), f"arriving_{k}") for k in range(rows)]
        arriving_count = Signal(range(rows + 1))  # 0 where nothing arrives
        arriving_common = datapath_register(common, "arriving_common")
        arriving_closing = Signal()
        work = self.i.payload.work
        keep = list(self.i.payload.keep)
        rank = [sum(keep[:row]) if row else 0 for row in range(rows)]
        m.d.sync += [
            arrived.eq(self.i.valid),
            arriving_count.eq(sum(keep)),
            arriving_closing.eq(self.i.valid & self.i.payload.closing),
            arriving_common.eq(Cat(work.channel, work.group, work.weight_address)),
        ]
        for slot in range(rows):
            task = work.tasks[-1].as_value()  # where it is no other
            for row in reversed(range(slot, rows - 1)):
                task = Mux(keep[row] & (rank[row] == slot), work.tasks[row].as_value(), task)
            m.d.sync += arriving[slot].eq(task)

        # Put them behind the tasks already collected, and the rest into the next group.
        staged = [datapath_register(task_layout(cfg), f"staged_{k}") for k in range(rows)]
        staged_common = datapath_register(common, "staged_common")
        flush = Signal()  # the staged tasks are a whole group, which leaves
        staged_count = Signal(range(rows + 1))
        held = Signal(range(rows))  # staged tasks of a group that is still open
        total, count = Signal(range(2 * rows)), Signal(range(rows + 1))
        overflow, complete, pushed = Signal(), Signal(), Signal()
        still_held = Signal.like(held)
        shifts = spread(m, still_held, rows, cycles=1, name="shift")  # `held`, for many bits
        merged = Signal(data.ArrayLayout(task_layout(cfg), rows))
        m.d.comb += [
            total.eq(held + arriving_count),
            # Hundreds of bits hang on it: a table of both counts.
            overflow.eq(
                Cat((held == h) & (arriving_count > rows - h) for h in range(1, rows)).any()
            ),
            still_held.eq(Mux(complete, 0, count)),
            count.eq(Mux(overflow, total - rows, total)),
            complete.eq((count == rows) | (arriving_closing & (count != 0))),
            pushed.eq(flush | overflow),
        ]
        m.d.sync += [
            staged_count.eq(count),
            flush.eq(complete),
            held.eq(still_held),
        ]
        for slot in range(rows):
            shift = shifts[slot]
            arrives = select([arriving[(slot - before) % rows] for before in range(rows)], shift)
            taken = shift > slot if slot < rows - 1 else Const(0)
            m.d.comb += merged[slot].eq(Mux(flush | taken, staged[slot], arrives))
            with m.If(overflow | ~taken):
                m.d.sync += staged[slot].eq(arrives)
        with m.If(arrived):
            m.d.sync += staged_common.eq(arriving_common)

        queued = datapath_register(queued_tasks_layout(cfg), "queued")
        group, last_group = queued.work, Signal.like(staged_common.group)
        pushed_count = Mux(flush, staged_count, rows)
        m.d.sync += [self.judged.eq(arrived), self.pushed.eq(pushed)]
        m.d.sync += queued.new_group.eq(staged_common.group != last_group)
        with m.If(pushed):
            m.d.sync += last_group.eq(staged_common.group)
        m.d.sync += Cat(group.channel, group.group, group.weight_address).eq(staged_common)
        for slot in range(rows):
            task = group.tasks[slot]
            m.d.sync += [
                task.eq(merged[slot]),
                task.pixel.valid.eq(slot < pushed_count),
            ]
        m.submodules.fifo = fifo = SyncFIFOBuffered(
            width=queued.shape().size,
            depth=cfg.queue_groups + 1,  # one in the output register
        )
        # A task is taken late in a cycle: hundreds of enables would follow from that.
        m.submodules.buffer = buffer = SkidBuffer(queued.shape())
        m.d.comb += [
            fifo.w_en.eq(self.pushed),
            fifo.w_data.eq(queued),
            buffer.i.valid.eq(fifo.r_rdy),
            buffer.i.payload.eq(fifo.r_data),
            fifo.r_en.eq(buffer.i.ready),
        ]
        wiring.connect(m, buffer.o, wiring.flipped(self.o))
        return m
