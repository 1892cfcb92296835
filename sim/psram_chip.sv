// A HyperBus PSRAM of 8 bits at its pins, written from what is public of the data sheet of
// W955D8MBYA; simulation only. Every rule of timing, of the command, of start-up and of who drives
// a pin is checked: the first one that is broken stands in `violation` as text, 0 before. `rst` is
// a power cycle that keeps the content. Not modelled, so refused: wrapped bursts, register reads,
// masked words, deep power-down.
//
// The pins are looked at in each half cycle of `clk`. Where an edge of `ck` takes a byte, the byte
// must be there for half a cycle before and behind it; a byte that is sent behind an edge is there
// for the half cycle before the next one alone. Times are in ps.
module penstock_psram_chip #(
    parameter ADDRESS_BITS = 21,
    parameter ROW_BITS = 9,
    parameter SEED = 1,
    parameter MESSAGE = 100  // characters
) (
    input longint half,  // cycle
    input longint t_rp,
    input longint t_rwr,
    input longint t_css,
    input longint t_csm,
    input longint t_ck,  // shortest clock at an initial latency of 3
    input longint pause,  // after reset
    input wire [7:0] refreshes,  // of 256 transactions that take the double latency
    input wire clk,
    input wire rst,
    input wire reset,
    input wire cs,
    input wire ck,
    input wire ck_n,
    input wire [7:0] dq_in,
    input wire dq_driven,  // by the controller
    input wire rwds_in,
    input wire rwds_driven,
    output wire [7:0] dq_out,
    output reg rwds_out,
    output wire dq_out_driven,
    output wire rwds_out_driven,
    output reg [8*MESSAGE-1:0] violation
);
    localparam longint NEVER = -(64'd1 << 40);
    localparam [15:0] DEFAULT = 16'h8f1f;  // of configuration register 0

    reg [15:0] memory [0:(1 << ADDRESS_BITS) - 1];

    longint now = 0, reset_at, ready_at, selected_at, released_at, edge_at, edge_before;
    reg was_reset, was_selected, ck_before, driven_before, configured;
    reg [7:0] dq_before;
    reg [15:0] configuration, random;
    reg [47:0] command;
    integer edges;  // of ck since the selection
    integer first;  // edge of the data
    reg twice;  // the initial latency
    reg drives_dq, drives_rwds;
    assign dq_out_driven = drives_dq;
    assign rwds_out_driven = drives_rwds;
    reg [7:0] sent;
    assign dq_out = cs ? sent : 8'h5a ^ now[7:0];
    reg [ADDRESS_BITS-1:0] address;
    reg [15:0] word;

    task broken(input string rule);
        if (violation == 0) begin
            $sformat(violation, "half cycle %0d: %0s", now, rule);
            $display("penstock_psram_chip: half cycle %0d: %0s", now, rule);
        end
    endtask

    task gap(input string rule, input longint past, input longint least);
        if (past != NEVER && (now - past) * half < least)
            broken($sformatf("%0s: %0d ps", rule, (now - past) * half));
    endtask

    function integer latency;
        case (configuration[7:4])
            4'b1110: latency = 3;
            4'b1111: latency = 4;
            4'b0000: latency = 5;
            default: latency = 6;
        endcase
    endfunction

    task selected;
        if (reset) broken("selected during reset");
        if (now * half < ready_at) broken("pause, selected too early after reset");
        if (ck) broken("selected while ck is high");
        gap("t_rwr, between two selections", released_at, t_rwr);
        selected_at = now;
        edges = 0;
        first = 6;
        random = {random[14:0], random[15] ^ random[13] ^ random[12] ^ random[10]};
        twice = configuration[3] || random[7:0] < refreshes;
        drives_rwds = 1;
        rwds_out <= twice;
    endtask

    task released;
        if (ck_before || ck) broken("released while ck is high");
        if (edges < 6) broken("released within the command");
        else if (edges <= first) broken("released before the first word");
        else if ((edges - first) % 2 != 0) broken("released within a word");
        else if (command[46] && !command[47]) begin
            if (edges != 8) broken("a register takes one word");
            if (word[11:8] != 4'hf || !word[2] || !word[15])
                broken("reserved bits of the configuration register, or deep power-down");
            configuration = word;
            configured = 1;
        end
        released_at = now;
        drives_dq = 0;
        drives_rwds = 0;
    endtask

    task command_taken;
        if (command[45] != 1) broken("wrapped bursts are not modelled");
        if (command[44:16] >> ADDRESS_BITS - 3 != 0 || command[15:3] != 0)
            broken("reserved bits of the command");
        if (command[46]) begin
            if (command[47]) broken("register reads are not modelled");
            if (command[44:0] != 45'h0_0100_0000) broken("not configuration register 0");
            first = 6;
        end else begin
            if (!configured) broken("the memory is used before it is configured");
            first = 2 * (2 + (twice ? 2 * latency() : latency()));
        end
        address = {command[16 +: ADDRESS_BITS - 3], command[2:0]};
        drives_rwds = command[47];
        rwds_out <= 0;
    endtask

    task data_edge;
        reg second;
        second = (edges - first) & 1;
        if (edges - first > 1 && !second && address[ROW_BITS-1:0] == 0)
            broken("a burst leaves its row");
        if (command[47]) begin
            drives_dq = 1;
            sent <= second ? memory[address][7:0] : memory[address][15:8];
            rwds_out <= !second;
        end else begin
            taken;
            if (second) word[7:0] = dq_in;
            else word[15:8] = dq_in;
            if (!command[46]) begin
                if (!rwds_driven) broken("rwds, a word to write that nobody masks or takes");
                else if (rwds_in) broken("masked words are not modelled");
                if (second) memory[address] = word;
            end
        end
        if (second) address = address + 1;
    endtask

    // The controller's byte at this edge.
    task taken;
        if (!dq_driven || !driven_before) broken("dq, a byte that nobody drives");
        if (dq_in != dq_before) broken("dq changes at an edge of ck");
    endtask

    task clock_edge;
        if (edges == 0) gap("t_css, selection to ck", selected_at, t_css);
        else gap("t_ck, half of it", edge_at, t_ck * 45 / 100);
        if (edges > 1) gap("t_ck", edge_before, t_ck);
        if (ck != !edges[0]) broken("ck, the first edge is not a rising one");
        edge_before = edge_at;
        edge_at = now;
        if (edges < 6) begin
            taken;
            command = {command[39:0], dq_in};
            if (edges == 5) command_taken;
        end else if (edges >= first) data_edge;
        else if (edges == first - 1 && !command[47] && (!rwds_driven || rwds_in))
            broken("rwds must be low before the first word");
        edges = edges + 1;
    endtask

    task power_up;
        now = 0;
        reset_at = NEVER;
        ready_at = pause;
        selected_at = NEVER;
        released_at = NEVER;
        edge_at = NEVER;
        edge_before = NEVER;
        was_reset = 0;
        was_selected = 0;
        ck_before = 0;
        driven_before = 0;
        configured = 0;
        configuration = DEFAULT;
        random = SEED;
        edges = 0;
        drives_dq = 0;
        drives_rwds = 0;
        violation = 0;
    endtask

    always @(posedge clk or negedge clk)
        if (rst) power_up;
        else begin
            now = now + 1;
            sent <= 8'ha5 ^ now[7:0];
            if (!drives_rwds) rwds_out <= now[1];
            if (ck_n == ck) broken("ck_n must be the opposite of ck");
            if (reset && !was_reset) reset_at = now;
            if (reset) begin
                configuration = DEFAULT;
                configured = 0;
            end
            if (!reset && was_reset) begin
                gap("t_rp, reset", reset_at, t_rp);
                ready_at = now * half + pause;
            end
            if (cs && !was_selected) selected;
            if (cs && (now - selected_at) * half > t_csm) broken("t_csm, selected for too long");
            if (cs && ck != ck_before) clock_edge;
            if (!cs && was_selected) released;
            if (drives_dq && dq_driven) broken("both drive dq");
            if (drives_rwds && rwds_driven) broken("both drive rwds");
            was_reset = reset;
            was_selected = cs;
            ck_before = ck;
            dq_before = dq_in;
            driven_before = dq_driven;
        end
endmodule
