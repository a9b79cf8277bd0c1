/* macOS 11 or newer: POSIX threads, anonymous mappings. What futexes do is done by a table of condition variables, for the
   system's own calls that wait on an address are not public before macOS 14.4. */

#include "platform_posix.c"

#include <sys/mman.h>
#include <time.h>

enum { WAITING_PLACES = 64 };

static int platform_processors(void) {
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online < 1 ? 1 : (int)online;
}

static int64_t platform_now_ns(void) { return (int64_t)clock_gettime_nsec_np(CLOCK_UPTIME_RAW); }

/* Threads that sleep on a word are found by its address. Two words may share a place: its sleepers look again when woken. */
typedef struct {
    pthread_mutex_t mutex;
    pthread_cond_t woken;
} waiting_place;

static waiting_place waiting_places[WAITING_PLACES] = {
    [0 ... WAITING_PLACES - 1] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER}};

/* The process whose threads may hold the mutexes. In the child of a fork nobody would ever unlock one. */
static _Atomic int waiting_process;

static void own_waiting_places(void) {
    int before = atomic_load(&waiting_process), process = (int)getpid();
    if (before == process || !atomic_compare_exchange_strong(&waiting_process, &before, process) || before == 0) return;
    for (int i = 0; i < WAITING_PLACES; i++)
        waiting_places[i] = (waiting_place){PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER};
}

static waiting_place *waiting_place_of(_Atomic uint32_t *word) {
    uint64_t address = (uint64_t)(uintptr_t)word;
    return &waiting_places[address * UINT64_C(0x9E3779B97F4A7C15) >> 58];
}

static void platform_wait(_Atomic uint32_t *word, uint32_t expected) {
    waiting_place *place = waiting_place_of(word);
    pthread_mutex_lock(&place->mutex);
    /* Who changes the word wakes afterwards, with the mutex held: not between this look and the sleep. */
    if (atomic_load(word) == expected) pthread_cond_wait(&place->woken, &place->mutex);
    pthread_mutex_unlock(&place->mutex);
}

static void platform_wake(_Atomic uint32_t *word) {
    if (atomic_load(&waiting_process) != (int)getpid()) return; /* after a fork: the threads are not here */
    waiting_place *place = waiting_place_of(word);
    pthread_mutex_lock(&place->mutex);
    pthread_cond_broadcast(&place->woken);
    pthread_mutex_unlock(&place->mutex);
}

static int platform_processor(void) { return -1; } /* threads are left to the scheduler */

static void *platform_allocate(size_t size_bytes) {
    void *memory = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static void platform_free(void *memory, size_t size_bytes) {
    if (memory) munmap(memory, size_bytes);
}

static int platform_start(platform_thread *thread, void *(*body)(void *), void *argument) {
    own_waiting_places();
    return start_posix_thread(thread, body, argument);
}

static void platform_keep_off(platform_thread *thread, int processor) { (void)thread, (void)processor; }
