"""Small helpers of pipelined datapaths."""

from amaranth.hdl import Module, Mux, Signal, Value


def datapath_register(shape, name: str) -> Signal:
    """Not reset: nothing follows from it unless a control bit says so."""
    return Signal(shape, name=name, reset_less=True)


def delay(m: Module, value, cycles: int, *, name: str, control: bool = False):
    """The value ``cycles`` clocks later; ``control`` bits are 0 after reset, data unknown."""
    for stage in range(cycles):
        register = Signal.like(value, name=f"{name}_{stage + 1}", reset_less=not control)
        m.d.sync += Value.cast(register).eq(Value.cast(value))
        value = register
    return value


def own_register(m: Module, value, *, name: str):
    """The value a clock later, in a register that stays apart; data unknown before.

    It begins with ones: of two registers that are always equal synthesis would make one, however
    far apart they are needed.
    """
    register = Signal(len(value), name=name, init=(1 << len(value)) - 1, reset_less=True)
    m.d.sync += register.eq(value)
    return register


WAY = 2
"""Cycles of what belongs to a whole layer on its way to places that lie far apart on a chip."""


def spread(m: Module, value, copies: int, *, name: str, cycles: int = WAY) -> list:
    """The value ``cycles`` clocks later, for ``copies`` places that lie far apart on a chip.

    In a tree of registers: each place has its own, or shares it where ``2^cycles`` are fewer than
    the places. Neighbours begin with different values, as data unknown: of two registers that are
    always equal synthesis would make one.
    """
    values, ones = [value], (1 << len(value)) - 1
    for left in reversed(range(cycles)):
        count = min(2 * len(values), -(-copies >> left))
        registers = [
            Signal(
                len(value),
                name=f"{name}_{left}_{index}",
                init=ones * (index % 2),
                reset_less=True,
            )
            for index in range(count)
        ]
        for index, register in enumerate(registers):
            m.d.sync += register.eq(values[index * len(values) // count])
        values = registers
    return [values[place * len(values) // copies] for place in range(copies)]


def add3(left, right) -> Value:
    """(left + right) % 3 of two residues."""
    total = left + right
    return Mux(total >= 3, total - 3, total)[:2]


def sub3(left, right) -> Value:
    """(left - right) % 3 of two residues."""
    return Mux(left >= right, left - right, left + 3 - right)[:2]


def lookup(words, index) -> Value:
    """words[index], 0 behind the last one; a tree as deep as the index has bits."""
    if not len(index):
        return words[0]
    half = 1 << len(index) - 1
    low, high = words[:half], words[half:]
    return Mux(index[-1], lookup(high, index[:-1]) if high else 0, lookup(low, index[:-1]))


def select(choices, index) -> Value:
    """choices[index]; the last one for any index beyond."""
    result = choices[-1]
    for position in reversed(range(len(choices) - 1)):
        result = Mux(index == position, choices[position], result)
    return result
