"""Memories that an ASIC's memory compiler makes: a module of its own for each size."""

import re
from dataclasses import dataclass

SMALLEST = 64
"""Words from which on a memory is one of these; shorter ones become flip-flops."""

_MODULE = """
// {macro.words} words of {macro.width} bits: one write port with {macro.lanes} enables, for equal
// parts of a word; one read port, read_data one cycle after read_address. What is read from an
// address in the cycle in which it is written is never used. A black box for synthesis: put your
// memory there.
`ifdef SYNTHESIS
(* blackbox *)
`endif
module {macro.name} (
    input wire clk,
    input wire [{address}:0] read_address,
    output reg [{width}:0] read_data,
    input wire [{lanes}:0] write_enable,
    input wire [{address}:0] write_address,
    input wire [{width}:0] write_data
);
`ifndef SYNTHESIS
    localparam WORDS = {macro.words}, WIDTH = {macro.width}, LANES = {macro.lanes};
    localparam PART = WIDTH / LANES;
    reg [WIDTH-1:0] memory [0:WORDS-1];
    integer i;
    initial for (i = 0; i < WORDS; i = i + 1) memory[i] = 0;
    always @(posedge clk) begin
        for (i = 0; i < LANES; i = i + 1)
            if (write_enable[i])
                memory[write_address][i*PART +: PART] <= write_data[i*PART +: PART];
        read_data <= memory[read_address];
        if (write_enable != 0 && write_address == read_address)
            read_data <= ~memory[read_address];  // wrong on purpose: a simulation shows who uses it
    end
`endif
endmodule
"""


@dataclass(frozen=True, order=True)
class Macro:
    """A memory of ``words`` words of ``width`` bits, with ``lanes`` enables at its write port.

    One write port and one read port on one clock, read latency 1 cycle.
    """

    words: int
    width: int
    lanes: int

    @property
    def name(self) -> str:
        """Name of its Verilog module: ``penstock_ram_512x32x4`` has 4 lanes of 8 bits."""
        return f"penstock_ram_{self.words}x{self.width}x{self.lanes}"

    @property
    def bits(self) -> int:
        """Bits that it holds."""
        return self.words * self.width

    @property
    def address_bits(self) -> int:
        """Bits of each of its two addresses."""
        return (self.words - 1).bit_length()

    def module(self) -> str:
        """Its Verilog: a black box for synthesis, behavioural for simulation."""
        return _MODULE.format(
            macro=self, address=self.address_bits - 1, width=self.width - 1, lanes=self.lanes - 1
        )


def macro_of(name: str) -> Macro | None:
    """The memory whose module has that name; None for any other module."""
    sizes = re.fullmatch(r"penstock_ram_(\d+)x(\d+)x(\d+)", name)
    return Macro(*map(int, sizes.groups())) if sizes else None


def macros(text: str) -> list[Macro]:
    """The memories that a Verilog text instantiates, each size once."""
    names = set(re.findall(r"\bpenstock_ram_\d+x\d+x\d+\b", text))
    return sorted(macro_of(name) for name in names)
