"""Devices of Lattice's ECP5 family, as the open tools know them."""

from collections.abc import Iterator
from dataclasses import dataclass

from amaranth.hdl import Fragment, Instance

BLOCK_RAM_SHAPES = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
"""(words, bits) of a block RAM. A port that writes parts of a word does so by 9 bits."""


@dataclass(frozen=True, kw_only=True)
class Ecp5:
    """A device: its names, what there is in it, and the tiles of its grid.

    ``lut``: LUT4s (TRELLIS_COMB); ``ff``: flip-flops; ``dsp``: MULT18X18D; ``bram``: block RAMs of
    18 kbit (DP16KD).
    """

    name: str
    nextpnr: tuple[str, ...]  # options that choose it
    lut: int
    ff: int
    dsp: int
    bram: int
    width: int
    height: int

    target = "ecp5"
    """Of the configuration."""


LFE5U_25F = Ecp5(
    name="LFE5U-25F-6BG381C",
    nextpnr=("--25k", "--package", "CABGA381", "--speed", "6"),
    lut=24288,
    ff=24288,
    dsp=28,
    bram=56,
    width=73,
    height=51,
)
LFE5U_85F = Ecp5(
    name="LFE5U-85F-6BG381C",
    nextpnr=("--85k", "--package", "CABGA381", "--speed", "6"),
    lut=83640,
    ff=83640,
    dsp=156,
    bram=208,
    width=127,
    height=96,
)


def primitives(design: Fragment) -> dict[str, int]:
    """``dsp`` and ``bram`` that an elaborated design takes: nothing else is inferred as one."""
    used = {"dsp": 0, "bram": 0}
    for instance in _instances(design):
        if instance.type == "MULT18X18D":
            used["dsp"] += 1
        elif instance.type == "penstock_ram_ecp5_block":
            used["bram"] += block_rams(
                *(instance.parameters[name] for name in ("WIDTH", "DEPTH", "LANES"))
            )
    return used


def _instances(fragment: Fragment) -> Iterator[Instance]:
    if isinstance(fragment, Instance):
        yield fragment
    for inner, *_ in fragment.subfragments:
        yield from _instances(inner)


def block_rams(width: int, depth: int, lanes: int) -> int:
    """Block RAMs that yosys makes of a memory whose words are written in so many equal parts."""
    counts = []
    for words, bits in BLOCK_RAM_SHAPES:
        deep = -(-depth // words)
        if lanes == 1:
            counts.append(deep * -(-width // bits))
        elif bits >= 9:
            parts = lanes * -(-width // lanes // 9)  # of 9 bits
            counts.append(deep * -(-parts // (bits // 9)))
    return min(counts)
