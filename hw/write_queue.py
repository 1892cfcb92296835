"""The write queue: results wait here until their banks are free."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from penstock.config import BANKS, Config
from penstock.hw.buffers import write_layout
from penstock.hw.layouts import bank_pointer_layout, bank_word_layout, result_layout
from penstock.hw.output_writer import raw_result_layout


class WriteQueue(wiring.Component):
    """Writes each group of results into an activation buffer, or a classifier's word to memory.

    A group leaves in one cycle when its results lie in distinct banks; otherwise the first result
    of each bank goes first, the others one bank write a cycle later. A result waits while its word
    is read as a residual. Words of the next image (``load``) fill the banks that are free. ``i``
    takes no backpressure: each group needs a credit (see Dispatcher), given back by ``written``;
    ``word`` and ``load`` are ordinary streams.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(
            {
                "i": In(stream.Signature(result_layout(cfg), always_ready=True)),
                "load": In(stream.Signature(bank_word_layout(cfg))),
                "residual_buffer": In(1),
                "residual_reading": In(1),
                "residual": In(data.ArrayLayout(bank_pointer_layout(), cfg.rows)),
                "write": Out(write_layout(cfg)),
                "word": Out(stream.Signature(raw_result_layout())),
                "written": Out(1),
                "pooled": Out(1),  # a pooled mean has been written
            }
        )

    def elaborate(self, platform):
        cfg = self.cfg
        m = Module()
        layout = result_layout(cfg)
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=layout.size, depth=cfg.write_groups + 1)
        m.d.comb += [fifo.w_en.eq(self.i.valid), fifo.w_data.eq(self.i.payload)]
        head = Signal(layout)
        m.d.comb += head.eq(fifo.r_data)

        # Which of the head's results may be written now.
        done = Signal(cfg.rows)
        pending, granted = Signal(cfg.rows), Signal(cfg.rows)
        banks = []
        for row in range(cfg.rows):
            result = head.rows[row]
            bank = Cat(result.pointer.u, result.pointer.v)
            banks.append(bank)
            held = self._read_now(head, result.pointer)
            earlier = [pending[other] & (banks[other] == bank) for other in range(row)]
            m.d.comb += [
                pending[row].eq(fifo.r_rdy & ~head.raw & result.valid & ~done[row]),
                granted[row].eq(pending[row] & ~held & ~Cat(earlier).any()),
            ]
        leaving = Signal()
        m.d.comb += [
            self.word.valid.eq(fifo.r_rdy & head.raw & head.rows[0].valid),
            self.word.payload.data.eq(head.word),
            self.word.payload.last.eq(head.last),
            leaving.eq(
                fifo.r_rdy & ((pending & ~granted) == 0) & (~self.word.valid | self.word.ready)
            ),
            fifo.r_en.eq(leaving),
            self.written.eq(leaving & ~head.pooled),
            self.pooled.eq(leaving & head.pooled),
        ]
        m.d.sync += done.eq(Mux(leaving, 0, done | granted))
        self._bank_writes(m, head, granted)
        return m

    def _read_now(self, head, pointer):
        """Whether a residual is read from this word in the cycle of the write."""
        matches = [residual.as_value() == pointer.as_value() for residual in self.residual]
        return self.residual_reading & (head.buffer == self.residual_buffer) & Cat(matches).any()

    def _bank_writes(self, m: Module, head, granted):
        cfg = self.cfg
        mask = Signal(cfg.word)
        for lane in range(cfg.word):
            m.d.comb += mask[lane].eq(head.lane == lane)
        load = self.load.payload
        blocked = []
        m.d.comb += self.write.loaded.eq(load.data)
        for bank in range(BANKS):
            u, v = divmod(bank, 3)
            hits = [
                granted[row] & (head.rows[row].pointer.u == u) & (head.rows[row].pointer.v == v)
                for row in range(cfg.rows)
            ]
            hit = Signal(name=f"hit_{bank}")
            address, value = head.rows[0].pointer.address, head.rows[0].value
            for row in range(1, cfg.rows):
                address = Mux(hits[row], head.rows[row].pointer.address, address)
                value = Mux(hits[row], head.rows[row].value, value)
            here = Signal(name=f"here_{bank}")
            write = self.write.banks[bank]
            m.d.comb += [
                hit.eq(Cat(hits).any()),
                here.eq(self.load.valid & (load.u == u) & (load.v == v)),
                write.load.eq(~hit),
                write.address.eq(Mux(hit, address, load.address)),
                write.value.eq(value),
            ]
            blocked.append(hit & here)
            with m.If(hit):
                m.d.comb += write.masks[head.buffer].eq(mask)
            with m.Elif(here):
                m.d.comb += write.masks[load.buffer].eq(~0)
        m.d.comb += self.load.ready.eq(~Cat(blocked).any())
