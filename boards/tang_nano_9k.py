"""Tang Nano 9K: a GW1NR-9 with a crystal of 27 MHz, 8 MB of PSRAM in it, serial port behind USB."""

from amaranth.build import Attrs, Clock, Pins, PinsN, Resource, Subsignal
from amaranth.hdl import ClockDomain, ClockSignal, Elaboratable, Module
from amaranth.lib import io, wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth_boards.resources import ButtonResources, LEDResources, UARTResource
from amaranth_boards.tang_nano_9k import TangNano9kPlatform

from penstock.boards.description import BoardDescription
from penstock.boards.devices import GW1NR_9
from penstock.boards.frames import DEFAULT_BAUD
from penstock.boards.psram import Psram
from penstock.boards.psram_pads import PsramPads
from penstock.boards.system import HostedCore
from penstock.config import Config, preset
from penstock.errors import PenstockError

CRYSTAL_HZ = 27_000_000

_AT_3V3, _AT_1V8 = Attrs(IO_TYPE="LVCMOS33"), Attrs(IO_TYPE="LVCMOS18")
"""The bank of the PSRAM, and so of the LEDs and buttons beside it, has 1.8 V."""


class TangNano9kPins(TangNano9kPlatform):
    """The pins that a top uses. Those of the PSRAM have the names of their places in the FPGA."""

    resources = [
        Resource("clk27", 0, Pins("52", dir="i"), Clock(CRYSTAL_HZ), _AT_3V3),
        *ButtonResources(pins="3 4", invert=True, attrs=_AT_1V8),
        *LEDResources(pins="10 11 13 14 15 16", invert=True, attrs=_AT_1V8),
        UARTResource(0, rx="18", tx="17", attrs=Attrs(PULL_MODE="UP", IO_TYPE="LVCMOS33")),
        Resource(
            "psram",
            0,
            Subsignal("reset", PinsN("IOL2A IOL18A", dir="o")),
            Subsignal("cs", PinsN("IOL6B IOL22A", dir="o")),
            Subsignal("ck", Pins("IOL8A IOL23B", dir="o")),
            Subsignal("ck_n", Pins("IOL7A IOL23A", dir="o")),
            Subsignal("rwds", Pins("IOL17A IOL27B", dir="io")),
            Subsignal(
                "dq",
                Pins(
                    "IOL2B IOL3A IOL3B IOL4A IOL9A IOL14A IOL16A IOL17B "
                    "IOL18B IOL20A IOL20B IOL21A IOL24B IOL25A IOL26A IOL27A",
                    dir="io",
                ),
            ),
            _AT_1V8,
        ),
    ]


class TangNano9k(Elaboratable):
    """The core, its link to the host and the PSRAM, all on the crystal's clock.

    LEDs as in penstock.boards.system.LEDS, from pin 10 on; the button at pin 3 resets all.
    """

    def __init__(self, config: Config, clock_hz: int, baud: int = DEFAULT_BAUD):
        if clock_hz != CRYSTAL_HZ:
            raise PenstockError(
                f"tang-nano-9k: clock_hz must be {CRYSTAL_HZ}, its crystal's, not {clock_hz}"
            )
        self.psram = Psram(clock_hz=clock_hz)
        memory_bits = (self.psram.chip.bytes - 1).bit_length()
        self.system = HostedCore(config, clock_hz=clock_hz, memory_bits=memory_bits, baud=baud)

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = ClockDomain()
        m.submodules.system = system = self.system
        m.submodules.psram = psram = self.psram
        chip = platform.request("psram", dir="-")
        m.submodules.pads = pads = PsramPads(psram.chip, chip)
        wiring.connect(m, system.memory, psram.memory)
        wiring.connect(m, psram.pins, pads.pins)

        serial = platform.request("uart", dir="-")
        m.submodules.clk = clk = io.Buffer("i", platform.request("clk27", dir="-"))
        m.submodules.reset = reset = io.Buffer("i", platform.request("button", 0, dir="-"))
        m.submodules.rx = rx = io.Buffer("i", serial.rx)
        m.submodules.tx = tx = io.Buffer("o", serial.tx)
        m.submodules.synchronizer = ResetSynchronizer(reset.i)
        m.d.comb += [
            ClockSignal().eq(clk.i),
            system.rx.eq(rx.i),
            tx.o.eq(system.tx),
        ]
        for index, (name, _) in enumerate(system.leds.shape()):
            m.submodules[f"led_{name}"] = led = io.Buffer(
                "o", platform.request("led", index, dir="-")
            )
            m.d.comb += led.o.eq(system.leds[name])
        return m


BOARD = BoardDescription(
    name="tang-nano-9k",
    device=GW1NR_9,
    platform=TangNano9kPins,
    config=preset("icebreaker"),
    clock_hz=CRYSTAL_HZ,
    top=TangNano9k,
    loader="tangnano9k",
)
