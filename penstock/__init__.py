"""Penstock generates accelerators for channel-gated convolutional networks."""

__version__ = "0.1.0"
