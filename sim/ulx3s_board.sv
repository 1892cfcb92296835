// A ULX3S: the FPGA with the top that is made for it (module `fpga`), its SDRAM, its oscillator.
// Simulation only.
module penstock_ulx3s_board #(
    parameter BANK_BITS = 2,
    parameter ROW_BITS = 13,
    parameter COLUMN_BITS = 9,
    parameter MESSAGE = 100  // characters
) (
    input longint period, t_rcd, t_rp, t_ras, t_ras_max, t_rc, t_rrd, t_rfc, t_wr, t_wr_cycles,
    input longint t_mrd, t_mrd_cycles, t_refi, pause, start_refreshes, t_ck2, t_ck3,
    input wire clk,
    input wire power_up,
    input wire button,  // F1
    input wire rx,
    output wire tx,
    output wire [3:0] leds,
    output wire [8*MESSAGE-1:0] violation
);
    wire chip_clk, clk_en, cs_n, ras_n, cas_n, we_n, dq_out_driven;
    wire [BANK_BITS-1:0] ba;
    wire [ROW_BITS-1:0] a;
    wire [1:0] dqm;
    wire [15:0] dq, dq_out;

    fpga fpga (
        .clk25_0__io(clk),
        .button_fire_0__io(button),
        .uart_0__rx__io(rx),
        .uart_0__tx__io(tx),
        .led_0__io(leds[0]),
        .led_1__io(leds[1]),
        .led_2__io(leds[2]),
        .led_3__io(leds[3]),
        .sdram_0__clk__io(chip_clk),
        .sdram_0__clk_en__io(clk_en),
        .sdram_0__cs__io(cs_n),
        .sdram_0__ras__io(ras_n),
        .sdram_0__cas__io(cas_n),
        .sdram_0__we__io(we_n),
        .sdram_0__ba__io(ba),
        .sdram_0__a__io(a),
        .sdram_0__dqm__io(dqm),
        .sdram_0__dq__io(dq)
    );

    assign dq = dq_out_driven ? dq_out : 16'bz;

    penstock_sdram_chip #(
        .BANK_BITS(BANK_BITS),
        .ROW_BITS(ROW_BITS),
        .COLUMN_BITS(COLUMN_BITS),
        .MESSAGE(MESSAGE)
    ) chip (
        .clk(chip_clk),
        .rst(power_up),
        .cs(~cs_n),
        .ras(~ras_n),
        .cas(~cas_n),
        .we(~we_n),
        .dq_in(dq),
        .dq_driven(~dq_out_driven),  // who drives a pad is not to be seen here
        .*
    );
endmodule
