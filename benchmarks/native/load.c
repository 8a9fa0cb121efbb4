/* The load driver: keeps N connections busy with one request each, and measures what comes back.
 *
 *     load whole|stream PORT CONNECTIONS SECONDS REQUEST_FILE CHUNKS SPREAD_US
 *
 * The connections begin one after the other within SPREAD_US. REQUEST_FILE holds the request as it goes over the wire. Prints one line of JSON: times in microseconds.
 * `whole`: from the first byte sent to the last byte received. `stream`: `first_…` is from the first byte sent
 * to the first event received, `lag_…` is from the stub's sending of an event to its arrival here.
 * After SECONDS no request is begun; those under way may end within GRACE_NS and count, except for rates.
 */
#include "http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define EVENTS 512
#define INBOX (256 * 1024)
#define STAMP_DIGITS 18
#define GRACE_NS 3000000000ull
#define MANY_ERRORS 1000
#define SUB_BITS 7
#define SAID_MAX 400

/* Buckets at most 1/128 of their value wide, whatever the value. */
struct histogram {
    uint64_t count, most;
    uint64_t buckets[(64 - SUB_BITS + 1) << SUB_BITS];
};

struct connection {
    int fd, busy;
    size_t sent;
    uint64_t began;
    unsigned events;     /* of this stream so far */
    int digits;          /* of the stamp being read, -1 outside */
    uint64_t stamp;
    int wants_write;
    struct reader reader;
};

static struct histogram latency, first, lag;
static char *request;
static size_t request_len;
static int poll_fd, streams;
static unsigned chunks, busy_count;
static struct sockaddr_in target;
static char inbox[INBOX], said[SAID_MAX + 1];
static uint64_t arrived, deadline, done_in_time, done_late, events_in_time, events_late, errors, not_ok;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static size_t bucket_of(uint64_t value) {
    if (value < (1u << SUB_BITS)) return value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - SUB_BITS;
    return ((size_t)(shift + 1) << SUB_BITS) + ((value >> shift) - (1u << SUB_BITS));
}

static uint64_t value_of(size_t bucket) {
    size_t shift = bucket >> SUB_BITS, sub = bucket & ((1u << SUB_BITS) - 1);
    return shift == 0 ? sub : (uint64_t)(sub + (1u << SUB_BITS)) << (shift - 1);
}

static void note(struct histogram *h, uint64_t ns) {
    h->buckets[bucket_of(ns)]++;
    h->count++;
    if (ns > h->most) h->most = ns;
}

static double quantile_us(const struct histogram *h, double share) {
    uint64_t wanted = (uint64_t)(share * (double)h->count), seen = 0;
    for (size_t i = 0; i < sizeof h->buckets / sizeof *h->buckets; i++)
        if ((seen += h->buckets[i]) > wanted) return (double)value_of(i) / 1e3;
    return (double)h->most / 1e3;
}

static void remember_refusal(struct connection *c, const char *data, size_t len) {
    if (said[0]) return;
    size_t line = strcspn(c->reader.head, "\r\n"), room;
    if (line > 100) line = 100;
    memcpy(said, c->reader.head, line);
    said[line++] = ' ';
    room = SAID_MAX - line;
    memcpy(said + line, data, len < room ? len : room);
    for (char *at = said; *at; at++)
        if (*at < ' ' || *at == '"' || *at == '\\') *at = *at == '"' ? '\'' : ' ';
}

/* Per second of the run; where nothing came back during it, of all the time until the last answer. */
static double rate_of(uint64_t in_time, uint64_t late, double seconds) {
    if (in_time) return (double)in_time / seconds;
    return (double)late / (seconds + (arrived > deadline ? (double)(arrived - deadline) / 1e9 : 0));
}

static int is_ok(const struct connection *c) {
    return c->reader.head_len > 12 && memcmp(c->reader.head + 8, " 200", 4) == 0;
}

static void take_stamp(struct connection *c) {
    if (c->events++ == 0) note(&first, arrived - c->began);
    note(&lag, arrived > c->stamp ? arrived - c->stamp : 0);
    if (arrived <= deadline) events_in_time++;
    else events_late++;
}

static void on_payload(void *owner, const char *data, size_t len) {
    struct connection *c = owner;
    const char *end = data + len;
    if (!is_ok(c)) remember_refusal(c, data, len);
    if (!streams) return;
    while (data < end) {
        if (c->digits < 0) {
            const char *at = memchr(data, '@', (size_t)(end - data));
            if (!at) return;
            data = at + 1;
            c->digits = 0;
            c->stamp = 0;
        } else if (*data < '0' || *data > '9') {
            c->digits = -1;
        } else {
            c->stamp = c->stamp * 10 + (uint64_t)(*data++ - '0');
            if (++c->digits == STAMP_DIGITS) {
                take_stamp(c);
                c->digits = -1;
            }
        }
    }
}

static void watch(struct connection *c, int op) {
    struct epoll_event wanted = {.events = EPOLLIN | (c->wants_write ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(poll_fd, op, c->fd, &wanted) < 0) fail("epoll_ctl");
}

static void open_connection(struct connection *c) {
    int yes = 1;
    struct timeval patience = {.tv_sec = 5};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(c->fd, (void *)&target, sizeof target) < 0) fail("connect");
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    c->wants_write = 0;
    watch(c, EPOLL_CTL_ADD);
}

