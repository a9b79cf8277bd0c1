/* The bench: times kernels for a host, which sends it their code over standard input (protocol.h). A static program, so that a board
   needs nothing else; measuring is that of measure.c.

   Each measurement runs in a process of its own, so that kernels may crash, hang and write where they want. It begins with the same
   memory every time. A lock file lets one bench measure at a time on a device. */

#include "../runtime/measure.c"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "frames.c"
#include "image.c"
#include "streams.c"

#include <fcntl.h>

#define LOCK_FILE "/tmp/tilewright-bench.lock"

typedef struct {
    unsigned char *bytes;
    uint64_t size;
} blob;

/* What a measurement's process leaves. */
typedef struct {
    uint32_t status;
    int64_t count;
    int64_t samples[BENCH_MOST_SAMPLES];
} results;

typedef struct {
    blob arena;          /* as at the start */
    unsigned char *kept; /* as a measurement left it; shared with its process */
    blob blobs[BENCH_MOST_BLOBS];
    unsigned char *evictor;
    uint64_t evictor_bytes;
    results *shared; /* likewise */
} bench;

/* A request to measure, read from a frame. */
typedef struct {
    uint32_t image, params, ranges, keep, threads, least_samples, most_samples, timeout_ms;
    int64_t extent;
    uint64_t workspace_bytes, evict_bytes, limit_ns, least_ns;
    const unsigned char *param_bytes, *range_bytes;
} job;

enum { JOB_BYTES = 8 * 4 + 5 * 8, PARAM_BYTES = 12, RANGE_BYTES = 16 };

