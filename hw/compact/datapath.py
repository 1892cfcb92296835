"""The pipeline of the compact engine, from a step to its result."""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from penstock.channel_stream import CHANNEL, LAYER, PLACE, STEP_WORDS, WINDOW
from penstock.config import TAPS, Config
from penstock.hw.compact.layouts import PIXEL_BITS, SUM_BITS, fields_layout
from penstock.hw.compact.loader import store_layout
from penstock.hw.compact.maps import ActivationMaps
from penstock.hw.compact.multiply import DualMultiplier, MultiplyAdder
from penstock.hw.compact.ram import BlockRam
from penstock.hw.compact.requantizer import Requantizer
from penstock.hw.compact.walk import ChannelWalk, flags_layout
from penstock.hw.compact.window import (
    CHANNEL_BITS,
    WindowAddress,
    WindowAlign,
    place,
    rotation_layout,
)
from penstock.hw.pipeline import delay

QUEUE = 256
"""Tasks: as many as a map has pixels, so that the base phase never waits."""

WEIGHT_LANES = {"ice40": 1}
"""Target -> words of a step's weights side by side in a memory; elsewhere its block RAM takes 2."""


class Datapath(wiring.Component):
    """One channel after the other: ``start`` begins it, ``busy`` falls when its last result is out.

    A step a cycle; nothing behind the walk ever waits. Stages: 0 the walk, 1 pixel, 2 window
    addresses, 3 operands, 4 products and their sum, 5 the sum of a group and its judgement, 6 sum
    of the requantization, 7 result. A result of a raw layer is offered by ``put`` instead and
    holds.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(
            {
                "layer": In(fields_layout(LAYER)),
                "channel": In(fields_layout(CHANNEL)),
                "store": In(store_layout()),
                "start": In(1),
                "half": In(1),
                "gating": In(1),
                "halt": In(1),
                "image_valid": In(1),
                "image_byte": In(8),
                "busy": Out(1),
                "step": Out(1),
                "judged": Out(1),
                "kept": Out(1),
                "put": Out(1),
                "result": Out(signed(32)),
            }
        )
        self.walk = ChannelWalk()
        self.maps = ActivationMaps()
        self.flags = [self.walk.flags] + [
            Signal(flags_layout(), name=f"flags_{stage}") for stage in range(1, 6)
        ]
        self.pixel = {stage: Signal(PIXEL_BITS, name=f"pixel_{stage}") for stage in range(1, 7)}
        self.sum = Signal(signed(SUM_BITS), reset_less=True)
        self.final = Signal(8)  # bit k: stage k holds a final sum

    def elaborate(self, platform):
        m = Module()
        m.submodules.walk = walk = self.walk
        m.submodules.maps = self.maps
        m.d.comb += [
            walk.layer.eq(self.layer),
            walk.start.eq(self.start),
            walk.halt.eq(self.halt),
            self.busy.eq(walk.busy),
            self.step.eq(walk.flags.valid),
        ]
        for before, after in zip(self.flags, self.flags[1:], strict=False):
            m.d.sync += after.eq(before)
        for stage in range(2, 7):
            m.d.sync += self.pixel[stage].eq(self.pixel[stage - 1])
        under_way = Cat(*(flags.valid for flags in self.flags[1:]), self.final[6:])
        m.d.comb += walk.drained.eq(~under_way.any())
        stored = self._queue(m)
        window, residual, place_entry = self._tables(m)
        rotation = self._address(m, window, residual)
        operands, weights = self._operands(m, rotation)
        self._accumulate(m, operands, weights, stored)
        self._finish(m, place_entry)
        return m

    def _queue(self, m: Module):
        """The task queue: pixels for stage 1, partial sums for stage 4."""
        flags, layer, walk = self.flags, self.layer, self.walk
        written, taken = Signal(PIXEL_BITS + 1), Signal(PIXEL_BITS)
        following = Signal(PIXEL_BITS)
        done, keep = Signal(), Signal()
        # The upper bits of a sum come with its pixel: they fill the width of a block RAM.
        m.submodules.task_pixels = pixels = BlockRam(width=16, depth=QUEUE)
        m.submodules.task_sums = sums = BlockRam(width=16, depth=QUEUE)
        base_pixel = Signal(PIXEL_BITS, reset_less=True)
        m.d.sync += base_pixel.eq(walk.pixel)
        m.d.comb += [
            walk.written.eq(written),
            pixels.read_address.eq(walk.task),
            self.pixel[1].eq(Mux(flags[1].conditional, pixels.read_data[:PIXEL_BITS], base_pixel)),
            following.eq(taken + (flags[4].valid & flags[4].first & flags[4].conditional)),
            sums.read_address.eq(following),
            done.eq(flags[5].valid & flags[5].last),
            self.judged.eq(done & layer.gated & ~flags[5].conditional & self.gating),
            keep.eq(
                done
                & layer.gated
                & ~flags[5].conditional
                & (~self.gating | (self.sum > self.channel.threshold))
            ),
            self.kept.eq(keep & self.gating),
            self.final[5].eq(done & ~keep),
        ]
        m.d.sync += self.final[6:].eq(self.final[5:7])
        upper = delay(m, pixels.read_data[PIXEL_BITS:], 3, name="upper_sum")
        entry = Cat(self.pixel[5], self.sum[16:])
        for ram, value in ((pixels, entry), (sums, self.sum)):
            m.d.comb += [
                ram.write_enable.eq(keep),
                ram.write_address.eq(written),
                ram.write_data.eq(value),
            ]
        m.d.sync += taken.eq(following)
        with m.If(keep):
            m.d.sync += written.eq(written + 1)
        with m.If(self.start):
            m.d.sync += [written.eq(0), taken.eq(0)]
        return Cat(sums.read_data, upper).as_signed()

    def _tables(self, m: Module):
        """WINDOW and the residual's PLACE of stage 2, the output's PLACE of stage 7."""
        entries = []
        for name, record, pixel in (
            ("window", WINDOW, self.pixel[1]),
            ("residual", PLACE, self.pixel[1]),
            ("place", PLACE, Mux(self.image_valid, self.store.entry, self.pixel[6])),
        ):
            layout = fields_layout(record)
            m.submodules[f"{name}_table"] = ram = BlockRam(width=layout.size, depth=QUEUE)
            m.d.comb += [
                ram.read_address.eq(pixel),
                ram.write_enable.eq(self.store.tables[name]),
                ram.write_address.eq(self.store.entry),
                ram.write_data.eq(self.store.word),
            ]
            entries.append(data.View(layout, ram.read_data))
        return entries

    def _address(self, m: Module, window, residual):
        """Stage 2: bank addresses of the window and of the residual; returns stage 3's rotation."""
        layer, channel, flags = self.layer, self.channel, self.flags[1]
        m.submodules.address = address = WindowAddress()
        current = Signal(CHANNEL_BITS, reset_less=True)
        step = Cat(~layer.pointwise & ~layer.pool, 0, 0, layer.pointwise)
        with m.If(flags.first):
            m.d.sync += current.eq(
                Mux(flags.conditional, channel.conditional_channel, channel.base_channel)
            )
        with m.Elif(current == layer.wrap):
            m.d.sync += current.eq(0)
        with m.Else():
            m.d.sync += current.eq(current + step)
        m.d.comb += [
            address.window.eq(window),
            address.channel.eq(current),
            address.pointwise.eq(layer.pointwise),
            address.cell_step.eq(layer.cell_step),
            address.row_step.eq(layer.row_step),
            address.row_phase.eq(layer.row_phase),
            self.maps.input_buffer.eq(layer.input_buffer),
            self.maps.address.eq(address.address),
        ]
        u, v, place_address = place(residual, channel.residual_channel)
        target = self.maps.residual
        m.d.comb += [target.u.eq(u), target.v.eq(v), target.address.eq(place_address)]
        rotation = Signal(rotation_layout(), reset_less=True)
        m.d.sync += rotation.eq(address.rotation)
        return rotation

    def _operands(self, m: Module, rotation):
        """Stage 3: the taps in order, and their weights."""
        flags = self.flags[1]
        m.submodules.align = align = WindowAlign()
        weight = Signal(7, reset_less=True)
        with m.If(flags.first):
            m.d.sync += weight.eq(Mux(flags.conditional, self.layer.base_steps + 1, 0))
        with m.Else():
            m.d.sync += weight.eq(weight + 1)
        words, side_by_side = [], WEIGHT_LANES.get(self.cfg.target, 2)
        for index in range(0, STEP_WORDS, side_by_side):
            enables = self.store.weights[index : index + side_by_side]
            m.submodules[f"weights_{index}"] = ram = BlockRam(
                width=16 * len(enables), depth=256, lanes=len(enables)
            )
            m.d.comb += [
                ram.read_address.eq(Cat(weight, self.half)),
                ram.write_enable.eq(enables),
                ram.write_address.eq(Cat(self.store.entry[:7], self.store.half)),
                ram.write_data.eq(self.store.word.replicate(len(enables))),
            ]
            words.append(ram.read_data)
        m.d.comb += [align.words.eq(self.maps.words), align.rotation.eq(rotation)]
        weights = Cat(words)
        return align.taps, [weights.word_select(tap, 8).as_signed() for tap in range(TAPS)]

    def _accumulate(self, m: Module, operands, weights, stored):
        """Stage 4: nine products, their sum, and the sum of the group."""
        flags, terms = self.flags[4], []
        for pair in range(TAPS // 2):
            m.submodules[f"pair_{pair}"] = dual = DualMultiplier(target=self.cfg.target)
            for k in range(2):
                m.d.comb += [
                    dual.left[k].eq(operands[2 * pair + k]),
                    dual.right[k].eq(weights[2 * pair + k]),
                ]
                terms.append(dual.o[k])
        while len(terms) > 1:
            terms = [terms[i] + terms[i + 1] for i in range(0, len(terms), 2)]
        m.submodules.ninth = ninth = MultiplyAdder(target=self.cfg.target)
        m.d.comb += [
            ninth.left.eq(operands[TAPS - 1]),
            ninth.right.eq(weights[TAPS - 1]),
            ninth.addend.eq(terms[0]),
        ]
        start = Mux(flags.conditional, stored, 0)
        before = Signal(signed(SUM_BITS))
        m.d.comb += before.eq(Mux(flags.first, start, self.sum))
        m.d.sync += self.sum.eq(before + ninth.o[:SUM_BITS].as_signed())

    def _finish(self, m: Module, place_entry):
        """Stages 4 to 7: the residual, requantization, and the write of the result."""
        layer, channel, store = self.layer, self.channel, self.store
        m.submodules.requantizer = requantizer = Requantizer(target=self.cfg.target)
        residual = Signal(signed(9), reset_less=True)
        word = self.maps.residual_word
        with m.If(channel.residual_valid):
            m.d.sync += residual.eq(Cat(word, word[7] & layer.residual_signed))
        with m.Else():
            m.d.sync += residual.eq(0)
        m.d.comb += [
            requantizer.sum.eq(self.sum),
            requantizer.valid.eq(self.final[6]),
            requantizer.residual.eq(residual),
            requantizer.relu_before_add.eq(layer.relu_before_add),
            requantizer.output_signed.eq(layer.output_signed),
            requantizer.shift.eq(layer.shift),
            requantizer.word.eq(store.word),
            requantizer.load.eq(Cat(store.channel[:3], store.layer[5:])),
            self.result.eq(requantizer.total),
            self.put.eq(self.final[7] & layer.raw & ~self.halt),
        ]
        image_valid = Signal()
        image_byte = Signal(8, reset_less=True)
        m.d.sync += [image_valid.eq(self.image_valid), image_byte.eq(self.image_byte)]
        write = self.maps.write
        u, v, address = place(place_entry, channel.channel)
        m.d.comb += [
            write.valid.eq((self.final[7] & ~layer.raw) | image_valid),
            write.buffer.eq(layer.output_buffer),
            write.place.u.eq(u),
            write.place.v.eq(v),
            write.place.address.eq(address),
            write.value.eq(Mux(image_valid, image_byte, requantizer.value)),
        ]
