"""What a run does, named and grouped for waveform viewers, and GTKWave's save file of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from amaranth.hdl import Const, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import wiring

from penstock.errors import PenstockError
from penstock.hw.accelerator import Accelerator
from penstock.hw.compact.core import CompactCore
from penstock.hw.compact.loader import LoaderState
from penstock.hw.core import Core
from penstock.hw.verilog import component_ports
from penstock.registers import COUNTERS, Code, State
from penstock.sim.runner import TOP

KINDS = ("vcd", "fst")
"""File formats of waves, as their files end."""

SCOPE = "waves"
"""Name of the submodule in which the signals of `Waves` lie."""

_FLAGS = {"bit": 0x28, "hexadecimal": 0x22, "decimal": 0x24, "text": 0x820}
"""How a signal is shown, as GTKWave's save files number it."""
_GROUP_BEGINS, _GROUP_ENDS = 0x800200, 0x1000200
_ZOOM = 20  # 2 ** 20 ps to 200 pixels, half a clock cycle to each


def wave_kind(path: Path) -> str:
    """Which of KINDS a file is to be. Raises PenstockError for other endings."""
    kind = path.suffix.removeprefix(".")
    if kind not in KINDS:
        raise PenstockError(f"{path}: must end in .vcd or .fst")
    return kind


@dataclass(frozen=True)
class Shown:
    """One line of a viewer: a signal by its path below the top module."""

    path: str
    bits: int
    radix: str  # a key of _FLAGS


