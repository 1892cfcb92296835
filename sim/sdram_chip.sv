// An SDR SDRAM of 16 bits at its pins, written from the data sheets of W9825G6JH and MT48LC16M16A2;
// simulation only. Every rule of timing, of the banks' state, of the start-up sequence and of
// refresh is checked: the first one that is broken stands in `violation` as text, 0 before. `rst`
// is a power cycle that keeps the content. Not modelled, so refused: auto precharge, BURST STOP,
// power-down, self refresh, masked reads.
//
// Times are in ps.
module penstock_sdram_chip #(
    parameter BANK_BITS = 2,
    parameter ROW_BITS = 13,
    parameter COLUMN_BITS = 9,
    parameter MESSAGE = 100  // characters
) (
    input longint period,  // of the clock
    input longint t_rcd,
    input longint t_rp,
    input longint t_ras,
    input longint t_ras_max,
    input longint t_rc,
    input longint t_rrd,
    input longint t_rfc,
    input longint t_wr,
    input longint t_wr_cycles,
    input longint t_mrd,
    input longint t_mrd_cycles,
    input longint t_refi,
    input longint pause,  // after power-up
    input longint start_refreshes,
    input longint t_ck2,  // shortest period at CAS latency 2
    input longint t_ck3,
    input wire clk,
    input wire rst,
    input wire clk_en,
    input wire cs,
    input wire ras,
    input wire cas,
    input wire we,
    input wire [BANK_BITS-1:0] ba,
    input wire [ROW_BITS-1:0] a,
    input wire [1:0] dqm,
    input wire [15:0] dq_in,
    input wire dq_driven,  // by the controller
    output reg [15:0] dq_out,
    output reg dq_out_driven,
    output reg [8*MESSAGE-1:0] violation
);
    localparam BANKS = 1 << BANK_BITS;
    localparam longint NEVER = -(64'd1 << 60);
    localparam [2:0] NOP = 3'b000, STOP = 3'b001, READ = 3'b010, WRITE = 3'b011;
    localparam [2:0] ACTIVE = 3'b100, PRECHARGE = 3'b101, REFRESH = 3'b110, MODE = 3'b111;

    reg [15:0] memory [0:(1 << BANK_BITS + ROW_BITS + COLUMN_BITS) - 1];

    // Of each bank: is a row open, which, and when things happened to it.
    reg active [0:BANKS-1];
    reg [ROW_BITS-1:0] row [0:BANKS-1];
    longint activated [0:BANKS-1], precharged [0:BANKS-1], written [0:BANKS-1];

    longint now = 0, last_activated, refreshed, mode_set, refresh_deadline;
    longint refreshes;
    reg prepared;  // all banks precharged once
    reg [2:0] latency;  // 0: no mode register set yet
    reg [2:0] burst_log;
    integer left;  // words of the burst
    integer index;
    reg writing;
    reg [BANK_BITS-1:0] bank;
    reg [COLUMN_BITS-1:0] column;
    reg [15:0] word [1:3];  // read data on the way to the pins; 1 is the youngest
    reg moving [1:3];
    reg driving;  // the pins
    integer k;

    task broken(input string rule);
        if (violation == 0) begin
            $sformat(violation, "cycle %0d: %0s", now, rule);
            $display("penstock_sdram_chip: cycle %0d: %0s", now, rule);
        end
    endtask

    // Since `past`, a cycle, at least `least` ps and `cycles` cycles must have gone by.
    task gap(input string rule, input longint past, input longint least, input longint cycles);
        if (past != NEVER && ((now - past) * period < least || now - past < cycles))
            broken($sformatf("%0s: %0d ps, %0d cycles", rule, (now - past) * period, now - past));
    endtask

    task after_all(input string command);
        gap({"t_rfc, REFRESH to ", command}, refreshed, t_rfc, 1);
        gap({"t_mrd, MODE to ", command}, mode_set, t_mrd, t_mrd_cycles);
    endtask

    task all_precharged(input string command);
        for (k = 0; k < BANKS; k = k + 1) begin
            if (active[k]) broken({command, " with an open row"});
            gap({"t_rp, PRECHARGE to ", command}, precharged[k], t_rp, 1);
        end
    endtask

    task activate;
        if (active[ba]) broken("ACTIVE of a bank with an open row");
        if (latency == 0) broken("ACTIVE before the mode register is set");
        if (refreshes < start_refreshes) broken("ACTIVE before the first refreshes");
        gap("t_rp, PRECHARGE to ACTIVE", precharged[ba], t_rp, 1);
        gap("t_rc, ACTIVE to ACTIVE", activated[ba], t_rc, 1);
        gap("t_rrd, ACTIVE to ACTIVE of another bank", last_activated, t_rrd, 1);
        after_all("ACTIVE");
        active[ba] = 1;
        row[ba] = a;
        activated[ba] = now;
        last_activated = now;
    endtask

    task begin_burst(input is_write);
        if (!active[ba]) broken(is_write ? "WRITE without an open row" : "READ without an open row");
        if (a[10]) broken("auto precharge is not modelled");
        if (a[9:0] >> COLUMN_BITS != 0) broken("a column address beyond the row");
        gap("t_rcd, ACTIVE to READ or WRITE", activated[ba], t_rcd, 1);
        left = 1 << burst_log;
        index = 0;
        writing = is_write;
        bank = ba;
        column = a[COLUMN_BITS-1:0];
    endtask

    task precharge;
        for (k = 0; k < BANKS; k = k + 1)
            if (a[10] || k == int'(ba)) begin
                if (active[k]) begin
                    gap("t_ras, ACTIVE to PRECHARGE", activated[k], t_ras, 1);
                    gap("t_wr, written word to PRECHARGE", written[k], t_wr, t_wr_cycles);
                    precharged[k] = now;
                end
                if (left != 0 && k == int'(bank)) left = 0;
                active[k] = 0;
            end
        if (!prepared) begin
            if (!a[10]) broken("the first command must precharge all banks");
            for (k = 0; k < BANKS; k = k + 1) precharged[k] = now;
            prepared = 1;
        end
    endtask

    task refresh;
        all_precharged("REFRESH");
        after_all("REFRESH");
        refreshed = now;
        refreshes = refreshes + 1;
        // One in t_refi on average, and none later than two of them after the one before.
        if (refresh_deadline != NEVER) begin
            refresh_deadline = refresh_deadline + t_refi;
            if (refresh_deadline > now * period + 2 * t_refi)
                refresh_deadline = now * period + 2 * t_refi;
        end
    endtask

    task set_mode;
        all_precharged("MODE");
        after_all("MODE");
        if (a >> 7 != 0 || ba != 0) broken("reserved bits of the mode register must be 0");
        if (a[3] != 0 || a[2:0] > 3) broken("a mode of interleaved or full-page bursts");
        if (a[6:4] != 2 && a[6:4] != 3) broken("CAS latency must be 2 or 3");
        if (period < (a[6:4] == 2 ? t_ck2 : t_ck3)) broken("the clock is too fast for the CAS latency");
        latency = a[6:4];
        burst_log = a[2:0];
        mode_set = now;
        refresh_deadline = now * period + 2 * t_refi;
    endtask

    task transfer;
        reg [BANK_BITS+ROW_BITS+COLUMN_BITS-1:0] address;
        reg [COLUMN_BITS-1:0] low;
        low = (COLUMN_BITS'(1) << burst_log) - 1;
        address = {row[bank], bank, (column & ~low) | ((column + index[COLUMN_BITS-1:0]) & low)};
        if (writing) begin
            if (!dq_driven) broken("a word to write that nobody drives");
            if (!dqm[0]) memory[address][7:0] = dq_in[7:0];
            if (!dqm[1]) memory[address][15:8] = dq_in[15:8];
            written[bank] = now;
        end else begin
            if (dqm != 0) broken("a masked read is not modelled");
            word[1] = memory[address];
            moving[1] = 1;
        end
        index = index + 1;
        left = left - 1;
    endtask

    task power_up;
        for (k = 0; k < BANKS; k = k + 1) begin
            active[k] = 0;
            activated[k] = NEVER;
            precharged[k] = NEVER;
            written[k] = NEVER;
        end
        now = 0;
        last_activated = NEVER;
        refreshed = NEVER;
        mode_set = NEVER;
        refresh_deadline = NEVER;
        refreshes = 0;
        prepared = 0;
        latency = 0;
        left = 0;
        for (k = 1; k < 4; k = k + 1) moving[k] = 0;
        driving = 0;
        dq_out_driven <= 0;
        violation = 0;
    endtask

    always @(posedge clk)
        if (rst) power_up;
        else begin
            now = now + 1;
            if (!clk_en) broken("power-down is not modelled");
            if (driving && dq_driven) broken("both drive the data pins");
            if (refresh_deadline != NEVER && now * period > refresh_deadline)
                broken("t_refi, a refresh is late");
            for (k = 0; k < BANKS; k = k + 1)
                if (active[k] && (now - activated[k]) * period > t_ras_max)
                    broken("t_ras_max, a row is open for too long");
            if (now * period < pause) begin
                if (cs && {ras, cas, we} != NOP) broken("pause, a command after power-up");
                if (dqm != 3) broken("pause, dqm must be high after power-up");
            end
            if (cs && {ras, cas, we} != NOP) begin
                if (!prepared && {ras, cas, we} != PRECHARGE)
                    broken("the first command must precharge all banks");
                case ({ras, cas, we})
                    ACTIVE: activate;
                    READ: begin_burst(0);
                    WRITE: begin_burst(1);
                    PRECHARGE: precharge;
                    REFRESH: refresh;
                    MODE: set_mode;
                    STOP: broken("BURST STOP is not modelled");
                    default: ;
                endcase
            end
            for (k = 3; k > 1; k = k - 1) begin
                word[k] = word[k-1];
                moving[k] = moving[k-1];
            end
            moving[1] = 0;
            if (left != 0) transfer;
            // A word that is read now is driven after latency - 1 cycles, for the edge after them.
            driving = latency != 0 && moving[latency];
            dq_out_driven <= driving;
            dq_out <= driving ? word[latency] : 16'h5aa5 ^ now[15:0];
        end
endmodule
