// The part of Lattice's MULT18X18D that Penstock uses (FPGA-TN-02205): a multiplier whose operands
// are signed or not, with registers before and behind it, for simulation and proofs. A register
// whose clock is "NONE" is passed by. Proofs show that no more of the primitive is used: all
// registers, never held, never cleared, operands signed and its own.
module MULT18X18D #(
    parameter REG_INPUTA_CLK = "NONE",
    parameter REG_INPUTA_CE = "CE0",
    parameter REG_INPUTA_RST = "RST0",
    parameter REG_INPUTB_CLK = "NONE",
    parameter REG_INPUTB_CE = "CE0",
    parameter REG_INPUTB_RST = "RST0",
    parameter REG_OUTPUT_CLK = "NONE",
    parameter REG_OUTPUT_CE = "CE0",
    parameter REG_OUTPUT_RST = "RST0"
) (
    input wire CLK0, CE0, RST0, SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
    input wire A0, A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11, A12, A13, A14, A15, A16, A17,
    input wire B0, B1, B2, B3, B4, B5, B6, B7, B8, B9, B10, B11, B12, B13, B14, B15, B16, B17,
    output wire P0, P1, P2, P3, P4, P5, P6, P7, P8, P9, P10, P11, P12, P13, P14, P15, P16, P17,
    P18, P19, P20, P21, P22, P23, P24, P25, P26, P27, P28, P29, P30, P31, P32, P33, P34, P35
);
    wire [17:0] a = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1,
    A0};
    wire [17:0] b = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1,
    B0};
    reg [17:0] a_stored = 0;
    reg [17:0] b_stored = 0;
    reg [35:0] p_stored = 0;
    wire [17:0] left = REG_INPUTA_CLK == "NONE" ? a : a_stored;
    wire [17:0] right = REG_INPUTB_CLK == "NONE" ? b : b_stored;
    wire [35:0] product = {{18{SIGNEDA & left[17]}}, left} * {{18{SIGNEDB & right[17]}}, right};
    wire [35:0] p = REG_OUTPUT_CLK == "NONE" ? product : p_stored;
    assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19,
    P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = p;
    always @(posedge CLK0)
        if (RST0) begin
            a_stored <= 0;
            b_stored <= 0;
            p_stored <= 0;
        end else if (CE0) begin
            a_stored <= a;
            b_stored <= b;
            p_stored <= product;
        end
`ifdef FORMAL
    always @(posedge CLK0)
        assert (CE0 && !RST0 && SIGNEDA && SIGNEDB && !SOURCEA && !SOURCEB);
    initial begin
        assert (REG_INPUTA_CLK == "CLK0" && REG_INPUTB_CLK == "CLK0" && REG_OUTPUT_CLK == "CLK0");
        assert (REG_INPUTA_CE == "CE0" && REG_INPUTB_CE == "CE0" && REG_OUTPUT_CE == "CE0");
        assert (REG_INPUTA_RST == "RST0" && REG_INPUTB_RST == "RST0" && REG_OUTPUT_RST == "RST0");
    end
`endif
endmodule