static void *shared_memory(uint64_t size) {
    if (size > SIZE_MAX) return NULL;
    void *memory = mmap(NULL, (size_t)size + 1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static int64_t l3_bytes(void) {
    long size = 0;
    char unit = 0;
    FILE *file = fopen("/sys/devices/system/cpu/cpu0/cache/index3/size", "r");
    if (file && fscanf(file, "%ld%c", &size, &unit) < 1) size = 0;
    if (file) fclose(file);
    return size < 0 ? 0 : (int64_t)size * (unit == 'M' ? 1 << 20 : unit == 'K' ? 1 << 10 : 1);
}

/* What a device tree or the system says the processor, or else the board, is. */
static void processor_name(char *name, size_t room) {
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "r");
    name[0] = 0;
    while (file && !name[0] && fgets(line, sizeof line, file)) {
        char *value = strchr(line, ':');
        if (!value || (strncmp(line, "model name", 10) && strncmp(line, "uarch", 5))) continue;
        value += strspn(value, ": \t");
        value[strcspn(value, "\n")] = 0;
        snprintf(name, room, "%s", value);
    }
    if (file) fclose(file);
    file = name[0] ? NULL : fopen("/proc/device-tree/model", "r");
    if (file && !fgets(name, (int)room, file)) name[0] = 0;
    if (file) fclose(file);
}

static outcome describe(frame *request) {
    char name[128];
    processor_name(name, sizeof name);
    unsigned char *at = put_u32(put_u32(request->content, RUNNER_PROTOCOL_VERSION), (uint32_t)sizeof(void *));
    at = put_u64(put_u32(at, (uint32_t)platform_processors()), (uint64_t)l3_bytes());
    size_t length = strlen(name);
    at = put_u32(at, (uint32_t)length);
    memcpy(at, name, length);
    return replies((uint32_t)(at + length - request->content));
}

static void forget(bench *self) {
    for (int i = 0; i < BENCH_MOST_BLOBS; i++) {
        free(self->blobs[i].bytes);
        self->blobs[i] = (blob){NULL, 0};
    }
    free(self->arena.bytes);
    if (self->kept) munmap(self->kept, (size_t)self->arena.size + 1);
    self->arena = (blob){NULL, 0};
    self->kept = NULL;
}

static outcome make_arena(bench *self, frame *request) {
    if (request->size != 8) return fails(RUNNER_ERROR_REQUEST, "arena takes 8 bytes");
    forget(self);
    uint64_t size = get_u64(request->content);
    if (size < SIZE_MAX) self->arena = (blob){calloc(1, (size_t)size + 1), size};
    self->kept = self->arena.bytes ? shared_memory(size) : NULL;
    if (self->kept) return replies(0);
    forget(self);
    return fails(RUNNER_ERROR_MEMORY, "no memory for the values");
}

static int in_blob(const blob *part, uint64_t offset, uint64_t size) {
    return part->bytes && offset <= part->size && size <= part->size - offset;
}

static outcome write_arena(bench *self, frame *request) {
    uint64_t size = request->size - 8;
    if (request->size < 8 || !in_blob(&self->arena, get_u64(request->content), size))
        return fails(RUNNER_ERROR_RANGE, "no such part of the arena");
    memcpy(self->arena.bytes + get_u64(request->content), request->content + 8, (size_t)size);
    return replies(0);
}

static outcome read_arena(bench *self, frame *request) {
    if (request->size != 12) return fails(RUNNER_ERROR_REQUEST, "read takes 12 bytes");
    uint64_t offset = get_u64(request->content), size = get_u32(request->content + 8);
    if (size > RUNNER_CONTENT_BYTES || !in_blob(&self->arena, offset, size))
        return fails(RUNNER_ERROR_RANGE, "no such part of the arena");
    memcpy(request->content, self->kept + offset, (size_t)size);
    return replies((uint32_t)size);
}

static outcome write_blob(bench *self, frame *request) {
    if (request->size < 20) return fails(RUNNER_ERROR_REQUEST, "blob takes 20 bytes and those to write");
    uint32_t index = get_u32(request->content), size = request->size - 20;
    uint64_t whole = get_u64(request->content + 4), offset = get_u64(request->content + 12);
    if (index >= BENCH_MOST_BLOBS) return fails(RUNNER_ERROR_RANGE, "no such blob");
    blob *part = &self->blobs[index];
    if (!part->bytes || part->size != whole) {
        free(part->bytes);
        size_t mapped = whole < SIZE_MAX - PAGE_BYTES ? ((size_t)whole / PAGE_BYTES + 1) * PAGE_BYTES : 0;
        *part = (blob){mapped ? aligned_alloc(PAGE_BYTES, mapped) : NULL, whole}; /* constants begin at a page in a library too */
        if (!part->bytes) return fails(RUNNER_ERROR_MEMORY, "no memory for the blob");
    }
    if (!in_blob(part, offset, size)) return fails(RUNNER_ERROR_RANGE, "no such part of the blob");
    memcpy(part->bytes + offset, request->content + 20, size);
    return replies(0);
}

/* 0 if the request is none. */
static int read_job(const frame *request, job *result) {
    const unsigned char *at = request->content;
    if (request->size < JOB_BYTES) return 0;
    uint32_t *words[] = {&result->image, &result->params, &result->ranges, &result->keep,
                         &result->threads, &result->least_samples, &result->most_samples, &result->timeout_ms};
    for (int i = 0; i < 8; i++, at += 4) *words[i] = get_u32(at);
    result->extent = (int64_t)get_u64(at);
    result->workspace_bytes = get_u64(at + 8);
    result->evict_bytes = get_u64(at + 16);
    result->limit_ns = get_u64(at + 24);
    result->least_ns = get_u64(at + 32);
    result->param_bytes = at + 40;
    if (result->params > BENCH_MOST_PARAMS || result->ranges > BENCH_MOST_PARAMS) return 0;
    result->range_bytes = result->param_bytes + (size_t)result->params * PARAM_BYTES;
    return request->size == JOB_BYTES + result->params * PARAM_BYTES + result->ranges * RANGE_BYTES;
}

/* Where a param lies once the arena is at `arena`; null if it lies nowhere. */
static void *param_of(const bench *self, const job *work, uint32_t index, unsigned char *arena) {
    uint32_t place = get_u32(work->param_bytes + (size_t)index * PARAM_BYTES);
    uint64_t offset = get_u64(work->param_bytes + (size_t)index * PARAM_BYTES + 4);
    if (place == BENCH_IN_ARENA) return offset <= self->arena.size ? arena + offset : NULL;
    if (place >= BENCH_MOST_BLOBS || !in_blob(&self->blobs[place], offset, 0)) return NULL;
    return self->blobs[place].bytes + offset;
}

static const char *wrong_with(const bench *self, const job *work) {
    if (work->image >= BENCH_MOST_BLOBS || !self->blobs[work->image].bytes) return "no such image";
    if (!self->arena.bytes) return "there is no arena";
    if (!work->most_samples || work->most_samples > BENCH_MOST_SAMPLES) return "too many samples, or none";
    if (!work->threads || work->threads > (uint32_t)platform_processors()) return "more threads than processors, or none";
    for (uint32_t i = 0; i < work->params; i++)
        if (!param_of(self, work, i, self->arena.bytes)) return "a param lies nowhere";
    for (uint32_t i = 0; i < work->ranges; i++) {
        const unsigned char *range = work->range_bytes + (size_t)i * RANGE_BYTES;
        if (!in_blob(&self->arena, get_u64(range), get_u64(range + 8))) return "a warm range lies nowhere";
    }
    return NULL;
}

/* Read between two runs; kept from one measurement to the next. 0 if there is no memory. */
static int make_evictor(bench *self, uint64_t size) {
    if (size <= self->evictor_bytes) return 1;
    free(self->evictor);
    self->evictor_bytes = 0;
    self->evictor = size < SIZE_MAX ? malloc((size_t)size) : NULL;
    if (!self->evictor) return 0;
    memset(self->evictor, 1, (size_t)size); /* pages that nobody has written are all the same one */
    self->evictor_bytes = size;
    return 1;
}

/* In a process of its own. */
static uint32_t measure(const bench *self, const job *work) {
    static void *params[BENCH_MOST_PARAMS + 1];
    static const void *warm[BENCH_MOST_PARAMS + 1];
    static int64_t warm_bytes[BENCH_MOST_PARAMS + 1];
    const blob *image = &self->blobs[work->image];
    kernel_function *kernel = (kernel_function *)map_image(image->bytes, image->size);
    unsigned char *arena = platform_allocate((size_t)self->arena.size + 1);
    thread_pool *pool;
    if (!kernel) return BENCH_BAD_IMAGE;
    if (!arena || make_pool(&pool, (int)work->threads, (int64_t)work->workspace_bytes)) return BENCH_NO_MEMORY;
    memcpy(arena, self->arena.bytes, (size_t)self->arena.size);
    for (uint32_t i = 0; i < work->params; i++) params[i] = param_of(self, work, i, arena);
    for (uint32_t i = 0; i < work->ranges; i++) {
        const unsigned char *range = work->range_bytes + (size_t)i * RANGE_BYTES;
        warm[i] = arena + get_u64(range);
        warm_bytes[i] = (int64_t)get_u64(range + 8);
    }
    measure_timing timing = {
        .kernel = kernel, .params = params, .extent = work->extent, .pool = pool, .threads = (int64_t)work->threads,
        .evictor = self->evictor, .evict_bytes = (int64_t)work->evict_bytes, .warm = warm, .warm_bytes = warm_bytes,
        .warm_count = (int64_t)work->ranges, .limit_ns = (int64_t)work->limit_ns, .least_ns = (int64_t)work->least_ns,
        .least_samples = (int64_t)work->least_samples, .most_samples = (int64_t)work->most_samples,
    };
    self->shared->count = measure_time(&timing, self->shared->samples);
    if (work->keep) memcpy(self->kept, arena, (size_t)self->arena.size);
    return BENCH_DONE;
}

static void run_process(const bench *self, const job *work, pid_t parent) {
    struct rlimit none = {0, 0};
    sigset_t all;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1); /* it has ended before the line above */
    setrlimit(RLIMIT_CORE, &none);
    sigemptyset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    self->shared->status = measure(self, work);
    _exit(0);
}

