"""Layouts and sizes that several parts of the compact engine share."""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from penstock.program import Record

BLOCK_BITS = 14
"""Of a block's number in memory: addresses of 2**20 bytes."""

BLOCK_BEATS = 8
"""64-bit words of a block: every request to the memory is one block."""

PIXEL_BITS = 8
SUM_BITS = 24


def fields_layout(record: Record) -> data.StructLayout:
    """A record of the stream as Amaranth sees it: its fields, one behind the other."""
    return data.StructLayout(
        {
            field.name: signed(field.bits) if field.signed else unsigned(field.bits)
            for field in record.fields
        }
    )
