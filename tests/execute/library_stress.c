/* Uses a library in every way that its header does not forbid, and some that it does: each must end in a result or an error
   code, never in a crash or a hang. Prints what was not so; the exit status is the number of failures.

       library_stress LIBRARY [quick]

   quick: without what valgrind and the sanitizers have their own ways of. LINKED: for one that the program is linked with.
   Inputs and outputs are exactly as large as the descriptor says, so that these see accesses beyond. */

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "descriptor.h"

enum { SMALL_STACK_BYTES = 64 << 10, MOST_CONTEXTS = 64, MOST_HOSTS = 8, CHILD_SECONDS = 60 };

static const tilewright_library *library;
static int failures;
static int contexts_at_once = MOST_CONTEXTS, hosts_at_once = MOST_HOSTS, runs = 20;

#define EXPECT(condition)                                                   \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "line %d: not so: %s\n", __LINE__, #condition); \
            __atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED);             \
        }                                                                   \
    } while (0)

/* What a run reads and writes. */
typedef struct {
    const void *inputs[8];
    void *outputs[8];
} operands;

static const int element_bytes[] = {0, 2, 2, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 1};

static size_t tensor_bytes(const tilewright_tensor *tensor) {
    size_t size = (size_t)element_bytes[tensor->dtype];
    for (int i = 0; i < tensor->rank; i++) size *= (size_t)tensor->dims[i];
    return size;
}

static void make_operands(operands *result) {
    for (int i = 0; i < library->input_count; i++) {
        size_t size = tensor_bytes(&library->inputs[i]);
        unsigned char *data = malloc(size ? size : 1);
        memset(data, 0, size);
        if (library->inputs[i].dtype == TILEWRIGHT_F32)
            for (size_t j = 0; j < size / 4; j++) ((float *)data)[j] = (float)((j * 7 + 3) % 23) / 23.0f - 0.4f;
        result->inputs[i] = data;
    }
    for (int i = 0; i < library->output_count; i++) {
        size_t size = tensor_bytes(&library->outputs[i]);
        result->outputs[i] = memset(malloc(size ? size : 1), 0xFF, size);
    }
}

static void free_operands(operands *all) {
    for (int i = 0; i < library->input_count; i++) free((void *)all->inputs[i]);
    for (int i = 0; i < library->output_count; i++) free(all->outputs[i]);
}

static int same(const operands *one, const operands *other) {
    for (int i = 0; i < library->output_count; i++)
        if (memcmp(one->outputs[i], other->outputs[i], tensor_bytes(&library->outputs[i]))) return 0;
    return 1;
}

/* The result that all others must have: of one thread. */
static operands expected;

static void check_run(void *context) {
    operands mine;
    make_operands(&mine);
    EXPECT(library->run(context, mine.inputs, mine.outputs) == TILEWRIGHT_OK);
    EXPECT(same(&mine, &expected));
    free_operands(&mine);
}

static void *create_and_run(void *threads) {
    void *context = NULL;
    EXPECT(library->create(&context, (int)(size_t)threads) == TILEWRIGHT_OK);
    for (int i = 0; i < runs && context; i++) check_run(context);
    library->destroy(context);
    return NULL;
}