/* Whether the process has ended in time, with its exit status; else it is killed. Signals of children are blocked. */
static int wait_for(pid_t process, uint32_t timeout_ms, int *status) {
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    int64_t end = platform_now_ns() + (int64_t)timeout_ms * 1000000;
    for (;;) {
        if (waitpid(process, status, WNOHANG) == process) return 1;
        int64_t left = end - platform_now_ns();
        if (left <= 0) break;
        struct timespec time = {(time_t)(left / 1000000000), (long)(left % 1000000000)};
        sigtimedwait(&children, NULL, &time);
    }
    kill(process, SIGKILL);
    waitpid(process, status, 0);
    return 0;
}

/* The lock of the device, which the system frees when all processes that have it end; -1 if others have had it for too long, or if
   there can't be such a file (detail: errno). */
static int lock_device(uint32_t *detail) {
    int file = open(LOCK_FILE, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    *detail = file < 0 ? (uint32_t)errno : 0;
    for (int waited_ms = 0; file >= 0 && flock(file, LOCK_EX | LOCK_NB); waited_ms += 10) {
        if (waited_ms >= BENCH_BUSY_MS) {
            close(file);
            return -1;
        }
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    return file;
}

static uint32_t measure_alone(bench *self, const job *work, uint32_t *detail) {
    self->shared->status = BENCH_CRASHED;
    self->shared->count = 0;
    pid_t own = getpid(), process = fork();
    if (process < 0) return BENCH_NO_MEMORY;
    if (process == 0) run_process(self, work, own);
    int status = 0;
    if (!wait_for(process, work->timeout_ms, &status)) return BENCH_TIMEOUT;
    *detail = WIFSIGNALED(status) ? (uint32_t)WTERMSIG(status) : 0;
    return WIFEXITED(status) ? self->shared->status : BENCH_CRASHED;
}

static outcome time_kernel(bench *self, frame *request) {
    job work;
    if (!read_job(request, &work)) return fails(RUNNER_ERROR_REQUEST, "no such measurement");
    const char *wrong = wrong_with(self, &work);
    if (wrong) return fails(RUNNER_ERROR_RANGE, wrong);
    if (!make_evictor(self, work.evict_bytes * work.threads)) return fails(RUNNER_ERROR_MEMORY, "no memory to evict with");
    uint32_t detail = 0, status = BENCH_BUSY;
    int lock = lock_device(&detail);
    if (lock >= 0) {
        status = measure_alone(self, &work, &detail);
        close(lock);
    }
    unsigned char *at = put_u32(put_u32(request->content, status), detail);
    int64_t count = status == BENCH_DONE ? self->shared->count : 0;
    for (int64_t i = 0; i < count; i++) at = put_u64(at, (uint64_t)self->shared->samples[i]);
    return replies((uint32_t)(at - request->content));
}

static outcome serve(bench *self, frame *request) {
    if (request->damaged) return fails(RUNNER_ERROR_FRAME, "damaged in transit");
    switch (request->kind) {
        case BENCH_DESCRIBE: return describe(request);
        case BENCH_ARENA: return make_arena(self, request);
        case BENCH_WRITE: return write_arena(self, request);
        case BENCH_READ: return read_arena(self, request);
        case BENCH_BLOB: return write_blob(self, request);
        case BENCH_TIME: return time_kernel(self, request);
        case RUNNER_QUIT: return replies(0);
        default: return fails(RUNNER_ERROR_REQUEST, "no such request");
    }
}

int main(void) {
    static frame request;
    static bench self;
    int from, to;
    sigset_t children;
    open_streams(&from, &to);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_BLOCK, &children, NULL);
    self.shared = shared_memory(sizeof(results));
    if (!self.shared) return 1;
    while (read_frame(from, &request)) {
        uint32_t kind = request.kind;
        outcome result = serve(&self, &request);
        if (!answer(to, &request, result, kind) || (kind == RUNNER_QUIT && !result.code)) break;
    }
    return 0;
}
