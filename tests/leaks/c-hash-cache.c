/* A resolver with a cache: a hash table of answers.
 * leak: an answer past its time is asked for again, but the old entry stays in the table.
 * fixed: a look-up drops what has expired from the bucket that it passes. */
#include "rounds.h"

#include <stdint.h>

enum { QUERIES_PER_ROUND = 4000, N_HOSTS = 640, TTL = 500, N_BUCKETS = 512 };

struct answer {
    uint8_t address[16];
    uint32_t preference;
};

struct cache_entry {
    struct cache_entry *chain;
    uint64_t hash, expires;
    struct answer *answers;
    uint16_t n_answers;
    char host[];
};

struct cache {
    size_t n_entries;
    struct cache_entry *buckets[N_BUCKETS];
};

struct resolver {
    uint64_t clock, n_queries, n_hits;
    struct cache *cache;
};

static struct resolver *resolver;
static size_t leaked;
static int drop_expired;

static uint64_t hash_of(const char *text) {
    uint64_t h = 14695981039346656037u;
    while (*text != '\0')
        h = (h ^ (unsigned char)*text++) * 1099511628211u;
    return h;
}

static struct cache_entry *ask_server(const char *host, uint64_t hash, uint64_t now) {
    struct cache_entry *const e = malloc(sizeof *e + strlen(host) + 1);
    if (e == NULL)
        abort();
    memcpy(e->host, host, strlen(host) + 1);
    e->hash = hash;
    e->expires = now + TTL + hash % 64;
    e->n_answers = (uint16_t)(1 + hash % 6);
    e->answers = calloc(e->n_answers, sizeof e->answers[0]);
    if (e->answers == NULL)
        abort();
    for (unsigned i = 0; i < e->n_answers; i++)
        memcpy(e->answers[i].address, &hash, sizeof hash);
    return e;
}

static void drop(struct cache *cache, struct cache_entry **link) {
    struct cache_entry *const e = *link;
    *link = e->chain;
    free(e->answers);
    free(e);
    cache->n_entries--;
}

static const struct cache_entry *resolve(struct resolver *r, const char *host) {
    const uint64_t hash = hash_of(host), now = r->clock++;
    struct cache_entry **const bucket = &r->cache->buckets[hash % N_BUCKETS];
    r->n_queries++;
    for (struct cache_entry **link = bucket; *link != NULL;) {
        struct cache_entry *const e = *link;
        if (e->expires > now && e->hash == hash && strcmp(e->host, host) == 0) {
            r->n_hits++;
            return e;
        }
        if (e->expires <= now && drop_expired)
            drop(r->cache, link);
        else
            link = &e->chain;
    }
    struct cache_entry *const e = ask_server(host, hash, now);
    e->chain = *bucket;
    *bucket = e;
    r->cache->n_entries++;
    return e;
}

static size_t cache_bytes(const struct cache *cache) {
    size_t bytes = 0;
    for (unsigned i = 0; i < N_BUCKETS; i++)
        for (const struct cache_entry *e = cache->buckets[i]; e != NULL; e = e->chain)
            bytes += sizeof *e + strlen(e->host) + 1 + e->n_answers * sizeof e->answers[0];
    return bytes;
}

int main(int argc, char **argv) {
    const int leak = rounds_leak(argc, argv);
    drop_expired = !leak;
    resolver = calloc(1, sizeof *resolver);
    if (resolver == NULL || (resolver->cache = calloc(1, sizeof *resolver->cache)) == NULL)
        return 3;
    unsigned long hits = 0;
    for (int round = 0; round <= N_ROUNDS; round++) {
        for (unsigned i = 0; i < QUERIES_PER_ROUND; i++) {
            char host[40];
            snprintf(host, sizeof host, "node-%u.cluster.example.org", i * 7919 % N_HOSTS);
            hits += resolve(resolver, host)->n_answers;
        }
        if (leak)
            leaked = cache_bytes(resolver->cache);
        rounds_end(round, leaked);
    }
    return hits == 0;
}
