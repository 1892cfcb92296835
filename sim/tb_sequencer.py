"""Bench of the sequencer: what it starts, when, in which order, with which addresses.

Parameter ``block``: ``resident`` or ``streamed``. The bench plays engine, loaders and output
writer with random durations.
"""

import random
from dataclasses import dataclass

import cocotb
from cocotb.triggers import RisingEdge

from penstock.hw.layouts import record_layout
from penstock.program import DESCRIPTOR
from penstock.sim.runner import bench_parameters
from penstock.sim.streams import pack, start_clock

STALLS = ("drain", "weights", "input", "output")
LAYOUT = record_layout(DESCRIPTOR)
RUNS = 12
SILENCE = 30
"""Cycles after a run in which nothing may start."""
TIMEOUT = 2000


@dataclass(frozen=True)
class Job:
    """One run: descriptors, addresses, images."""

    layers: list[dict[str, int]]
    program: int
    input: int
    input_stride: int
    output: int
    output_stride: int
    images: int

    @property
    def loading_layer(self) -> int:
        """The layer from whose start on the next image may be loaded; one past the last: none."""
        flags = [layer["load_input"] for layer in self.layers]
        return flags.index(1) if any(flags) else len(flags)


def random_job() -> Job:
    """A program of few layers on few images; the last layer is raw or not."""
    count = random.choice((1, 2, 2, 3, 5))
    loading = random.randrange(count + 1)
    raw = random.random() < 0.7
    layers = []
    for index in range(count):
        layer = {
            member.name: random.getrandbits(member.bits - 1)
            for member in DESCRIPTOR.fields
            if member.bits > 1
        }
        layer |= {
            member.name: random.getrandbits(1) for member in DESCRIPTOR.fields if member.bits == 1
        }
        layer |= {"load_input": int(index == loading), "raw": int(raw and index == count - 1)}
        layer["weight_offset"] = random.randrange(1 << 20)
        layers.append(layer)
    return Job(
        layers=layers,
        program=8 * random.getrandbits(20),
        input=8 * random.getrandbits(20),
        input_stride=8 * random.getrandbits(12),
        output=8 * random.getrandbits(20),
        output_stride=8 * random.getrandbits(12),
        images=random.randint(1, 4),
    )


class Unit:
    """Something that is busy for a random time from the cycle after its start on."""

    def __init__(self, longest: int):
        self.longest = longest
        self.left = self.finished = 0

    def start(self, least: int = 1):
        assert not self.left, "a start while busy"
        self.left = random.randint(least, max(least, self.longest))

    def cycle(self):
        """Go on by a cycle."""
        if self.left:
            self.left -= 1
            self.finished += not self.left


