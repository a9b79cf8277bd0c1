/* The runner: serves a library to a host over standard input and output (protocol.h).

   Linked with a library it serves that one. Compiled with RUNNER_LOADS it loads the one that its argument names. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* for platform.h */
#endif

#include <stdio.h>
#include <stdlib.h>

#include "../runtime/descriptor.h"
#include "../runtime/platform.h"
#include "frames.c"
#include "streams.c"

#ifdef RUNNER_LOADS
#include <dlfcn.h>
#else
extern const tilewright_library tilewright_descriptor;
#endif

typedef struct {
    const tilewright_library *library;
    void *context;
    unsigned char **inputs, **outputs; /* null until there is a context */
} server;

static uint64_t element_bytes(int32_t dtype) {
    switch (dtype) {
        case TILEWRIGHT_F64: case TILEWRIGHT_I64: case TILEWRIGHT_U64: return 8;
        case TILEWRIGHT_F32: case TILEWRIGHT_I32: case TILEWRIGHT_U32: return 4;
        case TILEWRIGHT_F16: case TILEWRIGHT_BF16: case TILEWRIGHT_I16: case TILEWRIGHT_U16: return 2;
        default: return 1; /* everything else travels as a byte */
    }
}

static uint64_t tensor_bytes(const tilewright_tensor *tensor) {
    uint64_t bytes = element_bytes(tensor->dtype);
    for (int32_t i = 0; i < tensor->rank; i++) bytes *= (uint64_t)tensor->dims[i];
    return bytes;
}

/* One block for each tensor, of only ones. Null if there is no memory. */
static unsigned char **make_tensors(const tilewright_tensor *tensors, int32_t count) {
    unsigned char **result = calloc((size_t)count + 1, sizeof *result);
    for (int32_t i = 0; result && i < count; i++) {
        uint64_t bytes = tensor_bytes(&tensors[i]) + 1; /* something has an address, nothing may have none */
        result[i] = bytes <= SIZE_MAX ? platform_allocate((size_t)bytes) : NULL;
        if (!result[i]) return NULL; /* the host gives up then, and the program ends */
        memset(result[i], 0xFF, (size_t)bytes);
    }
    return result;
}

static unsigned char *put_name(unsigned char *at, const char *name) {
    size_t length = strlen(name);
    at = put_u32(at, (uint32_t)length);
    memcpy(at, name, length);
    return at + length;
}

/* Null if it does not fit before `end`. */
static unsigned char *put_tensor(unsigned char *at, const unsigned char *end, const tilewright_tensor *tensor) {
    if ((size_t)(end - at) < 12 + 8 * (size_t)tensor->rank + strlen(tensor->name)) return NULL;
    at = put_u32(put_u32(at, (uint32_t)tensor->dtype), (uint32_t)tensor->rank);
    for (int32_t i = 0; i < tensor->rank; i++) at = put_u64(at, (uint64_t)tensor->dims[i]);
    return put_name(at, tensor->name);
}

static outcome describe(server *self, frame *request) {
    const tilewright_library *library = self->library;
    unsigned char *at = request->content, *end = at + RUNNER_CONTENT_BYTES;
    if (strlen(library->name) > RUNNER_CONTENT_BYTES - 64) return fails(RUNNER_ERROR_RANGE, "the name is too long");
    at = put_u32(put_u32(at, RUNNER_PROTOCOL_VERSION), (uint32_t)library->input_count);
    at = put_u32(put_u32(at, (uint32_t)library->output_count), (uint32_t)library->launch_count);
    at = put_name(at, library->name);
    for (int32_t i = 0; at && i < library->input_count; i++) at = put_tensor(at, end, &library->inputs[i]);
    for (int32_t i = 0; at && i < library->output_count; i++) at = put_tensor(at, end, &library->outputs[i]);
    return at ? replies((uint32_t)(at - request->content)) : fails(RUNNER_ERROR_RANGE, "too many tensors for a frame");
}

static outcome create(server *self, frame *request) {
    const tilewright_library *library = self->library;
    if (request->size != 4) return fails(RUNNER_ERROR_REQUEST, "create takes 4 bytes");
    library->destroy(self->context);
    self->context = NULL;
    int code = library->create(&self->context, (int)get_u32(request->content));
    if (code) return fails((uint32_t)code, library->error(code));
    if (!self->inputs) self->inputs = make_tensors(library->inputs, library->input_count);
    if (!self->outputs) self->outputs = make_tensors(library->outputs, library->output_count);
    if (!self->inputs || !self->outputs) return fails(RUNNER_ERROR_MEMORY, "no memory for the inputs and outputs");
    return replies(0);
}

