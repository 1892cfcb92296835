"""The steps of a group: which channel words, which weights."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from penstock.config import Config
from penstock.hw.layouts import (
    ADDRESS_BITS,
    STEP_BITS,
    WEIGHT_ADDRESS_BITS,
    if_gating,
    record_layout,
    step_layout,
)
from penstock.program import DESCRIPTOR, GROUP


class StepWalk(wiring.Component):
    """The steps of one group after the other, a step per cycle, no gap while groups are begun.

    A base group walks its base words, with ``dense`` its conditional words behind them; a group
    ``of_task`` walks the conditional words, which jump once over the base words. A group may
    ``begin`` in any cycle with ``free``; ``step`` is that of one where none does, only not valid.
    """

    def __init__(self, cfg: Config):
        entry = record_layout(GROUP)
        super().__init__(
            {
                "layer": In(record_layout(DESCRIPTOR)),
                "begin": In(1),
                "of_task": In(1),
                "dense": In(1),
                "base": In(entry),
                "task": In(entry),
                "base_weights": In(WEIGHT_ADDRESS_BITS),
                "task_weights": In(WEIGHT_ADDRESS_BITS),
                "free": Out(1),
                "step": Out(step_layout()),
            }
        )
        self.remaining = Signal(STEP_BITS)  # steps of this run behind the current one
        self.ends = Signal()  # none
        self.before = Signal(if_gating(cfg, STEP_BITS))  # steps up to the jump, 0: none
        self.jump = Signal(data.StructLayout({"address": ADDRESS_BITS, "a": 2, "b": 2}))

    def elaborate(self, platform):
        m = Module()
        step = self.step
        follow = Signal()  # the group's conditional steps come behind its base steps
        later = Signal(record_layout(GROUP))
        running = Signal()
        m.d.comb += [
            running.eq(step.valid & ~self.ends),
            self.free.eq(~step.valid | step.last),
        ]
        with m.If(running):
            self._advance(m)
            m.d.sync += step.last.eq((self.remaining == 1) & ~follow)
        with m.Elif(step.valid & follow):
            self._begin_conditional(m, later)
            m.d.sync += [
                step.first.eq(0),
                step.weight_address.eq(step.weight_address + 1),
                follow.eq(0),
            ]
        with m.Elif(self.of_task):
            self._begin_conditional(m, self.task)
            m.d.sync += [step.valid.eq(self.begin), step.first.eq(1), follow.eq(0)]
            m.d.sync += step.weight_address.eq(self.task_weights)
            m.d.sync += later.eq(self.base)  # of none
        with m.Else():
            self._begin_base(m)
            m.d.sync += [step.valid.eq(self.begin), step.first.eq(1), follow.eq(self.dense)]
            m.d.sync += [step.weight_address.eq(self.base_weights), later.eq(self.base)]
        return m

    def _begin_base(self, m: Module):
        """First base step of a group."""
        entry = self.base
        m.d.sync += [
            self.step.address.eq(entry.base_address),
            self.step.a.eq(entry.base_a),
            self.step.b.eq(entry.base_b),
            self.step.conditional.eq(0),
            self.step.last.eq((entry.base_steps == 1) & ~self.dense),
            self.remaining.eq(entry.base_steps - 1),
            self.ends.eq(entry.base_steps == 1),
            self.before.eq(0),
        ]

    def _begin_conditional(self, m: Module, entry):
        """First conditional step of a group."""
        m.d.sync += [
            self.step.address.eq(entry.conditional_address),
            self.step.a.eq(entry.conditional_a),
            self.step.b.eq(entry.conditional_b),
            self.step.conditional.eq(1),
            self.step.last.eq(entry.conditional_steps == 1),
            self.remaining.eq(entry.conditional_steps - 1),
            self.ends.eq(entry.conditional_steps == 1),
            self.before.eq(entry.before),
            self.jump.address.eq(entry.jump_address),
            self.jump.a.eq(entry.jump_a),
            self.jump.b.eq(entry.jump_b),
        ]

    def _advance(self, m: Module):
        """The next step of the same run."""
        step, layer = self.step, self.layer
        m.d.sync += [
            step.first.eq(0),
            step.weight_address.eq(step.weight_address + 1),
            self.remaining.eq(self.remaining - 1),
            self.ends.eq(self.remaining == 1),
            self.before.eq(Mux(self.before == 0, 0, self.before - 1)),
        ]
        with m.If(self.before == 1):
            m.d.sync += [
                step.address.eq(self.jump.address),
                step.a.eq(self.jump.a),
                step.b.eq(self.jump.b),
            ]
        with m.Else():
            m.d.sync += step.address.eq(step.address + layer.step)
            with m.If(~layer.pointwise):
                m.d.sync += step.b.eq(Mux(step.b == 2, 0, step.b + 1))
                with m.If(step.b == 2):
                    m.d.sync += step.a.eq(Mux(step.a == 2, 0, step.a + 1))
