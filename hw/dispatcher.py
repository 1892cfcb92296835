"""The dispatcher: decides every cycle which group of pixels the array works on next."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from penstock.config import Config
from penstock.hw.layouts import (
    ADDRESS_BITS,
    CHANNEL_BITS,
    PIXEL_BITS,
    STEP_BITS,
    WEIGHT_ADDRESS_BITS,
    group_tag_layout,
    record_layout,
    step_layout,
    task_group_layout,
)
from penstock.program import DESCRIPTOR, GROUP

TABLE_LATENCY = 2


class Dispatcher(wiring.Component):
    """Turns a layer into steps: ``conditional`` groups from the task queue first, base groups
    otherwise.

    One step per cycle with no gap between groups or channels, except 4 cycles when the input group
    changes. The outputs are registered and take no backpressure: a group starts only with a write
    credit in hand (a place in the write queue for its results) and, if it will be judged, a queue
    credit (a place in the task queue for its tasks). A fused pooling limits the output channels
    that are open at once.
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
                "tasks": In(stream.Signature(task_group_layout(cfg))),
                "judged": In(1),  # a judged group has left its tasks in the queue
                "pushed": In(1),  # the task queue has taken up a place
                "written": In(1),  # a group has left the write queue
                "pooled": In(1),  # a pooled channel has been written
                "step": Out(step_layout()),
                "tag": Out(group_tag_layout(cfg)),  # of the group of the current step
                "all_returned": Out(1),  # every credit is back
                # Why the current cycle has no step although the layer has work left.
                "stall": Out(data.StructLayout({"queue": 1, "write": 1, "pool": 1})),
            }
        )

    def elaborate(self, platform):
        cfg = self.cfg
        m = Module()
        layer, entry_layout = self.layer, record_layout(GROUP)
        m.submodules.base = base = BaseWalk(cfg)
        base_entry = Signal(entry_layout)
        base_ready = Signal()
        task_entry = Signal(entry_layout)
        task_ready = Signal()
        task_group = Signal(6)
        m.d.comb += base.layer.eq(layer)

        # Credits.
        write_credit = Signal(range(cfg.write_groups + 1), init=cfg.write_groups)
        queue_credit = Signal(range(cfg.queue_groups + 1), init=cfg.queue_groups)
        open_channels = Signal(range(cfg.pool_channels + 1))

        # What could start now.
        judge = Signal()
        dense = Signal()
        pool_blocked = Signal()
        take_task, take_base = Signal(), Signal()
        current = Signal(step_layout())
        remaining = Signal(STEP_BITS)
        running = Signal()
        follow = Signal()  # the base steps' group goes on with its conditional steps
        m.d.comb += [
            judge.eq(layer.gated & self.gating),
            dense.eq(~judge & (base_entry.conditional_steps != 0)),
            pool_blocked.eq(layer.pool & base.opening & (open_channels == cfg.pool_channels)),
            running.eq(current.valid & (remaining != 0)),
        ]
        choose = Signal()
        base_wants = Signal()
        task_fits = Signal()
        m.d.comb += [
            choose.eq(~running & ~(current.valid & follow)),
            task_fits.eq(self.tasks.valid & task_ready & (self.tasks.payload.group == task_group)),
            base_wants.eq(base.left & base_ready),
            take_task.eq(choose & task_fits & (write_credit != 0)),
            take_base.eq(
                choose
                & ~take_task
                & base_wants
                & (write_credit != 0)
                & (~judge | (queue_credit > 1))  # one is for tasks still being collected
                & ~pool_blocked
            ),
            self.tasks.ready.eq(take_task),
            base.take.eq(take_base),
        ]
        m.d.sync += [
            write_credit.eq(write_credit - (take_task | take_base) + self.written),
            queue_credit.eq(
                queue_credit - (take_base & judge) + self.judged - self.pushed + take_task
            ),
            open_channels.eq(open_channels - self.pooled + (take_base & layer.pool & base.opening)),
        ]
        waiting = Signal()
        stall = Signal(self.stall.shape())
        m.d.comb += [
            waiting.eq(choose & ~take_task & ~take_base & (base_wants | self.tasks.valid)),
            stall.write.eq(waiting & (write_credit == 0)),
            stall.pool.eq(waiting & (write_credit != 0) & base_wants & pool_blocked),
            stall.queue.eq(waiting & ~stall.write & ~stall.pool),
        ]
        m.d.sync += self.stall.eq(stall)

        # The segment of steps that runs, and the one that follows it without a gap.
        segment = Segment()
        entry = Signal(entry_layout)
        m.d.comb += entry.eq(Mux(take_task, task_entry, base_entry))
        later = Signal(entry_layout)  # entry of the running base group, for its conditional steps
        tag = Signal(group_tag_layout(cfg))
        with m.If(running):
            segment.advance(m, current, remaining, layer)
            m.d.sync += current.last.eq((remaining == 1) & ~follow)
        with m.Elif(current.valid & follow):
            segment.begin_conditional(m, current, remaining, later)
            m.d.sync += [
                current.first.eq(0),
                current.last.eq(later.conditional_steps == 1),
                current.conditional.eq(1),
                current.weight_address.eq(current.weight_address + 1),
                follow.eq(0),
            ]
        with m.Elif(take_task):
            segment.begin_conditional(m, current, remaining, task_entry)
            m.d.sync += [
                current.valid.eq(1),
                current.first.eq(1),
                current.last.eq(task_entry.conditional_steps == 1),
                current.conditional.eq(1),
                current.weight_address.eq(self.tasks.payload.weight_address),
                follow.eq(0),
                tag.work.eq(self.tasks.payload),
                tag.conditional.eq(1),
                tag.judged.eq(0),
                tag.closing.eq(0),
            ]
        with m.Elif(take_base):
            segment.begin_base(m, current, remaining, base_entry)
            m.d.sync += [
                current.valid.eq(1),
                current.first.eq(1),
                current.last.eq((base_entry.base_steps == 1) & ~dense),
                current.conditional.eq(0),
                current.weight_address.eq(base.weight_address),
                follow.eq(dense),
                later.eq(base_entry),
                tag.work.channel.eq(base.channel),
                tag.work.group.eq(base.group),
                tag.work.weight_address.eq(base.weight_address + base_entry.base_steps),
                tag.conditional.eq(0),
                tag.judged.eq(judge),
                tag.closing.eq(base.closing),
            ]
            for row in range(cfg.rows):
                m.d.sync += tag.work.tasks[row].pixel.eq(base.pixels[row])
        with m.Else():
            m.d.sync += current.valid.eq(0)
        m.d.comb += [self.step.eq(current), self.tag.eq(tag)]

        # Group entries: the walk's and the queue head's, through one read port.
        wait = Signal(range(TABLE_LATENCY + 1))
        reading, for_base = Signal(), Signal()
        address = Signal(6)
        m.d.comb += [
            self.group_address.eq(address),
            base.group_steps.eq(base_entry.base_steps + base_entry.conditional_steps),
        ]
        with m.If(reading):
            m.d.sync += wait.eq(wait - 1)
            with m.If(wait == 0):
                m.d.sync += reading.eq(0)
                with m.If(for_base):
                    m.d.sync += [base_entry.eq(self.group_entry), base_ready.eq(1)]
                with m.Else():
                    m.d.sync += [
                        task_entry.eq(self.group_entry),
                        task_ready.eq(1),
                        task_group.eq(address),
                    ]
        with m.Elif(base.left & ~base_ready):
            m.d.sync += [
                reading.eq(1),
                for_base.eq(1),
                address.eq(base.group),
                wait.eq(TABLE_LATENCY),
            ]
        with m.Elif(self.tasks.valid & ~task_fits):
            m.d.sync += [
                reading.eq(1),
                for_base.eq(0),
                address.eq(self.tasks.payload.group),
                wait.eq(TABLE_LATENCY),
                task_ready.eq(0),
            ]
        with m.If(take_base & base.leaving_group):
            m.d.sync += base_ready.eq(0)
        with m.If(self.start):
            m.d.sync += [base_ready.eq(0), task_ready.eq(0), reading.eq(0)]
        m.d.comb += [
            base.start.eq(self.start),
            self.idle.eq(~base.left & ~current.valid),
            self.all_returned.eq(
                (write_credit == cfg.write_groups)
                & (queue_credit == cfg.queue_groups)
                & (open_channels == 0)
            ),
        ]
        return m


