/* The provider of every benchmark: answers chat completions at once, or streams them on a timer.
 *
 *     upstream PORT INTERVAL_US CHUNKS     (port 0: any free one; the port is printed)
 *
 * One thread, no work per request beyond reading it. A body that says "stream": true near its start or its end
 * is answered with CHUNKS events INTERVAL_US apart; each carries the time it was sent ("@" and 18 digits of
 * nanoseconds, CLOCK_MONOTONIC) as its text, so that the load driver knows how long each one was under way.
 */
#include "http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define WINDOW 1024
#define EVENTS 512
#define INBOX (256 * 1024)
#define STAMP_DIGITS 18

struct connection {
    int fd;
    struct reader reader;
    size_t first_len, last_len;
    char first[WINDOW], last[WINDOW]; /* both ends of the body */
    int streaming;
    unsigned sent;
    uint64_t due;
    struct connection *before, *after; /* in the line of streams */
};

struct text {
    char bytes[4096];
    size_t len;
};

static int poll_fd, timer_fd;
static uint64_t interval_ns;
static unsigned chunks;
static char inbox[INBOX];
static struct text whole, models, missing, stream_head, event, stream_end;
static size_t stamp_at;
/* Streams wait in the order of their next event: all use one interval, so a new event always goes last. */
static struct connection *line_head, *line_tail;

static const char ANSWER[] =
    "{\"id\":\"chatcmpl-4f1d0c7a9be24b0e8d3f\",\"object\":\"chat.completion\",\"created\":1795430412,"
    "\"model\":\"bench-model\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
    "\"A ledger records what was promised before it records what was spent. Each line names an account, an amount "
    "and a reason, and no line is ever rubbed out: a correction is one more line. Whoever adds the lines up, "
    "today or in ten years, gets the same sum.\",\"refusal\":null,\"annotations\":[]},"
    "\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":250,\"completion_tokens\":60,"
    "\"total_tokens\":310,\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},"
    "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,"
    "\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}},"
    "\"service_tier\":\"default\",\"system_fingerprint\":\"fp_7c1d\"}";
static const char MODELS[] =
    "{\"object\":\"list\",\"data\":[{\"id\":\"bench-model\",\"object\":\"model\",\"created\":1795430000,"
    "\"owned_by\":\"bench\"}]}";
static const char MISSING[] = "{\"error\":{\"message\":\"not here\",\"type\":\"not_found\"}}";
static const char EVENT_FORMAT[] =
    "data: {\"id\":\"chatcmpl-4f1d0c7a9be24b0e8d3f\",\"object\":\"chat.completion.chunk\",\"created\":1795430412,"
    "\"model\":\"bench-model\",\"system_fingerprint\":\"fp_7c1d\",\"choices\":[{\"index\":0,\"delta\":"
    "{\"role\":\"assistant\",\"content\":\"@000000000000000000 \"},\"logprobs\":null,\"finish_reason\":null}]}\n\n";
static const char FINISH_EVENT[] =
    "data: {\"id\":\"chatcmpl-4f1d0c7a9be24b0e8d3f\",\"object\":\"chat.completion.chunk\",\"created\":1795430412,"
    "\"model\":\"bench-model\",\"system_fingerprint\":\"fp_7c1d\",\"choices\":[{\"index\":0,\"delta\":{},"
    "\"logprobs\":null,\"finish_reason\":\"stop\"}]}\n\n";
static const char USAGE_FORMAT[] =
    "data: {\"id\":\"chatcmpl-4f1d0c7a9be24b0e8d3f\",\"object\":\"chat.completion.chunk\",\"created\":1795430412,"
    "\"model\":\"bench-model\",\"system_fingerprint\":\"fp_7c1d\",\"choices\":[],\"usage\":{\"prompt_tokens\":250,"
    "\"completion_tokens\":%u,\"total_tokens\":%u}}\n\n";
static const char DONE_EVENT[] = "data: [DONE]\n\n";

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void append(struct text *to, const char *bytes, size_t len) {
    if (to->len + len > sizeof to->bytes) fail("a prepared text is too long");
    memcpy(to->bytes + to->len, bytes, len);
    to->len += len;
}