class Waves(wiring.Component):
    """Signals to follow a run by; nothing depends on them.

    ``groups``: what a viewer shows, in order; beside these signals, an accelerator's AXI ports.
    Texts are ASCII, filled up with spaces, so that any viewer shows names without a table.
    """

    def __init__(self, design: Core | CompactCore | Accelerator):
        super().__init__({})
        self._core = core = design.core if isinstance(design, Accelerator) else design
        self._drivers: list = []
        self._queued = Signal(range(core.cfg.queue_groups + 2))
        self.groups: dict[str, list[Shown]] = {}
        if isinstance(core, CompactCore):
            self.groups["Engine"] = self._engine(core)
        else:
            self.groups |= {
                "Run": self._run(core),
                "Phase": self._phase(core),
                **({"Tasks": self._tasks(core)} if core.cfg.gating else {}),
                "Counters": self._counters(core),
                **self._streams(core),
            }
        if isinstance(design, Accelerator):
            self.groups |= _axi(design)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self._drivers
        if isinstance(self._core, CompactCore):
            return m
        queue = self._core.engine.dispatcher
        taken = queue.tasks.valid & queue.tasks.ready
        with m.If(self._core.control.halt):
            m.d.sync += self._queued.eq(0)
        with m.Else():
            m.d.sync += self._queued.eq(self._queued + queue.pushed - taken)
        return m

    def _engine(self, core: CompactCore) -> list[Shown]:
        """What the compact engine does."""
        control, loader, datapath = core.control, core.loader, core.datapath
        walk, write = datapath.walk, datapath.maps.write
        return [
            self._text("state", [(control.status.state == each, each.name) for each in State]),
            self._text("code", [(control.status.code == each, each.name) for each in Code]),
            self._text("stream", [(loader.state == each, each.name) for each in LoaderState]),
            self._show("image", control.image, "decimal"),
            self._show("layer", loader.layer_number, "decimal"),
            self._show("channel", loader.channel.channel, "decimal"),
            self._show("gating", control.gating),
            self._show("interrupt", control.interrupt),
            self._show("step", walk.flags.valid),
            self._show("step_first", walk.flags.first),
            self._show("step_last", walk.flags.last),
            self._show("step_conditional", walk.flags.conditional),
            self._show("judged", datapath.judged),
            self._show("kept", datapath.kept),
            self._show("write", write.valid),
            self._show("write_value", write.value, "hexadecimal"),
        ]

    def _run(self, core: Core) -> list[Shown]:
        control, sequencer = core.control, core.sequencer
        return [
            self._text("state", [(control.status.state == each, each.name) for each in State]),
            self._text("code", [(control.status.code == each, each.name) for each in Code]),
            self._show("image", sequencer.image, "decimal"),
            self._show("layer", sequencer.layer, "decimal"),
            self._show("layer_starts", sequencer.swap),
            self._show("layer_done", core.engine.done),
            self._show("gating", control.gating),
            self._show("interrupt", control.interrupt),
        ]

    def _phase(self, core: Core) -> list[Shown]:
        """What the array does in each cycle, or why it does nothing; its step."""
        events, dispatcher = core.control.events, core.engine.dispatcher
        running = core.control.status.state == State.RUNNING
        phases = {"base": events.base_steps, "conditional": events.conditional_steps}
        stalls = [name for name in COUNTERS if name.startswith("STALL_")]
        phases |= {name.lower().replace("_", " "): events[name.lower()] for name in stalls}
        step = dispatcher.step
        return [
            self._text("phase", [(running & on, text) for text, on in phases.items()]),
            self._show("step", step.valid),
            self._show("step_first", step.first),
            self._show("step_last", step.last),
            self._show("channel", dispatcher.tag.work.channel, "decimal"),
            self._show("weight_address", step.weight_address, "hexadecimal"),
        ]

    def _tasks(self, core: Core) -> list[Shown]:
        events, tasks = core.control.events, core.engine.dispatcher.tasks
        first = tasks.payload.work.tasks[0].pixel
        return [
            self._show("judged_outputs", events.outputs, "decimal"),
            self._show("open_gates", events.tasks, "decimal"),
            self._show("queued_groups", self._queued, "decimal"),
            self._show("group_valid", tasks.valid),
            self._show("group_ready", tasks.ready),
            self._show("group_channel", tasks.payload.work.channel, "decimal"),
            self._show("group_first_y", first.y, "decimal"),
            self._show("group_first_x", first.x, "decimal"),
        ]

    def _counters(self, core: Core) -> list[Shown]:
        values = core.control.values
        return [self._show(name.lower(), values[name], "decimal") for name in COUNTERS]

    def _streams(self, core: Core) -> dict[str, list[Shown]]:
        """Memory, and what goes into and out of the engine."""
        memory, engine = core.memory, core.engine
        streams = {
            "read_request": (memory.read_request, ("address", "beats")),
            "read_data": (memory.read_data, ("data", "error")),
            "write_request": (memory.write_request, ("address", "beats")),
            "write_data": (memory.write_data, ("data", "last")),
            "write_done": (memory.write_done, ("error",)),
            "image_word": (engine.load, ("buffer", "address", "data")),
            "result_word": (engine.word, ()),
        }
        return {
            f"Stream {name}": [
                self._show(f"{name}_valid", stream.valid),
                self._show(f"{name}_ready", stream.ready),
                *(
                    self._show(f"{name}_{field}", stream.payload[field], "hexadecimal")
                    for field in fields
                ),
            ]
            for name, (stream, fields) in streams.items()
        }

    def _show(self, name: str, value: ValueLike, radix: str = "bit") -> Shown:
        value = Value.cast(value)
        signal = Signal(len(value), name=name)
        self._drivers.append(signal.eq(value))
        return Shown(f"{SCOPE}.{name}", len(signal), radix if len(signal) > 1 else "bit")

    def _text(self, name: str, choices: Iterable[tuple[Value, str]]) -> Shown:
        """The text of the first condition that holds; spaces where none does."""
        choices = list(choices)
        length = max(len(text) for _, text in choices)
        value = _ascii("", length)
        for condition, text in reversed(choices):
            value = Mux(condition, _ascii(text, length), value)
        return self._show(name, value, "text")


def _ascii(text: str, length: int) -> Const:
    return Const(int.from_bytes(text.ljust(length).encode()), 8 * length)


def _axi(design: Accelerator) -> dict[str, list[Shown]]:
    """An accelerator's buses, every port."""
    groups: dict[str, list[Shown]] = {"AXI4-Lite s_axil": [], "AXI4 m_axi": []}
    for name, (signal, _) in component_ports(design).items():
        for group, shown in groups.items():
            if name.startswith(group.split()[1]):
                radix = "hexadecimal" if len(signal) > 1 else "bit"
                shown.append(Shown(name, len(signal), radix))
    return groups


def save_file(groups: Mapping[str, list[Shown]], dump: str) -> str:
    """GTKWave's save file: the groups, open, of the waves in file ``dump``."""
    lines = [f'[dumpfile] "{dump}"', "[size] 1600 1000", "[sst_expanded] 0", f"*-{_ZOOM} -1"]
    for group, shown in groups.items():
        lines += [f"@{_GROUP_BEGINS:x}", f"-{group}"]
        for each in shown:
            bits = f"[{each.bits - 1}:0]" if each.bits > 1 else ""
            lines += [f"@{_FLAGS[each.radix]:x}", f"{TOP}.{each.path}{bits}"]
        lines += [f"@{_GROUP_ENDS:x}", f"-{group}"]
    return "\n".join(lines) + "\n"