class Segment:
    """Walks the channel words of a run of steps; conditional runs jump over the base words."""

    def __init__(self):
        self.before = Signal(STEP_BITS)  # steps up to the jump, 0: none
        self.jump = Signal(data.StructLayout({"address": ADDRESS_BITS, "a": 2, "b": 2}))

    def begin_base(self, m, current, remaining, entry):
        """First base step of a group."""
        m.d.sync += [
            current.address.eq(entry.base_address),
            current.a.eq(entry.base_a),
            current.b.eq(entry.base_b),
            remaining.eq(entry.base_steps - 1),
            self.before.eq(0),
        ]

    def begin_conditional(self, m, current, remaining, entry):
        """First conditional step of a group."""
        m.d.sync += [
            current.address.eq(entry.conditional_address),
            current.a.eq(entry.conditional_a),
            current.b.eq(entry.conditional_b),
            remaining.eq(entry.conditional_steps - 1),
            self.before.eq(entry.before),
            self.jump.address.eq(entry.jump_address),
            self.jump.a.eq(entry.jump_a),
            self.jump.b.eq(entry.jump_b),
        ]

    def advance(self, m, current, remaining, layer):
        """The next step of the same run."""
        m.d.sync += [
            current.first.eq(0),
            current.weight_address.eq(current.weight_address + 1),
            remaining.eq(remaining - 1),
            self.before.eq(Mux(self.before == 0, 0, self.before - 1)),
        ]
        with m.If(self.before == 1):
            m.d.sync += Cat(current.address, current.a, current.b).eq(
                Cat(self.jump.address, self.jump.a, self.jump.b)
            )
        with m.Else():
            m.d.sync += current.address.eq(current.address + layer.step)
            with m.If(~layer.pointwise):
                m.d.sync += current.b.eq(Mux(current.b == 2, 0, current.b + 1))
                with m.If(current.b == 2):
                    m.d.sync += current.a.eq(Mux(current.a == 2, 0, current.a + 1))