static void append_chunk(struct text *to, const char *bytes) {
    char size[16];
    append(to, size, (size_t)snprintf(size, sizeof size, "%zx\r\n", strlen(bytes)));
    append(to, bytes, strlen(bytes));
    append(to, "\r\n", 2);
}

static void prepare_json(struct text *to, const char *status, const char *body) {
    to->len = (size_t)snprintf(to->bytes, sizeof to->bytes,
                               "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                               "x-request-id: req_4f1d0c7a9be2\r\n\r\n%s",
                               status, strlen(body), body);
}

static void prepare_texts(void) {
    static const char HEAD[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
                               "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
    char usage[512];
    prepare_json(&whole, "200 OK", ANSWER);
    prepare_json(&models, "200 OK", MODELS);
    prepare_json(&missing, "404 Not Found", MISSING);
    append(&stream_head, HEAD, sizeof HEAD - 1);
    append_chunk(&event, EVENT_FORMAT);
    stamp_at = (size_t)((char *)memchr(event.bytes, '@', event.len) - event.bytes) + 1;
    snprintf(usage, sizeof usage, USAGE_FORMAT, chunks, chunks + 250);
    append_chunk(&stream_end, FINISH_EVENT);
    append_chunk(&stream_end, usage);
    append_chunk(&stream_end, DONE_EVENT);
    append(&stream_end, "0\r\n\r\n", 5);
}

static void line_join(struct connection *c) {
    c->before = line_tail;
    c->after = NULL;
    if (line_tail) line_tail->after = c;
    else line_head = c;
    line_tail = c;
}

static void line_leave(struct connection *c) {
    if (c->before) c->before->after = c->after;
    else line_head = c->after;
    if (c->after) c->after->before = c->before;
    else line_tail = c->before;
}

static void close_connection(struct connection *c) {
    if (c->streaming) line_leave(c);
    close(c->fd);
    free(c);
}

/* A peer that lets its socket fill up is cut off: the driver then counts an error. */
static int send_all(struct connection *c, const char *bytes, size_t len, int flags) {
    return send(c->fd, bytes, len, MSG_NOSIGNAL | flags) == (ssize_t)len ? 0 : -1;
}

static int send_text(struct connection *c, const struct text *text) { return send_all(c, text->bytes, text->len, 0); }

static void write_stamp(char *at) {
    uint64_t now = now_ns();
    for (int i = STAMP_DIGITS - 1; i >= 0; i--, now /= 10) at[i] = (char)('0' + now % 10);
}

/* Sends what is due on one stream and puts it back in the line, unless that was the end. */
static int advance_stream(struct connection *c) {
    line_leave(c);
    c->streaming = 0;
    if (c->sent == chunks) return send_text(c, &stream_end);
    write_stamp(event.bytes + stamp_at);
    if (send_text(c, &event) < 0) return -1;
    c->sent++;
    c->due += interval_ns;
    c->streaming = 1;
    line_join(c);
    return 0;
}

static void advance_due_streams(void) {
    uint64_t now = now_ns();
    while (line_head && line_head->due <= now) {
        struct connection *c = line_head;
        if (advance_stream(c) < 0) close_connection(c);
    }
}

static void set_timer(void) {
    static uint64_t set_for;
    uint64_t wanted = line_head ? line_head->due : 0;
    if (wanted == set_for) return;
    struct itimerspec at = {.it_value = {.tv_sec = (time_t)(wanted / 1000000000ull),
                                         .tv_nsec = (long)(wanted % 1000000000ull)}};
    timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
    set_for = wanted;
}

static int start_stream(struct connection *c) {
    if (send_all(c, stream_head.bytes, stream_head.len, MSG_MORE) < 0) return -1;
    write_stamp(event.bytes + stamp_at);
    if (send_text(c, &event) < 0) return -1;
    c->sent = 1;
    c->due = now_ns() + interval_ns;
    c->streaming = 1;
    line_join(c);
    return 0;
}

static void keep_ends(void *owner, const char *data, size_t len) {
    struct connection *c = owner;
    size_t room = WINDOW - c->first_len, taken = len < room ? len : room;
    memcpy(c->first + c->first_len, data, taken);
    c->first_len += taken;
    data += taken;
    len -= taken;
    if (len >= WINDOW) {
        memcpy(c->last, data + len - WINDOW, WINDOW);
        c->last_len = WINDOW;
    } else if (len) {
        size_t kept = c->last_len + len > WINDOW ? WINDOW - len : c->last_len;
        memmove(c->last, c->last + c->last_len - kept, kept);
        memcpy(c->last + kept, data, len);
        c->last_len = kept + len;
    }
}

/* Quotes are rare in a prompt, so looking for them is cheaper than looking for the whole name. */
static int says_stream(const char *text, size_t len) {
    static const char NAME[] = "\"stream\"";
    const size_t name_len = sizeof NAME - 1;
    const char *end = text + len, *at = text;
    while ((at = memchr(at, '"', (size_t)(end - at))) && (size_t)(end - at) > name_len) {
        if (memcmp(at, NAME, name_len) != 0) {
            at++;
            continue;
        }
        at += name_len;
        while (at < end && (*at == ' ' || *at == ':')) at++;
        if (end - at >= 4 && memcmp(at, "true", 4) == 0) return 1;
    }
    return 0;
}

static int answer(struct connection *c) {
    const char *head = c->reader.head;
    if (strncmp(head, "GET ", 4) == 0) return send_text(c, strstr(head, "/models") ? &models : &missing);
    if (strncmp(head, "POST ", 5) != 0) return send_text(c, &missing);
    if (says_stream(c->first, c->first_len) || says_stream(c->last, c->last_len)) return start_stream(c);
    return send_text(c, &whole);
}

static int take(struct connection *c, const char *data, size_t len) {
    while (len) {
        int in_head = c->reader.stage == IN_HEAD;
        size_t used = reader_feed(&c->reader, data, len, keep_ends, c);
        if (used == BROKEN || c->streaming) return -1;
        if (in_head && c->reader.stage != IN_HEAD && header_value(&c->reader, "expect:", 7)) {
            static const char CONTINUE[] = "HTTP/1.1 100 Continue\r\n\r\n";
            if (send_all(c, CONTINUE, sizeof CONTINUE - 1, 0) < 0) return -1;
        }
        if (c->reader.stage == COMPLETE) {
            if (answer(c) < 0) return -1;
            reader_reset(&c->reader, 0);
            c->first_len = c->last_len = 0;
        }
        data += used;
        len -= used;
    }
    return 0;
}

static void read_from(struct connection *c) {
    ssize_t got = recv(c->fd, inbox, sizeof inbox, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0 || take(c, inbox, (size_t)got) < 0) close_connection(c);
}

static void watch(int fd, void *as) {
    struct epoll_event wanted = {.events = EPOLLIN, .data.ptr = as};
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &wanted) < 0) fail("epoll_ctl");
}

