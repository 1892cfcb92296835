/*
 * Driver of one Penstock accelerator: C99 for bare metal, no library, no heap, no interrupts.
 *
 *     struct penstock device;
 *     penstock_open(&device, base)      right identity, program format and configuration?
 *     penstock_load(&device, program)   begin LOAD, once for any number of runs
 *     penstock_wait(&device, polls)     how it ended
 *     penstock_run(&device, &run, polls)
 *     penstock_counters(&device, &counters)
 *
 * A function that returns int gives PENSTOCK_CODE_OK (0), another code of the hardware
 * (enum penstock_code, below 256) or one of the driver (enum penstock_result, from 256 on);
 * penstock_code_text says each in words.
 *
 * Addresses are what the accelerator's memory port sees. It does not look into the processor's
 * caches: write program and images back to memory before penstock_load and penstock_start, and
 * invalidate the outputs between penstock_wait and reading them.
 *
 * How registers are reached may be chosen where penstock.c is compiled, see there.
 */
#ifndef PENSTOCK_H
#define PENSTOCK_H

#include <stdint.h>

#include "penstock_registers.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the driver found, beside the codes of the hardware. */
enum penstock_result {
    PENSTOCK_NOT_DONE = 256, /* the command has not ended within the polls */
    PENSTOCK_BUSY,           /* refused: another command is under way */
    PENSTOCK_DRAINING,       /* refused: memory still has to answer a command that was stopped */
    PENSTOCK_WRONG_IDENTITY, /* no Penstock accelerator at this address */
    PENSTOCK_WRONG_VERSION,  /* it takes programs of another format version */
    PENSTOCK_WRONG_CONFIG    /* it has another configuration than penstock_registers.h */
};

struct penstock {
    uintptr_t base; /* address of the registers, as the processor sees them */
};

/* One START. Addresses and strides are multiples of PENSTOCK_ALIGNMENT bytes. */
struct penstock_run {
    uint32_t input;         /* address of the first image */
    uint32_t input_stride;  /* bytes from one image to the next */
    uint32_t output;        /* address of the first image's output */
    uint32_t output_stride; /* bytes from one output to the next */
    uint32_t images;        /* at least 1 */
    uint32_t gating;        /* 1: gates as trained; 0: the same program as dense convolutions */
};

/* Counters of one START, all its images; penstock_registers.md says what each counts. */
struct penstock_counters {
    uint64_t cycles;
    uint32_t base_steps;
    uint32_t conditional_steps;
    uint32_t outputs;
    uint32_t tasks;
    uint32_t stall_queue;
    uint32_t stall_write;
    uint32_t stall_pool;
    uint32_t stall_drain;
    uint32_t stall_weights;
    uint32_t stall_input;
    uint32_t stall_output;
};

/* One register; `offset` is a PENSTOCK_REG_. For what has no function here, such as WATCHDOG. */
uint32_t penstock_read(const struct penstock *device, uint32_t offset);
void penstock_write(const struct penstock *device, uint32_t offset, uint32_t value);

/* Take the accelerator whose registers are at `base`: PENSTOCK_CODE_OK or PENSTOCK_WRONG_. */
int penstock_open(struct penstock *device, uintptr_t base);

/*
 * Begin LOAD of the program at `program`, or START; penstock_wait tells how it ends.
 * PENSTOCK_CODE_OK: accepted. PENSTOCK_BUSY, PENSTOCK_DRAINING: refused, what runs is undisturbed.
 */
int penstock_load(const struct penstock *device, uint32_t program);
int penstock_start(const struct penstock *device, const struct penstock_run *run);

/* 1 while a command is under way or memory still has to answer: others would be refused. */
int penstock_busy(const struct penstock *device);

/* 1 from the end of a command until the next accepted one, as the interrupt. */
int penstock_done(const struct penstock *device);

/* Read STATUS at most `polls` times: the command's code once it has ended, or PENSTOCK_NOT_DONE. */
int penstock_wait(const struct penstock *device, uint32_t polls);

/*
 * Stop what runs; penstock_wait then gives PENSTOCK_CODE_ABORTED, or PENSTOCK_CODE_TIMEOUT where
 * memory does not answer: then commands are refused (PENSTOCK_DRAINING) until it does.
 */
void penstock_abort(const struct penstock *device);

/* penstock_start and penstock_wait. After PENSTOCK_NOT_DONE the command still runs. */
int penstock_run(const struct penstock *device, const struct penstock_run *run, uint32_t polls);

/* Read all counters. They stand still from the end of a START until the next one. */
void penstock_counters(const struct penstock *device, struct penstock_counters *counters);

/* What a code of the hardware or the driver means; never null. */
const char *penstock_code_text(int code);

#ifdef __cplusplus
}
#endif

#endif
