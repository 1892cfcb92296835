"""Credits: how many places of a queue nobody holds."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


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
        least = [Signal(init=1, name=f"least_{kept + spare}") for spare in range(3)]
        full, one_held = Signal(init=1), Signal()
        # The next count, as `give_next` and `take_next` may change it, which come from afar.
        fewer, same, more = (Signal.like(count, name=name) for name in ("fewer", "same", "more"))
        m.d.comb += [
            fewer.eq(count - self.take + self.give - 1),
            same.eq(count - self.take + self.give),
            more.eq(count - self.take + self.give + 1),
            self.enough.eq(
                least[2]
                | (least[1] & (self.give | ~self.take))
                | (least[0] & self.give & ~self.take)
            ),
            self.all_free.eq((full | (one_held & self.give)) & ~self.take),
        ]

        def then(of):
            changed = Mux(self.give_next, of(more), of(fewer))
            return Mux(self.give_next == self.take_next, of(same), changed)

        m.d.sync += [
            count.eq(then(lambda free: free)),
            full.eq(then(lambda free: free == places)),
            one_held.eq(then(lambda free: free == places - 1)),
        ]
        for flag, bound in zip(least, range(kept, kept + 3), strict=True):
            m.d.sync += flag.eq(then(lambda free, bound=bound: free >= bound))
        return m
