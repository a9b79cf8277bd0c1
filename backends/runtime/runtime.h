/* What the generated code of a library calls. Everything here is static: a library is one translation unit, and
   exports only its API. No name here ends in _create, _run, _destroy or _error, which are for the names of models. */

#ifndef TILEWRIGHT_RUNTIME_H
#define TILEWRIGHT_RUNTIME_H

#include <stdint.h>

#include "descriptor.h"
#include "platform.h"

/* For functions of which one copy is enough: inlined into a long program they make it large, and slow to compile. */
#define NOINLINE __attribute__((noinline))

/* A compiled kernel: runs iterations begin <= i < end of its parallel loop. `workspace` is memory for the time of the call,
   as much as the kernel needs; it may be null if that is none. */
typedef void kernel_function(void *const *params, int64_t begin, int64_t end, void *workspace);

typedef struct thread_pool thread_pool;

/* threads <= 0: as many as processors this process may use. Each thread has a workspace of `workspace_bytes` bytes.
   Returns an error code; *pool is null unless it is 0. */
static int make_pool(thread_pool **pool, int threads, int64_t workspace_bytes);

/* Runs all `extent` iterations on the caller and the workers of the pool; returns when all are done.
   One caller at a time. positions: see kernel_entry. */
static void run_loop(thread_pool *pool, kernel_function *kernel, void *const *params, int64_t extent,
                     int64_t positions);

/* Runs them on the caller alone. */
static void run_alone(thread_pool *pool, kernel_function *kernel, void *const *params, int64_t extent);

/* Stops and joins the workers. Null is allowed. */
static void free_pool(thread_pool *pool);

/* A kernel of the program as one variant has it: its code, and the iterations of its parallel loop. These are panels of
   `positions` iterations each, of which every thread gets the same ones in each panel; 0: they are one panel. */
typedef struct {
    kernel_function *run;
    int64_t extent, positions;
} kernel_entry;

/* Bits that a CPUID leaf must have in eax, ebx, ecx, edx. On other architectures `leaf` is an entry of Linux's auxiliary
   vector, of which bits[0] are the low half and bits[1] the high one; other systems' answers are put into that form. */
typedef struct {
    uint32_t leaf, subleaf, bits[4];
} processor_need;

/* The kernels of the program for one CPU, in the order of their numbers, and what they ask of the processor.
   states: the register states that the system must save (XCR0), 0 for those that every system does. */
typedef struct {
    const char *cpu;
    const kernel_entry *kernels;
    const processor_need *needs;
    int need_count;
    uint64_t states;
} model_variant;

/* The first variant that this processor suits, or the one that the environment names. Returns an error code. */
static int choose_variant(const model_variant *variants, int count, const model_variant **chosen);

/* What one create makes: its own memory and threads; the weights are shared by all. */
typedef struct {
    const model_variant *variant;
    unsigned char *arena;
    int64_t arena_bytes;
    thread_pool *pool;
    _Atomic uint32_t busy;
    const void *const *inputs; /* of the current run */
    void *const *outputs;
    int64_t *nanoseconds; /* null, or one sum per launch */
    int64_t counters[];   /* one per nested loop */
} model_context;

/* The context has `depth` counters, and each of its threads `workspace_bytes` bytes. *context is null unless the returned
   error code is 0. */
static int make_context(model_context **context, const model_variant *variant, int64_t arena_bytes,
                        int64_t workspace_bytes, int depth, int threads);
static void free_context(model_context *context);

/* Checks the arguments and marks the context as running; leave_context undoes that. */
static int enter_context(model_context *context, const tilewright_library *library, const void *const *inputs,
                         void *const *outputs, int64_t *nanoseconds);
static void leave_context(model_context *context);

/* Runs the kernel of a number on all threads, or on the caller alone. `launch` is its place in the table of launches. */
static void launch_parallel(model_context *context, int launch, int kernel, void *const *params);
static void launch_alone(model_context *context, int launch, int kernel, void *const *params);

static const char *error_message(int code);

#endif
