"""The configuration of one accelerator: every size of the hardware, and the presets."""

import dataclasses
import json
import zlib
from dataclasses import dataclass

from penstock.errors import PenstockError

BLOCKS = {1: (1, 1), 2: (1, 2), 3: (1, 3), 4: (2, 2), 6: (2, 3), 9: (3, 3)}
"""Rows of the array -> (height, width) of the block of pixels that a base step works on.

A block fits into 3x3 pixels, so that its results lie in distinct banks.
"""

MEMORY_BITS = 64
"""Width of the core's memory streams; a beat is one transfer of that width."""

BURST_BEATS = 64
"""Longest request of the core, in beats; a request crosses no boundary of that size."""

BANKS = 9
"""Banks of an activation buffer, arranged 3x3."""

TAPS = 9
"""Taps that a row multiplies at once: a 3x3 window, or nine channel words of one pixel."""


COMPACT = {
    **{"rows": 1, "word": 1, "activation_bits": 8, "weight_bits": 8, "accumulator_bits": 24},
    **{"map_words": 512, "map_side": 16, "weights": "streamed", "weight_words": 256},
    **{"groups": 64, "queue_groups": 256, "gating": True},
}
"""Sizes that the compact engine has; whatever else counts memories of the array it has not."""


TARGETS = {"array": ("generic", "ecp5", "asic"), "compact": ("generic", "ice40")}
"""Engine -> technologies whose primitives it instantiates; generic: none."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of one accelerator. Raises PenstockError where a size breaks its rule.

    The array has ``rows x lanes`` multipliers; each row works on one output pixel, each lane on one
    channel of one tap.
    """

    name: str = "custom"
    engine: str = "array"  # or "compact": one row of nine multipliers, for the smallest FPGAs
    rows: int = 4  # output pixels worked on at once
    word: int = 4  # channels per activation word
    activation_bits: int = 8  # bits of an activation
    weight_bits: int = 8  # bits of a signed weight
    accumulator_bits: int = 26  # bits of a signed partial sum
    map_words: int = 512  # words per bank of each of the two activation buffers
    map_side: int = 64  # largest height and width of a feature map, pixels
    weight_words: int = 7680  # words of `lanes` weights on chip
    weights: str = "resident"  # or "streamed": the next layer's are fetched while this one runs
    channels: int = 1024  # parameter records, one per output channel of the program
    groups: int = 16  # groups of one layer
    program_words: int = 1024  # 64-bit words for descriptors and tables
    queue_groups: int = 32  # task queue length, in groups of `rows` tasks
    write_groups: int = 64  # write queue length, in groups of `rows` results
    pool_channels: int = 8  # output channels that a fused pooling may have open at once
    gating: bool = True  # False: a dense accelerator, without gate, task queue, conditional phase
    axi_bits: int = 64  # data width of the AXI4 master
    target: str = "generic"  # technology of the multiplier and RAM modules

    def __post_init__(self):
        self._one_of("rows", tuple(BLOCKS))
        self._one_of("word", (1, 2, 4, 8, 16))
        self._one_of("weights", ("resident", "streamed"))
        self._one_of("engine", ("array", "compact"))
        self._one_of("target", TARGETS[self.engine])
        self._one_of("map_side", (16, 32, 64, 128))
        self._one_of("axi_bits", (32, 64, 128))
        for field, low, high in (
            ("activation_bits", 2, 8),
            ("weight_bits", 2, 8),
            ("accumulator_bits", 18, 32),
            ("map_words", 16, 2048),
            ("weight_words", 16, 65536),
            ("channels", 16, 65536),
            ("groups", 1, 64),
            ("program_words", 64, 65536),
            ("queue_groups", 8, 1024),
            ("write_groups", 64, 1024),
            ("pool_channels", 2, 16),
        ):
            value = getattr(self, field)
            if not isinstance(value, int) or not low <= value <= high:
                raise PenstockError(f"{field} must be an integer in {low}..{high}, not {value!r}")
        for field in ("queue_groups", "write_groups", "pool_channels"):
            value = getattr(self, field)
            if value & (value - 1):
                raise PenstockError(f"{field} must be a power of two, not {value}")
        if not isinstance(self.gating, bool):
            raise PenstockError(f"gating must be true or false, not {self.gating!r}")
        if self.engine == "compact":
            for field, value in COMPACT.items():
                if getattr(self, field) != value:
                    raise PenstockError(
                        f"{field} must be {value} with engine compact, not {getattr(self, field)!r}"
                    )

    def _one_of(self, field: str, allowed: tuple):
        value = getattr(self, field)
        if value not in allowed:
            shown = ", ".join(str(item) for item in allowed)
            raise PenstockError(f"{field} must be one of {shown}, not {value!r}")

    @property
    def lanes(self) -> int:
        """Multipliers of one row: taps x channels of a word."""
        return TAPS * self.word

    @property
    def multipliers(self) -> int:
        """Multipliers of the array; the requantizers have three more per row."""
        return self.rows * self.lanes

    @property
    def sum_bits(self) -> int:
        """Bits of the signed sum psum*M + B + r*Mr + 2^(S-1) before the shift."""
        return self.accumulator_bits + 18

    @property
    def block(self) -> tuple[int, int]:
        """(height, width) in pixels of what one base step works on."""
        return BLOCKS[self.rows]

    @property
    def weight_beats(self) -> int:
        """Memory beats of one weight word in a program, padded to whole beats."""
        return -(-self.lanes * 8 // MEMORY_BITS)

    def fields(self) -> dict[str, int | str | bool]:
        """The fields by name, as files carry them: ``engine`` and ``gating`` if not the default."""
        fields = dataclasses.asdict(self)
        if self.engine == "array":
            del fields["engine"]
        if self.gating:
            del fields["gating"]
        return fields

    @property
    def hash(self) -> int:
        """32 bits that a program and its hardware must share: CRC-32 of the sizes.

        Name, target and AXI width make no difference to a program and are left out.
        """
        sizes = self.fields()
        del sizes["name"], sizes["target"], sizes["axi_bits"]
        return zlib.crc32(json.dumps(sizes, sort_keys=True).encode())

    def require_gating(self, purpose: str):
        """Raises PenstockError where gating is left out; ``purpose`` is what needs it."""
        if not self.gating:
            raise PenstockError(
                f"{purpose}: needs a configuration with gating, {self.name} leaves it out"
            )


_ULX3S = Config(name="ulx3s-85f", map_side=32)
_PRESETS = (
    Config(
        name="tiny",
        rows=2,
        word=2,
        accumulator_bits=24,
        map_words=256,
        map_side=32,
        weight_words=1024,
        channels=256,
        queue_groups=8,
        pool_channels=4,
    ),
    Config(name="icebreaker", engine="compact", **COMPACT),
    Config(
        name="ulx3s-25f",
        rows=1,
        word=2,
        accumulator_bits=24,
        map_words=1024,
        map_side=32,
        weight_words=3072,
        weights="streamed",
        channels=512,
        program_words=512,
        queue_groups=16,
        pool_channels=2,
    ),
    _ULX3S,
    Config(name="asic", word=8, map_words=1024, weight_words=8192, weights="streamed"),
)
PRESETS = {preset.name: preset for preset in _PRESETS}


def preset(name: str) -> Config:
    """The preset of that name. Raises PenstockError with the list of names for any other."""
    if name not in PRESETS:
        raise PenstockError(f"config must be one of {', '.join(PRESETS)}, not {name!r}")
    return PRESETS[name]
