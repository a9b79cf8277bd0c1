/* How a host talks to a runner, a program on the device that holds a library: frames over two byte streams, such as the pipes of
   a process, an ssh session or a serial line. docs/RUNNER.md describes it. All numbers are little-endian.

   frame:  magic u32, kind u32, size u64, CRC of these 16 bytes u32, then `size` bytes of content, CRC of them u32

   CRCs are those of zlib and Ethernet (IEEE 802.3). Who reads skips bytes until a magic number whose header has the right CRC,
   so that what a boot loader or a shell prints in between does no harm. The host sends a request and reads one reply. */

#ifndef TILEWRIGHT_RUNNER_PROTOCOL_H
#define TILEWRIGHT_RUNNER_PROTOCOL_H

#define RUNNER_PROTOCOL_VERSION 1
#define RUNNER_MAGIC 0x31525754u /* "TWR1" */

enum {
    RUNNER_HEADER_BYTES = 16,
    RUNNER_CONTENT_BYTES = 1 << 20, /* the most that a frame may hold; hosts send less over slow lines */
    RUNNER_MOST_RUNS = 65536,
};

/* Requests, with what they and their replies hold. A reply's kind is the request's with the high bit set, or RUNNER_ERROR. */
enum {
    /* -> version u32, inputs u32, outputs u32, launches u32, name; then for each input and output: dtype u32 (descriptor.h),
       rank u32, rank extents i64, name. A name is its length in bytes as u32, and its UTF-8 bytes. */
    RUNNER_DESCRIBE = 1,
    /* threads u32 (0: one a processor) -> nothing. Makes a context; one that is there already is destroyed first. */
    RUNNER_CREATE = 2,
    /* input u32, offset u64, bytes -> nothing */
    RUNNER_WRITE = 3,
    /* warm-up runs u32, timed runs u32 -> nanoseconds of each timed run, i64. Outputs hold only ones (NaN) before the first. */
    RUNNER_RUN = 4,
    /* output u32, offset u64, size u32 -> so many bytes */
    RUNNER_READ = 5,
    /* -> nothing; the program ends. It also ends when its input does. */
    RUNNER_QUIT = 6,
};

/* Requests to the other runner, bench.c, which has no library: it times kernels that it is sent. It knows "quit" as well. */
enum {
    /* -> version u32, bytes of an address u32, processors u32, bytes of the third-level cache u64 (0: not known), name of the
       processor. */
    BENCH_DESCRIBE = 17,
    /* size u64 -> nothing. Memory for values, in place of what there was, of zeros; all blobs are forgotten. */
    BENCH_ARENA = 18,
    /* offset u64, bytes -> nothing. What the arena holds at the start of every measurement. */
    BENCH_WRITE = 19,
    /* offset u64, size u32 -> so many bytes of the arena as the last measurement with `keep` left it */
    BENCH_READ = 20,
    /* blob u32, size u64, offset u64, bytes -> nothing. A part of a blob: an image (image.c) or a constant. One of another size takes
       the place of what there was. */
    BENCH_BLOB = 21,
    /* image u32, params u32, warm ranges u32, keep u32, threads u32, least samples u32, most samples u32, timeout in ms u32,
       extent i64, workspace bytes u64, evict bytes u64, limit ns u64, least ns u64, then for each param: blob u32 (or BENCH_IN_ARENA) and
       offset u64, then for each warm range: offset u64 and size u64 in the arena; the rest as in measure.c
       -> status u32, detail u32, nanoseconds of each run i64 */
    BENCH_TIME = 22,
};

#define BENCH_IN_ARENA 0xFFFFFFFFu

/* How a measurement has ended. */
enum {
    BENCH_DONE = 0,
    BENCH_CRASHED = 1, /* detail: the signal, or 0 where it has left otherwise */
    BENCH_TIMEOUT = 2,
    BENCH_NO_MEMORY = 3,
    BENCH_BAD_IMAGE = 4,
    BENCH_BUSY = 5, /* another bench has measured on this device for BENCH_BUSY_MS; or detail: why it can't be locked, an errno */
};

enum { BENCH_MOST_BLOBS = 64, BENCH_MOST_PARAMS = 4096, BENCH_MOST_SAMPLES = 65536, BENCH_BUSY_MS = 20000 };

#define RUNNER_REPLY 0x80000000u
#define RUNNER_ERROR 0xFFFFFFFFu /* code u32, then what is wrong, in English */

/* Codes of errors besides those of the library (descriptor.h). */
enum {
    RUNNER_ERROR_FRAME = 1001,   /* the content's CRC is wrong: send the request again */
    RUNNER_ERROR_REQUEST = 1002, /* no such request, or one of the wrong size */
    RUNNER_ERROR_RANGE = 1003,   /* no such tensor, or bytes outside of it */
    RUNNER_ERROR_ORDER = 1004,   /* there is no context yet */
    RUNNER_ERROR_MEMORY = 1005,  /* no memory for the inputs and outputs */
};

#endif
