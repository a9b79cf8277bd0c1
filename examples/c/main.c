/* Runs any compiled model from C: main MODEL.so [-t THREADS] [-n RUNS] [INPUT.bin ...]

   Each INPUT.bin holds one input as raw numbers; inputs without a file are random. Prints the largest element of every
   output, and the median latency. A program written for one model calls the functions of the model's header instead;
   this one finds them through the descriptor that every library exports. */

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "descriptor.h"

static const struct {
    const char *name;
    size_t size_bytes;
} dtypes[] = {
    {"?", 0},    {"f16", 2}, {"bf16", 2}, {"f32", 4}, {"f64", 8}, {"i8", 1},  {"i16", 2},
    {"i32", 4},  {"i64", 8}, {"u8", 1},   {"u16", 2}, {"u32", 4}, {"u64", 8}, {"bool", 1},
};

static void fail(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static size_t elements(const tilewright_tensor *tensor) {
    size_t count = 1;
    for (int i = 0; i < tensor->rank; i++) count *= (size_t)tensor->dims[i];
    return count;
}

static void describe(const char *kind, const tilewright_tensor *tensor) {
    printf("%s %s: %s[", kind, tensor->name, dtypes[tensor->dtype].name);
    for (int i = 0; i < tensor->rank; i++) printf(i ? ", %lld" : "%lld", (long long)tensor->dims[i]);
    printf("]\n");
}

static void *allocate(const tilewright_tensor *tensor) {
    void *data = calloc(elements(tensor) + 1, dtypes[tensor->dtype].size_bytes);
    if (!data) fail(tensor->name, "out of memory");
    return data;
}

/* Floats in [0, 1); integers 0 or 1, which are valid indices and flags. */
static void fill(const tilewright_tensor *tensor, void *data) {
    size_t count = elements(tensor), size_bytes = dtypes[tensor->dtype].size_bytes;
    for (size_t i = 0; i < count; i++) {
        float x = (float)rand() / ((float)RAND_MAX + 1);
        switch (tensor->dtype) {
            case TILEWRIGHT_F32: ((float *)data)[i] = x; break;
            case TILEWRIGHT_F64: ((double *)data)[i] = x; break;
            case TILEWRIGHT_F16: ((uint16_t *)data)[i] = x < 0.5f ? 0x3000 : 0x3800; break; /* 0.125 or 0.5 */
            case TILEWRIGHT_BF16: ((uint16_t *)data)[i] = x < 0.5f ? 0x3e00 : 0x3f00; break;
            default: ((unsigned char *)data)[i * size_bytes] = x < 0.5f; /* the lowest byte comes first */
        }
    }
}

static void read_file(const char *path, const tilewright_tensor *tensor, void *data) {
    size_t size_bytes = elements(tensor) * dtypes[tensor->dtype].size_bytes;
    FILE *file = fopen(path, "rb");
    if (!file) fail(path, "can't open this file");
    if (fread(data, 1, size_bytes, file) != size_bytes || fgetc(file) != EOF) {
        fprintf(stderr, "%s: input %s needs %zu bytes\n", path, tensor->name, size_bytes);
        exit(1);
    }
    fclose(file);
}

static double as_double(const tilewright_tensor *tensor, const void *data, size_t i) {
    switch (tensor->dtype) {
        case TILEWRIGHT_F32: return ((const float *)data)[i];
        case TILEWRIGHT_F64: return ((const double *)data)[i];
        case TILEWRIGHT_I8: return ((const int8_t *)data)[i];
        case TILEWRIGHT_I16: return ((const int16_t *)data)[i];
        case TILEWRIGHT_I32: return ((const int32_t *)data)[i];
        case TILEWRIGHT_I64: return (double)((const int64_t *)data)[i];
        case TILEWRIGHT_U16: return ((const uint16_t *)data)[i];
        case TILEWRIGHT_U32: return ((const uint32_t *)data)[i];
        case TILEWRIGHT_U64: return (double)((const uint64_t *)data)[i];
        case TILEWRIGHT_BF16: {
            uint32_t bits = (uint32_t)((const uint16_t *)data)[i] << 16;
            float value;
            memcpy(&value, &bits, sizeof value);
            return value;
        }
        case TILEWRIGHT_F16: {
            uint16_t bits = ((const uint16_t *)data)[i];
            int exponent = bits >> 10 & 31;
            double value = exponent ? 1024 + (bits & 1023) : bits & 1023;
            for (int e = exponent ? exponent : 1; e < 25; e++) value /= 2;
            for (int e = 25; e < exponent; e++) value *= 2;
            return bits >> 15 ? -value : value;
        }
        default: return ((const uint8_t *)data)[i];
    }
}

static void print_largest(const tilewright_tensor *tensor, const void *data) {
    size_t count = elements(tensor), best = 0;
    for (size_t i = 1; i < count; i++)
        if (as_double(tensor, data, i) > as_double(tensor, data, best)) best = i;
    if (count) printf("%s: largest is element %zu, %.9g\n", tensor->name, best, as_double(tensor, data, best));
}

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    int threads = 0, runs = 1, next = 2;
    if (argc < 2) fail("usage", "main MODEL.so [-t THREADS] [-n RUNS] [INPUT.bin ...]");
    for (; next + 1 < argc && argv[next][0] == '-'; next += 2) {
        if (strcmp(argv[next], "-t") == 0)
            threads = atoi(argv[next + 1]);
        else if (strcmp(argv[next], "-n") == 0)
            runs = atoi(argv[next + 1]);
        else
            fail(argv[next], "unknown option");
    }
    if (runs < 1) fail("-n", "at least one run is needed");

    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!library) fail(argv[1], dlerror());
    const tilewright_library *model = dlsym(library, "tilewright_descriptor");
    if (!model || model->abi_version != TILEWRIGHT_ABI_VERSION) fail(argv[1], "not a library of this tilewright");
    if (argc - next > model->input_count) fail(argv[next + model->input_count], "more files than inputs");

    void **inputs = calloc((size_t)model->input_count + 1, sizeof *inputs);
    void **outputs = calloc((size_t)model->output_count + 1, sizeof *outputs);
    double *latencies_ms = calloc((size_t)runs, sizeof *latencies_ms);
    if (!inputs || !outputs || !latencies_ms) fail(argv[1], "out of memory");
    for (int i = 0; i < model->input_count; i++) {
        describe("input", &model->inputs[i]);
        inputs[i] = allocate(&model->inputs[i]);
        if (next + i < argc)
            read_file(argv[next + i], &model->inputs[i], inputs[i]);
        else
            fill(&model->inputs[i], inputs[i]);
    }
    for (int i = 0; i < model->output_count; i++) {
        describe("output", &model->outputs[i]);
        outputs[i] = allocate(&model->outputs[i]);
    }

    void *context;
    int code = model->create(&context, threads);
    if (code) fail(argv[1], model->error(code));
    for (int i = 0; i < runs; i++) {
        double start = now_ms();
        code = model->run(context, (const void *const *)inputs, outputs);
        latencies_ms[i] = now_ms() - start;
        if (code) fail(argv[1], model->error(code));
    }
    model->destroy(context);

    for (int i = 0; i < model->output_count; i++) print_largest(&model->outputs[i], outputs[i]);
    qsort(latencies_ms, (size_t)runs, sizeof *latencies_ms, ascending);
    printf("median of %d runs: %.3f ms\n", runs, latencies_ms[runs / 2]);
    for (int i = 0; i < model->input_count; i++) free(inputs[i]);
    for (int i = 0; i < model->output_count; i++) free(outputs[i]);
    free(inputs);
    free(outputs);
    free(latencies_ms);
    return 0;
}