class BaseWalk(wiring.Component):
    """Walks the base groups of a layer: channels in order, each over the blocks of the map.

    ``pixels`` is the current block; ``take`` moves on, one block per cycle.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(
            {
                "layer": In(record_layout(DESCRIPTOR)),
                "start": In(1),
                "take": In(1),
                "group_steps": In(STEP_BITS + 1),  # weight words of one channel
                "left": Out(1),
                "opening": Out(1),  # first block of its channel
                "closing": Out(1),  # last block of its channel
                "leaving_group": Out(1),  # the next block belongs to another group
                "channel": Out(CHANNEL_BITS),
                "group": Out(6),
                "weight_address": Out(WEIGHT_ADDRESS_BITS),
                "pixels": Out(
                    data.ArrayLayout(
                        data.StructLayout({"valid": 1, "y": PIXEL_BITS, "x": PIXEL_BITS}), cfg.rows
                    )
                ),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layer = self.layer
        height, width = self.cfg.block
        column, row = Signal(PIXEL_BITS), Signal(PIXEL_BITS)  # blocks
        x, y = Signal(PIXEL_BITS), Signal(PIXEL_BITS)  # first pixel of the block
        in_group = Signal(CHANNEL_BITS)
        last_column, last_in_group = Signal(), Signal()
        m.d.comb += [
            last_column.eq(column == layer.block_columns - 1),
            last_in_group.eq(in_group == layer.group_channels - 1),
            self.opening.eq((column == 0) & (row == 0)),
            self.closing.eq(last_column & (row == layer.block_rows - 1)),
            self.leaving_group.eq(self.closing & last_in_group),
        ]
        for index, pixel in enumerate(self.pixels):
            m.d.comb += [
                pixel.y.eq(y + index // width),
                pixel.x.eq(x + index % width),
                pixel.valid.eq(
                    (y + index // width < layer.height) & (x + index % width < layer.width)
                ),
            ]
        with m.If(self.take):
            m.d.sync += [column.eq(column + 1), x.eq(x + width)]
            with m.If(last_column):
                m.d.sync += [column.eq(0), x.eq(0), row.eq(row + 1), y.eq(y + height)]
            with m.If(self.closing):
                m.d.sync += [
                    row.eq(0),
                    y.eq(0),
                    self.channel.eq(self.channel + 1),
                    self.weight_address.eq(self.weight_address + self.group_steps),
                    in_group.eq(in_group + 1),
                    self.left.eq(self.channel != layer.channels - 1),
                ]
            with m.If(self.leaving_group):
                m.d.sync += [in_group.eq(0), self.group.eq(self.group + 1)]
        with m.If(self.start):
            m.d.sync += [
                self.left.eq(1),
                self.channel.eq(0),
                self.group.eq(0),
                self.weight_address.eq(layer.weight_address),
                in_group.eq(0),
            ]
            m.d.sync += [column.eq(0), row.eq(0), x.eq(0), y.eq(0)]
        return m
