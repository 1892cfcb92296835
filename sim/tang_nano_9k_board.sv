// A Tang Nano 9K: the FPGA with the top that is made for it (module `fpga`), the two dies of PSRAM
// in its package, its crystal. Simulation only.
module penstock_tang_nano_9k_board #(
    parameter ADDRESS_BITS = 21,
    parameter ROW_BITS = 9,
    parameter MESSAGE = 100  // characters
) (
    input longint half, t_rp, t_rwr, t_css, t_csm, t_ck, pause,
    input wire [7:0] refreshes,
    input wire clk,
    input wire power_up,
    input wire button,  // at pin 3
    input wire rx,
    output wire tx,
    output wire [3:0] leds,
    output wire [8*MESSAGE-1:0] violation
);
    wire [1:0] reset_n, cs_n, ck, ck_n, rwds;
    wire [15:0] dq;
    wire [3:0] leds_n;
    wire button_n, line;  // every pad is an inout of the FPGA
    wire [8*MESSAGE-1:0] violations [2];

    fpga fpga (
        .clk27_0__io(clk),
        .button_0__io(button_n),
        .uart_0__rx__io(line),
        .uart_0__tx__io(tx),
        .led_0__io(leds_n[0]),
        .led_1__io(leds_n[1]),
        .led_2__io(leds_n[2]),
        .led_3__io(leds_n[3]),
        .psram_0__reset__io(reset_n),
        .psram_0__cs__io(cs_n),
        .psram_0__ck__io(ck),
        .psram_0__ck_n__io(ck_n),
        .psram_0__rwds__io(rwds),
        .psram_0__dq__io(dq)
    );
    assign button_n = ~button;
    assign line = rx;
    assign leds = ~leds_n;

    for (genvar die = 0; die < 2; die = die + 1) begin : dies
        wire [7:0] dq_out;
        wire rwds_out, dq_out_driven, rwds_out_driven;

        penstock_psram_chip #(
            .ADDRESS_BITS(ADDRESS_BITS),
            .ROW_BITS(ROW_BITS),
            .SEED(die + 1),
            .MESSAGE(MESSAGE)
        ) chip (
            .rst(power_up),
            .reset(~reset_n[die]),
            .cs(~cs_n[die]),
            .ck(ck[die]),
            .ck_n(ck_n[die]),
            .dq_in(dq[8*die+:8]),
            .dq_driven(~dq_out_driven),  // who drives a pad is not to be seen here
            .rwds_in(rwds[die]),
            .rwds_driven(~rwds_out_driven),
            .violation(violations[die]),
            .*
        );
        assign dq[8*die+:8] = dq_out_driven ? dq_out : 8'bz;
        assign rwds[die] = rwds_out_driven ? rwds_out : 1'bz;
    end
    assign violation = violations[0] != 0 ? violations[0] : violations[1];
endmodule
