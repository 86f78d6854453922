/* A hash table of sums by (domain, type, stack).
 *
 * Invariant: rows are in the order of first use and never move relative to one another, so that two
 * tables filled in the same order are the same. Domains above 32 bits share one row: no format
 * version has them. Does not read files. */
#include "diff/groups.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* The shortcut costs 4 bytes per stack; a file with more stacks goes without for the rest. */
#define BY_STACK_MAX ((size_t)4 << 20)

int groups_init(struct groups *g, uint64_t n_stacks) {
    memset(g, 0, sizeof *g);
    const size_t n_slots = 1024;
    g->n_by_stack = n_stacks + 1 < BY_STACK_MAX ? (size_t)n_stacks + 1 : BY_STACK_MAX;
    g->by_stack = mem_zalloc(g->n_by_stack, sizeof *g->by_stack);
    g->slots = mem_zalloc(n_slots, sizeof *g->slots);
    if (g->by_stack == NULL || g->slots == NULL) {
        groups_release(g);
        return -1;
    }
    g->mask = n_slots - 1;
    return 0;
}

void groups_release(struct groups *g) {
    free(g->rows);
    free(g->slots);
    free(g->by_stack);
    memset(g, 0, sizeof *g);
}

static size_t hash(uint32_t domain, uint32_t type, uint32_t stack) {
    uint64_t x = ((uint64_t)type << 32 | stack) + domain * 0x9e3779b97f4a7c15ull;
    x = (x ^ x >> 32) * 0xd6e8feb86659fd93ull;
    x = (x ^ x >> 29) * 0x9fb21c651e98df25ull;
    return (size_t)(x ^ x >> 32);
}

static int rehash(struct groups *g) {
    const size_t n_slots = (g->mask + 1) * 2;
    uint32_t *const slots = mem_zalloc(n_slots, sizeof *slots);
    if (slots == NULL)
        return -1;
    for (size_t i = 0; i < g->n; i++) {
        const struct group *const row = &g->rows[i];
        size_t at = hash(row->domain, row->type, row->stack) & (n_slots - 1);
        while (slots[at] != 0)
            at = (at + 1) & (n_slots - 1);
        slots[at] = (uint32_t)i + 1;
    }
    free(g->slots);
    g->slots = slots;
    g->mask = n_slots - 1;
    return 0;
}

struct group *groups_find(struct groups *g, uint32_t domain, uint32_t type, uint32_t stack) {
    size_t at = hash(domain, type, stack) & g->mask;
    for (; g->slots[at] != 0; at = (at + 1) & g->mask) {
        struct group *const row = &g->rows[g->slots[at] - 1];
        if (row->stack == stack && row->type == type && row->domain == domain) {
            if (stack < g->n_by_stack)
                g->by_stack[stack] = g->slots[at];
            return row;
        }
    }
    if (g->n >= UINT32_MAX - 1 || mem_grow(&g->rows, &g->capacity, g->n + 1, sizeof *g->rows) < 0)
        return NULL;
    struct group *const row = &g->rows[g->n++];
    memset(row, 0, sizeof *row);
    row->domain = domain;
    row->type = type;
    row->stack = stack;
    g->slots[at] = (uint32_t)g->n;
    if (stack < g->n_by_stack)
        g->by_stack[stack] = (uint32_t)g->n;
    if (g->n * 2 > g->mask && rehash(g) < 0)
        return NULL;
    return row;
}

int groups_add(struct groups *g, uint64_t domain, uint64_t stack, uint64_t bytes) {
    struct group *const row = groups_get(g, domain, 0, stack);
    if (row == NULL)
        return -1;
    row->count = add_sat(row->count, 1);
    row->bytes = add_sat(row->bytes, bytes);
    return 0;
}

int groups_merge(struct groups *g, const struct groups *other) {
    for (size_t i = 0; i < other->n; i++) {
        const struct group *const from = &other->rows[i];
        struct group *const to = groups_get(g, from->domain, from->type, from->stack);
        if (to == NULL)
            return -1;
        to->count = add_sat(to->count, from->count);
        to->bytes = add_sat(to->bytes, from->bytes);
        to->new_count = add_sat(to->new_count, from->new_count);
        to->new_bytes = add_sat(to->new_bytes, from->new_bytes);
        to->newer_count = add_sat(to->newer_count, from->newer_count);
        to->newer_bytes = add_sat(to->newer_bytes, from->newer_bytes);
    }
    return 0;
}
