/* The state of glibc's malloc, found by the shape of its lists alone: in this process's own C
 * library, where a freed chunk tells where it is, and in images of it that were changed. */
#include <check.h>
#include <link.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "capture/scan_internal.h"

enum { BINS = 127, TOP = 96, STATE = 2200 };

/* --- what the search needs of the scan --- */

static struct scan_segment everything = {.start = 0, .end = UINT64_MAX & ~UINT64_C(7)};
static int has_chunks = 1;

const struct scan_segment *scan_memory_segment(const struct scan *s, uint64_t address) {
    (void)s;
    return has_chunks && address >= 4096 && address < (UINT64_C(1) << 47) ? &everything : NULL;
}

void scan_attempt(struct scan_worker *w, void (*fn)(struct scan_worker *w, const void *context),
                  const void *context, uint64_t bytes) {
    (void)bytes;
    fn(w, context);
}

/* --- a state made by hand --- */

struct chunk {
    uint64_t previous_size, size;
    void *forward, *backward;
};

/* As malloc keeps them: the pair of list i stands where the links of a chunk would that starts two
 * words before. */
struct state {
    uint64_t before[TOP / 8 + 2];
    void *bins[2 * BINS];
    uint64_t behind[7];
};

static void *as_chunk(struct state *state, unsigned i) {
    return (char *)&state->bins[2 * i] - 16;
}

static void make_empty(struct state *state) {
    memset(state, 0, sizeof *state);
    for (unsigned i = 0; i < BINS; i++)
        state->bins[2 * i] = state->bins[2 * i + 1] = as_chunk(state, i);
}

static void insert(struct state *state, unsigned i, struct chunk *chunk) {
    *chunk =
        (struct chunk){.size = 1041, .forward = as_chunk(state, i), .backward = as_chunk(state, i)};
    state->bins[2 * i] = state->bins[2 * i + 1] = chunk;
}

static struct scan_range find(void *memory, size_t size) {
    static struct scan scan;
    static struct scan_worker worker = {.scan = &scan};
    return scan_malloc_state(&worker, (uintptr_t)memory, (uintptr_t)memory + size);
}

struct surroundings {
    uint64_t front[50];
    struct state state;
    uint64_t rest[50];
};

static void check_found(struct surroundings *memory) {
    const struct scan_range found = find(memory, sizeof *memory);
    ck_assert_uint_eq(found.start, (uintptr_t)&memory->state);
    ck_assert_uint_eq(found.end, (uintptr_t)&memory->state + STATE);
}

START_TEST(empty_lists_are_found) {
    struct surroundings memory = {.front = {0}};
    make_empty(&memory.state);
    ck_assert_uint_eq(sizeof memory.state, STATE);
    check_found(&memory);
}
END_TEST

START_TEST(lists_with_chunks_are_found) {
    struct surroundings memory = {.front = {0}};
    struct chunk chunks[BINS];
    make_empty(&memory.state);
    for (unsigned i = 0; i < 100; i++)
        insert(&memory.state, (unsigned)_i + i, &chunks[i]);
    check_found(&memory);
}
END_TEST

START_TEST(what_only_looks_so_is_not) {
    struct surroundings memory = {.front = {0}};
    struct chunk chunks[BINS];
    /* One list less, and one that is none. */
    make_empty(&memory.state);
    memory.state.bins[2 * 126] = NULL;
    ck_assert_uint_eq(find(&memory, sizeof memory).end, 0);
    make_empty(&memory.state);
    memory.state.bins[60] = &memory;
    ck_assert_uint_eq(find(&memory, sizeof memory).end, 0);
    /* Too few that are empty: chunks alone may be anybody's. */
    make_empty(&memory.state);
    for (unsigned i = 0; i < 115; i++)
        insert(&memory.state, i, &chunks[i]);
    ck_assert_uint_eq(find(&memory, sizeof memory).end, 0);
    /* A chunk that does not refer back. */
    make_empty(&memory.state);
    insert(&memory.state, 5, &chunks[5]);
    chunks[5].forward = &chunks[6];
    chunks[5].backward = &chunks[6];
    ck_assert_uint_eq(find(&memory, sizeof memory).end, 0);
    /* Chunks in memory that cannot be read. */
    insert(&memory.state, 5, &chunks[5]);
    has_chunks = 0;
    ck_assert_uint_eq(find(&memory, sizeof memory).end, 0);
    has_chunks = 1;
    /* Heads of lists as programs have them refer to themselves, not to what is before them. */
    for (unsigned i = 0; i < BINS; i++)
        memory.state.bins[2 * i] = memory.state.bins[2 * i + 1] = &memory.state.bins[2 * i];
    ck_assert_uint_eq(find(&memory, sizeof memory).end, 0);
}
END_TEST

START_TEST(no_size_is_too_small) {
    struct surroundings memory = {.front = {0}};
    make_empty(&memory.state);
    for (size_t size = 0; size <= sizeof memory; size++) {
        const struct scan_range found = find(&memory, size);
        ck_assert(found.end == 0 || found.end <= (uintptr_t)&memory + size);
    }
}
END_TEST

/* --- the real one --- */

struct search {
    uint64_t state; /* to be found */
    unsigned n_found, n_right;
};

static int search_image(struct dl_phdr_info *info, size_t size, void *context) {
    struct search *const s = context;
    (void)size;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *const p = &info->dlpi_phdr[i];
        if (p->p_type != PT_LOAD || !(p->p_flags & PF_W))
            continue;
        const struct scan_range found = find((void *)(info->dlpi_addr + p->p_vaddr), p->p_memsz);
        s->n_found += found.end != 0;
        s->n_right += found.start == s->state && found.end == s->state + STATE;
    }
    return 0;
}

START_TEST(that_of_this_process_is_found) {
    /* Too large for the caches of threads; the block behind it keeps it apart from the rest. */
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    struct chunk *const freed = malloc(5000);
    void *const behind = malloc(5000);
    __asm__ volatile("" : : "r"(behind)); /* clang leaves out blocks that nothing is done with */
    ck_assert_ptr_nonnull(freed);
    ck_assert_ptr_nonnull(behind);
    memset(freed, 0, sizeof *freed);
    uint64_t at = (uintptr_t)freed;
    free(freed);
    __asm__("" : "+r"(at)); /* it is read after it was freed, and no compiler is to mind */
    void *const *const links = (void *const *)(uintptr_t)at;
    /* The only chunk of the list of the newest: its links are the list's place, that of `top`. */
    struct search search = {.state = (uintptr_t)links[0] - TOP};
    ck_assert_ptr_eq(links[0], links[1]);
    dl_iterate_phdr(search_image, &search);
    free(behind);
    ck_assert_uint_eq(search.n_found, 1);
    ck_assert_uint_eq(search.n_right, 1);
}
END_TEST

int main(void) {
    Suite *const suite = suite_create("scan_malloc");
    TCase *const tcase = tcase_create("state");
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, empty_lists_are_found);
    tcase_add_loop_test(tcase, lists_with_chunks_are_found, 0, 28);
    tcase_add_test(tcase, what_only_looks_so_is_not);
    tcase_add_test(tcase, no_size_is_too_small);
    if (!getenv("HEAPSNAP_TEST_OTHER_MALLOC")) /* there is none of glibc's to be found */
        tcase_add_test(tcase, that_of_this_process_is_found);
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed ? 1 : 0;
}
