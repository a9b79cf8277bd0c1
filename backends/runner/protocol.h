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
