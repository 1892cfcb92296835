"""The simulator runner: builds are found again, and a bench that ran nothing is an error."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from penstock.sim.runner import (
    SimulationError,
    build_component,
    build_recipe,
    replay,
    run,
    source_digest,
)

BENCH = """
import cocotb
from cocotb.triggers import RisingEdge
from penstock.sim.runner import bench_parameters
from penstock.sim.streams import start_clock

@cocotb.test(timeout_time=1, timeout_unit="us")
async def adds(dut):
    await start_clock(dut)
    dut.i.value = 41
    await RisingEdge(dut.clk)
    await RisingEdge(dut.clk)
    assert int(dut.o.value) == bench_parameters()["expected"]
"""


class Increment(wiring.Component):
    """``o = i + step``, registered."""

    i: In(8)
    o: Out(8)

    def __init__(self, step: int):
        self.step = step
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.eq(self.i + self.step)
        return m


@pytest.fixture
def bench(tmp_path, monkeypatch):
    (tmp_path / "tb_increment.py").write_text(BENCH)
    (tmp_path / "tb_nothing.py").write_text("import cocotb\n")
    (tmp_path / "tb_skipped.py").write_text(BENCH.replace("test(", "test(skip=True, "))
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "run"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("builds")


@pytest.fixture
def empty(folder, monkeypatch):
    """A place for builds that this module shares with nobody."""
    monkeypatch.setenv("PENSTOCK_BUILD", str(folder))
    return folder / "sim"


def test_second_build_is_found(empty):
    first = build_component(Increment(1))
    again = build_component(Increment(1))
    assert (first.cached, again.cached) == (False, True)
    assert first.path == again.path
    assert first.path.parent == empty


def test_two_at_once_build_once(empty):
    with ThreadPoolExecutor(2) as pool:
        builds = list(pool.map(build_component, [Increment(2), Increment(2)]))
    assert sorted(build.cached for build in builds) == [False, True]
    assert builds[0].path == builds[1].path != build_component(Increment(1)).path


def test_interrupted_build_is_built_again(empty):
    build = build_component(Increment(2))
    os.remove(build.path / "top")
    assert not build_component(Increment(2)).cached


def test_a_recipe_is_built_once(empty):
    made = []

    def make():
        made.append(1)
        return Increment(2)

    first = build_recipe("increment by 2", make)
    again = build_recipe("increment by 2", make)
    assert again.cached and again.path == first.path == build_component(Increment(2)).path
    assert len(made) == 1
    build_recipe("another one", make)
    assert len(made) == 2


def test_source_digest_sees_every_change(tmp_path):
    class Module:
        __file__ = str(tmp_path / "__init__.py")

    digests = set()
    for name, text in (("a.py", "1"), ("a.py", "2"), ("b.sv", "2"), ("c.txt", "3")):
        (tmp_path / name).write_text(text)
        digests.add(source_digest(Module))
    assert len(digests) == 3  # text files do not count


def test_failed_build_leaves_nothing(empty, tmp_path):
    broken = tmp_path / "broken.sv"
    broken.write_text("module broken; nonsense endmodule")
    before = {path for path in empty.iterdir() if path.is_dir()}
    with pytest.raises(SimulationError, match=r"(?s)verilator must succeed.*syntax error"):
        build_component(Increment(5), sources=[broken])
    assert {path for path in empty.iterdir() if path.is_dir()} == before


def test_bench_passes_and_leaves_no_folder(bench):
    build = build_component(Increment(1))
    runs = build.path.parent / "runs"
    before = set(runs.iterdir()) if runs.exists() else set()
    run(build, "tb_increment", {"expected": 42}, tests=1)
    assert not {path for path in runs.iterdir() if path.name.startswith("tb_increment")} - before


def test_failure_is_raised_and_replayed(bench):
    build = build_component(Increment(1))
    message = r"(?s)1 of 1 tests failed.*assert 42 == 43.*replay: "
    with pytest.raises(SimulationError, match=message):
        run(build, "tb_increment", {"expected": 43}, tests=1, seed=5, folder=bench)
    with pytest.raises(SimulationError, match="seed 5: 1 of 1 tests failed"):
        replay(bench)


def test_no_tests_is_an_error(bench):
    build = build_component(Increment(1))
    with pytest.raises(SimulationError, match="No tests were discovered"):
        run(build, "tb_nothing", tests=1, folder=bench)


def test_skipped_test_is_an_error(bench):
    build = build_component(Increment(1))
    with pytest.raises(SimulationError, match="must run 1 tests, ran 0"):
        run(build, "tb_skipped", {"expected": 42}, tests=1, folder=bench)


def test_missing_test_is_an_error(bench):
    build = build_component(Increment(1))
    with pytest.raises(SimulationError, match="must run 2 tests, ran 1"):
        run(build, "tb_increment", {"expected": 42}, tests=2, folder=bench)


@pytest.mark.parametrize("kind,begin", [("vcd", b"$version"), ("fst", bytes(7) + b"\1\x49")])
def test_waves_are_recorded(bench, kind, begin):
    build = build_component(Increment(1), waves=kind)
    run(build, "tb_increment", {"expected": 42}, tests=1, folder=bench)
    assert (bench / f"dump.{kind}").read_bytes().startswith(begin)
