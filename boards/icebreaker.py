"""iCEBreaker: an iCE40UP5K with an oscillator of 12 MHz, 128 KiB in it, serial port behind USB."""

from amaranth.hdl import Elaboratable, Module
from amaranth.lib import io, wiring
from amaranth_boards.icebreaker import ICEBreakerPlatform

from penstock.boards.description import BoardDescription
from penstock.boards.devices import ICE40UP5K
from penstock.boards.frames import DEFAULT_BAUD
from penstock.boards.ice40_pll import Ice40Clock, ice40_pll_settings
from penstock.boards.spram import BYTE_ADDRESS_BITS, SpramMemory
from penstock.boards.system import HostedCore
from penstock.config import Config, preset

LEDS = {
    "alive": ("led_g", 0),
    "link_error": ("led_r", 0),
    "link": ("led_g", 1),
    "done": ("led_g", 2),
}
"""Of penstock.boards.system.LEDS; the last two are those of the part that can be broken off."""


class Icebreaker(Elaboratable):
    """The core, its link to the host and the memory, all on one clock; the button resets it all."""

    def __init__(self, config: Config, clock_hz: int, baud: int = DEFAULT_BAUD):
        self.pll = ice40_pll_settings(12_000_000, clock_hz)
        self.spram = SpramMemory(target=config.target)
        self.system = HostedCore(
            config, clock_hz=clock_hz, memory_bits=BYTE_ADDRESS_BITS, baud=baud
        )

    def elaborate(self, platform):
        m = Module()
        platform.add_resources(platform.break_off_pmod)
        pin = platform.request("clk12", dir="-").io
        m.submodules.clock = clock = Ice40Clock(self.pll, pin)
        m.domains += clock.sync
        m.submodules.system = system = self.system
        m.submodules.spram = spram = self.spram
        wiring.connect(m, system.memory, spram.memory)

        serial = platform.request("uart", dir="-")
        m.submodules.reset = reset = io.Buffer("i", platform.request("button", dir="-"))
        m.submodules.rx = rx = io.Buffer("i", serial.rx)
        m.submodules.tx = tx = io.Buffer("o", serial.tx)
        m.d.comb += [
            clock.reset.eq(reset.i),
            system.rx.eq(rx.i),
            tx.o.eq(system.tx),
        ]
        for name, led in LEDS.items():
            m.submodules[f"led_{name}"] = buffer = io.Buffer("o", platform.request(*led, dir="-"))
            m.d.comb += buffer.o.eq(system.leds[name])
        return m


BOARD = BoardDescription(
    name="icebreaker",
    device=ICE40UP5K,
    platform=ICEBreakerPlatform,
    config=preset("icebreaker"),
    clock_hz=24_000_000,
    top=Icebreaker,
    loader="ice40_generic",
)
