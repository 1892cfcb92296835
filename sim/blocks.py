"""Several blocks of the hardware side by side in one simulator, so that benches share its build."""

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from penstock.config import Config
from penstock.hw.array import ChannelGatingArray
from penstock.hw.buffers import WINDOW_LATENCY, ActivationBuffers, write_layout
from penstock.hw.gate import GateComparator
from penstock.hw.layer_fetch import table_write_layout
from penstock.hw.layouts import PIXEL_BITS, bank_pointer_layout, record_layout, step_layout
from penstock.hw.pipeline import delay
from penstock.hw.pool import GlobalAveragePool
from penstock.hw.requantizer import Requantizer
from penstock.hw.task_queue import TaskQueue
from penstock.hw.window import ALIGNMENT_WAY, WindowAddress, WindowAlign
from penstock.hw.write_queue import WriteQueue
from penstock.program import DESCRIPTOR


class Blocks(wiring.Component):
    """Each block's ports, behind its name: ``gate__partial_sums``; ``more`` are further ports."""

    def __init__(self, cfg: Config, **more: wiring.Member):
        self.cfg = cfg
        self.blocks = self.make(cfg)
        ports = {name: Out(block.signature) for name, block in self.blocks.items()}
        super().__init__({**ports, **more})

    def make(self, cfg: Config) -> dict[str, wiring.Component]:
        """The blocks by name."""
        return {
            "gate": GateComparator(cfg),
            "tasks": TaskQueue(cfg),
            "requantizer": Requantizer(cfg),
            "writes": WriteQueue(cfg),
            "array": ChannelGatingArray(cfg),
            "pool": GlobalAveragePool(cfg),
            "window": WindowPath(cfg),
        }

    def elaborate(self, platform):
        m = Module()
        for name, block in self.blocks.items():
            m.submodules[name] = block
            self.connect(m, name, block)
        return m

    def connect(self, m: Module, name: str, block: wiring.Component):
        """Connect a block to the ports behind its name."""
        wiring.connect(m, wiring.flipped(getattr(self, name)), block)


class WindowPath(wiring.Component):
    """From pixels and a step's channel word to the operands of each array row, buffers included.

    ``operands[row][lane]`` is tap ``lane // w``, channel ``lane % w`` of the window of pixel
    (y[row], x[row]). One step a cycle, latency ADDRESS_LATENCY + WINDOW_LATENCY + 2.
    ``residual_word`` comes `residual_latency` after ``residual``, in all rows.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        self.window = WindowAddress(cfg)
        self.buffers = ActivationBuffers(cfg)
        self.align = WindowAlign(cfg)
        super().__init__(
            {
                "layer": In(record_layout(DESCRIPTOR)),
                "table_write": In(table_write_layout()),
                "half": In(1),
                "step": In(step_layout()),
                "y": In(data.ArrayLayout(PIXEL_BITS, cfg.rows)),
                "x": In(data.ArrayLayout(PIXEL_BITS, cfg.rows)),
                "write": In(write_layout(cfg)),
                "residual": In(data.ArrayLayout(bank_pointer_layout(), cfg.rows)),
                "residual_word": Out(data.ArrayLayout(8 * cfg.word, cfg.rows)),
                "operands": Out(self.align.signature.members["operands"].shape),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.window = window = self.window
        m.submodules.buffers = buffers = self.buffers
        m.submodules.align = align = self.align
        m.d.comb += [
            window.layer.eq(self.layer),
            window.table_write.eq(self.table_write),
            window.half.eq(self.half),
            window.step.eq(self.step),
            window.y.eq(self.y),
            window.x.eq(self.x),
            buffers.input_buffer.eq(self.layer.input_buffer),
            buffers.address.eq(window.address),
            buffers.residual.eq(self.residual),
            buffers.write.eq(self.write),
            align.words.eq(buffers.words),
            align.alignment.eq(
                delay(m, window.alignment, WINDOW_LATENCY - ALIGNMENT_WAY, name="alignment")
            ),
            align.signed.eq(self.layer.input_signed),
            self.operands.eq(align.operands),
        ]
        rows = len(buffers.residual_word)
        for row, word in enumerate(buffers.residual_word):
            later = delay(m, word, rows - 1 - row, name=f"residual_word_{row}")
            m.d.comb += self.residual_word[row].eq(later)
        return m
