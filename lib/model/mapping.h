/* Lines of /proc/PID/maps, for processes that describe themselves with the C library at hand. The
 * recorder's copy, which must not use it, has procfs.h. */
#ifndef HEAPSNAP_MAPPING_H
#define HEAPSNAP_MAPPING_H

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <heapsnap/snapdef.h>

struct mapping {
    uint64_t start, end;
    uint32_t kind;       /* SNAP_REGN_* */
    uint32_t protection; /* as REGN.protection */
    const char *name;    /* in the line; "" if none */
};

static inline uint32_t mapping_kind(const char *name) {
    if (strcmp(name, "[heap]") == 0)
        return SNAP_REGN_HEAP;
    if (strncmp(name, "[stack", 6) == 0)
        return SNAP_REGN_STACK;
    if (strncmp(name, "[v", 2) == 0)
        return SNAP_REGN_SPECIAL;
    if (strncmp(name, "/dev/shm/", 9) == 0 || strncmp(name, "/memfd:", 7) == 0 ||
        strncmp(name, "/SYSV", 5) == 0)
        return SNAP_REGN_SHARED_MEMORY;
    if (strncmp(name, "/dev/", 5) == 0)
        return SNAP_REGN_DEVICE;
    return *name == '/' ? SNAP_REGN_FILE : SNAP_REGN_ANONYMOUS;
}

/* Takes a line apart, whose end is cut off. 1, or 0: not a line of that kind. */
static inline int mapping_parse(char *line, struct mapping *out) {
    char rights[5];
    int at = 0;
    line[strcspn(line, "\n")] = '\0';
    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*s %*s %*s %n", &out->start, &out->end, rights,
               &at) < 3 ||
        at == 0)
        return 0;
    out->name = line + at;
    out->kind = mapping_kind(out->name);
    out->protection = (rights[0] == 'r' ? 1u : 0u) | (rights[1] == 'w' ? 2u : 0u) |
                      (rights[2] == 'x' ? 4u : 0u) | (rights[3] == 's' ? 8u : 0u);
    return 1;
}

#endif
