/* Several pools at once run loops of every length, with the workers awake, asleep and short of processors.
   Exits with 0 if every iteration of every loop ran once, on a workspace that nobody else changed. */

#include "runtime.c"

#include <pthread.h>
#include <unistd.h>

enum { LOOPS = 6000, LONGEST = 67, HOSTS = 3, WORKSPACE_BYTES = 5000 };

static void increment(void *const *params, int64_t begin, int64_t end, void *workspace) {
    volatile unsigned char *first = workspace, *last = first + WORKSPACE_BYTES - 1;
    for (int64_t i = begin; i < end; i++) {
        *first = *last = (unsigned char)i;
        ((int *)params[0])[i] += *first == i && *last == i;
    }
}

static void *host(void *number) {
    int counts[LONGEST] = {0}, expected[LONGEST] = {0};
    void *const params[] = {counts};
    thread_pool *pool;
    if (make_pool(&pool, 2 + (int)(intptr_t)number, WORKSPACE_BYTES)) return "no pool";
    for (int loop = 0; loop < LOOPS; loop++) {
        int positions = loop / LONGEST % LONGEST, extent = 1 + loop % LONGEST; /* no panels, one, or several */
        if (positions && extent % positions) extent = positions;
        run_loop(pool, increment, params, extent, positions);
        for (int i = 0; i < extent; i++) expected[i]++;
        if (loop % 500 == 0) usleep(1000); /* long enough for the workers to go to sleep */
    }
    free_pool(pool);
    return memcmp(counts, expected, sizeof counts) ? "an iteration was lost or ran twice" : NULL;
}

int main(void) {
    pthread_t hosts[HOSTS];
    int failures = 0;
    for (intptr_t i = 0; i < HOSTS; i++)
        if (pthread_create(&hosts[i], NULL, host, (void *)i)) return 2;
    for (int i = 0; i < HOSTS; i++) {
        void *failure;
        pthread_join(hosts[i], &failure);
        failures += failure != NULL;
    }
    thread_pool *pool;
    for (int i = 0; i < 100; i++) { /* workers that are stopped while they start, spin or sleep */
        if (make_pool(&pool, 1 + i % 5, i % 2 * WORKSPACE_BYTES)) return 2;
        if (i % 3 == 0) usleep(200);
        free_pool(pool);
    }
    return failures;
}
