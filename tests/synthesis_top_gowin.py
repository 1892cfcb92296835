"""A top on a GW1NR-9 that is placed and routed in seconds, with parts named as a core's."""

from amaranth.hdl import ClockDomain, ClockSignal, Elaboratable, Module
from amaranth.lib import io
from amaranth.lib.fifo import SyncFIFO
from synthesis_top_ice40 import SmallDatapath

from penstock.boards.description import BoardDescription
from penstock.boards.devices import GW1NR_9
from penstock.boards.tang_nano_9k import CRYSTAL_HZ, TangNano9kPins
from penstock.boards.uart import UartReceiver, UartTransmitter
from penstock.config import Config, preset


class SmallMemory(Elaboratable):
    """Bytes that wait; the name of the FIFO is that of a memory controller's."""

    def __init__(self):
        self.beats = SyncFIFO(width=8, depth=16)

    def elaborate(self, platform):
        m = Module()
        m.submodules.beats = self.beats
        return m


class SmallGowin(Elaboratable):
    """A serial line whose bytes go through the datapath and a FIFO."""

    def __init__(self, config: Config, clock_hz: int):
        self.config = config

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = ClockDomain(reset_less=True)
        m.submodules.clk = clk = io.Buffer("i", platform.request("clk27", dir="-"))
        m.submodules.core = core = Module()
        core.submodules.datapath = datapath = SmallDatapath(self.config.target)
        m.submodules.psram = memory = SmallMemory()
        m.submodules.receiver = receiver = UartReceiver(24)
        m.submodules.transmitter = transmitter = UartTransmitter(24)
        serial = platform.request("uart", dir="-")
        m.submodules.rx = rx = io.Buffer("i", serial.rx)
        m.submodules.tx = tx = io.Buffer("o", serial.tx)
        m.d.comb += [
            ClockSignal().eq(clk.i),
            receiver.rx.eq(rx.i),
            tx.o.eq(transmitter.tx),
        ]
        with m.If(receiver.o.valid):
            m.d.sync += datapath.i.eq(receiver.o.payload)
        m.d.comb += [
            receiver.o.ready.eq(1),
            memory.beats.w_data.eq(datapath.o),
            memory.beats.w_en.eq(datapath.o[0]),
            memory.beats.r_en.eq(transmitter.i.ready),
            transmitter.i.payload.eq(memory.beats.r_data),
            transmitter.i.valid.eq(memory.beats.r_rdy),
        ]
        return m


BOARD = BoardDescription(
    name="small-gowin",
    device=GW1NR_9,
    platform=TangNano9kPins,
    config=preset("icebreaker"),
    clock_hz=CRYSTAL_HZ,
    top=SmallGowin,
    loader="tangnano9k",
)
