"""Which core a configuration asks for."""

from penstock.config import Config
from penstock.hw.compact.core import CompactCore
from penstock.hw.core import Core


def make_core(cfg: Config) -> Core | CompactCore:
    """The core of a configuration: the array's, or the compact engine."""
    return CompactCore(cfg) if cfg.engine == "compact" else Core(cfg)
