"""The hardware of the host link: serial line, frames, and one memory for two."""

import functools

import pytest

from penstock.boards.link import HostLink
from penstock.boards.uart import baud_divisor
from penstock.errors import PenstockError
from penstock.sim.link_blocks import LINES, LinkBlocks
from penstock.sim.runner import Build, build_component, run


@functools.cache
def build() -> Build:
    """The simulator of all blocks of the link."""
    return build_component(LinkBlocks())


@pytest.mark.parametrize("line", LINES)
def test_serial_line(line):
    run(build(), "penstock.sim.tb_uart", {"line": line}, tests=11, seed=1)


@pytest.mark.parametrize("stalls", [0.0, 0.5])
def test_memory_share(stalls):
    run(build(), "penstock.sim.tb_memory_share", {"stalls": stalls}, tests=5, seed=1)


@pytest.mark.parametrize("stalls", [0.0, 0.3])
def test_host_link(stalls):
    run(build(), "penstock.sim.tb_host_link", {"stalls": stalls}, tests=10, seed=1)


@pytest.mark.parametrize("clock_hz, baud", [(12_000_000, 1_000_000), (50_000_000, 3_000_000)])
def test_rates(clock_hz, baud):
    assert clock_hz / baud_divisor(clock_hz, baud) == pytest.approx(baud, rel=0.02)


@pytest.mark.parametrize("clock_hz, baud", [(12_000_000, 3_500_000), (12_000_000, 2_600_000)])
def test_rates_that_do_not_divide_the_clock_are_refused(clock_hz, baud):
    with pytest.raises(PenstockError) as caught:
        baud_divisor(clock_hz, baud)
    assert str(caught.value) == (
        f"baud {baud:,}: must be within 2% of 12,000,000 Hz divided by an integer of 4 or more, "
        f"not {12_000_000 / baud:.2f}"
    )


def test_a_memory_of_more_than_32_bits_is_refused():
    with pytest.raises(PenstockError, match=r"^memory_bits: must be in 9\.\.32, not 33$"):
        HostLink(clock_hz=12e6, memory_bits=33)
