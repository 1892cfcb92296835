"""The small memories of the compact engine: one block RAM of an iCE40 each, or of a GW1N."""

from amaranth.hdl import ClockSignal, Instance, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

MODULE = "penstock_block_ram"

_VERILOG = """
// DEPTH words of WIDTH bits: one write port with an enable for each of LANES equal parts of a word;
// one read port, read_data one cycle after read_address. What is read from an address in the cycle
// in which it is written is never used.
module penstock_block_ram #(
    parameter WIDTH = 8,
    parameter DEPTH = 512,
    parameter LANES = 1,
    parameter ADDRESS = 9
) (
    input wire clk,
    input wire [ADDRESS-1:0] read_address,
    output reg [WIDTH-1:0] read_data,
    input wire [LANES-1:0] write_enable,
    input wire [ADDRESS-1:0] write_address,
    input wire [WIDTH-1:0] write_data
);
    localparam PART = WIDTH / LANES;
    integer lane;
    (* no_rw_check, ram_style = "block" *)
    reg [WIDTH-1:0] memory [0:DEPTH-1];
    always @(posedge clk) begin
        for (lane = 0; lane < LANES; lane = lane + 1)
            if (write_enable[lane])
                memory[write_address][lane*PART +: PART] <= write_data[lane*PART +: PART];
        read_data <= memory[read_address];
`ifndef SYNTHESIS
        if (|write_enable && write_address == read_address)
            read_data <= ~memory[read_address];  // wrong on purpose: a simulation shows who uses it
`endif
    end
`ifndef SYNTHESIS
    integer i;
    initial for (i = 0; i < DEPTH; i = i + 1) memory[i] = 0;
`endif
endmodule
"""


def block_ram_module(text: str) -> str:
    """Verilog of the memory module, where a Verilog text instantiates it."""
    return _VERILOG if f"{MODULE} #(" in text else ""


class BlockRam(wiring.Component):
    """``read_data = memory[read_address]``: one read and one write per cycle, latency 1 cycle.

    ``write_enable`` has a bit for each of ``lanes`` equal parts of a word. No backpressure. Nobody
    may rely on what is read from an address in the cycle in which it is written: the memory then
    needs no collision logic.
    """

    def __init__(self, *, width: int, depth: int, lanes: int = 1):
        self.width = width
        self.depth = depth
        self.lanes = lanes
        bits = ceil_log2(depth)
        super().__init__(
            {
                "read_address": In(bits),
                "read_data": Out(width),
                "write_enable": In(lanes),
                "write_address": In(bits),
                "write_data": In(width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = Instance(
            MODULE,
            p_WIDTH=self.width,
            p_DEPTH=self.depth,
            p_LANES=self.lanes,
            p_ADDRESS=len(self.read_address),
            i_clk=ClockSignal(),
            i_read_address=self.read_address,
            o_read_data=self.read_data,
            i_write_enable=self.write_enable,
            i_write_address=self.write_address,
            i_write_data=self.write_data,
        )
        return m
