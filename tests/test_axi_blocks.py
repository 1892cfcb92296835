"""The blocks between the core and AXI, with cocotbext-axi at their other side, and their faults."""

import itertools
import re
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import pytest
from amaranth.hdl import Cat, Mux
from faults import faulty, stuck, with_fields

from penstock.config import preset
from penstock.sim.axi_blocks import AxiBlocks
from penstock.sim.runner import SimulationError, build_component, run

BENCHES = {
    **{f"memory{bits}": ("tb_axi_memory", 2, 3) for bits in (32, 64, 128)},
    "registers": ("tb_axi_registers", 1, 3),
    "slice": ("tb_axi_slice", 0, 3),
    "skid": ("tb_skid_buffer", 0, 3),
}
"""Each block's bench, and how many of its tests take stalls and how many do not."""


def halves_swapped(port, ports):
    """The low half of the bits and the high one change places."""
    half = len(port) // 2
    return Cat(port[half:], port[:half])


FAULTS = {
    "a strobe is lost": ("memory64", "axi.wstrb", lambda port, ports: port & ~1),
    "an odd last word is written whole": ("memory128", "axi.wstrb", stuck(-1)),
    "every beat is half": ("memory128", "axi.wstrb", stuck(0x00FF)),
    "a last beat is not marked": (
        "memory64",
        "axi.wlast",
        lambda port, ports: port & ports.axi.wdata[:3].any(),
    ),
    "another beat is marked": (
        "memory32",
        "axi.wlast",
        lambda port, ports: port | (ports.axi.wdata[:4] == 3),
    ),
    "an error of a read is lost at 32 bits": ("memory32", "axi.rresp", stuck(0)),
    "an error of a read is lost at 128 bits": ("memory128", "axi.rresp", stuck(0)),
    "an error of a write is lost": ("memory64", "axi.bresp", stuck(0)),
    "an error outside the memory is taken for none": (
        "memory64",
        "axi.rresp",
        lambda port, ports: Mux(port.as_value() == 3, 0, port),
    ),
    "halves of read data are swapped": ("memory128", "axi.rdata", halves_swapped),
    "halves of written data are swapped": ("memory128", "axi.wdata", halves_swapped),
    "halves of a joined word are swapped": (
        "memory32",
        "memory.read_data.payload",
        with_fields(data=lambda payload: halves_swapped(payload.data, None)),
    ),
    "a read is one beat too short": ("memory64", "axi.arlen", lambda port, ports: port - 1),
    "a read is one beat too long": ("memory32", "axi.arlen", lambda port, ports: port + 1),
    "a half beat is not read": (
        "memory128",
        "memory.read_request.payload",
        with_fields(beats=lambda payload: payload.beats - (payload.beats > 1)),
    ),
    "a write is one beat too long": ("memory128", "axi.awlen", lambda port, ports: port + 1),
    "valid falls while a read is refused": (
        "memory64",
        "axi.arvalid",
        lambda port, ports: port & ~ports.axi.rvalid,
    ),
    "valid falls while data are refused": (
        "memory64",
        "axi.wvalid",
        lambda port, ports: port & ~ports.axi.rvalid,
    ),
    "an address changes while refused": (
        "memory32",
        "axi.awaddr",
        lambda port, ports: port ^ Cat(0, 0, 0, 0, 0, 0, 0, ports.axi.rvalid),
    ),
    "data wait for their address": (
        "memory64",
        "axi.wvalid",
        lambda port, ports: port & ~ports.axi.awvalid,
    ),
    "a refused word is lost": ("memory128", "memory.read_data.ready", stuck(1)),
    "a beat is taken with no room": ("memory32", "axi.rready", stuck(1)),
    "a request is taken with no room": ("memory64", "memory.read_request.ready", stuck(1)),
    "a write is taken with no room": ("memory128", "memory.write_request.ready", stuck(1)),
    "the address stays": ("memory64", "axi.awburst", stuck(0)),
    "beats are narrow": ("memory64", "axi.arsize", stuck(2)),
    "data are held up": (
        "memory64",
        "axi.rready",
        lambda port, ports: port & ~ports.memory.read_data.valid,
    ),
    "ready follows valid at once": (
        "memory64",
        "axi.rready",
        lambda port, ports: port & ports.axi.rvalid,
    ),
    "a partial write is done": ("registers", "axi.wstrb", stuck(-1)),
    "an error of a register write is lost": ("registers", "axi.bresp", stuck(0)),
    "an error of a register read is lost": ("registers", "axi.rresp", stuck(0)),
    "high address bits of a write are ignored": (
        "registers",
        "axi.awaddr",
        lambda port, ports: port[:8],
    ),
    "high address bits of a read are ignored": (
        "registers",
        "axi.araddr",
        lambda port, ports: port[:8],
    ),
    "a write is done twice": (
        "registers",
        "bus.write",
        lambda port, ports: port | (ports.axi.bvalid & (ports.axi.bresp.as_value() == 0)),
    ),
    "a refused write is done": (
        "registers",
        "bus.write",
        lambda port, ports: port | (ports.axi.bvalid & (ports.axi.bresp.as_value() != 0)),
    ),
    "another register is read": ("registers", "bus.address", lambda port, ports: port ^ 4),
    "read data change while refused": (
        "registers",
        "axi.rdata",
        lambda port, ports: ports.bus.read_data,
    ),
    "an answer falls while refused": (
        "registers",
        "axi.bvalid",
        lambda port, ports: port & ~ports.axi.rvalid,
    ),
    "reads wait for writes": (
        "registers",
        "axi.arready",
        lambda port, ports: port & ~ports.axi.bvalid,
    ),
    "writes wait for reads": (
        "registers",
        "axi.awready",
        lambda port, ports: port & ~ports.axi.rvalid,
    ),
    "ready waits for valid": (
        "registers",
        "axi.awready",
        lambda port, ports: port & ports.axi.awvalid,
    ),
    "a word is lost": ("slice", "o.ready", stuck(1)),
    "bits are swapped": ("slice", "o.payload", halves_swapped),
    "every other cycle is lost": (
        "slice",
        "i.ready",
        lambda port, ports: port & ~ports.o.valid,
    ),
    "it passes ready through": ("slice", "i.ready", lambda port, ports: port & ports.o.ready),
    "a word that waits inside is lost": ("skid", "o.ready", stuck(1)),
    "its bits are swapped": ("skid", "o.payload", halves_swapped),
    "it is never ready for two": ("skid", "i.ready", lambda port, ports: port & ~ports.o.valid),
    "its ready is not a register": ("skid", "i.ready", lambda port, ports: port & ports.o.ready),
}
"""What is wrong: the block, its port, and what the port becomes."""


