// An iCEBreaker: the FPGA with the top that is made for it (module `fpga`), its oscillator.
// Simulation only.
module penstock_icebreaker_board (
    input wire clk,
    input wire button,
    input wire rx,
    output wire tx,
    output wire alive, link, link_error, done  // LEDs that shine
);
    wire green_n, red_n, button_n, line;  // every pad is an inout of the FPGA

    fpga fpga (
        .clk12_0__io(clk),
        .button_0__io(button_n),
        .uart_0__rx__io(line),
        .uart_0__tx__io(tx),
        .led_g_0__io(green_n),
        .led_r_0__io(red_n),
        .led_g_1__io(link),
        .led_g_2__io(done)
    );
    assign button_n = ~button;
    assign line = rx;
    assign alive = ~green_n;
    assign link_error = ~red_n;
endmodule
