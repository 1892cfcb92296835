"""The AXI memory model: content, order, latency, errors, and the rules that masters must keep."""

from xml.etree import ElementTree

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from penstock.hw.axi import axi_signature, ports
from penstock.sim.runner import SimulationError, build_component, run

WIDTHS = (32, 64, 128)


class Wires(wiring.Component):
    """Nothing between masters ``master32`` .. and memories ``memory32`` .."""

    def __init__(self):
        members = {"aclk": In(1), "aresetn": In(1)}
        for bits in WIDTHS:
            members |= ports(f"master{bits}", axi_signature(bits).flip())
            members |= ports(f"memory{bits}", axi_signature(bits))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        for bits in WIDTHS:
            for name, member in axi_signature(bits).members.items():
                master, memory = (
                    getattr(self, f"{end}{bits}_{name}") for end in ("master", "memory")
                )
                m.d.comb += memory.eq(master) if member.flow == Out else master.eq(memory)
        return m


@pytest.fixture(scope="module")
def build():
    return build_component(Wires())


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("stalls", [0.0, 0.4])
def test_axi_memory_model(build, bits, stalls):
    parameters = {"bits": bits, "stalls": stalls}
    run(build, "penstock.sim.tb_axi_memory_model", parameters, tests=4, seed=1)


GOOD = [
    ["ar", {"addr": 512, "len": 63}],
    ["aw", {"addr": 4096 - 16, "len": 1}],
    ["w", {}],
    ["w", {"last": 1}],
]
HELD = "a refused word must be held"
BROKEN = [
    ([["ar", {"burst": 0}]], "burst of 1 beats from 0x0: must be INCR (1), not 0"),
    ([["aw", {"burst": 2}]], "burst of 1 beats from 0x0: must be INCR (1), not 2"),
    ([["ar", {"size": 2}]], "a beat must have 8 bytes, not 4"),
    ([["aw", {"size": 4}]], "a beat must have 8 bytes, not 16"),
    ([["ar", {"addr": 12}]], "burst of 1 beats from 0xc: must begin at a multiple of 8 bytes"),
    ([["ar", {"addr": 4088, "len": 1}]], "burst of 2 beats from 0xff8: must not cross 4 kB"),
    ([["aw", {"addr": 4096 - 504, "len": 63}]], "must not cross 4 kB"),
    ([["ar", {"len": 64}]], "must be 512 bytes or less, not 520"),
    ([["ar", {"id": 1}]], "ID must be 0, not 1"),
    ([["ar", {}, {"addr": 64}]], f"memory64_ar: {HELD}"),
    ([["ar", {}, {"valid": 0}]], f"memory64_ar: {HELD}"),
    ([["aw", {"len": 1}, {"len": 0}]], f"memory64_aw: {HELD}"),
    ([["w", {"data": 1}, {"data": 2}]], f"memory64_w: {HELD}"),
    ([["w", {"data": 1}, {"strb": 0}]], f"memory64_w: {HELD}"),
    ([["aw", {"len": 1}], ["w", {"last": 1}]], "must mark its beat to 0x8 alone"),
    ([["aw", {}], ["w", {}]], "must mark its beat to 0x0 alone"),
]
"""Words by channel, some with what they become while refused, and what the model says to it."""


def test_broken_rules_fail_and_kept_ones_pass(build, tmp_path):
    cases = [GOOD, *(words for words, _ in BROKEN)]
    with pytest.raises(SimulationError, match=f"{len(BROKEN)} of {len(cases)} tests failed"):
        run(
            build,
            "penstock.sim.tb_axi_memory_rules",
            {"cases": cases},
            tests=len(cases),
            folder=tmp_path,
        )
    tests = ElementTree.parse(tmp_path / "results.xml").iter("testcase")
    failures = [test.find("failure") for test in tests]
    assert failures[0] is None
    for failure, (words, message) in zip(failures[1:], BROKEN, strict=True):
        assert failure.get("type") == "AssertionError", words
        assert message in failure.get("message"), words
