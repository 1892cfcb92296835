"""ULX3S with an LFE5U-85F: oscillator of 25 MHz, 32 MB of SDRAM, serial port behind USB."""

from amaranth.hdl import Elaboratable, Module
from amaranth.lib import io, wiring
from amaranth_boards.ulx3s import ULX3S_85F_Platform

from penstock.boards.description import BoardDescription
from penstock.boards.devices import LFE5U_85F
from penstock.boards.frames import DEFAULT_BAUD
from penstock.boards.pll import Ecp5Clocks, pll_settings
from penstock.boards.sdram import Sdram
from penstock.boards.sdram_pads import LEAD_NS, SdramPads
from penstock.boards.system import HostedCore
from penstock.config import Config, preset
from penstock.hw.reset import own_reset


class Ulx3s(Elaboratable):
    """The core, its link to the host and the SDRAM, all on one clock.

    LEDs from D0 on as in penstock.boards.system.LEDS; the button F1 resets all but the chip.
    """

    def __init__(self, config: Config, clock_hz: int, baud: int = DEFAULT_BAUD):
        self.clocks = Ecp5Clocks(pll_settings(25_000_000, clock_hz, LEAD_NS))
        self.sdram = Sdram(clock_hz=clock_hz)
        memory_bits = (self.sdram.chip.bytes - 1).bit_length()
        self.system = HostedCore(config, clock_hz=clock_hz, memory_bits=memory_bits, baud=baud)

    def elaborate(self, platform):
        m = Module()
        m.submodules.clocks = clocks = self.clocks
        m.domains += [clocks.sync, clocks.early]
        system, sdram = self.system, self.sdram
        m.submodules.system = own_reset(m, system, "system", init=1)
        m.submodules.sdram = own_reset(m, sdram, "memory", init=0)
        chip = platform.request("sdram", dir="-")
        m.submodules.pads = pads = SdramPads(sdram.chip, chip)
        m.submodules.chip_clk = chip_clk = io.DDRBuffer("o", chip.clk, o_domain="early")
        m.d.comb += chip_clk.o[0].eq(1)
        wiring.connect(m, system.memory, sdram.memory)
        wiring.connect(m, sdram.pins, pads.pins)

        serial = platform.request("uart", dir="-")
        m.submodules.clk = clk = io.Buffer("i", platform.request("clk25", dir="-"))
        m.submodules.reset = reset = io.Buffer("i", platform.request("button_fire", dir="-"))
        m.submodules.rx = rx = io.Buffer("i", serial.rx)
        m.submodules.tx = tx = io.Buffer("o", serial.tx)
        m.d.comb += [
            clocks.clk.eq(clk.i),
            clocks.reset.eq(reset.i),
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
    name="ulx3s-85f",
    device=LFE5U_85F,
    platform=ULX3S_85F_Platform,
    config=preset("ulx3s-85f"),
    clock_hz=100_000_000,
    top=Ulx3s,
    loader="ulx3s",
)
