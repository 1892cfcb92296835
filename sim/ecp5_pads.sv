// What surrounds a top on an ECP5, as the library cells of Lattice's FPGA-TN-02032 behave: pads,
// registers and double data rate in the IO cells, PLL; simulation only. No delays: both clocks of
// the PLL are its input.
module IB (input wire I, output wire O);
    assign O = I;
endmodule

module OBZ (input wire I, T, output wire O);
    assign O = T ? 1'bz : I;
endmodule

module BB (input wire I, T, output wire O, inout wire B);
    assign B = T ? 1'bz : I;
    assign O = B;
endmodule

module FD1S3AX (input wire CK, D, output reg Q);
    initial Q = 0;
    always @(posedge CK) Q <= D;
endmodule

module IFS1P3DX (input wire D, SP, SCLK, CD, output reg Q);
    initial Q = 0;
    always @(posedge SCLK, posedge CD)
        if (CD) Q <= 0;
        else if (SP) Q <= D;
endmodule

module OFS1P3DX (input wire D, SP, SCLK, CD, output reg Q);
    initial Q = 0;
    always @(posedge SCLK, posedge CD)
        if (CD) Q <= 0;
        else if (SP) Q <= D;
endmodule

// Both data constant, as those of a clock that is sent out.
module ODDRX1F (input wire D0, D1, SCLK, RST, output wire Q);
    assign Q = SCLK ? D0 : D1;
endmodule

module EHXPLLL #(
    parameter CLKI_DIV = 1, CLKFB_DIV = 1,
    parameter CLKOP_DIV = 1, CLKOP_CPHASE = 0, CLKOP_FPHASE = 0, CLKOP_ENABLE = "ENABLED",
    parameter CLKOS_DIV = 1, CLKOS_CPHASE = 0, CLKOS_FPHASE = 0, CLKOS_ENABLE = "ENABLED",
    parameter FEEDBK_PATH = "CLKOP"
) (
    input wire CLKI, CLKFB, RST, STDBY,
    input wire PHASESEL0, PHASESEL1, PHASEDIR, PHASESTEP, PHASELOADREG,
    output wire CLKOP, CLKOS, LOCK
);
    assign CLKOP = CLKI;
    assign CLKOS = CLKI;
    assign LOCK = 1;
endmodule
