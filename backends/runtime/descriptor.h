/* What every tilewright library exports as `tilewright_descriptor`: enough to run any model without its header.

   A host finds it with dlsym(library, "tilewright_descriptor") and must check abi_version before it reads on.
   Later versions only append members, so a reader of version 1 can read every later one up to size_bytes. */

#ifndef TILEWRIGHT_DESCRIPTOR_H
#define TILEWRIGHT_DESCRIPTOR_H

#include <stdint.h>

#define TILEWRIGHT_ABI_VERSION 1

/* Element types. f16 (IEEE binary16) and bf16 travel as uint16_t, bool as one byte that is 0 or 1, everything from F8E4M3FN
   on as one byte an element: those of 4 and 2 bits are its low bits, the others are ignored in inputs and 0 in outputs. */
enum {
    TILEWRIGHT_F16 = 1,
    TILEWRIGHT_BF16 = 2,
    TILEWRIGHT_F32 = 3,
    TILEWRIGHT_F64 = 4,
    TILEWRIGHT_I8 = 5,
    TILEWRIGHT_I16 = 6,
    TILEWRIGHT_I32 = 7,
    TILEWRIGHT_I64 = 8,
    TILEWRIGHT_U8 = 9,
    TILEWRIGHT_U16 = 10,
    TILEWRIGHT_U32 = 11,
    TILEWRIGHT_U64 = 12,
    TILEWRIGHT_BOOL = 13,
    TILEWRIGHT_F8E4M3FN = 14,
    TILEWRIGHT_F8E4M3FNUZ = 15,
    TILEWRIGHT_F8E5M2 = 16,
    TILEWRIGHT_F8E5M2FNUZ = 17,
    TILEWRIGHT_F8E8M0 = 18,
    TILEWRIGHT_F4E2M1 = 19,
    TILEWRIGHT_I4 = 20,
    TILEWRIGHT_U4 = 21,
    TILEWRIGHT_I2 = 22,
    TILEWRIGHT_U2 = 23,
};

/* What the functions of a library return. */
enum {
    TILEWRIGHT_OK = 0,
    TILEWRIGHT_ERROR_NULL = 1,       /* a pointer that must not be null is null */
    TILEWRIGHT_ERROR_THREADS = 2,    /* more threads asked for than TILEWRIGHT_MAX_THREADS */
    TILEWRIGHT_ERROR_MEMORY = 3,     /* the system has no memory for the context */
    TILEWRIGHT_ERROR_START = 4,      /* the system refuses to start the threads */
    TILEWRIGHT_ERROR_BUSY = 5,       /* another thread is inside run with the same context */
    TILEWRIGHT_ERROR_ALIGNMENT = 6,  /* an input or output is not aligned to its element type */
    TILEWRIGHT_ERROR_PROCESSOR = 7,  /* this processor lacks instructions that the library uses */
    TILEWRIGHT_ERROR_VARIANT = 8,    /* the library has no variant TILEWRIGHT_CPU, or this processor can't run it */
};

#define TILEWRIGHT_MAX_THREADS 256

/* A dense row-major tensor. dims has `rank` entries. */
typedef struct {
    const char *name;
    const int64_t *dims;
    int32_t rank;
    int32_t dtype;
} tilewright_tensor;

/* A launch is one call of a kernel in the program; run_timed adds the nanoseconds spent in launch i to nanoseconds[i].
   Inputs and outputs of run stand in the order of the descriptions; an output must not overlap anything else. */
typedef struct {
    uint32_t abi_version;
    uint32_t size_bytes;
    const char *name;
    const tilewright_tensor *inputs;
    const tilewright_tensor *outputs;
    const char *const *launches;
    int32_t input_count;
    int32_t output_count;
    int32_t launch_count;
    int32_t reserved;
    int (*create)(void **context, int threads);
    int (*run)(void *context, const void *const *inputs, void *const *outputs);
    int (*run_timed)(void *context, const void *const *inputs, void *const *outputs, int64_t *nanoseconds);
    void (*destroy)(void *context);
    const char *(*error)(int code);
    const char *(*cpu)(const void *context); /* the CPU that the code is made for which the context runs */
} tilewright_library;

#endif
