"""Serial lines as byte streams: eight data bits, no parity, one stop bit."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from penstock.errors import PenstockError

LEAST_DIVISOR = 4
WORST_ERROR = 0.02
"""Of a bit's length: a byte lasts ten bits, so its last sample may be a fifth of a bit off."""


def baud_divisor(clock_hz: int, baud: int) -> int:
    """Clock cycles of one bit. Raises PenstockError where no whole number is near enough."""
    divisor = round(clock_hz / baud)
    error = abs(clock_hz / (max(divisor, 1) * baud) - 1)
    if divisor < LEAST_DIVISOR or error > WORST_ERROR:
        raise PenstockError(
            f"baud {baud:,}: must be within {WORST_ERROR:.0%} of {clock_hz:,} Hz divided by an "
            f"integer of {LEAST_DIVISOR} or more, not {clock_hz / baud:.2f}"
        )
    return divisor


class UartReceiver(wiring.Component):
    """Bytes of the line ``rx``, least significant bit first, each bit sampled in its middle.

    ``divisor`` cycles a bit; a byte is offered 4 cycles behind the middle of its stop bit. No
    backpressure: a byte that comes while the one before is still refused is lost. ``error`` is high
    for one cycle for a lost byte, and for one without its stop bit, which is not offered.
    """

    def __init__(self, divisor: int):
        self.divisor = divisor
        super().__init__({"rx": In(1, init=1), "o": Out(stream.Signature(8)), "error": Out(1)})

    def elaborate(self, platform):
        m = Module()
        line = Signal(3, init=-1)  # the oldest sample last
        bits = Signal(9, init=-1)  # a start bit at the bottom: all data bits are there
        busy, sample, free = Signal(), Signal(), Signal()
        rest = Signal(range(self.divisor))  # cycles to the next sample
        m.d.sync += line.eq(Cat(self.rx, line))
        m.d.comb += sample.eq(busy & (rest == 0))
        m.d.comb += free.eq(~self.o.valid | self.o.ready)
        m.d.sync += self.error.eq(0)

        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(~busy):
            m.d.sync += [bits.eq(-1), rest.eq(self.divisor // 2 - 1)]
            m.d.sync += busy.eq(line[2] & ~line[1])
        with m.Else():
            m.d.sync += rest.eq(Mux(sample, self.divisor - 1, rest - 1))
        with m.If(sample & bits[0]):
            m.d.sync += bits.eq(Cat(bits[1:], line[2]))
            with m.If(bits.all() & line[2]):  # it was no start bit
                m.d.sync += busy.eq(0)
        with m.Elif(sample):
            m.d.sync += busy.eq(0)
            m.d.sync += self.error.eq(~line[2] | ~free)
            with m.If(line[2] & free):
                m.d.sync += [self.o.valid.eq(1), self.o.payload.eq(bits[1:])]
        return m


class UartTransmitter(wiring.Component):
    """Bytes onto the line ``tx``, least significant bit first.

    ``divisor`` cycles a bit, ten bits a byte, bytes back to back; applies backpressure. A start bit
    begins 2 cycles after its byte was taken.
    """

    def __init__(self, divisor: int):
        self.divisor = divisor
        super().__init__({"tx": Out(1, init=1), "i": In(stream.Signature(8))})

    def elaborate(self, platform):
        m = Module()
        bits = Signal(10, init=1)  # of the byte, its stop bit on top, zeros above
        rest = Signal(range(self.divisor))  # cycles of this bit
        m.d.sync += self.tx.eq(bits[0])
        m.d.comb += self.i.ready.eq((rest == 0) & ~bits[1:].any())
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [bits.eq(Cat(0, self.i.payload, 1)), rest.eq(self.divisor - 1)]
        with m.Elif(rest != 0):
            m.d.sync += rest.eq(rest - 1)
        with m.Elif(bits[1:].any()):
            m.d.sync += [bits.eq(bits >> 1), rest.eq(self.divisor - 1)]
        return m
