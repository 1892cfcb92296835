"""The stream drivers pass a correct buffer and catch broken ones."""

import pytest
from amaranth.hdl import Module, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from penstock.sim.runner import SimulationError, build_component, run
from penstock.sim.streams import pack, unpack
from penstock.sim.tb_streams import LAYOUT

FAULTS = ("none", "drops a word", "ignores ready", "withdraws valid", "repeats a word")


class Buffer(wiring.Component):
    """A stream register that makes the mistake chosen by ``fault``, an index into FAULTS."""

    i: In(stream.Signature(LAYOUT))
    o: Out(stream.Signature(LAYOUT))
    fault: In(range(len(FAULTS)))

    def elaborate(self, platform):
        m = Module()
        drops, ignores, withdraws, repeats = (
            self.fault == number for number in range(1, len(FAULTS))
        )
        count = Signal(5)
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready | ignores)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += count.eq(count + 1)
        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(self.i.valid & ~(drops & (count == 17)))
            m.d.sync += self.o.payload.eq(self.i.payload)
        with m.If(withdraws & self.o.valid & ~self.o.ready & (count == 9)):
            m.d.sync += self.o.valid.eq(0)
        with m.If(repeats & self.o.valid & self.o.ready & ~self.i.valid & (count == 5)):
            m.d.sync += [self.o.valid.eq(1), count.eq(6)]
        return m


@pytest.fixture(scope="module")
def build():
    return build_component(Buffer())


@pytest.mark.parametrize("source", [0.0, 0.6])
@pytest.mark.parametrize("sink", [0.0, 0.6])
def test_words_pass(build, source, sink):
    run(build, "penstock.sim.tb_streams", {"source": source, "sink": sink, "fault": 0}, tests=1)


@pytest.mark.parametrize(
    "fault, message",
    [
        ("drops a word", "Timeout"),
        ("ignores ready", "a refused word must"),
        ("withdraws valid", "a refused word must stay valid, fell"),
        ("repeats a word", "assert sink.words == words"),
    ],
)
def test_fault_is_caught(build, fault, message, tmp_path):
    stimuli = {"source": 0.5, "sink": 0.5, "fault": FAULTS.index(fault)}
    with pytest.raises(SimulationError, match=message):
        run(build, "penstock.sim.tb_streams", stimuli, tests=1, folder=tmp_path)


def test_pack_and_unpack():
    word = {"signed": -3, "nested": [{"low": 5, "high": 1}, {"low": 0, "high": 1}]}
    assert pack(LAYOUT, word) == 0xFD | 0xD << 8 | 0x8 << 12
    assert unpack(LAYOUT, pack(LAYOUT, word)) == word
    assert pack(LAYOUT, {"signed": -1}) == 0xFF
    assert unpack(signed(4), 8) == -8
    assert unpack(data.ArrayLayout(unsigned(2), 3), 0b011011) == [3, 2, 1]


@pytest.mark.parametrize("shape, value", [(signed(4), 8), (unsigned(4), -1), (unsigned(4), 16)])
def test_pack_refuses_what_does_not_fit(shape, value):
    with pytest.raises(ValueError, match=f"must fit .*, not {value}"):
        pack(shape, value)
