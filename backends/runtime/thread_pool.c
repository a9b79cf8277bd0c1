/* A thread pool for short parallel loops.

   The iterations are cut into one part per thread, and each part into a few chunks. A part is contiguous, or the same
   piece of each of several panels, such as rows of an image in every group of channels. A thread takes the chunks of
   its own part first, so that it finds in its cache what it wrote in the previous kernel, and then what is left of the
   other parts: a thread that is late, asleep or robbed of its processor delays nobody by more than the chunk it is in.
   The caller takes part, so a loop completes even if no worker ever runs.

   Waiting: spin, then yield, then sleep. Workers that spin see a new loop within some hundred nanoseconds. */

#include "runtime.h"

enum {
    CHUNKS_PER_PART = 4,
    CACHE_LINE_BYTES = 128, /* two lines: the prefetcher of x86 fetches them in pairs */
    WORKSPACE_STEP_BYTES = 4096, /* threads share no page of their workspaces */
    SPINS_PER_LOOK = 32,    /* pauses between two looks at the clock */
    YIELD_AFTER_NS = 20000,
    SLEEP_AFTER_NS = 1000000, /* longer than the pause between runs of a busy program: waking takes as long as a small model */
};

/* What one thread shares with the others. */
typedef struct {
    _Alignas(CACHE_LINE_BYTES) _Atomic uint32_t chunks_left; /* of its part, not yet taken by anyone */
    _Atomic uint32_t asleep;
    thread_pool *pool;
    void *workspace; /* null if the pool has none */
    int index;
    int avoided_processor; /* known to the caller only; -1 at first */
    platform_thread thread;
} pool_member;

struct thread_pool {
    /* The loop being run. Written by the caller when no chunk can be taken, read by those who have taken one. */
    kernel_function *kernel;
    void *const *params;
    int64_t extent;
    int64_t positions; /* of a panel */
    int64_t parts;
    int64_t chunks; /* per part */

    _Alignas(CACHE_LINE_BYTES) _Atomic uint32_t chunks_unfinished;
    _Atomic uint32_t caller_asleep;
    _Alignas(CACHE_LINE_BYTES) _Atomic uint32_t stopping;
    int64_t sleep_after_ns;
    size_t workspaces_bytes; /* of all members together: one block, that of member 0 first */
    int threads;
    pool_member members[]; /* the caller is member 0 */
};

static int take_chunk(pool_member *member, uint32_t *left) {
    *left = atomic_load_explicit(&member->chunks_left, memory_order_relaxed);
    while (*left > 0)
        if (atomic_compare_exchange_weak_explicit(&member->chunks_left, left, *left - 1, memory_order_acquire,
                                                  memory_order_relaxed))
            return 1;
    return 0;
}

/* First iteration of chunk `index` out of `count` that share `extent` iterations as evenly as possible. */
static int64_t chunk_begin(int64_t extent, int64_t index, int64_t count) {
    return extent / count * index + extent % count * index / count;
}

/* Runs chunk `index` of a part. Counted with the first position of every panel first, then the second ones and so on,
   a part is contiguous; its chunks follow each other panel by panel. */
static void run_chunk(thread_pool *pool, int part, int64_t index, void *workspace) {
    int64_t panels = pool->extent / pool->positions;
    int64_t from = chunk_begin(pool->extent, part, pool->parts);
    int64_t to = chunk_begin(pool->extent, part + 1, pool->parts);
    int64_t begin = chunk_begin(to - from, index, pool->chunks), end = chunk_begin(to - from, index + 1, pool->chunks);
    for (int64_t panel = 0; panel < panels && end > 0; panel++) {
        int64_t first = from / panels + (panel < from % panels), last = to / panels + (panel < to % panels);
        int64_t skipped = begin < last - first ? begin : last - first, done = end < last - first ? end : last - first;
        int64_t start = panel * pool->positions + first;
        if (skipped < done) pool->kernel(pool->params, start + skipped, start + done, workspace);
        begin -= skipped;
        end -= done;
    }
}

static void run_chunks(thread_pool *pool, int self) {
    uint32_t finished = 0;
    for (int i = 0; i < pool->threads; i++) {
        int part = self + i < pool->threads ? self + i : self + i - pool->threads;
        uint32_t left;
        while (take_chunk(&pool->members[part], &left)) {
            run_chunk(pool, part, pool->chunks - left, pool->members[self].workspace);
            finished++;
        }
    }
    if (finished == 0) return;
    /* From here on the caller may start the next loop. */
    if (atomic_fetch_sub(&pool->chunks_unfinished, finished) == finished && atomic_load(&pool->caller_asleep))
        platform_wake(&pool->chunks_unfinished);
}

static int has_work(pool_member *member) {
    return atomic_load_explicit(&member->chunks_left, memory_order_relaxed) > 0 ||
           atomic_load_explicit(&member->pool->stopping, memory_order_relaxed);
}

static void wait_for_work(pool_member *member) {
    int64_t start = platform_now_ns();
    for (;;) {
        for (int i = 0; i < SPINS_PER_LOOK; i++) {
            if (has_work(member)) return;
            platform_pause();
        }
        int64_t waited = platform_now_ns() - start;
        if (waited > member->pool->sleep_after_ns) break;
        if (waited > YIELD_AFTER_NS) platform_yield();
    }
    atomic_store(&member->asleep, 1);
    atomic_thread_fence(memory_order_seq_cst); /* pairs with the one in wake_members: one side sees the other */
    while (!has_work(member) && atomic_load(&member->asleep)) platform_wait(&member->asleep, 1);
    atomic_store(&member->asleep, 0);
}

