"""A board's top that synthesizes, places and routes in seconds, with parts named as a core's."""

from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import io
from amaranth_boards.ulx3s import ULX3S_25F_Platform

from penstock.boards.description import BoardDescription
from penstock.boards.devices import LFE5U_25F
from penstock.boards.pll import Ecp5Clocks, pll_settings
from penstock.boards.uart import UartReceiver, UartTransmitter
from penstock.config import Config, preset
from penstock.hw.multiplier import Multipliers
from penstock.hw.ram import Ram

MULTIPLIERS = 3
BITS = 18


class SmallCore(Elaboratable):
    """Bytes become operands, which are multiplied, written to a memory, and read back."""

    def __init__(self, target: str):
        self.i, self.o = Signal(8), Signal(8)
        self.target = target

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine = engine = Module()
        engine.submodules.array = array = Multipliers(
            count=MULTIPLIERS, left_bits=BITS, right_bits=BITS, target=self.target
        )
        engine.submodules.weights = weights = Ram(width=2 * BITS, depth=1024, target=self.target)
        address = Signal(10)
        m.d.sync += address.eq(address + self.i)
        for index in range(MULTIPLIERS):
            operand = Signal(BITS, name=f"operand_{index}")
            m.d.sync += operand.eq((operand << 3) + self.i + index)
            m.d.comb += [array.left[index].eq(operand), array.right[index].eq(operand[::-1])]
        total = sum(array.product[1:], array.product[0])
        m.d.comb += [
            weights.write_enable.eq(1),
            weights.write_address.eq(~address),
            weights.write_data.eq(total),
            weights.read_address.eq(address),
        ]
        m.d.sync += self.o.eq(weights.read_data ^ (weights.read_data >> 20))
        return m


class SmallTop(Elaboratable):
    """A serial line whose bytes go through the core."""

    def __init__(self, config: Config, clock_hz: int):
        self.config = config
        self.clocks = Ecp5Clocks(pll_settings(25_000_000, clock_hz, 2.5))

    def elaborate(self, platform):
        m = Module()
        m.submodules.clocks = clocks = self.clocks
        m.domains += [clocks.sync, clocks.early]
        m.submodules.core = core = SmallCore(self.config.target)
        m.submodules.receiver = receiver = UartReceiver(50)
        m.submodules.transmitter = transmitter = UartTransmitter(50)
        serial = platform.request("uart", dir="-")
        m.submodules.clk = clk = io.Buffer("i", platform.request("clk25", dir="-"))
        m.submodules.rx = rx = io.Buffer("i", serial.rx)
        m.submodules.tx = tx = io.Buffer("o", serial.tx)
        m.d.comb += [clocks.clk.eq(clk.i), receiver.rx.eq(rx.i), tx.o.eq(transmitter.tx)]
        with m.If(receiver.o.valid):
            m.d.sync += core.i.eq(receiver.o.payload)
        m.d.comb += [
            receiver.o.ready.eq(1),
            transmitter.i.payload.eq(core.o),
            transmitter.i.valid.eq(1),
        ]
        return m


BOARD = BoardDescription(
    name="small",
    device=LFE5U_25F,
    platform=ULX3S_25F_Platform,
    config=preset("tiny"),
    clock_hz=50_000_000,
    top=SmallTop,
    loader="ulx3s",
)
