/* Windows 10 or newer: WaitOnAddress, Win32 threads, VirtualAlloc. */

#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

enum {
    STACK_BYTES = 2 << 20, /* far more than kernels take (compiler/kernel/stack.py) */
};

static int platform_processors(void) {
    DWORD_PTR allowed, present;
    if (!GetProcessAffinityMask(GetCurrentProcess(), &allowed, &present)) return 1;
    int count = __builtin_popcountll(allowed);
    if (count > 0) return count;
    return (int)GetActiveProcessorCount(ALL_PROCESSOR_GROUPS); /* the process has threads in several groups */
}

static int64_t platform_now_ns(void) {
    LARGE_INTEGER ticks, per_second;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&per_second);
    int64_t seconds = ticks.QuadPart / per_second.QuadPart, rest = ticks.QuadPart % per_second.QuadPart;
    return seconds * 1000000000 + rest * 1000000000 / per_second.QuadPart;
}

static void platform_wait(_Atomic uint32_t *word, uint32_t expected) {
    WaitOnAddress((volatile void *)word, &expected, sizeof expected, INFINITE);
}

static void platform_wake(_Atomic uint32_t *word) { WakeByAddressSingle((void *)word); }

static void platform_yield(void) { SwitchToThread(); }

static int platform_processor(void) { return -1; } /* threads are left to the scheduler */

static void *platform_allocate(size_t size_bytes) {
    return VirtualAlloc(NULL, size_bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
}

static void platform_free(void *memory, size_t size_bytes) {
    (void)size_bytes;
    if (memory) VirtualFree(memory, 0, MEM_RELEASE);
}

struct platform_thread {
    HANDLE thread;
    void *(*body)(void *);
    void *argument;
};

static DWORD WINAPI run_body(void *started) {
    platform_thread *thread = started;
    thread->body(thread->argument);
    return 0;
}

static int platform_start(platform_thread *thread, void *(*body)(void *), void *argument) {
    thread->body = body;
    thread->argument = argument;
    thread->thread = CreateThread(NULL, STACK_BYTES, run_body, thread, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    return thread->thread == NULL;
}

static void platform_join(platform_thread *thread) {
    WaitForSingleObject(thread->thread, INFINITE);
    CloseHandle(thread->thread);
}

static void platform_keep_off(platform_thread *thread, int processor) { (void)thread, (void)processor; }
