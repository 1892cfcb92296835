"""Output registers of block RAMs on an ECP5, which yosys leaves in flip-flops.

Without its own register a block RAM gives its word 5.8 ns after the clock, with it after 1.0
(speed grade 6, as nextpnr has them), and each bit spares a flip-flop and the wire to it.
"""

from collections import defaultdict

PLAIN = {"GSR": "DISABLED", "CEMUX": "1", "CLKMUX": "CLK", "REGSET": "RESET"}
"""Parameters of a flip-flop that does what an output register does: 0 at first, never held."""

WIDE = 36
"""Bits from which on both sides of a DP16KD give one word, read through side B."""


def absorb_output_registers(module: dict) -> int:
    """Move flip-flops behind block RAMs into them, in a module of yosys' JSON netlist, in place.

    A block RAM takes its register where each of its outputs that go anywhere goes to one flip-flop
    and nothing else, on the block RAM's clock, never held and never cleared. Returns how many
    flip-flops went. (DP16KD: FPGA-TN-02204.)
    """
    cells = module["cells"]
    readers = defaultdict(list)
    for name, cell in cells.items():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input":
                for bit in bits:
                    readers[bit].append((name, port))
    for name, port in module["ports"].items():
        for bit in port["bits"]:
            readers[bit].append((name, "outside"))
    gone = 0
    for ram in [cell for cell in cells.values() if cell["type"] == "DP16KD"]:
        pins, parameters = ram["connections"], ram["parameters"]
        wide = int(parameters["DATA_WIDTH_B"], 2) == WIDE
        for sides in ("AB",) if wide else ("A", "B"):
            outputs = [
                p for p in pins if p[:3] in {f"DO{s}" for s in sides} and readers[pins[p][0]]
            ]
            behind = [readers[pins[port][0]] for port in outputs]
            if not outputs or any(
                len(found) > 1 or not _takes(cells, ram, sides[-1], *found[0]) for found in behind
            ):
                continue
            for port, [(flip_flop, _)] in zip(outputs, behind, strict=True):
                pins[port] = cells.pop(flip_flop)["connections"]["Q"]
            for side in sides:
                parameters[f"REGMODE_{side}"] = "OUTREG"
                pins[f"OCE{side}"] = ["1"]
            gone += len(outputs)
    return gone


def _takes(cells: dict, ram: dict, side: str, reader: str, port: str) -> bool:
    """Whether the reader of an output is a flip-flop that the register of a side can stand for."""
    flip_flop = cells.get(reader, {"type": "port"})
    if (flip_flop["type"], port) != ("TRELLIS_FF", "DI"):
        return False
    pins, ram_pins = flip_flop["connections"], ram["connections"]
    return (
        all(flip_flop["parameters"].get(key, "").strip() == value for key, value in PLAIN.items())
        and pins.get("LSR", ["0"]) == ["0"]
        and pins["CLK"] == ram_pins[f"CLK{side}"]
        and ram_pins[f"CE{side}"] == ram_pins[f"OCE{side}"] == ["1"]
        and ram_pins[f"RST{side}"] == ["0"]
    )
