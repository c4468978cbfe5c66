/* What the emulator counts in each direction, and how it says so. */
#ifndef COUNTERS_H
#define COUNTERS_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>

#define MICROSECOND 1000ull
#define LATE_BUCKETS 2000 /* of a microsecond; the last one holds all that is beyond */

struct counters {
    uint64_t arrived, overflowed, lost, duplicated, corrupted, reordered, delivered, refused;
    uint64_t bytes, queued_ns, most_queued_ns, transit_ns, least_transit_ns, late_ns, most_late_ns;
    uint32_t late[LATE_BUCKETS];
};

/* A packet was handed over at a time. */
static void count_delivery(struct counters *c, uint32_t length, uint64_t arrived, uint64_t due,
                           uint64_t at)
{
    uint64_t late = at - due, transit = at - arrived;
    uint64_t bucket = late / MICROSECOND;
    c->late[bucket < LATE_BUCKETS ? bucket : LATE_BUCKETS - 1]++;
    c->late_ns += late;
    if (late > c->most_late_ns)
        c->most_late_ns = late;
    c->transit_ns += transit;
    if (!c->delivered || transit < c->least_transit_ns)
        c->least_transit_ns = transit;
    c->delivered++;
    c->bytes += length;
}

static double ms(uint64_t ns, uint64_t of) { return of ? (double)ns / (double)of / 1e6 : 0; }

static uint64_t late_percentile(const struct counters *c, double share)
{
    uint64_t seen = 0;
    for (uint64_t us = 0; us < LATE_BUCKETS; us++)
        if ((seen += c->late[us]) >= (uint64_t)((double)c->delivered * share) && seen)
            return us;
    return 0;
}

static void print_direction(const char *name, const struct counters *c)
{
    uint64_t queued = c->arrived - c->overflowed;
    printf("\"%s\": {\"arrived\": %" PRIu64 ", \"overflowed\": %" PRIu64 ", \"lost\": %" PRIu64
           ", \"duplicated\": %" PRIu64 ", \"corrupted\": %" PRIu64 ", \"reordered\": %" PRIu64
           ", \"delivered\": %" PRIu64 ", \"refused\": %" PRIu64 ", \"bytes\": %" PRIu64,
           name, c->arrived, c->overflowed, c->lost, c->duplicated, c->corrupted, c->reordered,
           c->delivered, c->refused, c->bytes);
    printf(", \"queue_ms\": %.4f, \"queue_max_ms\": %.4f, \"transit_ms\": %.4f"
           ", \"transit_min_ms\": %.4f, \"late_ms\": %.4f, \"late_p99_us\": %" PRIu64
           ", \"late_max_ms\": %.4f}",
           ms(c->queued_ns, queued), ms(c->most_queued_ns, 1), ms(c->transit_ns, c->delivered),
           ms(c->least_transit_ns, 1), ms(c->late_ns, c->delivered), late_percentile(c, 0.99),
           ms(c->most_late_ns, 1));
}

static double cpu_s(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

#endif
