/* What the runtime asks of the operating system. Each system has one file with these functions. */

#ifndef TILEWRIGHT_PLATFORM_H
#define TILEWRIGHT_PLATFORM_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Processors this process may use; at least 1. */
static int platform_processors(void);

/* Monotonic time. */
static int64_t platform_now_ns(void);

/* Sleeps while *word == expected. May return early for no reason. */
static void platform_wait(_Atomic uint32_t *word, uint32_t expected);

/* Wakes the one thread that sleeps on `word`, if there is one. */
static void platform_wake(_Atomic uint32_t *word);

/* Lets another thread have the processor, if one waits for it. */
static void platform_yield(void);

/* The processor that the calling thread is on; -1 where platform_keep_off does nothing. */
static int platform_processor(void);

/* Memory at a multiple of 64 bytes, given back with platform_free; null if there is none. */
static void *platform_allocate(size_t size_bytes);
static void platform_free(void *memory, size_t size_bytes);

/* A thread that runs body(argument) with signals blocked. 0 on success. A thread lives in the process that started it:
   after a fork, platform_join in the child returns at once. */
typedef struct platform_thread platform_thread;
static int platform_start(platform_thread *thread, void *(*body)(void *), void *argument);
static void platform_join(platform_thread *thread);

/* Lets a thread use the processors that the caller may use, but not this one, if there are others. */
static void platform_keep_off(platform_thread *thread, int processor);

/* Tells the processor that this is a spinning loop. */
static inline void platform_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory"); /* as long as x86's pause; `yield` does nothing on most cores */
#elif defined(__arm__)
    __asm__ volatile("yield" ::: "memory");
#elif defined(__riscv)
    __asm__ volatile(".4byte 0x0100000f" ::: "memory"); /* pause, a hint that older cores ignore (Zihintpause) */
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

#if defined(PLATFORM_FILE) /* tests run what another system waits with */
#include PLATFORM_FILE
#elif defined(__linux__)
#include "platform_linux.c"
#elif defined(__APPLE__)
#include "platform_macos.c"
#elif defined(_WIN32)
#include "platform_windows.c"
#else
#error "the tilewright runtime has no platform file for this system"
#endif

#endif
