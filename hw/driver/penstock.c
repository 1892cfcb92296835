/* Driver of one Penstock accelerator; penstock.h says what each function does. */
#include "penstock.h"

/*
 * Registers are memory words that one load or store reaches, unless the compiler's command line
 * names something else: -DPENSTOCK_READ32=my_read -DPENSTOCK_WRITE32=my_write with
 *     uint32_t my_read(uintptr_t address);
 *     void my_write(uintptr_t address, uint32_t value);
 * declared in a file that -include names. The registers must be mapped as device memory: accesses
 * in order, none merged, none from a cache.
 */
#ifndef PENSTOCK_READ32
#define PENSTOCK_READ32(address) (*(const volatile uint32_t *)(address))
#endif
#ifndef PENSTOCK_WRITE32
#define PENSTOCK_WRITE32(address, value) (*(volatile uint32_t *)(address) = (value))
#endif

/*
 * Orders accesses to memory against those to registers, in both directions. Name another one where
 * the processor needs it, such as `dsb sy` on AArch64 without coherent memory.
 */
#ifndef PENSTOCK_BARRIER
#ifdef __GNUC__
#define PENSTOCK_BARRIER() __sync_synchronize()
#else
#define PENSTOCK_BARRIER() ((void)0)
#endif
#endif

#define FIELD(status, name) \
    (((status) & PENSTOCK_STATUS_##name##_MASK) >> PENSTOCK_STATUS_##name##_SHIFT)

uint32_t penstock_read(const struct penstock *device, uint32_t offset)
{
    return PENSTOCK_READ32(device->base + offset);
}

void penstock_write(const struct penstock *device, uint32_t offset, uint32_t value)
{
    PENSTOCK_WRITE32(device->base + offset, value);
}

static uint32_t status(const struct penstock *device)
{
    return penstock_read(device, PENSTOCK_REG_STATUS);
}

/* Give a command, behind all that the processor has written; whether it was accepted. */
static int command(const struct penstock *device, uint32_t value)
{
    uint32_t now;

    PENSTOCK_BARRIER();
    penstock_write(device, PENSTOCK_REG_COMMAND, value);
    now = status(device);
    if (!FIELD(now, REFUSED))
        return PENSTOCK_CODE_OK;
    return FIELD(now, STATE) == PENSTOCK_STATE_DRAINING ? PENSTOCK_DRAINING : PENSTOCK_BUSY;
}

int penstock_open(struct penstock *device, uintptr_t base)
{
    device->base = base;
    if (penstock_read(device, PENSTOCK_REG_IDENTITY) != PENSTOCK_IDENTITY)
        return PENSTOCK_WRONG_IDENTITY;
    if ((penstock_read(device, PENSTOCK_REG_VERSION) & 0xFFFFu) != PENSTOCK_FORMAT_VERSION)
        return PENSTOCK_WRONG_VERSION;
    if (penstock_read(device, PENSTOCK_REG_CONFIG) != PENSTOCK_CONFIG_HASH)
        return PENSTOCK_WRONG_CONFIG;
    return PENSTOCK_CODE_OK;
}

int penstock_load(const struct penstock *device, uint32_t program)
{
    penstock_write(device, PENSTOCK_REG_PROGRAM, program);
    return command(device, PENSTOCK_COMMAND_LOAD);
}

int penstock_start(const struct penstock *device, const struct penstock_run *run)
{
    penstock_write(device, PENSTOCK_REG_INPUT, run->input);
    penstock_write(device, PENSTOCK_REG_INPUT_STRIDE, run->input_stride);
    penstock_write(device, PENSTOCK_REG_OUTPUT, run->output);
    penstock_write(device, PENSTOCK_REG_OUTPUT_STRIDE, run->output_stride);
    penstock_write(device, PENSTOCK_REG_IMAGES, run->images);
    penstock_write(device, PENSTOCK_REG_GATING, run->gating);
    return command(device, PENSTOCK_COMMAND_START);
}

int penstock_busy(const struct penstock *device)
{
    return FIELD(status(device), STATE) != PENSTOCK_STATE_IDLE;
}

int penstock_done(const struct penstock *device)
{
    return (int)FIELD(status(device), DONE);
}

int penstock_wait(const struct penstock *device, uint32_t polls)
{
    for (; polls != 0; polls--) {
        uint32_t now = status(device);

        if (FIELD(now, DONE)) {
            PENSTOCK_BARRIER(); /* the outputs are read behind this */
            return (int)FIELD(now, CODE);
        }
    }
    return PENSTOCK_NOT_DONE;
}

void penstock_abort(const struct penstock *device)
{
    penstock_write(device, PENSTOCK_REG_COMMAND, PENSTOCK_COMMAND_ABORT);
}

int penstock_run(const struct penstock *device, const struct penstock_run *run, uint32_t polls)
{
    int result = penstock_start(device, run);

    return result == PENSTOCK_CODE_OK ? penstock_wait(device, polls) : result;
}

void penstock_counters(const struct penstock *device, struct penstock_counters *counters)
{
    uint32_t low, high;

    do { /* the low half may overflow between two reads */
        high = penstock_read(device, PENSTOCK_REG_CYCLES_HIGH);
        low = penstock_read(device, PENSTOCK_REG_CYCLES);
    } while (penstock_read(device, PENSTOCK_REG_CYCLES_HIGH) != high);
    counters->cycles = (uint64_t)high << 32 | low;
    counters->base_steps = penstock_read(device, PENSTOCK_REG_BASE_STEPS);
    counters->conditional_steps = penstock_read(device, PENSTOCK_REG_CONDITIONAL_STEPS);
    counters->outputs = penstock_read(device, PENSTOCK_REG_OUTPUTS);
    counters->tasks = penstock_read(device, PENSTOCK_REG_TASKS);
    counters->stall_queue = penstock_read(device, PENSTOCK_REG_STALL_QUEUE);
    counters->stall_write = penstock_read(device, PENSTOCK_REG_STALL_WRITE);
    counters->stall_pool = penstock_read(device, PENSTOCK_REG_STALL_POOL);
    counters->stall_drain = penstock_read(device, PENSTOCK_REG_STALL_DRAIN);
    counters->stall_weights = penstock_read(device, PENSTOCK_REG_STALL_WEIGHTS);
    counters->stall_input = penstock_read(device, PENSTOCK_REG_STALL_INPUT);
    counters->stall_output = penstock_read(device, PENSTOCK_REG_STALL_OUTPUT);
}

const char *penstock_code_text(int code)
{
    switch (code) {
    case PENSTOCK_CODE_OK:
        return "done";
    case PENSTOCK_CODE_BAD_MAGIC:
        return "the program does not begin with PNST";
    case PENSTOCK_CODE_BAD_VERSION:
        return "the program has another format version";
    case PENSTOCK_CODE_BAD_CONFIG:
        return "the program was compiled for another configuration";
    case PENSTOCK_CODE_BAD_LENGTH:
        return "the program's sections do not add up, or exceed this configuration";
    case PENSTOCK_CODE_BAD_CRC:
        return "the program is corrupt";
    case PENSTOCK_CODE_NOT_LOADED:
        return "no program is loaded";
    case PENSTOCK_CODE_TIMEOUT:
        return "nothing happened for WATCHDOG cycles";
    case PENSTOCK_CODE_ABORTED:
        return "aborted";
    case PENSTOCK_CODE_BUS_ERROR:
        return "the memory answered with an error";
    case PENSTOCK_CODE_BAD_COMMAND:
        return "unknown command, or a run of 0 images";
    case PENSTOCK_CODE_MISALIGNED:
        return "an address or stride is not aligned";
    case PENSTOCK_NOT_DONE:
        return "not done within the polls";
    case PENSTOCK_BUSY:
        return "refused: another command is under way";
    case PENSTOCK_DRAINING:
        return "refused: memory has not yet answered a stopped command";
    case PENSTOCK_WRONG_IDENTITY:
        return "no Penstock accelerator at this address";
    case PENSTOCK_WRONG_VERSION:
        return "the accelerator takes programs of another format version";
    case PENSTOCK_WRONG_CONFIG:
        return "the accelerator has another configuration than penstock_registers.h";
    default:
        return "unknown code";
    }
}
