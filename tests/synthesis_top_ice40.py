"""A top on an iCE40 that is placed and routed in seconds, with parts named as a core's."""

from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import io
from amaranth_boards.icebreaker import ICEBreakerPlatform

from penstock.boards.description import BoardDescription
from penstock.boards.devices import ICE40UP5K
from penstock.boards.ice40_pll import Ice40Clock, ice40_pll_settings
from penstock.boards.uart import UartReceiver, UartTransmitter
from penstock.config import Config, preset
from penstock.hw.compact.multiply import DualMultiplier
from penstock.hw.compact.ram import BlockRam


class SmallDatapath(Elaboratable):
    """Bytes become operands, which are multiplied, written to a memory, and read back."""

    def __init__(self, target: str):
        self.i, self.o = Signal(8), Signal(8)
        self.target = target

    def elaborate(self, platform):
        m = Module()
        m.submodules.pair_0 = pair = DualMultiplier(target=self.target)
        m.submodules.weights_0 = weights = BlockRam(width=16, depth=256)
        address = Signal(8)
        m.d.sync += address.eq(address + self.i)
        for index in range(2):
            operand = Signal(8, name=f"operand_{index}")
            m.d.sync += operand.eq((operand << 3) + self.i + index)
            m.d.comb += [pair.left[index].eq(operand), pair.right[index].eq(operand[::-1])]
        m.d.comb += [
            weights.write_enable.eq(1),
            weights.write_address.eq(~address),
            weights.write_data.eq(pair.o[0] + pair.o[1]),
            weights.read_address.eq(address),
        ]
        m.d.sync += self.o.eq(weights.read_data ^ (weights.read_data >> 8))
        return m


class SmallIce40(Elaboratable):
    """A serial line whose bytes go through the datapath."""

    def __init__(self, config: Config, clock_hz: int):
        self.config = config
        self.pll = ice40_pll_settings(12_000_000, clock_hz)

    def elaborate(self, platform):
        m = Module()
        pin = platform.request("clk12", dir="-").io
        m.submodules.clock = clock = Ice40Clock(self.pll, pin)
        m.domains += clock.sync
        m.submodules.core = core = Module()
        core.submodules.datapath = datapath = SmallDatapath(self.config.target)
        m.submodules.receiver = receiver = UartReceiver(24)
        m.submodules.transmitter = transmitter = UartTransmitter(24)
        serial = platform.request("uart", dir="-")
        m.submodules.rx = rx = io.Buffer("i", serial.rx)
        m.submodules.tx = tx = io.Buffer("o", serial.tx)
        m.d.comb += [receiver.rx.eq(rx.i), tx.o.eq(transmitter.tx)]
        with m.If(receiver.o.valid):
            m.d.sync += datapath.i.eq(receiver.o.payload)
        m.d.comb += [
            receiver.o.ready.eq(1),
            transmitter.i.payload.eq(datapath.o),
            transmitter.i.valid.eq(1),
        ]
        return m


BOARD = BoardDescription(
    name="small-ice40",
    device=ICE40UP5K,
    platform=ICEBreakerPlatform,
    config=preset("icebreaker"),
    clock_hz=24_000_000,
    top=SmallIce40,
    loader="ice40_generic",
)
