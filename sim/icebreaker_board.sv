// An iCEBreaker: the FPGA with the top that is made for it (module `fpga`), its oscillator.
// Simulation only.
module penstock_icebreaker_board (
    input wire clk,
    input wire button,
    input wire rx,
    output wire tx,
    output wire [3:0] leds  // those that shine: alive, link, link_error, done
);
    wire green_n, red_n, button_n, line;  // every pad is an inout of the FPGA

    fpga fpga (
        .clk12_0__io(clk),
        .button_0__io(button_n),
        .uart_0__rx__io(line),
        .uart_0__tx__io(tx),
        .led_g_0__io(green_n),
        .led_r_0__io(red_n),
        .led_g_1__io(leds[1]),
        .led_g_2__io(leds[3])
    );
    assign button_n = ~button;
    assign line = rx;
    assign leds[0] = ~green_n;
    assign leds[2] = ~red_n;
endmodule
