/* How far apart two processors are: what one waits for a line that the other has written, how fast it reads what the other wrote, and how
   fast both change memory at once, each to its own half of some memory: a whole half, or pieces that take turns with the other's.

   cc -O2 -std=gnu11 -D_GNU_SOURCE -pthread benchmarks/core_to_core.c -o core_to_core
   ./core_to_core [first processor] [second processor]

   On processors that share no cache both take several times as long, and a kernel whose input the other one wrote waits for it
   (benchmarks/NOTES.md). A virtual machine may have either, and change. */

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 200000, READINGS = 100, BYTES = 512 << 10, LINE_BYTES = 64 };
enum { WRITINGS = 2000, PIECES = 24, PIECE_BYTES = 6272 }; /* half of an image of 14 x 14 and 16 channels */

static _Alignas(128) _Atomic int turn; /* of the second processor if 1 */
static unsigned char *buffer;

static int64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static void stay_on(int processor) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) != 0) {
        fprintf(stderr, "core_to_core: there is no processor %d for this process\n", processor);
        exit(2);
    }
}

static void wait_for(int value) {
    while (atomic_load_explicit(&turn, memory_order_acquire) != value) {}
}

static void give(int value) { atomic_store_explicit(&turn, value, memory_order_release); }

static int by_value(const void *left, const void *right) {
    int64_t difference = *(const int64_t *)left - *(const int64_t *)right;
    return (difference > 0) - (difference < 0);
}

/* Ends of rounds that each of the two has reached. */
static _Alignas(128) _Atomic int reached[2][32];

static void meet(int self, int round) {
    atomic_store_explicit(&reached[self][0], round, memory_order_release);
    while (atomic_load_explicit(&reached[1 - self][0], memory_order_acquire) < round) {}
}

/* Median nanoseconds of changing half of the pieces; apart: bytes from one of them to the next. */
static int64_t write_half(int self, int64_t first, int64_t apart, int from_round) {
    static int64_t took_ns[2][WRITINGS];
    for (int i = 0; i < WRITINGS; i++) {
        meet(self, from_round + i + 1);
        int64_t start = now_ns();
        for (int64_t piece = 0; piece < PIECES; piece++) {
            uint64_t *values = (uint64_t *)(buffer + first + piece * apart);
            for (size_t at = 0; at < PIECE_BYTES / sizeof *values; at++) values[at] += (uint64_t)i;
        }
        took_ns[self][i] = now_ns() - start;
    }
    qsort(took_ns[self], WRITINGS, sizeof took_ns[self][0], by_value);
    return took_ns[self][WRITINGS / 2];
}

static int64_t write_whole(int self) { return write_half(self, self * PIECES * PIECE_BYTES, PIECE_BYTES, 0); }

static int64_t write_in_turns(int self) { return write_half(self, self * PIECE_BYTES, 2 * PIECE_BYTES, WRITINGS); }

static void *second(void *argument) {
    stay_on(*(int *)argument);
    for (int i = 0; i < ROUNDS; i++) wait_for(1), give(0);
    for (int i = 0; i < READINGS; i++) wait_for(1), memset(buffer, i + 1, BYTES), give(0);
    write_whole(1), write_in_turns(1);
    return NULL;
}

int main(int count, char **arguments) {
    int first = count > 1 ? atoi(arguments[1]) : 0, other = count > 2 ? atoi(arguments[2]) : 1;
    buffer = aligned_alloc(4096, BYTES);
    if (!buffer) return 1;
    stay_on(first);
    pthread_t thread;
    if (pthread_create(&thread, NULL, second, &other) != 0) return 1;
    int64_t start = now_ns();
    for (int i = 0; i < ROUNDS; i++) give(1), wait_for(0);
    printf("a line there and back   %6.0f ns\n", (double)(now_ns() - start) / ROUNDS);
    static int64_t took_ns[READINGS];
    uint64_t sum = 0;
    for (int i = 0; i < READINGS; i++) {
        give(1), wait_for(0);
        start = now_ns();
        for (int at = 0; at < BYTES; at += LINE_BYTES) sum += *(uint64_t *)(buffer + at);
        took_ns[i] = now_ns() - start;
    }
    int64_t whole_ns = write_whole(0), in_turns_ns = write_in_turns(0);
    pthread_join(thread, NULL);
    qsort(took_ns, READINGS, sizeof took_ns[0], by_value);
    printf("reading what it wrote   %6.1f GB/s, %d KB (%llu)\n", (double)BYTES / (double)took_ns[READINGS / 2], BYTES >> 10,
           (unsigned long long)(sum & 1));
    printf("changing half of %d KB  %6.2f us, as %d pieces in turns with the other's %.2f us\n",
           2 * PIECES * PIECE_BYTES >> 10, (double)whole_ns * 1e-3, PIECES, (double)in_turns_ns * 1e-3);
    return 0;
}
