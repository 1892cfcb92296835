// What surrounds a top on an iCE40, as far as tops use it: pads without registers, PLL; simulation
// only. No delays: the PLL's clock is its input. Source: Lattice, iCE40 Technology Library.
module SB_IO #(
    parameter [5:0] PIN_TYPE = 0,
    parameter PULLUP = 0,
    parameter IO_STANDARD = "SB_LVCMOS"
) (
    inout wire PACKAGE_PIN,
    input wire OUTPUT_ENABLE, D_OUT_0,
    output wire D_IN_0
);
    localparam TRISTATE = 4'b1010;
    assign D_IN_0 = PACKAGE_PIN;
    if (PIN_TYPE[5:2] == TRISTATE) assign PACKAGE_PIN = OUTPUT_ENABLE ? D_OUT_0 : 1'bz;
endmodule

module SB_PLL40_PAD #(
    parameter FEEDBACK_PATH = "SIMPLE",
    parameter DIVR = 0, DIVF = 0, DIVQ = 0, FILTER_RANGE = 0
) (
    input wire PACKAGEPIN, RESETB, BYPASS,
    output wire PLLOUTGLOBAL, LOCK
);
    assign PLLOUTGLOBAL = PACKAGEPIN;
    assign LOCK = RESETB;
endmodule
