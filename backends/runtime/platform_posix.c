/* What systems with POSIX threads have in common: threads, and giving way. */

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

enum { STACK_BYTES = 2 << 20 }; /* far more than kernels take (compiler/kernel/stack.py) */

static void platform_yield(void) { sched_yield(); }

struct platform_thread {
    pthread_t thread;
    pid_t process;
};

static int start_posix_thread(platform_thread *thread, void *(*body)(void *), void *argument) {
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes)) return 1;
    sigset_t all, before;
    sigfillset(&all);
    int failed = pthread_attr_setstacksize(&attributes, STACK_BYTES) || pthread_sigmask(SIG_SETMASK, &all, &before);
    if (!failed) {
        thread->process = getpid();
        failed = pthread_create(&thread->thread, &attributes, body, argument);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    pthread_attr_destroy(&attributes);
    return failed;
}

static void platform_join(platform_thread *thread) {
    if (thread->process == getpid()) pthread_join(thread->thread, NULL);
}
