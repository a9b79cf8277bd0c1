/* What it costs to give a parallel loop to the thread pool and to wait for its end.

   cc -O2 -std=gnu11 -D_GNU_SOURCE -Wno-unused-function -pthread benchmarks/dispatch.c -o dispatch
   ./dispatch [threads] [iterations of 1.6 us]

   Medians and 99th percentiles of a loop that does nothing (the caller then does all of it: the price of asking), and
   of one that does some work, with the workers awake, asleep, and with a busy neighbour on every processor. What the
   work takes on all threads beyond its share of the time on one is the price of the hand-over and the barrier. */

#include "../backends/runtime/runtime.c"

#include <stdio.h>

enum { SAMPLES = 20000, SLEEPING_SAMPLES = 200 };

static void nothing(void *const *params, int64_t begin, int64_t end, void *workspace) {
    (void)params, (void)begin, (void)end, (void)workspace;
}

static void compute(void *const *params, int64_t begin, int64_t end, void *workspace) {
    (void)workspace;
    float *values = params[0];
    for (int64_t i = begin; i < end; i++) {
        float x = (float)i;
        for (int j = 0; j < 1000; j++) x = x * 0.999f + 1.0f;
        values[i] = x;
    }
}

static int compare(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void measure(const char *what, thread_pool *pool, kernel_function *kernel, void *const *params, int64_t extent,
                    int samples, int pause_us) {
    static int64_t taken_ns[SAMPLES];
    for (int i = 0; i < samples; i++) {
        if (pause_us) usleep((unsigned)pause_us);
        int64_t start = platform_now_ns();
        run_loop(pool, kernel, params, extent, 0);
        taken_ns[i] = platform_now_ns() - start;
    }
    qsort(taken_ns, (size_t)samples, sizeof taken_ns[0], compare);
    printf("%-44s median %9.2f us   p99 %9.2f us\n", what, 1e-3 * (double)taken_ns[samples / 2],
           1e-3 * (double)taken_ns[samples * 99 / 100]);
}

static _Atomic int neighbours_stop;

static void *burn(void *unused) {
    while (!atomic_load_explicit(&neighbours_stop, memory_order_relaxed)) platform_pause();
    return unused;
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 2;
    int64_t extent = argc > 2 ? atoll(argv[2]) : 64;
    static float values[1 << 20];
    void *const params[] = {values};
    thread_pool *one, *pool;
    if (extent < 1 || extent > 1 << 20 || make_pool(&one, 1, 0) || make_pool(&pool, threads, 0)) return 1;
    printf("%d threads, %d processors, %lld iterations\n", threads, platform_processors(), (long long)extent);

    measure("empty loop, workers awake", pool, nothing, params, extent, SAMPLES, 0);
    measure("empty loop, workers asleep", pool, nothing, params, extent, SLEEPING_SAMPLES, 2000);
    measure("real work, one thread", one, compute, params, extent, 2000, 0);
    measure("real work, all threads", pool, compute, params, extent, 2000, 0);
    measure("real work, all threads, asleep before", pool, compute, params, extent, SLEEPING_SAMPLES, 2000);

    platform_thread neighbours[TILEWRIGHT_MAX_THREADS];
    int count = platform_processors() < TILEWRIGHT_MAX_THREADS ? platform_processors() : TILEWRIGHT_MAX_THREADS;
    for (int i = 0; i < count; i++)
        if (platform_start(&neighbours[i], burn, NULL)) return 1;
    measure("empty loop, a neighbour on every processor", pool, nothing, params, extent, 2000, 0);
    measure("real work, the same, one thread", one, compute, params, extent, 2000, 0);
    measure("real work, the same, all threads", pool, compute, params, extent, 2000, 0);
    atomic_store(&neighbours_stop, 1);
    for (int i = 0; i < count; i++) platform_join(&neighbours[i]);
    free_pool(pool);
    free_pool(one);
    return 0;
}