@pytest.fixture(scope="module")
def build():
    return build_component(faulty(AxiBlocks, preset("tiny"), FAULTS))


def bench(build, block: str, folder, faults: list[int], stalls: list, requests: int):
    module, stalled, others = BENCHES[block]
    parameters = {"block": block, "faults": faults, "stalls": stalls}
    parameters |= {"latency": (0, 40), "requests": requests}
    tests = len(faults) * (stalled * len(stalls) + others)
    run(build, f"penstock.sim.{module}", parameters, tests=tests, seed=1, folder=folder)


@pytest.mark.parametrize("block", BENCHES)
def test_block(build, block, tmp_path):
    stalls = list(itertools.product((0.0, 0.4), repeat=2))
    bench(build, block, tmp_path, [0], stalls, requests=60)


@pytest.mark.parametrize("block", BENCHES)
def test_faults_are_caught(build, block, tmp_path):
    """Each fault fails a test of its block's bench, and none fails without, amid the others."""
    mine = {number: fault for number, fault in enumerate(FAULTS, 1) if FAULTS[fault][0] == block}
    assert len(mine) > 3
    with pytest.raises(SimulationError, match=r"\d+ of \d+ tests failed"):
        bench(build, block, tmp_path, [*mine, 0], [(0.3, 0.3)], requests=24)
    caught = failures(tmp_path / "results.xml")
    assert {fault: caught[number] for number, fault in mine.items() if not caught[number]} == {}
    assert caught[0] == []


def failures(results: Path) -> dict[int, list[str]]:
    """Names of the tests that failed, by the fault that they ran with."""
    failed = defaultdict(list)
    for case in ElementTree.parse(results).iter("testcase"):
        name, fault = re.fullmatch(r"(\w+).*/fault=(\d+).*", case.get("name")).groups()
        if case.find("failure") is not None or case.find("error") is not None:
            failed[int(fault)].append(name)
    return failed