/* Sends as much of the request as the socket takes; the rest goes when it is writable. */
static void send_more(struct connection *c) {
    while (c->sent < request_len) {
        ssize_t sent = send(c->fd, request + c->sent, request_len - c->sent, MSG_NOSIGNAL);
        if (sent < 0) break;
        c->sent += (size_t)sent;
    }
    int wants = c->sent < request_len;
    if (wants != c->wants_write) {
        c->wants_write = wants;
        watch(c, EPOLL_CTL_MOD);
    }
}

static void begin(struct connection *c) {
    reader_reset(&c->reader, 1);
    c->sent = 0;
    c->events = 0;
    c->digits = -1;
    c->busy = 1;
    busy_count++;
    c->began = now_ns();
    send_more(c);
}

static void idle(struct connection *c) {
    if (c->busy) busy_count--;
    c->busy = 0;
}

static int goes_on(void) { return arrived < deadline && errors + not_ok < MANY_ERRORS; }

static void finish(struct connection *c) {
    idle(c);
    if (!is_ok(c)) {
        remember_refusal(c, "", 0);
        not_ok++;
    } else if (streams && c->events != chunks) {
        errors++;
    } else {
        note(&latency, arrived - c->began);
        if (arrived <= deadline) done_in_time++;
        else done_late++;
    }
}

static void on_closed(struct connection *c) {
    int open_ended = c->reader.stage == IN_OPEN_BODY, was_busy = c->busy;
    close(c->fd);
    if (was_busy && open_ended) {
        finish(c);
    } else if (was_busy) {
        idle(c);
        errors++;
    }
    c->fd = -1;
    if (!goes_on()) return;
    open_connection(c);
    begin(c);
}

static void on_readable(struct connection *c) {
    ssize_t got = recv(c->fd, inbox, sizeof inbox, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    arrived = now_ns();
    if (got <= 0) {
        on_closed(c);
        return;
    }
    if (!c->busy || reader_feed(&c->reader, inbox, (size_t)got, on_payload, c) != (size_t)got) {
        c->reader.stage = IN_HEAD; /* more than was asked for: counted as an error */
        on_closed(c);
    } else if (c->reader.stage == COMPLETE) {
        finish(c);
        if (goes_on()) begin(c);
    }
}

/* Begins the connections whose time has come; returns the milliseconds until the next one, or until the end. */
static int begin_due(struct connection *all, unsigned count, uint64_t start, uint64_t spread_ns) {
    static unsigned begun;
    uint64_t now = now_ns(), next = deadline + GRACE_NS;
    while (begun < count && start + spread_ns * begun / count <= now) begin(&all[begun++]);
    if (begun < count) next = start + spread_ns * begun / count;
    return next > now ? (int)((next - now) / 1000000) + 1 : 0;
}

static void run(struct connection *all, unsigned count, uint64_t run_ns, uint64_t spread_ns) {
    struct epoll_event ready[EVENTS];
    for (unsigned i = 0; i < count; i++) open_connection(&all[i]);
    uint64_t start = arrived = now_ns();
    deadline = start + run_ns;
    for (;;) {
        int patience = begin_due(all, count, start, spread_ns);
        if (busy_count == 0 || now_ns() >= deadline + GRACE_NS) break;
        int got = epoll_wait(poll_fd, ready, EVENTS, patience);
        for (int i = 0; i < got; i++) {
            struct connection *c = ready[i].data.ptr;
            if (ready[i].events & EPOLLOUT) send_more(c);
            if (ready[i].events & ~(unsigned)EPOLLOUT) on_readable(c);
        }
    }
}

static void print_times(const char *name, const struct histogram *h) {
    printf(",\"%s_p50_us\":%.2f,\"%s_p90_us\":%.2f,\"%s_p99_us\":%.2f,\"%s_max_us\":%.2f", name, quantile_us(h, 0.5),
           name, quantile_us(h, 0.9), name, quantile_us(h, 0.99), name, (double)h->most / 1e3);
}

static void read_request(const char *path) {
    struct stat about;
    FILE *file = fopen(path, "rb");
    if (!file || fstat(fileno(file), &about) < 0) fail(path);
    request_len = (size_t)about.st_size;
    request = malloc(request_len);
    if (!request || fread(request, 1, request_len, file) != request_len) fail(path);
    fclose(file);
}

int main(int count, char **words) {
    if (count != 8) {
        fprintf(stderr, "usage: load whole|stream PORT CONNECTIONS SECONDS REQUEST_FILE CHUNKS SPREAD_US\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    streams = strcmp(words[1], "stream") == 0;
    target.sin_family = AF_INET;
    target.sin_port = htons((uint16_t)atoi(words[2]));
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    unsigned connections = (unsigned)atoi(words[3]);
    double seconds = atof(words[4]);
    read_request(words[5]);
    chunks = (unsigned)atoi(words[6]);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct connection *all = calloc(connections, sizeof *all);
    if (!all) fail("calloc");
    run(all, connections, (uint64_t)(seconds * 1e9), strtoull(words[7], NULL, 10) * 1000);
    printf("{\"seconds\":%.3f,\"done\":%llu,\"rate\":%.2f,\"events\":%llu,\"events_rate\":%.2f", seconds,
           (unsigned long long)(done_in_time + done_late), rate_of(done_in_time, done_late, seconds),
           (unsigned long long)(events_in_time + events_late), rate_of(events_in_time, events_late, seconds));
    print_times("latency", &latency);
    print_times("first", &first);
    print_times("lag", &lag);
    printf(",\"errors\":%llu,\"not_ok\":%llu,\"unfinished\":%u,\"said\":\"%s\"}\n", (unsigned long long)errors,
           (unsigned long long)not_ok, busy_count, said);
    return 0;
}