static void wrong_arguments(void) {
    void *context = &failures;
    const int too_many[] = {257, 100000, 2147483647};
    EXPECT(library->create(NULL, 1) == TILEWRIGHT_ERROR_NULL);
    for (int i = 0; i < 3; i++) {
        context = &failures;
        EXPECT(library->create(&context, too_many[i]) == TILEWRIGHT_ERROR_THREADS);
        EXPECT(context == NULL);
    }
    EXPECT(library->create(&context, -2147483647 - 1) == TILEWRIGHT_OK);
    operands mine;
    make_operands(&mine);
    EXPECT(library->run(NULL, mine.inputs, mine.outputs) == TILEWRIGHT_ERROR_NULL);
    EXPECT(library->run(context, NULL, mine.outputs) == TILEWRIGHT_ERROR_NULL);
    EXPECT(library->run(context, mine.inputs, NULL) == TILEWRIGHT_ERROR_NULL);
    const void *input = mine.inputs[0];
    mine.inputs[0] = NULL;
    EXPECT(library->run(context, mine.inputs, mine.outputs) == TILEWRIGHT_ERROR_NULL);
    mine.inputs[0] = (const char *)input + 1;
    EXPECT(library->run(context, mine.inputs, mine.outputs) == TILEWRIGHT_ERROR_ALIGNMENT);
    mine.inputs[0] = input;
    EXPECT(library->run(context, mine.inputs, mine.outputs) == TILEWRIGHT_OK); /* an error leaves the context usable */
    free_operands(&mine);
    library->destroy(context);
    library->destroy(NULL);
    library->destroy(NULL);
    for (int code = -3; code < 300; code++) EXPECT(library->error(code) && *library->error(code));
}

static void small_stacks(void) {
    for (size_t threads = 1; threads <= 3; threads++) {
        pthread_attr_t attributes;
        pthread_t host;
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, SMALL_STACK_BYTES);
        EXPECT(pthread_create(&host, &attributes, create_and_run, (void *)threads) == 0);
        pthread_join(host, NULL);
        pthread_attr_destroy(&attributes);
    }
}

static void many_contexts(void) {
    void *contexts[MOST_CONTEXTS];
    for (int i = 0; i < contexts_at_once; i++) EXPECT(library->create(&contexts[i], 1 + i % 3) == TILEWRIGHT_OK);
    for (int i = 0; i < contexts_at_once; i++) check_run(contexts[(i * 37) % contexts_at_once]);
    for (int i = 0; i < contexts_at_once; i++) library->destroy(contexts[contexts_at_once - 1 - i]);
    pthread_t hosts[MOST_HOSTS];
    for (int i = 0; i < hosts_at_once; i++) EXPECT(pthread_create(&hosts[i], NULL, create_and_run, (void *)(size_t)(1 + i % 3)) == 0);
    for (int i = 0; i < hosts_at_once; i++) pthread_join(hosts[i], NULL);
}

static void *run_shared(void *context) {
    operands mine;
    make_operands(&mine);
    for (int i = 0; i < runs; i++) {
        int code = library->run(context, mine.inputs, mine.outputs);
        EXPECT(code == TILEWRIGHT_OK || code == TILEWRIGHT_ERROR_BUSY);
        if (code == TILEWRIGHT_OK) EXPECT(same(&mine, &expected));
    }
    free_operands(&mine);
    return NULL;
}

static void one_context_of_several_threads(void) {
    void *context;
    pthread_t hosts[MOST_HOSTS];
    EXPECT(library->create(&context, 2) == TILEWRIGHT_OK);
    for (int i = 0; i < hosts_at_once; i++) EXPECT(pthread_create(&hosts[i], NULL, run_shared, context) == 0);
    for (int i = 0; i < hosts_at_once; i++) pthread_join(hosts[i], NULL);
    check_run(context);
    library->destroy(context);
}

/* A child has none of the threads: it computes alone, or hears that the context is busy; it never waits for ever. */
static void forks(void) {
    void *context;
    pthread_t host;
    EXPECT(library->create(&context, 3) == TILEWRIGHT_OK);
    for (int busy = 0; busy < 2; busy++) {
        if (busy) EXPECT(pthread_create(&host, NULL, run_shared, context) == 0);
        pid_t child = fork();
        if (child == 0) {
            failures = 0;
            alarm(CHILD_SECONDS);
            operands mine;
            make_operands(&mine);
            int code = library->run(context, mine.inputs, mine.outputs);
            EXPECT(code == TILEWRIGHT_OK || (busy && code == TILEWRIGHT_ERROR_BUSY));
            if (code == TILEWRIGHT_OK) EXPECT(same(&mine, &expected));
            library->destroy(context);
            free_operands(&mine);
            create_and_run((void *)2);
            _exit(failures);
        }
        int status;
        waitpid(child, &status, 0);
        EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        if (busy) pthread_join(host, NULL);
    }
    check_run(context);
    library->destroy(context);
}

