/* A link between two TUN devices, each in a network namespace of its own.
 *
 *     emulator NAMESPACE DEVICE NAMESPACE DEVICE [option value ...]
 *
 * A packet that one side sends waits in a drop-tail queue, takes its time on the wire, may be lost
 * there, and arrives after the delay:
 *
 *     queue (bytes) -> serialisation (rate) -> loss -> delay, jitter, reordering -> corruption
 *
 * So a lost packet has used the rate, as on a radio link, and a queue that is full drops first.
 * Both directions have the same settings and decide on their own.
 *
 *     rate_bps, queue_bytes   0: no bottleneck, no queue
 *     delay_us                one way
 *     jitter_us               each packet up to so much later, evenly spread; they overtake
 *     loss, duplicate, corrupt            probability of a packet; corrupt flips one bit
 *     burst_start, burst_end              Gilbert-Elliott: probability that a bad spell starts,
 *                                         and that it ends, at a packet; in it all are lost
 *     reorder, early_us       probability of a packet to arrive so much earlier than it would
 *     seed                    the decisions for the n-th packet that a direction's queue took
 *                             depend on the settings, the seed and n alone, and each kind of
 *                             decision draws on its own
 *
 * Says "ready" when both devices are taken. On SIGTERM, or the end of the process that started it,
 * it takes no more packets, delivers those on the way, says what it has counted as one line of JSON,
 * and ends. Times are 64-bit nanoseconds of
 * CLOCK_MONOTONIC; "late" is how much after its due time a packet was handed over.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "counters.h"

#define SECOND 1000000000ull
#define MAX_PACKET 65536
#define READS_A_TURN 64   /* then due packets get their chance */
#define IP_HEADER 20      /* is left alone by corruption: the packet has to find its way */

static struct {
    double rate_bps, queue_bytes, delay_us, jitter_us, loss, duplicate, corrupt;
    double burst_start, burst_end, reorder, early_us, seed;
} settings = {.burst_end = 1.0};

static const struct {
    const char *name;
    double *value;
} options[] = {
    {"rate_bps", &settings.rate_bps},       {"queue_bytes", &settings.queue_bytes},
    {"delay_us", &settings.delay_us},       {"jitter_us", &settings.jitter_us},
    {"loss", &settings.loss},               {"duplicate", &settings.duplicate},
    {"corrupt", &settings.corrupt},         {"burst_start", &settings.burst_start},
    {"burst_end", &settings.burst_end},     {"reorder", &settings.reorder},
    {"early_us", &settings.early_us},       {"seed", &settings.seed},
};

enum decision { LOSS, BURST, DUPLICATE, CORRUPT, CORRUPT_BIT, REORDER, JITTER, DECISIONS };

struct packet {
    uint64_t due, order, arrived;
    uint32_t length;
    unsigned char data[];
};

struct direction {
    int in, out;
    uint64_t random[DECISIONS];
    int bad;              /* within a spell of loss */
    uint64_t wire_free;   /* when what is queued will have left */
    uint64_t accepted;    /* breaks ties between due times: first come, first out */
    struct packet **heap; /* on the way, the next one due first */
    size_t flying, room;
    struct counters count;
};

