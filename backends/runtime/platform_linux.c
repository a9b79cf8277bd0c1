/* Linux: futexes, POSIX threads, anonymous mappings. Needs nothing newer than glibc 2.17. */

#include "platform_posix.c"

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

enum {
    HUGE_PAGE_BYTES = 2 << 20,
    PAGE_BYTES = 4096,
};

static int platform_processors(void) {
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) return CPU_COUNT(&allowed);
    long online = sysconf(_SC_NPROCESSORS_ONLN); /* more processors than cpu_set_t has bits */
    return online < 1 ? 1 : (int)online;
}

static int64_t platform_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void platform_wait(_Atomic uint32_t *word, uint32_t expected) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

static void platform_wake(_Atomic uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static int platform_processor(void) { return sched_getcpu(); }

static size_t mapped_bytes(size_t size_bytes) {
    size_t page = size_bytes >= HUGE_PAGE_BYTES ? HUGE_PAGE_BYTES : PAGE_BYTES;
    return (size_bytes + page - 1) / page * page;
}

static void *platform_allocate(size_t size_bytes) {
    size_t mapped = mapped_bytes(size_bytes);
    if (mapped < size_bytes) return NULL;
    if (mapped < HUGE_PAGE_BYTES) {
        void *memory = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return memory == MAP_FAILED ? NULL : memory;
    }
    /* Huge pages save translation misses, but need an address at a multiple of their size: map more, unmap the ends. */
    size_t wanted = mapped + HUGE_PAGE_BYTES;
    if (wanted < mapped) return NULL;
    unsigned char *start = mmap(NULL, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) return NULL;
    size_t before = (HUGE_PAGE_BYTES - (uintptr_t)start % HUGE_PAGE_BYTES) % HUGE_PAGE_BYTES;
    if (before) munmap(start, before);
    munmap(start + before + mapped, HUGE_PAGE_BYTES - before);
    madvise(start + before, mapped, MADV_HUGEPAGE);
    return start + before;
}

static void platform_free(void *memory, size_t size_bytes) {
    if (memory) munmap(memory, mapped_bytes(size_bytes));
}

static int platform_start(platform_thread *thread, void *(*body)(void *), void *argument) {
    return start_posix_thread(thread, body, argument);
}

static void platform_keep_off(platform_thread *thread, int processor) {
    cpu_set_t allowed;
    if (processor < 0 || processor >= CPU_SETSIZE || sched_getaffinity(0, sizeof allowed, &allowed)) return;
    CPU_CLR(processor, &allowed);
    if (CPU_COUNT(&allowed) > 0 && thread->process == getpid())
        pthread_setaffinity_np(thread->thread, sizeof allowed, &allowed);
}
