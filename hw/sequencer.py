"""The sequencer: runs a whole program, image after image, without the host."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from penstock.config import Config
from penstock.hw.layouts import record_layout
from penstock.program import DESCRIPTOR


class Sequencer(wiring.Component):
    """Starts each layer when its descriptor, weights and input are there, and what can be loaded
    meanwhile.

    While layer k runs, layer k+1's descriptor and tables are fetched and, with streamed weights,
    its weights loaded; the next image is loaded from the first layer on that leaves its place
    free. A layer starts 3 cycles after the one before is done. ``run_done`` comes when the last
    output is in memory. ``layer`` counts from 0; ``image`` is the number of images finished.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(
            {
                "run": In(1),
                "run_done": Out(1),
                "layers": In(16),
                "program": In(32),  # byte addresses
                "input": In(32),
                "input_stride": In(32),
                "output": In(32),
                "output_stride": In(32),
                "images": In(32),
                "layer": Out(16),
                "image": Out(32),
                "fetch": Out(1),
                "fetch_index": Out(16),
                "next": In(record_layout(DESCRIPTOR)),
                "described": In(1),
                "ready": In(1),
                "swap": Out(1),
                "engine_done": In(1),
                "input_start": Out(1),
                "input_address": Out(32),
                "input_busy": In(1),
                "weight_start": Out(1),
                "weight_address": Out(32),
                "weight_busy": In(1),
                "output_start": Out(1),
                "output_address": Out(32),
                "output_busy": In(1),
                # Why no step can come from this side; `drain` also while the engine runs.
                "stall": Out(
                    data.StructLayout({"drain": 1, "weights": 1, "input": 1, "output": 1})
                ),
            }
        )

    def elaborate(self, platform):
        m = Module()
        streamed = self.cfg.weights == "streamed"
        following = Signal(16)  # the layer that `next` describes
        last_image, last_layer = Signal(), Signal()
        images_left = Signal.like(self.images)  # this one included
        last_follows, final_layer = Signal(), Signal.like(self.layers)
        input_loaded = Signal()  # or on its way: the image of the next layer 0
        fetching = Signal()  # a fetch has been asked for: `described` is of the next layer soon
        weights_loaded = Signal()  # or on their way
        weights_ready, input_ready, output_ready = Signal(), Signal(), Signal()
        resident = Const(int(not streamed), 1)
        m.d.comb += [
            self.fetch_index.eq(following),
            self.weight_address.eq(self.program + Cat(Const(0, 3), self.next.weight_offset)),
            weights_ready.eq(resident | (weights_loaded & ~self.weight_start & ~self.weight_busy)),
            input_ready.eq(
                (following != 0) | (input_loaded & ~self.input_start & ~self.input_busy)
            ),
            output_ready.eq(~self.next.raw | ~self.output_busy),
        ]

        # A layer is fetched long before it follows.
        m.d.sync += [final_layer.eq(self.layers - 1), last_follows.eq(following == final_layer)]

        def load_input():
            return [self.input_start.eq(1), input_loaded.eq(1)]

        with m.If(self.input_start):
            m.d.sync += [
                self.input_start.eq(0),
                self.input_address.eq(self.input_address + self.input_stride),
            ]
        with m.If(self.output_start):
            m.d.sync += [
                self.output_start.eq(0),
                self.output_address.eq(self.output_address + self.output_stride),
            ]
        m.d.sync += [self.fetch.eq(0), self.weight_start.eq(0), fetching.eq(self.fetch)]
        if streamed:
            described = self.described & ~self.fetch & ~fetching
            with m.If(described & ~weights_loaded & ~self.weight_busy):
                m.d.sync += [self.weight_start.eq(1), weights_loaded.eq(1)]

        with m.FSM(init="idle"):
            with m.State("idle"), m.If(self.run):
                m.d.sync += [
                    self.image.eq(0),
                    images_left.eq(self.images),
                    last_image.eq(self.images == 1),
                    self.input_address.eq(self.input),
                    self.output_address.eq(self.output),
                    following.eq(0),
                    self.fetch.eq(1),
                    weights_loaded.eq(0),
                    *load_input(),
                ]
                m.next = "prepare"
            with m.State("prepare"):
                waiting = ~self.fetch & ~fetching & self.ready
                with m.If(~weights_ready):
                    m.d.comb += self.stall.weights.eq(1)
                with m.Elif(~input_ready):
                    m.d.comb += self.stall.input.eq(1)
                with m.Elif(waiting & ~output_ready):
                    m.d.comb += self.stall.output.eq(1)
                with m.Else():
                    m.d.comb += self.stall.drain.eq(1)
                with m.If(waiting & weights_ready & input_ready & output_ready):
                    m.d.comb += self.swap.eq(1)
                    m.d.sync += [self.layer.eq(following), last_layer.eq(last_follows)]
                    m.d.sync += self.output_start.eq(self.next.raw)
                    with m.If(following == 0):
                        m.d.sync += input_loaded.eq(0)
                    with m.If(self.next.load_input & ~last_image):
                        m.d.sync += load_input()
                    m.next = "ahead"
            with m.State("ahead"):  # the layer runs; get the next one ready
                m.d.comb += self.stall.drain.eq(1)
                m.d.sync += following.eq(following + 1)
                with m.If(last_layer):
                    m.d.sync += following.eq(0)
                with m.If(~last_layer | ~last_image):
                    m.d.sync += self.fetch.eq(1)
                    # The weights of a program of one layer are there already.
                    m.d.sync += weights_loaded.eq(self.layers == 1)
                m.next = "run"
            with m.State("run"):
                m.d.comb += self.stall.drain.eq(1)
                with m.If(self.engine_done):
                    m.next = "prepare"
                    with m.If(last_layer):
                        m.d.sync += [
                            self.image.eq(self.image + 1),
                            images_left.eq(images_left - 1),
                            last_image.eq(images_left == 2),
                        ]
                        with m.If(last_image):
                            m.next = "flush"
                        with m.Elif(~input_loaded):
                            m.d.sync += load_input()
            with m.State("flush"):
                m.d.comb += self.stall.output.eq(1)
                with m.If(~self.output_busy & ~self.output_start):
                    m.d.comb += self.run_done.eq(1)
                    m.next = "idle"
        return m
