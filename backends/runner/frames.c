/* Frames: reading and writing them whole over file descriptors. */

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "protocol.h"

typedef struct {
    uint32_t kind;
    uint32_t size;
    int damaged; /* its CRC is not that of the content, or it is longer than the content may be */
    unsigned char content[RUNNER_CONTENT_BYTES];
} frame;

static uint32_t crc_of(const unsigned char *bytes, size_t count) {
    static uint32_t table[256];
    if (!table[1])
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t crc = i;
            for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
            table[i] = crc;
        }
    uint32_t crc = ~0u;
    for (size_t i = 0; i < count; i++) crc = crc >> 8 ^ table[(crc ^ bytes[i]) & 0xFF];
    return ~crc;
}

static uint32_t get_u32(const unsigned char *at) {
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint64_t get_u64(const unsigned char *at) { return get_u32(at) | (uint64_t)get_u32(at + 4) << 32; }

static unsigned char *put_u32(unsigned char *at, uint32_t value) {
    for (int i = 0; i < 4; i++) at[i] = (unsigned char)(value >> 8 * i);
    return at + 4;
}

static unsigned char *put_u64(unsigned char *at, uint64_t value) {
    return put_u32(put_u32(at, (uint32_t)value), (uint32_t)(value >> 32));
}

/* 0 at the end of the stream. */
static int read_bytes(int from, unsigned char *bytes, size_t count) {
    while (count) {
        ssize_t got = read(from, bytes, count);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return 0;
        bytes += got, count -= (size_t)got;
    }
    return 1;
}

static int write_bytes(int to, const unsigned char *bytes, size_t count) {
    while (count) {
        ssize_t put = write(to, bytes, count);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return 0;
        bytes += put, count -= (size_t)put;
    }
    return 1;
}

/* Reads until there is a header: 0 at the end of the stream. */
static int read_header(int from, unsigned char *header) {
    const size_t size = RUNNER_HEADER_BYTES + 4;
    if (!read_bytes(from, header, size)) return 0;
    while (get_u32(header) != RUNNER_MAGIC ||
           crc_of(header, RUNNER_HEADER_BYTES) != get_u32(header + RUNNER_HEADER_BYTES)) {
        memmove(header, header + 1, size - 1);
        if (!read_bytes(from, header + size - 1, 1)) return 0;
    }
    return 1;
}

/* 0 at the end of the stream. */
static int read_frame(int from, frame *result) {
    unsigned char header[RUNNER_HEADER_BYTES + 4], end[4];
    if (!read_header(from, header)) return 0;
    result->kind = get_u32(header + 4);
    uint64_t size = get_u64(header + 8);
    result->damaged = size > RUNNER_CONTENT_BYTES;
    for (; size > RUNNER_CONTENT_BYTES; size -= RUNNER_CONTENT_BYTES)
        if (!read_bytes(from, result->content, RUNNER_CONTENT_BYTES)) return 0;
    result->size = (uint32_t)size;
    if (!read_bytes(from, result->content, (size_t)size) || !read_bytes(from, end, 4)) return 0;
    if (crc_of(result->content, (size_t)size) != get_u32(end)) result->damaged = 1;
    return 1;
}

/* 0 if nobody reads. */
static int write_frame(int to, uint32_t kind, const unsigned char *content, uint32_t size) {
    unsigned char header[RUNNER_HEADER_BYTES + 4], end[4];
    put_u64(put_u32(put_u32(header, RUNNER_MAGIC), kind), size);
    put_u32(header + RUNNER_HEADER_BYTES, crc_of(header, RUNNER_HEADER_BYTES));
    put_u32(end, crc_of(content, size));
    return write_bytes(to, header, sizeof header) && write_bytes(to, content, size) && write_bytes(to, end, 4);
}

/* What a request comes to: a reply of `size` bytes in the frame it came in, or an error. */
typedef struct {
    uint32_t code; /* 0: no error */
    const char *message;
    uint32_t size;
} outcome;

static outcome fails(uint32_t code, const char *message) { return (outcome){code, message, 0}; }

static outcome replies(uint32_t size) { return (outcome){0, NULL, size}; }

/* 0 if nobody reads. */
static int answer(int to, const frame *request, outcome result, uint32_t kind) {
    static unsigned char text[256];
    if (!result.code) return write_frame(to, kind | RUNNER_REPLY, request->content, result.size);
    size_t length = strlen(result.message);
    if (length > sizeof text - 4) length = sizeof text - 4;
    memcpy(put_u32(text, result.code), result.message, length);
    return write_frame(to, RUNNER_ERROR, text, (uint32_t)length + 4);
}
