"""The engine: runs one layer after another from the buffers on chip."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from penstock.config import MEMORY_BITS, Config
from penstock.hw.array import ChannelGatingArray, sum_latency
from penstock.hw.buffers import WINDOW_LATENCY, ActivationBuffers, residual_latency
from penstock.hw.dispatcher import Dispatcher
from penstock.hw.gate import LATENCY as GATE_LATENCY
from penstock.hw.gate import GateComparator
from penstock.hw.in_flight import READ_LATENCY, InFlight
from penstock.hw.layer_fetch import GroupTable, LayerFetch
from penstock.hw.layouts import (
    CHANNEL_BITS,
    bank_pointer_layout,
    bank_word_layout,
    pixel_layout,
    ram_write_signature,
    record_layout,
)
from penstock.hw.output_writer import raw_result_layout
from penstock.hw.pipeline import delay, own_register, select, spread
from penstock.hw.pointers import LATENCY as POINTER_LATENCY
from penstock.hw.pointers import ResultPointers
from penstock.hw.pool import GlobalAveragePool
from penstock.hw.ram import LATENCY as RAM_LATENCY
from penstock.hw.ram import Ram
from penstock.hw.requantizer import LATENCY as REQUANTIZER_LATENCY
from penstock.hw.requantizer import RESIDUAL_DELAY, Requantizer
from penstock.hw.task_queue import TaskQueue
from penstock.hw.weight_memory import LATENCY as WEIGHT_LATENCY
from penstock.hw.weight_memory import WeightMemory
from penstock.hw.window import ADDRESS_LATENCY, ALIGNMENT_WAY, WindowAddress, WindowAlign
from penstock.hw.write_queue import DECISION_LATENCY, WriteQueue
from penstock.program import DESCRIPTOR, PARAMETER

WINDOW_STAGE = ADDRESS_LATENCY + WINDOW_LATENCY + 2
"""Cycles from a step to its operands and weights."""

JUDGE_STAGE = GATE_LATENCY
"""Cycles from a group's parameters to its verdict."""

POINTER_STAGE = POINTER_LATENCY - RAM_LATENCY - 1
"""Cycles from a group's parameters to its pointers."""

RESIDUAL_STAGE = POINTER_STAGE + DECISION_LATENCY
"""Cycles from a group's parameters to its residual pointers at the buffers."""


def result_stage(cfg: Config) -> int:
    """Cycles from a group's parameters to its requantization: then the residual comes in time."""
    return RESIDUAL_STAGE + residual_latency(cfg) + 1 - RESIDUAL_DELAY


def engine_events_layout(cfg: Config) -> data.StructLayout:
    """What happens in one cycle, for the performance counters; a cycle later, what was judged."""
    return data.StructLayout(
        {
            "base_step": 1,
            "conditional_step": 1,
            "outputs": range(cfg.rows + 1),
            "tasks": range(cfg.rows + 1),
            "stall": data.StructLayout({"queue": 1, "write": 1, "pool": 1}),
        }
    )


def result_pixels_layout(cfg: Config) -> data.StructLayout:
    """Output channel and pixels of a group of results."""
    pixels = data.ArrayLayout(pixel_layout(), cfg.rows)
    return data.StructLayout({"channel": CHANNEL_BITS, "pixels": pixels})


def _parameters_from(cfg: Config) -> int:
    """First bit of a parameter record that is kept: without gating, that behind the threshold."""
    return 0 if cfg.gating else PARAMETER.words[0][0].bits


def _item_layout(cfg: Config) -> data.StructLayout:
    """What goes with a group through requantization."""
    return data.StructLayout(
        {
            "valid": 1,
            "final": cfg.rows,  # rows with a result
            "channel": CHANNEL_BITS,
            "last": 1,  # last output channel
            "pointers": data.ArrayLayout(bank_pointer_layout(), cfg.rows),
            "lane": 4,
            "pooled": 1,
        }
    )