static void die(const char *what)
{
    fprintf(stderr, "emulator: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* -- chance: splitmix64, a state for each kind of decision ------------------------------------ */

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

static double chance(struct direction *d, enum decision what)
{
    return (double)(splitmix(&d->random[what]) >> 11) * 0x1.0p-53;
}

static void sow(struct direction *d, uint64_t number)
{
    uint64_t state = (uint64_t)settings.seed * 2 + number;
    for (int i = 0; i < DECISIONS; i++)
        d->random[i] = splitmix(&state);
}

/* -- packets on the way: a heap by due time ---------------------------------------------------- */

static int sooner(const struct packet *a, const struct packet *b)
{
    return a->due != b->due ? a->due < b->due : a->order < b->order;
}

static void swap(struct direction *d, size_t i, size_t j)
{
    struct packet *kept = d->heap[i];
    d->heap[i] = d->heap[j];
    d->heap[j] = kept;
}

static void launch(struct direction *d, struct packet *p)
{
    if (d->flying == d->room) {
        d->room = d->room ? 2 * d->room : 1024;
        d->heap = realloc(d->heap, d->room * sizeof *d->heap);
        if (!d->heap)
            die("heap");
    }
    size_t i = d->flying++;
    d->heap[i] = p;
    for (; i && sooner(d->heap[i], d->heap[(i - 1) / 2]); i = (i - 1) / 2)
        swap(d, i, (i - 1) / 2);
}

static struct packet *land(struct direction *d)
{
    struct packet *top = d->heap[0];
    d->heap[0] = d->heap[--d->flying];
    for (size_t i = 0, child; (child = 2 * i + 1) < d->flying; i = child) {
        if (child + 1 < d->flying && sooner(d->heap[child + 1], d->heap[child]))
            child++;
        if (!sooner(d->heap[child], d->heap[i]))
            break;
        swap(d, i, child);
    }
    return top;
}

/* -- what happens to a packet ------------------------------------------------------------------ */

/* When a packet that arrives now has left the wire; 0 if the queue has no room for it. */
static uint64_t leave(struct direction *d, uint64_t arrived, uint32_t length)
{
    if (settings.rate_bps <= 0)
        return arrived;
    uint64_t start = d->wire_free > arrived ? d->wire_free : arrived;
    uint64_t waits = start - arrived;
    double queued_bytes = (double)waits * settings.rate_bps / 8e9;
    if (settings.queue_bytes > 0 && queued_bytes + length > settings.queue_bytes)
        return 0;
    d->wire_free = start + (uint64_t)(length * 8e9 / settings.rate_bps + 0.5);
    d->count.queued_ns += waits;
    if (waits > d->count.most_queued_ns)
        d->count.most_queued_ns = waits;
    return d->wire_free;
}

static int is_lost(struct direction *d)
{
    if (settings.burst_start > 0) {
        double drawn = chance(d, BURST);
        d->bad = d->bad ? drawn >= settings.burst_end : drawn < settings.burst_start;
    }
    int alone = chance(d, LOSS) < settings.loss;
    return d->bad || alone;
}

static uint64_t flight_ns(struct direction *d)
{
    double us = settings.delay_us + chance(d, JITTER) * settings.jitter_us;
    if (chance(d, REORDER) < settings.reorder) {
        d->count.reordered++;
        us = us > settings.early_us ? us - settings.early_us : 0;
    }
    return (uint64_t)(us * MICROSECOND + 0.5);
}

static void send_on(struct direction *d, const unsigned char *data, uint32_t length,
                    uint64_t arrived, uint64_t due)
{
    struct packet *p = malloc(sizeof *p + length);
    if (!p)
        die("packet");
    p->due = due;
    p->order = d->accepted++;
    p->arrived = arrived;
    p->length = length;
    memcpy(p->data, data, length);
    double drawn = chance(d, CORRUPT_BIT);
    if (chance(d, CORRUPT) < settings.corrupt && length > IP_HEADER) {
        uint32_t bit = IP_HEADER * 8 + (uint32_t)(drawn * (length - IP_HEADER) * 8);
        p->data[bit / 8] ^= (unsigned char)(1u << bit % 8);
        d->count.corrupted++;
    }
    launch(d, p);
}

static void accept_packet(struct direction *d, const unsigned char *data, uint32_t length)
{
    uint64_t arrived = now();
    d->count.arrived++;
    uint64_t left = leave(d, arrived, length);
    if (!left) {
        d->count.overflowed++;
        return;
    }
    int lost = is_lost(d);
    int twice = chance(d, DUPLICATE) < settings.duplicate;
    uint64_t due = left + flight_ns(d);
    if (lost) {
        d->count.lost++;
        return;
    }
    send_on(d, data, length, arrived, due);
    if (twice) {
        d->count.duplicated++;
        send_on(d, data, length, arrived, due);
    }
}

static void take_in(struct direction *d)
{
    static unsigned char data[MAX_PACKET];
    for (int i = 0; i < READS_A_TURN; i++) {
        ssize_t length = read(d->in, data, sizeof data);
        if (length <= 0)
            return;
        accept_packet(d, data, (uint32_t)length);
    }
}

static void hand_over(struct direction *d)
{
    while (d->flying && d->heap[0]->due <= now()) {
        struct packet *p = land(d);
        uint64_t at = now();
        if (write(d->out, p->data, p->length) == (ssize_t)p->length)
            count_delivery(&d->count, p->length, p->arrived, p->due, at);
        else
            d->count.refused++; /* a header that the device does not take, or no memory */
        free(p);
    }
}

/* -- the report -------------------------------------------------------------------------------- */

static void report(const struct direction *d, uint64_t started)
{
    printf("{");
    print_direction("forth", &d[0].count);
    printf(", ");
    print_direction("back", &d[1].count);
    printf(", \"cpu_s\": %.4f, \"seconds\": %.4f}\n", cpu_s(), ms(now() - started, 1) / 1e3);
    fflush(stdout);
}

/* -- setting up -------------------------------------------------------------------------------- */

/* Take hold of a TUN device that exists in a namespace. */
static int attach(const char *namespace, const char *device)
{
    char path[256];
    snprintf(path, sizeof path, "/run/netns/%s", namespace);
    int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int there = open(path, O_RDONLY | O_CLOEXEC);
    if (home < 0 || there < 0 || setns(there, CLONE_NEWNET))
        die(path);
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    strncpy(request.ifr_name, device, IFNAMSIZ - 1);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) || setns(home, CLONE_NEWNET))
        die(device);
    close(home);
    close(there);
    return fd;
}

