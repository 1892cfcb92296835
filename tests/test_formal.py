"""The quick proofs hold, and a proof fails where it must."""

import pytest
from amaranth.hdl import Assert, Cover, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from penstock.sim.formal.__main__ import proofs
from penstock.sim.formal.inside import Inside
from penstock.sim.formal.prover import Proof, prove

QUICK = [proof for proof in proofs() if proof.quick]


def test_names_are_unique():
    keys = [proof.key for proof in proofs()]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("proof", QUICK, ids=lambda proof: proof.key)
def test_proof(proof, tmp_path):
    assert prove(proof, tmp_path / "proof").failure is None


class Statement(wiring.Component):
    """A free input of four bits, of which something is asserted and something covered."""

    value: In(4)

    def __init__(self, asserted, covered):
        self.asserted, self.covered = asserted, covered
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.d.comb += Assert(self.asserted(self.value))
        if self.covered:
            m.d.comb += Cover(self.covered(self.value))
        return m


@pytest.mark.parametrize("induction", [True, False])
@pytest.mark.parametrize(
    ("asserted", "covered", "failure"),
    [
        (lambda value: value < 16, lambda value: value == 7, None),
        (lambda value: value < 15, lambda value: value == 7, "Assert failed"),
        (lambda value: value < 16, lambda value: value == 16, "Unreached cover"),
        (lambda value: value < 16, None, "covers nothing"),
    ],
    ids=["holds", "fails", "unreachable", "vacuous"],
)
def test_outcome(asserted, covered, failure, induction, tmp_path):
    proof = Proof(
        block="none",
        name="statement",
        configuration="4 bits",
        statement="holds",
        top=lambda: Statement(asserted, covered),
        depth=2,
        induction=induction,
    )
    told = prove(proof, tmp_path / "proof").failure
    assert told is None if failure is None else failure in told


class Stages(wiring.Component):
    """Two stages behind each other, one of them named in a method of its own."""

    i: In(4)

    def elaborate(self, platform):
        m = Module()
        value = self.i
        for index in range(2):
            stage = Signal(4, name=f"stage_{index}")
            m.d.sync += stage.eq(value)
            value = stage
        m.submodules.inner = Statement(lambda value: value < 16, None)
        self._flag(m)
        return m

    def _flag(self, m):
        first, second = Signal(), Signal()
        m.d.sync += [first.eq(self.i.any()), second.eq(first)]


def test_inside_finds_local_variables_and_submodules():
    block = Stages()
    inside = Inside(block)
    assert [stage.name for stage in inside.every("stage")] == ["stage_0", "stage_1"]
    assert inside["first"] is not inside["second"]
    assert inside.block("inner")["m"] is inside.block("inner").component.elaborate(None)
    assert block.elaborate(None) is inside["m"]


@pytest.mark.parametrize(
    ("look", "told"),
    [
        (lambda inside: inside["third"], "no local variable 'third' in the elaboration of Stages"),
        (lambda inside: inside.every("third"), "no local variable 'third'"),
        (lambda inside: inside["stage"], "'stage' stands for 2 things in the elaboration of"),
        (lambda inside: inside.block("outer"), "no submodule 'outer' in the elaboration of Stages"),
    ],
)
def test_inside_tells_what_is_missing(look, told):
    with pytest.raises(KeyError, match=told):
        look(Inside(Stages()))