class Bench:
    """Runs jobs and checks every cycle."""

    def __init__(self, dut):
        self.dut = dut
        self.block = bench_parameters()["block"]
        self.streamed = self.block == "streamed"
        self.edge = RisingEdge(dut.clk)
        for name in ("run", "described", "ready", "input_busy", "weight_busy", "output_busy"):
            self._port(name).value = 0
        self._port("engine_done").value = 1
        self._port("next").value = 0

    def _port(self, name: str):
        return getattr(self.dut, f"{self.block}__{name}")

    def _begin(self, job: Job, longest: dict[str, int]):
        self.job, self.total = job, job.images * len(job.layers)
        self.fetching, self.engine = Unit(longest["fetch"]), Unit(longest["engine"])
        self.input, self.weights = Unit(longest["input"]), Unit(longest["weights"])
        self.longest_output, self.output_left, self.output_wait = longest["output"], 0, 0
        self.fetched = self.swapped = self.inputs = self.weight_starts = self.outputs = 0
        self.fetched_layer = None
        self.input_due = 0  # cycle in which the next image's load must start
        self.possible = 0  # cycles in which a layer could have started
        self.time = 0
        self.output_due = None
        for name in ("program", "input", "input_stride", "output", "output_stride", "images"):
            self._port(name).value = getattr(job, name)
        self._port("layers").value = len(job.layers)

    async def run(self, job: Job, longest: dict[str, int]):
        """Run a job to its end; ``longest`` are the durations' limits in cycles."""
        self._begin(job, longest)
        self._port("run").value = 1
        await self.edge
        assert not self._port("stall").value
        self._port("run").value = 0
        self.input_due = 1
        idle = 0
        while True:
            self._drive()
            await self.edge
            self.time += 1
            progress = self._observe()
            if self._port("run_done").value:
                break
            idle = 0 if progress or self._busy() else idle + 1
            assert idle < SILENCE, "the sequencer hangs"
        self._check_end()
        for _ in range(SILENCE):
            await self.edge
            names = ("fetch", "swap", "input_start", "weight_start", "output_start", "run_done")
            started = [name for name in (*names, "stall") if self._port(name).value]
            assert not started, "nothing may happen after the end of a run"

    def _busy(self) -> bool:
        units = self.fetching, self.engine, self.input, self.weights
        return any(unit.left for unit in units) or bool(self.output_left)

    def _drive(self):
        """Inputs of the coming cycle."""
        for unit in (self.fetching, self.engine, self.input, self.weights):
            unit.cycle()
        # The output writer is busy from some cycle of a raw layer to one after its end.
        if self.output_wait:
            self.output_wait -= 1
        elif self.output_left and not self.engine.left:
            self.output_left -= 1
        fetched = self.fetched_layer is not None
        described = fetched and self.fetching.left <= self.description_left
        self._port("described").value = described
        self._port("ready").value = fetched and not self.fetching.left
        layer = pack(LAYOUT, self.job.layers[self.fetched_layer]) if described else None
        self._port("next").value = random.getrandbits(LAYOUT.size) if layer is None else layer
        self._port("engine_done").value = not self.engine.left
        self._port("input_busy").value = bool(self.input.left)
        self._port("weight_busy").value = bool(self.weights.left)
        self._port("output_busy").value = bool(self.output_left and not self.output_wait)

    def _observe(self) -> bool:
        """Outputs of the cycle that ends now; whether something started."""
        self._check_stall()
        self._check_position()
        self._check_promptness()
        events = {
            "input_start": self._input_started,
            "weight_start": self._weights_started,
            "output_start": self._output_started,
            "fetch": self._fetch_started,
            "swap": self._swapped,
        }
        started = [name for name in events if self._port(name).value]
        for name in started:
            events[name]()
        return bool(started)

    def _place(self) -> tuple[int, int]:
        """Image and layer of the layer that starts next."""
        return divmod(self.swapped, len(self.job.layers))

    def _fetch_started(self):
        assert self.fetched == self.swapped < self.total, "one layer ahead is fetched"
        assert not self.fetching.left
        index = self.fetched % len(self.job.layers)
        assert int(self._port("fetch_index").value) == index
        self.fetched += 1
        self.fetched_layer = index
        self.fetching.start(2)
        self.description_left = random.randrange(self.fetching.left)

    def _weights_started(self):
        assert self.streamed, "resident weights are there"
        job, index = self.job, self.weight_starts % len(self.job.layers)
        assert self.weight_starts < (1 if len(job.layers) == 1 else self.total)
        assert self.weight_starts <= self.swapped, "the place of these weights is in use"
        assert self._port("described").value
        address = job.program + 8 * job.layers[index]["weight_offset"]
        assert int(self._port("weight_address").value) == address
        self.weight_starts += 1
        self.weights.start()

    def _input_started(self):
        assert self.time == self.input_due, "the next image is loaded when its place is free"
        assert self.inputs < self.job.images
        address = self.job.input + self.inputs * self.job.input_stride
        assert int(self._port("input_address").value) == address
        self.inputs += 1
        self.input.start()

    def _output_started(self):
        assert self.time == self.output_due, "the output starts with its layer"
        self.output_due = None
        address = self.job.output + self.outputs * self.job.output_stride
        assert int(self._port("output_address").value) == address
        self.outputs += 1

    def _swapped(self):
        image, layer = self._place()
        assert self.swapped < self.total
        assert not self._missing(), f"layer {layer} started without {self._missing()}"
        self.possible = 0
        self.swapped += 1
        self.engine.start(2)
        if self.job.layers[layer]["raw"]:
            self.output_due = self.time + 1
            self.output_wait = random.randrange(self.engine.left)
            self.output_left = random.randint(1, self.longest_output)
        if image < self.job.images - 1 and layer == self.job.loading_layer:
            self.input_due = self.time + 1

    def _missing(self) -> list[str]:
        """What the next layer cannot start without."""
        image, layer = self._place()
        single = len(self.job.layers) == 1
        weights = self.weights.finished >= (1 if single else self.swapped + 1)
        return [
            name
            for name, there in (
                ("the end of the layer before", not self.engine.left),
                ("its tables", self.fetched > self.swapped and not self.fetching.left),
                ("its weights", weights or not self.streamed),
                ("its image", layer or self.input.finished > image),
                ("a free output writer", not self._raw(layer) or not self._output_busy()),
            )
            if not there
        ]

    def _raw(self, layer: int) -> bool:
        return bool(self.job.layers[layer]["raw"])

    def _output_busy(self) -> bool:
        return bool(self._port("output_busy").value)

    def _check_promptness(self):
        """A layer starts as soon as it can: two cycles after the last thing it waits for."""
        if self.swapped == self.total or self._missing() or self.swapped >= self.fetched:
            self.possible = 0
            return
        self.possible += 1
        assert self.possible <= 2, "a layer starts as soon as everything is there"

    def _check_position(self):
        image, layer = self._place()
        if self.swapped:
            running = (self.swapped - 1) % len(self.job.layers)
            assert int(self._port("layer").value) == running
        finished = int(self._port("image").value)
        last_ended = self.swapped and not layer and not self.engine.left
        assert finished == image or (finished == image - 1 and not layer), (finished, image)
        if not layer and self.engine.left:
            assert finished == image - 1
        if last_ended and self.job.loading_layer == len(self.job.layers):
            self._expect_late_input(image, finished)

    def _expect_late_input(self, image: int, finished: int):
        """Without a layer that leaves its place free the next image waits for the last layer."""
        if finished == image < self.job.images and self.inputs == image:
            self.input_due = self.time

    def _check_stall(self):
        stall = int(self._port("stall").value)
        assert stall.bit_count() == 1, "one cause in every cycle of a run"
        cause = STALLS[stall.bit_length() - 1]
        image, layer = self._place()
        if cause == "weights":
            single = len(self.job.layers) == 1
            assert self.streamed
            assert self.weights.finished < (1 if single else self.swapped + 1)
        elif cause == "input":
            assert not layer and self.input.finished <= image
        elif cause == "output":
            assert self._output_busy() or self.swapped == self.total

    def _check_end(self):
        job = self.job
        assert self.swapped == self.fetched == self.total, "every layer of every image runs"
        assert not self.engine.left and not self.output_left, "the end is when all is in memory"
        assert self.inputs == self.input.finished == job.images
        assert self.outputs == job.images * job.layers[-1]["raw"]
        assert int(self._port("image").value) == job.images
        if self.streamed:
            assert self.weight_starts == (1 if len(job.layers) == 1 else self.total)


SLOW = {"fetch": 6, "engine": 12, "input": 6, "weights": 6, "output": 6}


@cocotb.test(timeout_time=1000, timeout_unit="us")
@cocotb.parametrize(slow=[None, "fetch", "engine", "input", "weights", "output"])
async def runs(dut, slow):
    """Random programs on random numbers of images, whichever of the units is the slow one."""
    bench = Bench(dut)
    await start_clock(dut)
    for _ in range(RUNS):
        await bench.run(random_job(), SLOW | ({slow: 60} if slow else {}))