class Engine(wiring.Component):
    """Computes layers: windows from one activation buffer, results into a buffer or to ``word``.

    ``fetch`` reads layer ``fetch_index`` into ``next`` while another one runs; when ``ready``,
    ``swap`` makes it the running layer, which begins at once. ``done`` is high when no layer runs
    and every result is written. At most one step (rows x lanes multiplications) a cycle; the
    pipeline behind the dispatcher never stalls, about 50 cycles from a step to its write.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(
            {
                "program_write": In(ram_write_signature(16, MEMORY_BITS)),
                "parameter_write": In(ram_write_signature(16, 2 * MEMORY_BITS)),
                "weight_write": In(ram_write_signature(16, 8 * cfg.lanes)),
                "load": In(stream.Signature(bank_word_layout(cfg))),
                "word": Out(stream.Signature(raw_result_layout())),
                "gating": In(1),
                "fetch": In(1),
                "fetch_index": In(16),
                "next": Out(record_layout(DESCRIPTOR)),
                "described": Out(1),
                "ready": Out(1),
                "swap": In(1),
                "done": Out(1),
                "events": Out(engine_events_layout(cfg)),
            }
        )
        self.layer = Signal(record_layout(DESCRIPTOR), reset_less=True)
        self.half = Signal()
        self.buffers = ActivationBuffers(cfg)
        self.pool = GlobalAveragePool(cfg)
        self.dispatcher = Dispatcher(cfg)
        self.result_pixels = Signal(result_pixels_layout(cfg))
        """Pixels and channel of the group that enters requantization, for benches."""

    def elaborate(self, platform):
        cfg = self.cfg
        m = Module()
        m.submodules.dispatcher = self.dispatcher
        m.submodules.buffers = self.buffers
        m.submodules.pool = self.pool
        m.submodules.write_queue = self.write_queue = WriteQueue(cfg)
        if cfg.gating:
            m.submodules.tasks = self.tasks = TaskQueue(cfg)
        m.submodules.weights = self.weights = WeightMemory(cfg)
        m.submodules.parameters = self.parameters = Ram(
            width=2 * MEMORY_BITS - _parameters_from(cfg), depth=cfg.channels, target=cfg.target
        )
        self._layers(m)
        sums, tag, group_done = self._array(m)
        self._results(m, sums, tag, group_done)
        return m

    def _layers(self, m: Module):
        """The running layer, the next one, and when the running one is done."""
        cfg = self.cfg
        m.submodules.program = program = Ram(
            width=MEMORY_BITS, depth=cfg.program_words, target=cfg.target
        )
        m.submodules.fetch = fetch = LayerFetch()
        m.submodules.groups = groups = GroupTable(cfg)
        self.table_write = fetch.write
        dispatcher = self.dispatcher
        # A cycle late: hundreds of registers are loaded then.
        self.swapping = swapping = delay(m, self.swap, 1, name="swapping", control=True)
        started = delay(m, swapping, 1, name="started", control=True)
        m.d.comb += [
            program.write_enable.eq(self.program_write.enable),
            program.write_address.eq(self.program_write.address),
            program.write_data.eq(self.program_write.data),
            program.read_address.eq(fetch.address),
            fetch.data.eq(program.read_data),
            fetch.fetch.eq(self.fetch),
            fetch.index.eq(self.fetch_index),
            self.next.eq(fetch.layer),
            self.described.eq(fetch.described),
            self.ready.eq(fetch.ready),
            groups.write.eq(fetch.write),
            groups.half.eq(self.half),
            groups.address.eq(dispatcher.group_address),
            dispatcher.group_entry.eq(groups.entry),
            dispatcher.layer.eq(self.layer),
            dispatcher.gating.eq(self.gating),
            dispatcher.start.eq(started),
            self.events.stall.eq(dispatcher.stall),
        ]
        with m.If(swapping):
            m.d.sync += [self.layer.eq(fetch.layer), self.half.eq(~self.half)]
        # Between two layers no result is on its way.
        self.result_layer = delay(m, self.layer, 1, name="result_layer")
        running, begun = Signal(), Signal()
        with m.If(swapping):
            m.d.sync += [running.eq(1), begun.eq(0)]
        with m.Elif(started):
            m.d.sync += begun.eq(1)
        with m.Elif(begun & dispatcher.idle & dispatcher.all_returned):
            m.d.sync += running.eq(0)
        m.d.comb += self.done.eq(~running)

    def _array(self, m: Module):
        """From steps to the sums of each group, together with its tag."""
        cfg, layer, buffers = self.cfg, self.layer, self.buffers
        step, tag = self.dispatcher.step, self.dispatcher.tag
        m.submodules.window_address = window = WindowAddress(cfg)
        m.submodules.window_align = align = WindowAlign(cfg)
        m.submodules.array = array = ChannelGatingArray(cfg)
        m.submodules.in_flight = in_flight = InFlight(cfg)
        m.d.comb += [
            window.layer.eq(layer),
            window.table_write.eq(self.table_write),
            window.half.eq(self.half),
            window.step.eq(step),
            buffers.input_buffer.eq(layer.input_buffer),
            buffers.address.eq(window.address),
            align.words.eq(buffers.words),
            align.alignment.eq(
                delay(m, window.alignment, WINDOW_LATENCY - ALIGNMENT_WAY, name="alignment")
            ),
            align.signed.eq(layer.input_signed),
            array.operands.eq(align.operands),
            self.weights.read_address.eq(
                delay(m, step.weight_address, WINDOW_STAGE - WEIGHT_LATENCY, name="weight_address")
            ),
            in_flight.push.eq(step.valid & step.first),
            in_flight.tag.eq(tag),
            self.events.base_step.eq(step.valid & ~step.conditional),
            self.events.conditional_step.eq(step.valid & step.conditional),
        ]
        for row in range(cfg.rows):
            pixel = tag.work.tasks[row].pixel
            m.d.comb += [window.y[row].eq(pixel.y), window.x[row].eq(pixel.x)]
        wiring.connect(m, wiring.flipped(self.weight_write), self.weights.write)
        for lane in range(cfg.lanes):
            weight = self.weights.word[8 * lane :][: cfg.weight_bits]
            m.d.comb += array.weights[lane].eq(weight.as_signed())

        summed = WINDOW_STAGE + sum_latency(cfg)
        first = Signal()
        last = Signal()
        m.d.comb += [first.eq(step.valid & step.first), last.eq(step.valid & step.last)]
        pull = delay(m, first, summed - READ_LATENCY, name="pull", control=True)
        m.d.comb += [
            in_flight.pull.eq(pull),
            Cat(array.first).eq(Cat(spread(m, pull, cfg.rows, cycles=READ_LATENCY, name="first"))),
            array.conditional.eq(in_flight.head.conditional),
        ]
        for row in range(cfg.rows):
            m.d.comb += array.stored[row].eq(in_flight.head.work.tasks[row].partial_sum)
        group_done = delay(m, last, summed + 1, name="last", control=True)
        return array.sums, in_flight.head, group_done

    def _results(self, m: Module, sums, head, group_done):
        """From the sums of a group to the gate, the task queue, and the requantized results.

        ``head`` is the group's tag a cycle before its sums.
        """
        cfg, layer = self.cfg, self.result_layer
        if cfg.gating:
            m.submodules.gate = gate = GateComparator(cfg)
        m.submodules.pointers = pointers = ResultPointers(cfg)
        write = self.parameter_write
        m.d.comb += [
            self.parameters.write_enable.eq(delay(m, write.enable, 1, name="write", control=True)),
            self.parameters.write_address.eq(delay(m, write.address, 1, name="write_address")),
            self.parameters.write_data.eq(
                delay(m, write.data[_parameters_from(cfg) :], 1, name="write_data")
            ),
            pointers.table_write.eq(self.table_write),
            pointers.half.eq(self.half),
        ]
        parameter_address = Signal(16)
        m.d.comb += parameter_address.eq(layer.parameter_base + head.work.channel)
        m.d.comb += self.parameters.read_address.eq(parameter_address)
        m.d.comb += pointers.parameter.eq(
            Cat(Const(0, _parameters_from(cfg)), self.parameters.read_data)
        )
        for row in range(cfg.rows):
            pixel = head.work.tasks[row].pixel
            m.d.comb += [pointers.y[row].eq(pixel.y), pointers.x[row].eq(pixel.x)]
        parameter = delay(m, pointers.parameter, 1, name="parameter")
        tag = delay(m, head, 1, name="head")

        # With the parameters: the gate.
        sums = delay(m, sums, RAM_LATENCY, name="sums")
        tag = delay(m, tag, RAM_LATENCY, name="tag")
        valid = delay(m, group_done, RAM_LATENCY, name="valid", control=True)
        if cfg.gating:
            m.d.comb += gate.partial_sums.eq(sums)
            thresholds = spread(
                m, pointers.parameter.threshold, cfg.rows, cycles=1, name="threshold"
            )
            for row, (threshold, task) in enumerate(zip(thresholds, tag.work.tasks, strict=True)):
                m.d.comb += gate.thresholds[row].eq(threshold)
                m.d.comb += gate.asked[row].eq(valid & tag.judged & task.pixel.valid)

        # With the verdict: tasks to the queue, the others are final.
        sums = delay(m, sums, JUDGE_STAGE, name="judged_sums")
        tag = delay(m, tag, JUDGE_STAGE, name="judged_tag")
        valid = delay(m, valid, JUDGE_STAGE, name="judged_valid", control=True)
        inside = Signal(cfg.rows)
        for row in range(cfg.rows):
            m.d.comb += inside[row].eq(tag.work.tasks[row].pixel.valid)
        final = inside
        if cfg.gating:
            final = self._judge(m, gate.keep, sums, tag, valid, inside)
        self._requantize(m, sums, tag, valid, final, parameter, pointers)

    def _judge(self, m: Module, keep, sums, tag, valid, inside):
        """Queue the rows to ``keep`` as tasks; returns the others, which are final."""
        cfg, tasks = self.cfg, self.tasks
        final = Signal(cfg.rows)
        verdict = tasks.i
        m.d.comb += [
            final.eq(inside & ~keep),
            verdict.valid.eq(valid & tag.judged),
            verdict.payload.keep.eq(keep),
            verdict.payload.closing.eq(tag.closing),
            verdict.payload.work.eq(tag.work),
            self.dispatcher.judged.eq(tasks.judged),
            self.dispatcher.pushed.eq(tasks.pushed),
        ]
        m.d.sync += [
            self.events.outputs.eq(Mux(verdict.valid, sum(inside), 0)),
            self.events.tasks.eq(Mux(verdict.valid, sum(keep), 0)),
        ]
        for row in range(cfg.rows):
            m.d.comb += verdict.payload.work.tasks[row].partial_sum.eq(sums[row])
        wiring.connect(m, tasks.o, self.dispatcher.tasks)
        return final

    def _requantize(self, m: Module, sums, tag, valid, final, parameter, pointers):
        cfg, layer, pool = self.cfg, self.result_layer, self.pool
        m.submodules.requantizer = requantizer = Requantizer(cfg)
        stage = result_stage(cfg)
        wait = stage - JUDGE_STAGE
        # A pooled sum takes the place of a group where none comes; decided a cycle before.
        early = delay(m, parameter, stage - 1, name="parameter")
        comes = delay(m, valid, wait - 2, name="result_valid", control=True)
        taken = delay(m, comes, 1, name="result_taken", control=True)
        pooling = Signal()
        m.d.comb += [
            pool.o.ready.eq(own_register(m, ~comes, name="pool_ready")),  # ~taken, near the pool
            pooling.eq(pool.o.valid & ~taken),
        ]
        normal, pooled = (
            delay(m, value, 1, name=name, control=True)
            for name, value in (("normal", taken), ("pooled", pooling))
        )
        unbiased = own_register(m, pooling, name="unbiased")
        multipliers = spread(
            m,
            Mux(pooling, layer.pool_multiplier, early.multiplier),
            cfg.rows,
            cycles=1,
            name="multiplier",
        )
        for row, multiplier in enumerate(multipliers):
            m.d.comb += requantizer.multipliers[row].eq(multiplier)
        mean = delay(m, pool.o.payload, 1, name="mean")
        lane = delay(m, early.output_lane, 1, name="output_lane")
        item = Signal(_item_layout(cfg))
        channel = delay(m, tag.work.channel, wait, name="result_channel")
        result_sums = delay(m, sums, wait, name="result_sums")
        scale = requantizer.layer_scale, requantizer.pool_scale
        m.d.comb += [
            item.final.eq(delay(m, final, wait, name="final")),
            item.channel.eq(channel),
            item.last.eq(channel == layer.channels - 1),
            item.pointers.eq(
                delay(m, pointers.output, stage - POINTER_STAGE, name="output_pointer")
            ),
            item.lane.eq(lane),
            requantizer.sums.eq(result_sums),
            requantizer.bias.eq(Mux(unbiased, 0, delay(m, early.bias, 1, name="bias"))),
            requantizer.pooled.eq(pooled),
            requantizer.residual_multiplier.eq(layer.residual_multiplier),
            requantizer.relu_before_add.eq(layer.relu_before_add),
            requantizer.raw.eq(layer.raw),
            scale[0].shift.eq(layer.shift),
            scale[0].low.eq(layer.low),
            scale[0].high.eq(layer.high),
            scale[1].shift.eq(layer.pool_shift),
            scale[1].low.eq(layer.pool_low),
            scale[1].high.eq(layer.pool_high),
            item.pooled.eq(pooled),
            item.valid.eq(normal | pooled),
        ]
        with m.If(pooled):
            m.d.comb += [
                item.final.eq(1),
                item.pointers[0].eq(mean.pointer),
                item.lane.eq(mean.lane),
                requantizer.sums[0].eq(mean.sum),
            ]
        self._residual(m, valid, parameter, pointers.residual, requantizer)
        self._write(m, item, requantizer)
        m.d.comb += self.result_pixels.channel.eq(channel)
        for row in range(cfg.rows):
            pixel = tag.work.tasks[row].pixel
            m.d.comb += self.result_pixels.pixels[row].eq(
                delay(m, pixel, wait, name=f"result_pixel_{row}")
            )

    def _residual(self, m: Module, valid, parameter, pointer, requantizer):
        """Read each row's residual from the buffer that the windows do not come from."""
        cfg, layer, buffers = self.cfg, self.result_layer, self.buffers
        reading = delay(m, valid, POINTER_STAGE - JUDGE_STAGE, name="reading")
        m.d.comb += [
            buffers.residual.eq(delay(m, pointer, DECISION_LATENCY, name="residual_pointer")),
            self.write_queue.residual.eq(pointer),
            self.write_queue.residual_buffer.eq(~layer.input_buffer),
            self.write_queue.residual_reading.eq(reading & layer.residual),
        ]
        # Words come from one row after the other, and so do their lane and whether they count.
        stage = RESIDUAL_STAGE + residual_latency(cfg) - (cfg.rows - 1)
        lane = delay(m, parameter.residual_lane, stage, name="residual_lane")
        present = parameter.residual_valid & layer.residual
        present = delay(m, present, stage, name="residual_valid")
        for row in range(cfg.rows):
            word = buffers.residual_word[row]
            row_lane = delay(m, lane, row, name=f"residual_lane_{row}")
            value = select([word[8 * k :][:8] for k in range(cfg.word)], row_lane)
            row_present = delay(m, present, row, name=f"residual_valid_{row}")
            sign = value[7] & layer.residual_signed
            residual = Signal(signed(9), name=f"residual_{row}", reset_less=True)
            m.d.sync += residual.eq(Mux(row_present, Cat(value, sign), 0).as_signed())
            later = delay(m, residual, cfg.rows - 1 - row, name=f"residual_{row}")
            m.d.comb += requantizer.residual[row].eq(later)

    def _write(self, m: Module, item, requantizer):
        """Requantized results: to the pooling of a fused layer, else to the write queue."""
        cfg, layer, pool, queue = self.cfg, self.result_layer, self.pool, self.write_queue
        for_pool = item.valid & layer.pool & ~item.pooled
        into_pool, into_queue = (
            delay(m, value, REQUANTIZER_LATENCY, name=name, control=True)
            for name, value in (("for_pool", for_pool), ("for_queue", item.valid & ~for_pool))
        )
        item = delay(m, item, REQUANTIZER_LATENCY, name="item")
        m.d.comb += [
            pool.pixels.eq(layer.pool_pixels),
            pool.signed.eq(layer.low[-1]),
            pool.restart.eq(self.swapping),
            pool.i.valid.eq(into_pool),
            pool.i.payload.values.eq(requantizer.values),
            pool.i.payload.valid.eq(item.final),
            pool.i.payload.channel.eq(item.channel),
            pool.i.payload.pointer.eq(item.pointers[0]),
            pool.i.payload.lane.eq(item.lane),
            queue.i.valid.eq(into_queue),
            queue.i.payload.lane.eq(item.lane),
            queue.i.payload.buffer.eq(layer.output_buffer),
            queue.i.payload.raw.eq(layer.raw),
            queue.i.payload.last.eq(item.last),
            queue.i.payload.word.eq(requantizer.word),
            queue.i.payload.pooled.eq(item.pooled),
            self.buffers.write.eq(queue.write),
            self.dispatcher.written.eq(queue.written | into_pool),
            self.dispatcher.pooled.eq(queue.pooled),
        ]
        for row in range(cfg.rows):
            result = queue.i.payload.rows[row]
            m.d.comb += [
                result.valid.eq(item.final[row]),
                result.pointer.eq(item.pointers[row]),
                result.value.eq(requantizer.values[row]),
            ]
        wiring.connect(m, queue.word, wiring.flipped(self.word))
        wiring.connect(m, wiring.flipped(self.load), queue.load)
