/* The monitor: a process beside the tracked ones that asks them for snapshots at intervals or when
 * a condition is met. */
#ifndef HEAPSNAP_MONITOR_H
#define HEAPSNAP_MONITOR_H

#include <stddef.h>
#include <stdint.h>

enum monitor_quantity { MONITOR_RSS, MONITOR_GROWTH };

struct monitor_condition {
    enum monitor_quantity quantity;
    uint64_t bytes;
};

#define MONITOR_CONDITIONS_MAX 16
struct monitor {
    const char *directory; /* of the control pages */
    const char *run;       /* first part of their names */
    const char *log;       /* of the run */
    uint64_t every_ns;     /* 0: not at intervals */
    struct monitor_condition conditions[MONITOR_CONDITIONS_MAX];
    size_t n_conditions;
};

/* "rss>4G", "growth>512M". 0, or -1 if it is none. */
int monitor_condition_parse(const char *text, struct monitor_condition *out);

/* Starts it, detached from the caller's session and files. It ends when the caller has closed
 * *out_fd (or ended) and no tracked process of the run is left. 0, or -1 with errno. */
int monitor_start(const struct monitor *m, int *out_fd);

#endif
