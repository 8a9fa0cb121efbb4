/* Reading HTTP/1.1 messages piece by piece, for the stub (requests) and the load driver (answers). */
#ifndef BENCH_HTTP_H
#define BENCH_HTTP_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define HEAD_MAX 16384
#define BROKEN ((size_t)-1)

enum stage { IN_HEAD, IN_SIZED_BODY, IN_OPEN_BODY, IN_CHUNK_SIZE, IN_CHUNK, AFTER_CHUNK, IN_TRAILER, COMPLETE };

struct reader {
    enum stage stage;
    size_t head_len;
    uint64_t left;      /* bytes of the body or of the chunk still to come */
    unsigned line_len;  /* of the trailer line being read */
    int is_answer;      /* an answer without a length lasts until the connection closes */
    char head[HEAD_MAX + 1];
};

typedef void payload_fn(void *owner, const char *data, size_t len);

static inline uint64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000ull + (uint64_t)at.tv_nsec;
}

static inline void reader_reset(struct reader *r, int is_answer) {
    r->stage = IN_HEAD;
    r->head_len = 0;
    r->left = 0;
    r->line_len = 0;
    r->is_answer = is_answer;
}

/* What follows a name such as "content-length:" at the start of a line, or NULL; the name in lower case. */
static inline const char *header_value(const struct reader *r, const char *name, size_t len) {
    const char *end = r->head + r->head_len, *line = memchr(r->head, '\n', r->head_len);
    for (; line; line = memchr(line, '\n', (size_t)(end - line))) {
        line++;
        if (line < end && (*line | 32) == *name && strncasecmp(line, name, len) == 0) return line + len;
    }
    return NULL;
}

static inline void reader_choose_body(struct reader *r) {
    const char *coding = header_value(r, "transfer-encoding:", 18);
    const char *length = header_value(r, "content-length:", 15);
    if (coding) {
        r->stage = IN_CHUNK_SIZE;
        r->left = 0;
    } else if (length) {
        r->left = strtoull(length, NULL, 10);
        r->stage = r->left ? IN_SIZED_BODY : COMPLETE;
    } else {
        r->stage = r->is_answer ? IN_OPEN_BODY : COMPLETE;
    }
}

static inline size_t reader_take_head(struct reader *r, const char *data, size_t len) {
    size_t room = HEAD_MAX - r->head_len, taken = len < room ? len : room;
    size_t from = r->head_len > 3 ? r->head_len - 3 : 0, before = r->head_len;
    memcpy(r->head + r->head_len, data, taken);
    r->head_len += taken;
    const char *end = memmem(r->head + from, r->head_len - from, "\r\n\r\n", 4);
    if (!end) return r->head_len == HEAD_MAX ? BROKEN : taken;
    r->head_len = (size_t)(end - r->head) + 4;
    r->head[r->head_len] = 0;
    reader_choose_body(r);
    return r->head_len - before;
}

/* The size line of a chunk, one character at a time; extensions are skipped. */
static inline void reader_take_size(struct reader *r, char c) {
    if (c == '\n') {
        r->line_len = 0;
        r->stage = r->left ? IN_CHUNK : IN_TRAILER;
    } else if (r->line_len == 0) {
        int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (digit < 0) r->line_len = 1;
        else r->left = r->left * 16 + (uint64_t)digit;
    }
}

static inline void reader_take_trailer(struct reader *r, char c) {
    if (c == '\n') {
        if (r->line_len == 0) r->stage = COMPLETE;
        r->line_len = 0;
    } else if (c != '\r') {
        r->line_len++;
    }
}

static inline size_t reader_take_payload(struct reader *r, const char *data, size_t len, payload_fn *on, void *owner) {
    size_t taken = r->stage == IN_OPEN_BODY || len < r->left ? len : (size_t)r->left;
    if (on) on(owner, data, taken);
    if (r->stage == IN_OPEN_BODY) return taken;
    r->left -= taken;
    if (r->left == 0) r->stage = r->stage == IN_CHUNK ? AFTER_CHUNK : COMPLETE;
    return taken;
}

/* Reads until the message is complete or the data is used up; returns how much was used, or BROKEN. */
static inline size_t reader_feed(struct reader *r, const char *data, size_t len, payload_fn *on, void *owner) {
    size_t used = 0;
    while (used < len && r->stage != COMPLETE) {
        if (r->stage == IN_HEAD) {
            size_t taken = reader_take_head(r, data + used, len - used);
            if (taken == BROKEN) return BROKEN;
            used += taken;
        } else if (r->stage == IN_CHUNK_SIZE) {
            reader_take_size(r, data[used++]);
        } else if (r->stage == AFTER_CHUNK) {
            if (data[used++] == '\n') r->stage = IN_CHUNK_SIZE;
        } else if (r->stage == IN_TRAILER) {
            reader_take_trailer(r, data[used++]);
        } else {
            used += reader_take_payload(r, data + used, len - used, on, owner);
        }
    }
    return used;
}

#endif
