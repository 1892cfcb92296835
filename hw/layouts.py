"""Payload layouts and signatures that several components share; used by RTL and benches alike."""

from amaranth.hdl import ShapeLike, signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, Signature

from penstock.config import BURST_BEATS, MEMORY_BITS, Config
from penstock.program import Record


def if_gating(cfg: Config, shape: ShapeLike) -> ShapeLike:
    """The shape of what only gating needs: it has no bits where the configuration leaves that out.

    Such a member reads 0, and what is assigned to it is lost.
    """
    return shape if cfg.gating else 0


def record_layout(record: Record) -> data.StructLayout:
    """A program record as Amaranth sees it: every field at its place, whole 64-bit words."""
    members = {}
    for index, word in enumerate(record.words):
        for field in word:
            members[field.name] = signed(field.bits) if field.signed else unsigned(field.bits)
        rest = 64 - sum(field.bits for field in word)
        if rest:
            members[f"reserved_{index}"] = unsigned(rest)
    return data.StructLayout(members)


def request_layout() -> data.StructLayout:
    """A transfer of ``beats`` 64-bit words, 1..BURST_BEATS, from byte ``address``."""
    return data.StructLayout({"address": 32, "beats": range(BURST_BEATS + 1)})


def read_data_layout() -> data.StructLayout:
    """One beat of read data: 64 bits, and whether the memory reported an error."""
    return data.StructLayout({"data": MEMORY_BITS, "error": 1})


def write_data_layout() -> data.StructLayout:
    """One beat of write data: 64 bits, and whether it is the last one of its request."""
    return data.StructLayout({"data": MEMORY_BITS, "last": 1})


def memory_signature() -> Signature:
    """The core's side of the memory: reads in order, one done per write request.

    A request starts at a multiple of 8 bytes, a write of one of 64 bytes; none crosses a boundary
    of ``8 * BURST_BEATS`` bytes, so none a page of 4 kB. Data beats follow requests in order, any
    latency, valid/ready on every stream.
    """
    return Signature(
        {
            "read_request": Out(stream.Signature(request_layout())),
            "read_data": In(stream.Signature(read_data_layout())),
            "write_request": Out(stream.Signature(request_layout())),
            "write_data": Out(stream.Signature(write_data_layout())),
            "write_done": In(stream.Signature(data.StructLayout({"error": 1}), always_ready=True)),
        }
    )


REGISTER_LATENCY = 3
"""Cycles from an address at the register port to its register's data."""


def register_signature() -> Signature:
    """Register port: writes while ``write`` is high; ``read_data`` come REGISTER_LATENCY cycles
    after ``address``.
    """
    return Signature(
        {
            "address": Out(8),
            "write": Out(1),
            "write_data": Out(32),
            "read_data": In(32),
        }
    )


def ram_write_signature(address_bits: int, data_bits: int) -> Signature:
    """A write port without backpressure."""
    return Signature({"enable": Out(1), "address": Out(address_bits), "data": Out(data_bits)})


def bank_word_layout(cfg: Config) -> data.StructLayout:
    """One activation word of `word` channels on its way into an activation buffer."""
    return data.StructLayout(
        {
            "buffer": 1,
            "u": 2,  # bank row
            "v": 2,  # bank column
            "address": 11,
            "data": 8 * cfg.word,
        }
    )


ADDRESS_BITS = 11  # of a word in an activation bank
CHANNEL_BITS = 12
PIXEL_BITS = 8  # of a row or column number
STEP_BITS = 10
WEIGHT_ADDRESS_BITS = 16


def pixel_layout() -> data.StructLayout:
    """Position of one output pixel; ``valid`` is 0 outside the map."""
    return data.StructLayout({"valid": 1, "y": PIXEL_BITS, "x": PIXEL_BITS})


def task_layout(cfg: Config) -> data.StructLayout:
    """One output that takes the conditional path, with its partial sum so far."""
    partial_sum = if_gating(cfg, signed(cfg.accumulator_bits))
    return data.StructLayout({"pixel": pixel_layout(), "partial_sum": partial_sum})


def task_group_layout(cfg: Config) -> data.StructLayout:
    """Up to `rows` tasks of one output channel, as the array takes them."""
    return data.StructLayout(
        {
            "channel": CHANNEL_BITS,
            "group": if_gating(cfg, 6),
            # Of the channel's first conditional step.
            "weight_address": if_gating(cfg, WEIGHT_ADDRESS_BITS),
            "tasks": data.ArrayLayout(task_layout(cfg), cfg.rows),
        }
    )


def queued_tasks_layout(cfg: Config) -> data.StructLayout:
    """A task group in the queue; ``new_group``: of another input group than the one before it."""
    return data.StructLayout({"work": task_group_layout(cfg), "new_group": if_gating(cfg, 1)})


def group_tag_layout(cfg: Config) -> data.StructLayout:
    """What goes with a group of pixels through the array: a task group and how to treat it."""
    return data.StructLayout(
        {
            "work": task_group_layout(cfg),
            "conditional": if_gating(cfg, 1),  # the sum continues from the stored partial sum
            "judged": if_gating(cfg, 1),  # compare with the threshold
            "closing": if_gating(cfg, 1),  # last base group of its channel
        }
    )


def step_layout() -> data.StructLayout:
    """One step of the array: which channel word of the windows, which weights."""
    return data.StructLayout(
        {
            "valid": 1,
            "first": 1,
            "last": 1,
            "conditional": 1,
            "address": ADDRESS_BITS,  # map base + plane * word
            "a": 2,  # (word // 3) % 3
            "b": 2,  # word % 3
            "weight_address": WEIGHT_ADDRESS_BITS,
        }
    )


def sums_layout(cfg: Config) -> data.StructLayout:
    """Partial sums of one group, in accumulator units, with the group's tag."""
    return data.StructLayout(
        {
            "valid": 1,
            "tag": group_tag_layout(cfg),
            "sums": data.ArrayLayout(signed(cfg.accumulator_bits), cfg.rows),
        }
    )


def used_address_bits(cfg: Config) -> int:
    """Bits of an address that the words of a bank need; the others are 0."""
    return (cfg.map_words - 1).bit_length()


def bank_pointer_layout() -> data.StructLayout:
    """One word of an activation buffer: bank row, bank column, address."""
    return data.StructLayout({"u": 2, "v": 2, "address": ADDRESS_BITS})


def result_layout(cfg: Config) -> data.StructLayout:
    """Requantized results of one group on their way to a buffer or to memory."""
    return data.StructLayout(
        {
            "rows": data.ArrayLayout(
                data.StructLayout({"valid": 1, "pointer": bank_pointer_layout(), "value": 8}),
                cfg.rows,
            ),
            "lane": 4,
            "buffer": 1,
            "raw": 1,  # `word` goes to memory instead
            "last": 1,  # last output channel of a raw layer
            "word": signed(32),
            "pooled": 1,  # a pooled mean, which holds no write credit
        }
    )