static void read_options(int count, char **words)
{
    for (int i = 0; i + 1 < count; i += 2) {
        size_t k = 0, known = sizeof options / sizeof *options;
        while (k < known && strcmp(options[k].name, words[i]))
            k++;
        char *end;
        double value = strtod(words[i + 1], &end);
        if (k == known || *end || !(value >= 0)) {
            fprintf(stderr, "emulator: %s %s is not an option\n", words[i], words[i + 1]);
            exit(2);
        }
        *options[k].value = value;
    }
}

static void watch(int poller, int fd, uint32_t what)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = what};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event))
        die("epoll_ctl");
}

/* Wake at the next due time: an absolute one, so that nothing is lost on the way to sleep. */
static void arm(int timer, const struct direction *d, uint64_t *armed)
{
    uint64_t next = 0;
    for (int i = 0; i < 2; i++)
        if (d[i].flying && (!next || d[i].heap[0]->due < next))
            next = d[i].heap[0]->due;
    if (next == *armed)
        return;
    *armed = next;
    struct itimerspec at = {.it_value = {(time_t)(next / SECOND), (long)(next % SECOND)}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
}

/* The link has to be punctual while what it measures takes all of the cores. */
static void hurry(void)
{
    struct sched_param urgent = {.sched_priority = 1};
    sched_setscheduler(0, SCHED_FIFO, &urgent); /* where it is not allowed, "late" will tell */
    prctl(PR_SET_TIMERSLACK, 1ul);
}

static int stop_signals(void)
{
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    sigprocmask(SIG_BLOCK, &stop, NULL);
    int fd = signalfd(-1, &stop, SFD_CLOEXEC);
    if (fd < 0)
        die("signalfd");
    return fd;
}

static void unwatch(int poller, int fd)
{
    if (epoll_ctl(poller, EPOLL_CTL_DEL, fd, NULL))
        die("epoll_ctl");
}

/* Until told to stop, and then until what is on the way has arrived. */
static void run(struct direction *d, int poller, int timer, int signals)
{
    enum { FORTH, BACK, TIMER, STOP };
    uint64_t armed = 0;
    int stopping = 0;
    while (!stopping || d[FORTH].flying || d[BACK].flying) {
        struct epoll_event events[4];
        int ready = epoll_wait(poller, events, 4, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.u32 == STOP) {
                stopping = 1;
                unwatch(poller, signals);
                unwatch(poller, d[FORTH].in);
                unwatch(poller, d[BACK].in);
            } else if (events[i].data.u32 == TIMER) {
                armed = 1; /* in the past: setting the timer again clears what it has counted */
            } else {
                take_in(&d[events[i].data.u32]);
            }
        }
        hand_over(&d[FORTH]);
        hand_over(&d[BACK]);
        arm(timer, d, &armed);
    }
}

int main(int argc, char **argv)
{
    if (argc < 5 || argc % 2 == 0) {
        fprintf(stderr, "usage: emulator NAMESPACE DEVICE NAMESPACE DEVICE [option value ...]\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    read_options(argc - 5, argv + 5);
    static struct direction d[2];
    d[0].in = d[1].out = attach(argv[1], argv[2]);
    d[1].in = d[0].out = attach(argv[3], argv[4]);
    sow(&d[0], 0);
    sow(&d[1], 1);
    int poller = epoll_create1(EPOLL_CLOEXEC);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (poller < 0 || timer < 0)
        die("epoll, timerfd");
    watch(poller, d[0].in, 0);
    watch(poller, d[1].in, 1);
    watch(poller, timer, 2);
    int signals = stop_signals();
    watch(poller, signals, 3);
    hurry();
    uint64_t started = now();
    printf("ready\n");
    fflush(stdout);
    run(d, poller, timer, signals);
    report(d, started);
    return 0;
}
