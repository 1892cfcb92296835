// What surrounds a top on a Gowin FPGA: pads without registers, as Gowin's UG289 names them;
// simulation only. No delays.
module IBUF (input wire I, output wire O);
    assign O = I;
endmodule

module TBUF (input wire I, OEN, output wire O);
    assign O = OEN ? 1'bz : I;
endmodule

module IOBUF (input wire I, OEN, output wire O, inout wire IO);
    assign IO = OEN ? 1'bz : I;
    assign O = IO;
endmodule