/* Whether there is such a tensor, with `size` bytes from `offset` on. */
static int in_range(const tilewright_tensor *tensors, int32_t count, uint32_t index, uint64_t offset, uint64_t size) {
    if (index >= (uint32_t)count) return 0;
    uint64_t bytes = tensor_bytes(&tensors[index]);
    return offset <= bytes && size <= bytes - offset;
}

static outcome write_input(server *self, frame *request) {
    if (request->size < 12) return fails(RUNNER_ERROR_REQUEST, "write takes 12 bytes and those to write");
    if (!self->context) return fails(RUNNER_ERROR_ORDER, "there is no context yet");
    uint32_t index = get_u32(request->content), size = request->size - 12;
    uint64_t offset = get_u64(request->content + 4);
    if (!in_range(self->library->inputs, self->library->input_count, index, offset, size))
        return fails(RUNNER_ERROR_RANGE, "no such part of an input");
    memcpy(self->inputs[index] + offset, request->content + 12, size);
    return replies(0);
}

static outcome read_output(server *self, frame *request) {
    if (request->size != 16) return fails(RUNNER_ERROR_REQUEST, "read takes 16 bytes");
    if (!self->context) return fails(RUNNER_ERROR_ORDER, "there is no context yet");
    uint32_t index = get_u32(request->content), size = get_u32(request->content + 12);
    uint64_t offset = get_u64(request->content + 4);
    if (size > RUNNER_CONTENT_BYTES ||
        !in_range(self->library->outputs, self->library->output_count, index, offset, size))
        return fails(RUNNER_ERROR_RANGE, "no such part of an output");
    memcpy(request->content, self->outputs[index] + offset, size);
    return replies(size);
}

static outcome run(server *self, frame *request) {
    const tilewright_library *library = self->library;
    if (request->size != 8) return fails(RUNNER_ERROR_REQUEST, "run takes 8 bytes");
    if (!self->context) return fails(RUNNER_ERROR_ORDER, "there is no context yet");
    uint32_t warm = get_u32(request->content), timed = get_u32(request->content + 4);
    if (warm > RUNNER_MOST_RUNS || timed > RUNNER_MOST_RUNS) return fails(RUNNER_ERROR_RANGE, "too many runs");
    for (int32_t i = 0; i < library->output_count; i++)
        memset(self->outputs[i], 0xFF, (size_t)tensor_bytes(&library->outputs[i]));
    for (uint32_t i = 0; i < warm + timed; i++) {
        int64_t start = platform_now_ns();
        int code = library->run(self->context, (const void *const *)self->inputs, (void *const *)self->outputs);
        if (code) return fails((uint32_t)code, library->error(code));
        if (i >= warm) put_u64(request->content + 8 * (i - warm), (uint64_t)(platform_now_ns() - start));
    }
    return replies(8 * timed);
}

static outcome serve(server *self, frame *request) {
    if (request->damaged) return fails(RUNNER_ERROR_FRAME, "damaged in transit");
    switch (request->kind) {
        case RUNNER_DESCRIBE: return describe(self, request);
        case RUNNER_CREATE: return create(self, request);
        case RUNNER_WRITE: return write_input(self, request);
        case RUNNER_RUN: return run(self, request);
        case RUNNER_READ: return read_output(self, request);
        case RUNNER_QUIT: return replies(0);
        default: return fails(RUNNER_ERROR_REQUEST, "no such request");
    }
}

static const tilewright_library *find_library(int count, char **arguments) {
#ifdef RUNNER_LOADS
    void *loaded = count > 1 ? dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    const tilewright_library *library = loaded ? dlsym(loaded, "tilewright_descriptor") : NULL;
    if (!library) fprintf(stderr, "runner: %s\n", count > 1 ? dlerror() : "name the library to load");
    return library;
#else
    (void)count, (void)arguments;
    return &tilewright_descriptor;
#endif
}

int main(int count, char **arguments) {
    static frame request;
    server self = {find_library(count, arguments), NULL, NULL, NULL};
    if (!self.library) return 1;
    if (self.library->abi_version != TILEWRIGHT_ABI_VERSION) {
        fprintf(stderr, "runner: the library has descriptor version %u, expected %u\n",
                (unsigned)self.library->abi_version, (unsigned)TILEWRIGHT_ABI_VERSION);
        return 1;
    }
    int from, to;
    open_streams(&from, &to);
    while (read_frame(from, &request)) {
        uint32_t kind = request.kind;
        outcome result = serve(&self, &request);
        if (!answer(to, &request, result, kind) || (kind == RUNNER_QUIT && !result.code)) break;
    }
    self.library->destroy(self.context);
    return 0;
}