static void accept_all(int listener) {
    int fd, yes = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *c = calloc(1, sizeof *c);
        if (!c) fail("calloc");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        c->fd = fd;
        reader_reset(&c->reader, 0);
        watch(fd, c);
    }
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), yes = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    socklen_t len = sizeof at;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (void *)&at, sizeof at) < 0 || listen(fd, 4096) < 0) fail("listen");
    if (getsockname(fd, (void *)&at, &len) < 0) fail("getsockname");
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    return fd;
}

static void serve(int listener) {
    struct epoll_event ready[EVENTS];
    uint64_t ticks;
    for (;;) {
        set_timer();
        int count = epoll_wait(poll_fd, ready, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            void *what = ready[i].data.ptr;
            if (what == &poll_fd) accept_all(listener);
            else if (what == &timer_fd) (void)!read(timer_fd, &ticks, sizeof ticks);
            else read_from(what);
        }
        advance_due_streams();
    }
}

int main(int count, char **words) {
    if (count != 4) {
        fprintf(stderr, "usage: upstream PORT INTERVAL_US CHUNKS\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    interval_ns = strtoull(words[2], NULL, 10) * 1000;
    chunks = (unsigned)atoi(words[3]);
    prepare_texts();
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    int listener = listen_on(atoi(words[1]));
    watch(listener, &poll_fd);
    watch(timer_fd, &timer_fd);
    serve(listener);
}
