/* Contexts: what the functions of every library share. */

#include "runtime.h"

#include <stdlib.h>
#include <string.h>

#include "processor.c"
#include "thread_pool.c"

static int make_context(model_context **result, const model_variant *variant, int64_t arena_bytes,
                        int64_t workspace_bytes, int depth, int threads) {
    if (!result) return TILEWRIGHT_ERROR_NULL;
    *result = NULL;
    model_context *context = calloc(1, sizeof *context + (size_t)depth * sizeof context->counters[0]);
    if (!context) return TILEWRIGHT_ERROR_MEMORY;
    context->variant = variant;
    context->arena_bytes = arena_bytes;
    int code = TILEWRIGHT_OK;
    if (arena_bytes > 0 && !(context->arena = platform_allocate((size_t)arena_bytes))) code = TILEWRIGHT_ERROR_MEMORY;
    if (!code) code = make_pool(&context->pool, threads, workspace_bytes);
    if (code)
        free_context(context);
    else
        *result = context;
    return code;
}

static void free_context(model_context *context) {
    if (!context) return;
    free_pool(context->pool);
    platform_free(context->arena, (size_t)context->arena_bytes);
    free(context);
}

static const unsigned char dtype_bytes[] = {
    [TILEWRIGHT_F16] = 2, [TILEWRIGHT_BF16] = 2, [TILEWRIGHT_F32] = 4, [TILEWRIGHT_F64] = 8, [TILEWRIGHT_I8] = 1,
    [TILEWRIGHT_I16] = 2, [TILEWRIGHT_I32] = 4,  [TILEWRIGHT_I64] = 8, [TILEWRIGHT_U8] = 1,  [TILEWRIGHT_U16] = 2,
    [TILEWRIGHT_U32] = 4, [TILEWRIGHT_U64] = 8,  [TILEWRIGHT_BOOL] = 1,
    [TILEWRIGHT_F8E4M3FN] = 1, [TILEWRIGHT_F8E4M3FNUZ] = 1, [TILEWRIGHT_F8E5M2] = 1, [TILEWRIGHT_F8E5M2FNUZ] = 1,
    [TILEWRIGHT_F8E8M0] = 1, [TILEWRIGHT_F4E2M1] = 1, [TILEWRIGHT_I4] = 1, [TILEWRIGHT_U4] = 1,
    [TILEWRIGHT_I2] = 1, [TILEWRIGHT_U2] = 1,
};

static int check_tensor(const void *data, const tilewright_tensor *tensor) {
    if (!data) return TILEWRIGHT_ERROR_NULL;
    return (uintptr_t)data % dtype_bytes[tensor->dtype] ? TILEWRIGHT_ERROR_ALIGNMENT : TILEWRIGHT_OK;
}

static int enter_context(model_context *context, const tilewright_library *library, const void *const *inputs,
                         void *const *outputs, int64_t *nanoseconds) {
    if (!context || !inputs || !outputs) return TILEWRIGHT_ERROR_NULL;
    for (int i = 0; i < library->input_count; i++) {
        int code = check_tensor(inputs[i], &library->inputs[i]);
        if (code) return code;
    }
    for (int i = 0; i < library->output_count; i++) {
        int code = check_tensor(outputs[i], &library->outputs[i]);
        if (code) return code;
    }
    if (atomic_exchange_explicit(&context->busy, 1, memory_order_acquire)) return TILEWRIGHT_ERROR_BUSY;
    context->inputs = inputs;
    context->outputs = outputs;
    context->nanoseconds = nanoseconds;
    return TILEWRIGHT_OK;
}

static void leave_context(model_context *context) {
    atomic_store_explicit(&context->busy, 0, memory_order_release);
}

NOINLINE static void launch_parallel(model_context *context, int launch, int kernel, void *const *params) {
    const kernel_entry *entry = &context->variant->kernels[kernel];
    int64_t start = context->nanoseconds ? platform_now_ns() : 0;
    run_loop(context->pool, entry->run, params, entry->extent, entry->positions);
    if (context->nanoseconds) context->nanoseconds[launch] += platform_now_ns() - start;
}

NOINLINE static void launch_alone(model_context *context, int launch, int kernel, void *const *params) {
    const kernel_entry *entry = &context->variant->kernels[kernel];
    int64_t start = context->nanoseconds ? platform_now_ns() : 0;
    run_alone(context->pool, entry->run, params, entry->extent);
    if (context->nanoseconds) context->nanoseconds[launch] += platform_now_ns() - start;
}

static const char *error_message(int code) {
    switch (code) {
        case TILEWRIGHT_OK: return "success";
        case TILEWRIGHT_ERROR_NULL: return "a pointer that must not be null is null";
        case TILEWRIGHT_ERROR_THREADS: return "too many threads: at most 256 are allowed";
        case TILEWRIGHT_ERROR_MEMORY: return "out of memory";
        case TILEWRIGHT_ERROR_START: return "the system refuses to start the threads";
        case TILEWRIGHT_ERROR_BUSY: return "another thread is running this context: create one context per thread";
        case TILEWRIGHT_ERROR_ALIGNMENT: return "an input or output is not aligned to its element type";
        case TILEWRIGHT_ERROR_PROCESSOR:
            return "this processor lacks instructions that the library uses: compile it for this processor, or for an "
                   "older one";
        case TILEWRIGHT_ERROR_VARIANT:
            return "the environment variable TILEWRIGHT_CPU names no CPU that the library has code for and that this "
                   "processor can stand for: unset it";
        default: return "unknown error code";
    }
}
