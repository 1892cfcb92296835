"""Credits: how many places of a queue nobody holds."""

from amaranth.hdl import Cat, Const, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from penstock.hw.pipeline import lookup


class Credits(wiring.Component):
    """Counts the free places of a queue: ``enough = free > kept``, ``all_free = free == places``.

    ``take`` and ``give`` tell of the cycle before and count at once, ``take_next`` and
    ``give_next`` from the next cycle on; any of them in any cycle, one place each. Both outputs
    follow from a few registers: the count itself is in no path to them. A place may be taken when
    there is ``enough``.
    """

    def __init__(self, places: int, kept: int = 0):
        self.places, self.kept = places, kept
        super().__init__(
            {
                "take": In(1),
                "give": In(1),
                "take_next": In(1),
                "give_next": In(1),
                "enough": Out(1),
                "all_free": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        places, kept = self.places, self.kept
        count = Signal(range(places + 1), init=places)  # free, without `take` and `give`
        least = [Signal(init=1, name=f"least_{kept + more}") for more in range(3)]
        full, one_held = Signal(init=1), Signal()
        m.d.comb += [
            self.enough.eq(
                least[2]
                | (least[1] & (self.give | ~self.take))
                | (least[0] & self.give & ~self.take)
            ),
            self.all_free.eq((full | (one_held & self.give)) & ~self.take),
        ]
        events = Cat(self.give, self.give_next, self.take, self.take_next)
        changes = [(event & 3).bit_count() - (event >> 2).bit_count() for event in range(16)]

        def then(holds):
            """Whether it ``holds`` of the next count: tables, as carry chains would be late."""
            tables = {
                change: lookup([holds(free + change) for free in range(places + 1)], count)
                for change in set(changes)
            }
            return lookup([tables[change] for change in changes], events)

        change = Signal(signed(3))
        m.d.comb += change.eq(lookup([Const(each, signed(3)) for each in changes], events))
        m.d.sync += [
            count.eq(count + change),
            full.eq(then(lambda free: Const(free == places))),
            one_held.eq(then(lambda free: Const(free == places - 1))),
        ]
        for flag, bound in zip(least, range(kept, kept + 3), strict=True):
            m.d.sync += flag.eq(then(lambda free, bound=bound: Const(free >= bound)))
        return m
