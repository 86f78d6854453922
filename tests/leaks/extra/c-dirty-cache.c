/* A cache of pages with at most 200 entries: the oldest clean one goes when it is full.
 * leak: pages that were written to are never clean again, so they stay. fixed: they are cleaned
 * when they are the oldest. */
#include "rounds.h"

enum { BOUND = 200, PAGE_BYTES = 1024, READS_PER_ROUND = 2000, DIRTY_EVERY = 20, N_BUCKETS = 4096 };

struct page {
    struct page *next_in_bucket, *older, *newer;
    unsigned long number;
    int is_dirty;
    char *content;
};

static struct cache {
    struct page *buckets[N_BUCKETS];
    struct page *oldest, *newest;
    size_t n;
} page_cache;

static unsigned long next_number, seed = 7;

static void remove_page(struct page *page) {
    struct page **link = &page_cache.buckets[page->number % N_BUCKETS];
    while (*link != page)
        link = &(*link)->next_in_bucket;
    *link = page->next_in_bucket;
    *(page->older != NULL ? &page->older->newer : &page_cache.oldest) = page->newer;
    *(page->newer != NULL ? &page->newer->older : &page_cache.newest) = page->older;
    page_cache.n--;
    free(page->content);
    free(page);
}

static void evict(int clean_first) {
    struct page *page = page_cache.oldest;
    while (page != NULL && page_cache.n > BOUND) {
        struct page *const newer = page->newer;
        if (clean_first)
            page->is_dirty = 0;
        if (!page->is_dirty)
            remove_page(page);
        page = newer;
    }
}

static void read_page(unsigned long number, int is_dirty) {
    struct page *const page = calloc(1, sizeof *page);
    if (page == NULL || (page->content = malloc(PAGE_BYTES)) == NULL)
        abort();
    memset(page->content, (int)number, PAGE_BYTES);
    page->number = number;
    page->is_dirty = is_dirty;
    page->next_in_bucket = page_cache.buckets[number % N_BUCKETS];
    page_cache.buckets[number % N_BUCKETS] = page;
    page->older = page_cache.newest;
    *(page_cache.newest != NULL ? &page_cache.newest->newer : &page_cache.oldest) = page;
    page_cache.newest = page;
    page_cache.n++;
}

int main(int argc, char **argv) {
    const int leak = rounds_leak(argc, argv);
    size_t n_dirty = 0;
    for (int round = 0; round <= N_ROUNDS; round++) {
        for (unsigned i = 0; i < READS_PER_ROUND; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            const int is_dirty = i % DIRTY_EVERY == 0;
            n_dirty += (size_t)is_dirty;
            read_page(next_number++, is_dirty);
            evict(!leak);
        }
        rounds_end(round, leak ? n_dirty * (sizeof(struct page) + PAGE_BYTES) : 0);
    }
    return 0;
}
