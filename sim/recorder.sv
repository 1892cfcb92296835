// Writes what the core does to its activation buffers into a binary file; simulation only.
// Without the plusarg +record=FILE nothing is written. The records are described in records.py.
module penstock_recorder #(
    parameter ROWS = 4,
    parameter WORD = 4,
    parameter DATA = 32  // bits of a record's data field: whole 32-bit words, at least 8*WORD
) (
    input wire clk,
    input wire [15:0] mark,
    input wire [18*WORD-1:0] write_mask,  // buffer A's banks, then buffer B's
    input wire [18*11-1:0] write_address,
    input wire [18*8*WORD-1:0] write_data,
    input wire [ROWS-1:0] pool_valid,
    input wire [15:0] pool_channel,
    input wire [8*ROWS-1:0] pool_row_y,
    input wire [8*ROWS-1:0] pool_row_x,
    input wire [8*ROWS-1:0] pool_value,
    input wire layer_start,
    input wire layer_done,
    input wire [15:0] layer,
    input wire [31:0] image
);
    localparam [7:0] WRITE = 0, POOL = 1, START = 2, DONE = 3, MARK = 4;

    integer file = 0;
    integer k;
    reg [8*4096-1:0] name;
    reg [31:0] cycle = 0;
    reg [15:0] last_mark = 0;
    reg [DATA-1:0] data;

    initial if ($value$plusargs("record=%s", name)) file = $fopen(name, "wb");
    final if (file != 0) $fclose(file);

    task put(input [7:0] kind, input [7:0] index, input [15:0] what, input [31:0] where);
        reg [DATA+95:0] record;
        begin
            record = {data, where, what, index, kind, cycle};
            $fwrite(file, "%u", record);
        end
    endtask

    always @(posedge clk) begin
        cycle <= cycle + 1;
        last_mark <= mark;
        if (file != 0) begin
            data = 0;
            if (mark != last_mark) put(MARK, 0, mark, 0);
            if (layer_start) put(START, 0, layer, image);
            if (|write_mask)
                for (k = 0; k < 18; k = k + 1)
                    if (|write_mask[WORD*k +: WORD]) begin
                        data[8*WORD-1:0] = write_data[8*WORD*k +: 8*WORD];
                        put(WRITE, k[7:0], {{16-WORD{1'b0}}, write_mask[WORD*k +: WORD]},
                            {21'b0, write_address[11*k +: 11]});
                    end
            if (|pool_valid)
                for (k = 0; k < ROWS; k = k + 1)
                    if (pool_valid[k]) begin
                        data = {{DATA-8{1'b0}}, pool_value[8*k +: 8]};
                        put(POOL, k[7:0], pool_channel,
                            {16'b0, pool_row_x[8*k +: 8], pool_row_y[8*k +: 8]});
                    end
            data = 0;
            if (layer_done) put(DONE, 0, layer, image);
        end
    end
endmodule
