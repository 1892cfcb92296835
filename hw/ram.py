"""The one module that makes the large memories, so that a target can give its primitive."""

from functools import reduce
from operator import or_

from amaranth.hdl import ClockSignal, Instance, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from penstock.hw.ram_macro import SMALLEST, Macro, macros

LATENCY = 2
"""Cycles from an address to its data."""

LONGEST = 2048
"""Words of the longest block RAM of an ECP5 that leaves none of its bits unused."""

STYLES = {"generic": "", "ecp5_block": "block", "ecp5_distributed": "distributed"}
"""Module suffix -> yosys' ram_style; synthesis chooses where there is none."""

_MODULE = """
// DEPTH words of WIDTH bits: one write port with an enable for each of LANES equal parts of a
// word; one read port, read_data two cycles after read_address. What is read from an address in
// the cycle in which it is written is never used, with ADDRESS_FIRST nor is it if it is written in
// the next. Your technology's memory may take its place.
module {name} #(
    parameter WIDTH = 8,
    parameter DEPTH = 16,
    parameter LANES = 1,
    parameter ADDRESS = 4,
    parameter ADDRESS_FIRST = 0
) (
    input wire clk,
    input wire [ADDRESS-1:0] read_address,
    output reg [WIDTH-1:0] read_data,
    input wire [LANES-1:0] write_enable,
    input wire [ADDRESS-1:0] write_address,
    input wire [WIDTH-1:0] write_data
);
    localparam PART = WIDTH / LANES;
    {attributes}
    reg [WIDTH-1:0] memory [0:DEPTH-1];
    reg [WIDTH-1:0] word;
    reg [ADDRESS-1:0] kept_address;
    wire [ADDRESS-1:0] address = ADDRESS_FIRST ? kept_address : read_address;
`ifndef SYNTHESIS
    reg met;
`endif
    integer i;
    always @(posedge clk) begin
        for (i = 0; i < LANES; i = i + 1)
            if (write_enable[i])
                memory[write_address][i*PART +: PART] <= write_data[i*PART +: PART];
        kept_address <= read_address;
        word <= memory[address];
        read_data <= ADDRESS_FIRST ? memory[address] : word;
`ifndef SYNTHESIS
        // Wrong on purpose: a simulation shows who uses it.
        met <= write_enable != 0 && write_address == read_address;
        if (write_enable != 0 && write_address == address) begin
            word <= ~memory[address];
            if (ADDRESS_FIRST) read_data <= ~memory[address];
        end
        if (ADDRESS_FIRST && met) read_data <= ~memory[address];
`endif
    end
`ifndef SYNTHESIS
    initial for (i = 0; i < DEPTH; i = i + 1) memory[i] = 0;
`endif
endmodule
"""


def ram_modules(text: str) -> str:
    """Verilog of the memory modules that a Verilog text instantiates."""
    modules = ""
    for suffix, style in STYLES.items():
        name = f"penstock_ram_{suffix}"
        if f"{name} #(" in text:
            attributes = (
                '(* no_rw_check, ram_style = "{style}" *)' if style else "(* no_rw_check *)"
            )
            modules += _MODULE.format(name=name, attributes=attributes.format(style=style))
    return modules + "".join(macro.module() for macro in macros(text))


class Ram(wiring.Component):
    """A memory with one write port and one read port: ``read_data = memory[read_address]``.

    One read and one write per cycle, read latency 2 cycles (the memory's own register and an output
    register), no backpressure. Nobody may rely on what is read from an address in the cycle in
    which it is written: the memory then needs no collision logic. ``style`` is "block", or
    "distributed" for small memories that a target should build from logic; those have a register
    for the address, which may come from far, in place of the memory's own, and so what is written
    in the next cycle counts too.

    The memory itself is a Verilog module, see `ram_modules`: one place to put a target's primitive.
    Target "asic" has a black box for each size from `SMALLEST` words on, with the output register
    outside, and flip-flops for what is shorter, whatever the style.
    """

    def __init__(
        self, *, width: int, depth: int, lanes: int = 1, style: str = "block", target: str
    ):
        self.depth = depth
        self.width = width
        self.lanes = lanes
        self.style = style
        self.target = target
        address_bits = ceil_log2(depth)
        super().__init__(
            {
                "read_address": In(address_bits),
                "read_data": Out(width),
                "write_enable": In(lanes),
                "write_address": In(address_bits),
                "write_data": In(width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        if self.target == "asic" and self.depth >= SMALLEST:
            data = self._macro(m)
        elif len(self._parts()) > 1:
            data = self._split(m)
        else:
            data = self._memory(m, "memory", self.depth, self.write_enable)
        m.d.comb += self.read_data.eq(data)
        return m

    def _parts(self) -> list[int]:
        """Words of each of the memories that it is made of, decreasing powers of two.

        Yosys rounds the depth of block RAMs up to one: 7680 words of 288 bits are 128 of them in
        one piece, 120 as 3 * 2048 + 1024 + 512. A longer one has several block RAMs behind each
        other, and logic between them and their output registers.
        """
        if self.target != "ecp5" or self.style != "block":
            return [self.depth]
        full, rest = divmod(self.depth, LONGEST)
        return [LONGEST] * full + [
            1 << n for n in range(LONGEST.bit_length())[::-1] if rest >> n & 1
        ]

    def _split(self, m: Module):
        """The memories of `_parts`, which share their low address bits."""
        address = Signal.like(self.read_address)
        m.d.sync += address.eq(self.read_address)
        first, words = 0, []
        for depth in self._parts():
            bits = ceil_log2(depth)
            number = first >> bits
            enable = Mux(self.write_address >> bits == number, self.write_enable, 0)
            word = self._memory(m, f"memory_{first}", depth, enable)
            chosen = Signal(name=f"chosen_{first}")
            m.d.sync += chosen.eq(address >> bits == number)
            words.append(word & chosen.replicate(self.width))
            first += depth
        return reduce(or_, words)

    def _macro(self, m: Module):
        """One memory of a memory compiler; returns the output register."""
        macro = Macro(self.depth, self.width, self.lanes)
        word, data = Signal(self.width), Signal(self.width, reset_less=True)
        m.submodules.memory = Instance(
            macro.name,
            i_clk=ClockSignal(),
            i_read_address=self.read_address,
            o_read_data=word,
            i_write_enable=self.write_enable,
            i_write_address=self.write_address,
            i_write_data=self.write_data,
        )
        m.d.sync += data.eq(word)
        return data

    def _memory(self, m: Module, name: str, depth: int, enable):
        """One memory of the target's kind; returns its read data."""
        suffix = f"ecp5_{self.style}" if self.target == "ecp5" else "generic"
        bits = ceil_log2(depth)
        read_data = Signal(self.width, name=f"{name}_data")
        write_enable = Signal(self.lanes, name=f"{name}_enable")
        m.d.comb += write_enable.eq(enable)
        m.submodules[name] = Instance(
            f"penstock_ram_{suffix}",
            p_WIDTH=self.width,
            p_DEPTH=depth,
            p_LANES=self.lanes,
            p_ADDRESS=bits,
            p_ADDRESS_FIRST=int(self.style == "distributed"),
            i_clk=ClockSignal(),
            i_read_address=self.read_address[:bits],
            o_read_data=read_data,
            i_write_enable=write_enable,
            i_write_address=self.write_address[:bits],
            i_write_data=self.write_data,
        )
        return read_data
