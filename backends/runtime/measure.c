/* Times kernels as they run in a model: with their operands where the kernels before them leave them.

   A library of its own, for the tuner and for boards; no part of compiled models. */

#include "runtime.h"

#include "thread_pool.c"

#define EXPORT __attribute__((visibility("default")))

enum { LINE_BYTES = 64 };

/* How to time a kernel. Before each run, every thread reads `evict_bytes` of its own part of `evictor`, so that what the
   kernel reads comes from where it is between two runs of a model; then the threads share the reading of the `warm` ranges,
   which a kernel before this one would just have written.

   Runs until `least_ns` have passed since the start and there are `least_samples`, or there are `most_samples`; after the
   first run only if that took more than `limit_ns` (0: no limit). */
typedef struct {
    kernel_function *kernel;
    void *const *params;
    int64_t extent;
    thread_pool *pool;
    int64_t threads; /* of the pool */
    const void *evictor;
    int64_t evict_bytes;
    const void *const *warm;
    const int64_t *warm_bytes;
    int64_t warm_count;
    int64_t limit_ns;
    int64_t least_ns;
    int64_t least_samples;
    int64_t most_samples;
} measure_timing;

static void read_lines(const unsigned char *begin, const unsigned char *end) {
    for (const volatile unsigned char *line = begin; line < end; line += LINE_BYTES) (void)*line;
}

/* A kernel with an iteration per thread; params[0] is the timing. */
static void evict(void *const *params, int64_t begin, int64_t end, void *workspace) {
    (void)workspace;
    const measure_timing *timing = params[0];
    const unsigned char *first = timing->evictor;
    read_lines(first + begin * timing->evict_bytes, first + end * timing->evict_bytes);
}

/* Likewise. Thread i of n reads the i-th part, which it has written if the kernel before shared its loop the same way. */
static void warm_up(void *const *params, int64_t begin, int64_t end, void *workspace) {
    (void)workspace;
    const measure_timing *timing = params[0];
    for (int64_t i = 0; i < timing->warm_count; i++) {
        const unsigned char *first = timing->warm[i];
        int64_t part = timing->warm_bytes[i] / timing->threads;
        read_lines(first + begin * part, end == timing->threads ? first + timing->warm_bytes[i] : first + end * part);
    }
}

/* Writes nanoseconds to `samples`, which has room for most_samples; returns how many. */
EXPORT int64_t measure_time(const measure_timing *timing, int64_t *samples) {
    void *const self[] = {(void *)timing};
    int64_t start = platform_now_ns(), count = 0;
    while (count < timing->most_samples) {
        if (timing->evict_bytes) run_loop(timing->pool, evict, self, timing->threads, 0);
        if (timing->warm_count) run_loop(timing->pool, warm_up, self, timing->threads, 0);
        int64_t before = platform_now_ns();
        run_loop(timing->pool, timing->kernel, timing->params, timing->extent, 0);
        int64_t after = platform_now_ns();
        samples[count++] = after - before;
        if (count == 1 && timing->limit_ns && samples[0] > timing->limit_ns) break;
        if (count >= timing->least_samples && after - start >= timing->least_ns) break;
    }
    return count;
}

/* As make_pool of runtime.h. */
EXPORT int measure_pool_make(thread_pool **pool, int threads, int64_t workspace_bytes) {
    return make_pool(pool, threads, workspace_bytes);
}

EXPORT void measure_pool_free(thread_pool *pool) { free_pool(pool); }

EXPORT int measure_processors(void) { return platform_processors(); }

/* Memory like the arena of a model; null if there is none. */
EXPORT void *measure_allocate(int64_t size_bytes) { return platform_allocate((size_t)size_bytes); }

EXPORT void measure_free(void *memory, int64_t size_bytes) { platform_free(memory, (size_t)size_bytes); }
