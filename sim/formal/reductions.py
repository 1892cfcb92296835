"""What makes a proof small: shorter queues, and fewer bits of the words that a block moves."""

import copy

from amaranth.hdl import Cat, Value

from penstock.config import Config

FEW_GROUPS = 4
"""Groups in a queue that is shortened, so that a proof gets it full within few cycles."""

END_BITS = "end bits"
"""In the configuration of a proof that compares no more of a field than its `ends`."""


def shortened(cfg: Config, **sizes: int) -> Config:
    """With queues shorter than Config allows; their hardware is the same but for the sizes."""
    cfg = copy.copy(cfg)
    for name, size in sizes.items():
        object.__setattr__(cfg, name, size)
    return cfg


def ends(*fields) -> Value:
    """Lowest and highest bit of each field, for them all, where a block moves words as a whole."""
    return Cat(Cat(field[0], field[-1]) for field in map(Value.cast, fields))


def whole(*fields) -> Value:
    """All bits of each field."""
    return Cat(*map(Value.cast, fields))
