"""A board at its pins, for simulation: core, host link and serial line; its memory is outside."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from penstock.boards.link import HostLink
from penstock.boards.memory_share import MemoryShare
from penstock.boards.uart import UartReceiver, UartTransmitter, baud_divisor
from penstock.config import Config
from penstock.hw.core import Core
from penstock.hw.layouts import memory_signature

CLOCK_HZ = 10_000
"""Less than the cycles that are simulated in a second, so that the host's silence is one here."""

BAUD = 2_500
MEMORY_BITS = 17


class SimulatedBoard(wiring.Component):
    """The pins ``rx`` and ``tx`` of a serial line, LEDs, and a memory."""

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "active": Out(1),
                "error": Out(1),
                "memory": Out(memory_signature()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        divisor = baud_divisor(CLOCK_HZ, BAUD)
        m.submodules.core = core = Core(self.cfg)
        m.submodules.link = link = HostLink(clock_hz=CLOCK_HZ, memory_bits=MEMORY_BITS)
        m.submodules.share = share = MemoryShare()
        m.submodules.receiver = receiver = UartReceiver(divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(divisor)
        wiring.connect(m, receiver.o, link.i)
        wiring.connect(m, link.o, transmitter.i)
        wiring.connect(m, link.registers, core.registers)
        wiring.connect(m, core.memory, share.core)
        wiring.connect(m, link.memory, share.link)
        wiring.connect(m, share.memory, wiring.flipped(self.memory))
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            self.active.eq(link.active),
            self.error.eq(link.error),
        ]
        return m
