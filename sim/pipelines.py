"""Drives blocks without streams: values in every cycle, results a fixed number of cycles later."""

from collections.abc import Sequence

from cocotb.triggers import RisingEdge

from penstock.sim.streams import pack, unpack


class Pipeline:
    """The ports of one block, by name, with their shapes; nothing is driven until `run` is called.

    ``inputs`` maps port names to (shape, cycles by which the port is late against the others).
    """

    def __init__(self, dut, block: str, inputs: dict, outputs: dict):
        self._edge = RisingEdge(dut.clk)
        self._inputs = {
            name: (getattr(dut, f"{block}__{name}"), shape, late)
            for name, (shape, late) in inputs.items()
        }
        self._outputs = {
            name: (getattr(dut, f"{block}__{name}"), shape) for name, shape in outputs.items()
        }

    async def run(self, vectors: Sequence[dict], latency: int) -> list[dict]:
        """Drive one vector a cycle; the outputs ``latency`` cycles after each vector.

        Ports hold 0 where no vector is due. Call right after a rising edge.
        """
        results = []
        late = max(late for _, _, late in self._inputs.values())
        for cycle in range(len(vectors) + max(latency, late)):
            for name, (signal, shape, delay) in self._inputs.items():
                due = 0 <= cycle - delay < len(vectors)
                signal.value = pack(shape, vectors[cycle - delay][name]) if due else 0
            await self._edge
            # Values read here are those before the edge: cycle `cycle` as seen by a register.
            if cycle >= latency:
                results.append(self._sample())
        return results

    def _sample(self) -> dict:
        return {
            name: unpack(shape, int(signal.value))
            for name, (signal, shape) in self._outputs.items()
        }