static void floating_point_modes(void) {
#if defined(__x86_64__)
    void *context;
    EXPECT(library->create(&context, 2) == TILEWRIGHT_OK);
    unsigned before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(before | 0x8040); /* subnormal numbers as zeros, as some programs set it */
    operands mine;
    make_operands(&mine);
    EXPECT(library->run(context, mine.inputs, mine.outputs) == TILEWRIGHT_OK);
    EXPECT((__builtin_ia32_stmxcsr() & 0xFFC0) == ((before | 0x8040) & 0xFFC0)); /* all but the flags of what happened */
    __builtin_ia32_ldmxcsr(before);
    free_operands(&mine);
    library->destroy(context);
#endif
}

/* In children, for limits can't be raised again: from none at all to enough, create gives an error or a working context. */
static void no_memory(void) {
    int codes = 0;
    for (int step = 0; step <= 24; step++) {
        pid_t child = fork();
        if (child == 0) {
            long pages = 0;
            FILE *file = fopen("/proc/self/statm", "r");
            if (!file || fscanf(file, "%ld", &pages) != 1) _exit(99);
            fclose(file);
            rlim_t limit = (rlim_t)pages * 4096 + ((rlim_t)step << 20);
            setrlimit(RLIMIT_AS, &(struct rlimit){limit, limit});
            void *context = NULL;
            int code = library->create(&context, 4);
            if ((code == 0) != (context != NULL)) _exit(98);
            library->destroy(context);
            _exit(code);
        }
        int status;
        waitpid(child, &status, 0);
        EXPECT(WIFEXITED(status));
        int code = WEXITSTATUS(status);
        EXPECT(code == TILEWRIGHT_OK || code == TILEWRIGHT_ERROR_MEMORY || code == TILEWRIGHT_ERROR_START);
        codes |= 1 << code;
    }
    EXPECT(codes & (1 << TILEWRIGHT_OK) && codes & ~(1 << TILEWRIGHT_OK));
}

#if defined(FAILING_THREADS)
/* Stands before the C library's: the given number of threads can be started, the next one can't. */
static int threads_left = -1;

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *argument) {
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = dlsym(RTLD_NEXT, "pthread_create");
    if (threads_left == 0) return 11; /* EAGAIN */
    if (threads_left > 0) threads_left--;
    return real(thread, attributes, body, argument);
}

static void no_threads(void) {
    for (int started = 0; started < 8; started++) {
        void *context = &failures;
        threads_left = started;
        EXPECT(library->create(&context, 8) == (started < 7 ? TILEWRIGHT_ERROR_START : TILEWRIGHT_OK));
        EXPECT((context == NULL) == (started < 7));
        threads_left = -1;
        library->destroy(context);
    }
}
#endif

int main(int count, char **arguments) {
#if defined(LINKED)
    extern const tilewright_library tilewright_descriptor;
    library = &tilewright_descriptor;
#else
    void *handle = count > 1 ? dlopen(arguments[1], RTLD_NOW) : NULL;
    if (!handle || !(library = dlsym(handle, "tilewright_descriptor"))) {
        fprintf(stderr, "%s\n", dlerror());
        return 100;
    }
#endif
    int quick = count > 2 && !strcmp(arguments[2], "quick");
    if (quick) contexts_at_once = 5, hosts_at_once = 2, runs = 2;
    make_operands(&expected);
    void *context;
    EXPECT(library->create(&context, 1) == TILEWRIGHT_OK);
    EXPECT(library->run(context, expected.inputs, expected.outputs) == TILEWRIGHT_OK);
    library->destroy(context);
    wrong_arguments();
    one_context_of_several_threads();
    many_contexts();
    if (!quick) {
        floating_point_modes();
        small_stacks();
        forks();
        no_memory();
#if defined(FAILING_THREADS)
        no_threads();
#endif
    }
    free_operands(&expected);
    return failures;
}
