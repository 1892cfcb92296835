"""What every board with a serial port has inside: core, host link, and their shared memory."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from penstock.boards.frames import DEFAULT_BAUD
from penstock.boards.link import HostLink
from penstock.boards.memory_share import MemoryShare
from penstock.boards.uart import UartReceiver, UartTransmitter, baud_divisor
from penstock.config import Config
from penstock.hw.engine_choice import make_core
from penstock.hw.layouts import memory_signature, request_layout
from penstock.hw.register_slice import RegisterSlice
from penstock.hw.reset import own_reset

LEDS = data.StructLayout({"alive": 1, "link": 1, "link_error": 1, "done": 1})
"""alive: blinks, once in a second or two, while there is a clock and no reset. link: a request of
the host is under way. link_error: from one that went wrong to the next that did not. done: the
core's interrupt, from the end of a command to the next one."""


class HostedCore(wiring.Component):
    """The core behind a serial line of 8N1, ``rx`` and ``tx``; ``memory`` is theirs together.

    ``clock_hz`` gives the bits of the line and the link's timeout; the memory holds
    ``2^memory_bits`` bytes. Raises PenstockError for a baud rate that the clock does not give.
    """

    def __init__(self, cfg: Config, *, clock_hz: int, memory_bits: int, baud: int = DEFAULT_BAUD):
        self.cfg = cfg
        self.clock_hz = clock_hz
        self.memory_bits = memory_bits
        self.divisor = baud_divisor(clock_hz, baud)
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "leds": Out(LEDS),
                "memory": Out(memory_signature()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        core = make_core(self.cfg)
        m.submodules.core = own_reset(m, core, "core", init=1)
        m.submodules.link = link = HostLink(clock_hz=self.clock_hz, memory_bits=self.memory_bits)
        share = MemoryShare()
        m.submodules.share = own_reset(m, share, "share", init=0)
        m.submodules.receiver = receiver = UartReceiver(self.divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(self.divisor)
        wiring.connect(m, receiver.o, link.i)
        wiring.connect(m, link.o, transmitter.i)
        wiring.connect(m, link.registers, core.registers)
        # No path from the memory's side of a request through all that waits for it.
        m.submodules.requests = requests = RegisterSlice(request_layout())
        wiring.connect(m, core.memory.read_request, requests.i)
        wiring.connect(m, requests.o, share.core.read_request)
        for name in ("read_data", "write_request", "write_data", "write_done"):
            wiring.connect(m, getattr(core.memory, name), getattr(share.core, name))
        # Nor from the link's request through the memory's to the link's next step.
        m.submodules.link_requests = link_requests = RegisterSlice(request_layout())
        wiring.connect(m, link.memory.read_request, link_requests.i)
        wiring.connect(m, link_requests.o, share.link.read_request)
        for name in ("read_data", "write_request", "write_data", "write_done"):
            wiring.connect(m, getattr(link.memory, name), getattr(share.link, name))
        wiring.connect(m, share.memory, wiring.flipped(self.memory))
        blink = Signal(self.clock_hz.bit_length())
        m.d.sync += [
            blink.eq(blink + 1),
            self.leds.alive.eq(blink[-1]),
            self.leds.link.eq(link.active),
            self.leds.link_error.eq(link.error),
            self.leds.done.eq(core.interrupt),
        ]
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
        ]
        return m