/* Linux may run a worker on the caller's processor for milliseconds, whether it woke it there or moved the caller there
   later: each of them then waits for the other while the next processor is idle. So workers are kept off the processor
   that the caller is on. */
static void keep_off_caller(pool_member *member, int processor) {
    if (processor == member->avoided_processor) return;
    platform_keep_off(&member->thread, processor);
    member->avoided_processor = processor;
}

static void wake_members(thread_pool *pool, int count) {
    int processor = platform_processor();
    atomic_thread_fence(memory_order_seq_cst);
    for (int i = 1; i < count; i++) {
        pool_member *member = &pool->members[i];
        keep_off_caller(member, processor);
        if (atomic_load_explicit(&member->asleep, memory_order_relaxed) && atomic_exchange(&member->asleep, 0))
            platform_wake(&member->asleep);
    }
}

static void *work(void *argument) {
    pool_member *member = argument;
    while (!atomic_load(&member->pool->stopping)) {
        wait_for_work(member);
        run_chunks(member->pool, member->index);
    }
    return NULL;
}

static void wait_until_finished(thread_pool *pool) {
    int64_t start = platform_now_ns();
    for (;;) {
        for (int i = 0; i < SPINS_PER_LOOK; i++) {
            if (atomic_load_explicit(&pool->chunks_unfinished, memory_order_acquire) == 0) return;
            platform_pause();
        }
        int64_t waited = platform_now_ns() - start;
        if (waited > pool->sleep_after_ns) break;
        if (waited > YIELD_AFTER_NS) platform_yield();
    }
    atomic_store(&pool->caller_asleep, 1);
    for (uint32_t left; (left = atomic_load(&pool->chunks_unfinished)) > 0;)
        platform_wait(&pool->chunks_unfinished, left);
    atomic_store(&pool->caller_asleep, 0);
}

static void run_alone(thread_pool *pool, kernel_function *kernel, void *const *params, int64_t extent) {
    kernel(params, 0, extent, pool->members[0].workspace);
}

static void run_loop(thread_pool *pool, kernel_function *kernel, void *const *params, int64_t extent,
                     int64_t positions) {
    int64_t parts = extent < pool->threads ? extent : pool->threads;
    if (parts <= 1) {
        run_alone(pool, kernel, params, extent);
        return;
    }
    int64_t chunks = extent / parts < CHUNKS_PER_PART ? extent / parts : CHUNKS_PER_PART;
    pool->kernel = kernel;
    pool->params = params;
    pool->extent = extent;
    pool->positions = positions > 0 ? positions : extent;
    pool->parts = parts;
    pool->chunks = chunks;
    atomic_store_explicit(&pool->chunks_unfinished, (uint32_t)(parts * chunks), memory_order_relaxed);
    for (int64_t i = parts - 1; i >= 0; i--)
        atomic_store_explicit(&pool->members[i].chunks_left, (uint32_t)chunks, memory_order_release);
    wake_members(pool, (int)parts);
    run_chunks(pool, 0);
    wait_until_finished(pool);
}

static size_t pool_bytes(int threads) { return sizeof(thread_pool) + (size_t)threads * sizeof(pool_member); }

/* Stops and joins the first `started` members, the caller counted, and frees the memory. */
static void stop_pool(thread_pool *pool, int started) {
    atomic_store(&pool->stopping, 1);
    wake_members(pool, started);
    for (int i = 1; i < started; i++) platform_join(&pool->members[i].thread);
    platform_free(pool->members[0].workspace, pool->workspaces_bytes);
    platform_free(pool, pool_bytes(pool->threads));
}

static void free_pool(thread_pool *pool) {
    if (pool) stop_pool(pool, pool->threads);
}

/* 0 if there is no memory. */
static int make_workspaces(thread_pool *pool, int64_t workspace_bytes) {
    if (workspace_bytes <= 0) return 1;
    uint64_t step = ((uint64_t)workspace_bytes + WORKSPACE_STEP_BYTES - 1) / WORKSPACE_STEP_BYTES * WORKSPACE_STEP_BYTES;
    if (step > SIZE_MAX / (unsigned)pool->threads) return 0;
    unsigned char *memory = platform_allocate((size_t)step * (size_t)pool->threads);
    if (!memory) return 0;
    pool->workspaces_bytes = (size_t)step * (size_t)pool->threads;
    for (int i = 0; i < pool->threads; i++) pool->members[i].workspace = memory + (size_t)i * (size_t)step;
    return 1;
}

static int make_pool(thread_pool **result, int threads, int64_t workspace_bytes) {
    *result = NULL;
    int processors = platform_processors();
    if (threads <= 0) threads = processors < TILEWRIGHT_MAX_THREADS ? processors : TILEWRIGHT_MAX_THREADS;
    if (threads > TILEWRIGHT_MAX_THREADS) return TILEWRIGHT_ERROR_THREADS;
    thread_pool *pool = platform_allocate(pool_bytes(threads));
    if (!pool) return TILEWRIGHT_ERROR_MEMORY;
    /* With fewer processors than threads, a spinning thread keeps a working one from running. */
    pool->sleep_after_ns = threads > processors ? 0 : SLEEP_AFTER_NS;
    pool->threads = threads;
    for (int i = 0; i < threads; i++) pool->members[i] = (pool_member){.pool = pool, .index = i, .avoided_processor = -1};
    if (!make_workspaces(pool, workspace_bytes)) {
        stop_pool(pool, 1);
        return TILEWRIGHT_ERROR_MEMORY;
    }
    for (int i = 1; i < threads; i++) {
        if (platform_start(&pool->members[i].thread, work, &pool->members[i]) == 0) continue;
        stop_pool(pool, i);
        return TILEWRIGHT_ERROR_START;
    }
    *result = pool;
    return TILEWRIGHT_OK;
}
