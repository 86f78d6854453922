/* The recorder's notes: what annotate.h says is kept, found again, replaced, taken back and lost
 * with the blocks it speaks of; by many threads, and within bounds. The recorder is linked into
 * this program. */
#define SNAP_ANNOTATE_INLINE
#include <heapsnap/annotate.h>

#include <check.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "capture/notes.h"
#include "capture/recorder.h"

#define FREEZE_NS 1000000000u

struct tally {
    uint32_t kind, n;
    uint64_t a;
    struct note last;
};

static int count(void *context, const struct note *note) {
    struct tally *const t = context;
    if (note->kind != t->kind || (t->a != 0 && note->a != t->a))
        return 0;
    t->n++;
    memcpy(&t->last, note, sizeof t->last);
    return 0;
}

/* Notes of a kind (about an address, if given). */
static struct tally tally(uint32_t kind, const void *address) {
    struct tally t = {.kind = kind, .a = (uintptr_t)address};
    ck_assert_int_eq(recorder_freeze(FREEZE_NS), 0);
    notes_for_each(count, &t);
    recorder_thaw();
    return t;
}

static const char *name_of(const struct note *note) {
    uint32_t length;
    return notes_name(note->name, &length);
}

static struct recorder_block found_block;
static uintptr_t wanted_block;

static int find_block(void *context, const struct recorder_block *blocks, size_t n) {
    (void)context;
    for (size_t i = 0; i < n; i++)
        if (blocks[i].address == wanted_block)
            found_block = blocks[i];
    return 0;
}

static uint64_t birth_of(const void *block) {
    found_block = (struct recorder_block){0};
    wanted_block = (uintptr_t)block;
    ck_assert_int_eq(recorder_freeze(FREEZE_NS), 0);
    recorder_for_each_block(find_block, NULL);
    recorder_thaw();
    return found_block.birth;
}

static void *blocks[64];

START_TEST(types_are_kept_replaced_and_taken_back) {
    blocks[0] = malloc(100);
    ck_assert_int_eq(snap_type(blocks[0], "struct first"), 0);
    ck_assert_int_eq(snap_type(blocks[0], "struct second"), 0);
    struct tally t = tally(NOTE_TYPE, blocks[0]);
    ck_assert_uint_eq(t.n, 1);
    ck_assert_str_eq(name_of(&t.last), "struct second");
    ck_assert_uint_ne(t.last.birth_a, 0);
    ck_assert_uint_eq(t.last.birth_a, birth_of(blocks[0]));
    ck_assert_int_eq(snap_type(blocks[0], NULL), 0);
    ck_assert_uint_eq(tally(NOTE_TYPE, blocks[0]).n, 0);
    ck_assert_int_eq(snap_type(blocks[0], NULL), SNAP_E_NOTFOUND);
    free(blocks[0]);
}
END_TEST

START_TEST(edges_and_roots_are_told_apart_by_name) {
    blocks[0] = malloc(10);
    blocks[1] = malloc(3 << 20);
    const char *const inside = (const char *)blocks[1] + (2 << 20);
    ck_assert_int_eq(snap_edge(blocks[0], inside, "a"), 0);
    ck_assert_int_eq(snap_edge(blocks[0], inside, "b"), 0);
    ck_assert_int_eq(snap_edge(blocks[0], inside, "b"), 0);
    struct tally t = tally(NOTE_EDGE, blocks[0]);
    ck_assert_uint_eq(t.n, 2);
    ck_assert_uint_eq(t.last.birth_a, birth_of(blocks[0]));
    ck_assert_uint_eq(t.last.birth_b, birth_of(blocks[1]));
    ck_assert_int_eq(snap_edge_remove(blocks[0], inside, "a"), 0);
    ck_assert_int_eq(snap_edge_remove(blocks[0], inside, "a"), SNAP_E_NOTFOUND);
    t = tally(NOTE_EDGE, blocks[0]);
    ck_assert_uint_eq(t.n, 1);
    ck_assert_str_eq(name_of(&t.last), "b");

    ck_assert_int_eq(snap_root(blocks[0], "one"), 0);
    ck_assert_int_eq(snap_root(blocks[0], "two"), 0);
    ck_assert_uint_eq(tally(NOTE_ROOT, blocks[0]).n, 2);
    ck_assert_int_eq(snap_root_remove(blocks[0], "one"), 0);
    ck_assert_uint_eq(tally(NOTE_ROOT, blocks[0]).n, 1);
    ck_assert_int_eq(snap_root_region(blocks, sizeof blocks, "blocks"), 0);
    t = tally(NOTE_REGION, blocks);
    ck_assert_uint_eq(t.n, 1);
    ck_assert_uint_eq(t.last.b, sizeof blocks);
    ck_assert_int_eq(snap_root_region_remove(blocks), 0);
    ck_assert_uint_eq(tally(NOTE_REGION, NULL).n, 0);
    free(blocks[0]);
    free(blocks[1]);
}
END_TEST

static void callback(int unused) {
    (void)unused;
}

START_TEST(hooks_have_a_stack_and_an_id) {
    blocks[0] = malloc(10);
    const uint64_t first = snap_hook_add("on_batch_end", callback, blocks[0]);
    const uint64_t second = snap_hook_add("on_batch_end", callback, blocks[0]);
    ck_assert_uint_ne(first, 0);
    ck_assert_uint_ne(second, 0);
    ck_assert_uint_ne(first, second);
    struct tally t = tally(NOTE_HOOK, NULL);
    ck_assert_uint_eq(t.n, 2);
    ck_assert_uint_eq(t.last.b, (uintptr_t)callback);
    ck_assert_uint_eq(t.last.extra, (uintptr_t)blocks[0]);
    ck_assert_uint_ne(t.last.stack, 0);
    ck_assert_str_eq(name_of(&t.last), "on_batch_end");
    ck_assert_int_eq(snap_hook_remove(first), 0);
    ck_assert_int_eq(snap_hook_remove(first), SNAP_E_NOTFOUND);
    ck_assert_int_eq(snap_hook_remove(second), 0);
    ck_assert_uint_eq(tally(NOTE_HOOK, NULL).n, 0);
    free(blocks[0]);
}
END_TEST

static uint32_t n_live_blocks;

static int count_live(void *context, const struct note *note) {
    (void)context;
    n_live_blocks += note->kind == NOTE_BLOCK && notes_is_of_pool(note);
    return 0;
}

static uint32_t live_blocks(void) {
    n_live_blocks = 0;
    ck_assert_int_eq(recorder_freeze(FREEZE_NS), 0);
    notes_for_each(count_live, NULL);
    recorder_thaw();
    return n_live_blocks;
}

START_TEST(pools_are_reset_and_removed_as_a_whole) {
    char *const memory = malloc(1 << 16);
    const uint64_t pool = snap_pool_add("arena");
    ck_assert_uint_ne(pool, 0);
    ck_assert_int_eq(snap_pool_grow(pool, memory, 1 << 16), 0);
    for (int i = 0; i < 1000; i++)
        ck_assert_int_eq(snap_block_add(pool, memory + i * 32, 32), 0);
    ck_assert_uint_eq(live_blocks(), 1000);
    ck_assert_int_eq(snap_block_remove(memory + 32), 0);
    ck_assert_int_eq(snap_block_remove(memory + 32), SNAP_E_NOTFOUND);
    ck_assert_uint_eq(live_blocks(), 999);
    ck_assert_int_eq(snap_pool_reset(pool), 0);
    ck_assert_uint_eq(live_blocks(), 0);
    ck_assert_int_eq(snap_block_add(pool, memory, 64), 0);
    ck_assert_int_eq(snap_type(memory, "struct inner"), 0);
    ck_assert_uint_eq(live_blocks(), 1);
    const struct tally block = tally(NOTE_BLOCK, memory), type = tally(NOTE_TYPE, memory);
    ck_assert_uint_eq(block.n, 1);
    ck_assert_uint_eq(type.last.birth_a, block.last.birth);
    ck_assert_int_eq(snap_pool_remove(pool), 0);
    ck_assert_uint_eq(live_blocks(), 0);
    ck_assert_int_eq(snap_block_add(pool, memory, 64), SNAP_E_ARG);
    ck_assert_int_eq(snap_pool_reset(pool), SNAP_E_ARG);
    ck_assert_int_eq(snap_pool_remove(pool), SNAP_E_ARG);
    for (int i = 0; i < 100; i++) {
        const uint64_t other = snap_pool_add("arena");
        ck_assert_uint_ne(other, 0);
        ck_assert_uint_ne(other, pool);
        ck_assert_int_eq(snap_pool_remove(other), 0);
    }
    free(memory);
}
END_TEST

START_TEST(notes_of_freed_blocks_make_room) {
    const uint64_t before = recorder_live_bytes();
    for (int round = 0; round < 400; round++) {
        void *list = NULL;
        for (int i = 0; i < 1000; i++) {
            /* Never the same addresses as in the round before, as far as malloc lets us. */
            void *const block = malloc(32 + (size_t)round % 7 * 16 + (size_t)round);
            snap_type(block, "struct passing");
            memcpy(block, &list, sizeof list);
            list = block;
        }
        for (void *next; list != NULL; list = next) {
            memcpy(&next, list, sizeof next);
            free(list);
        }
    }
    ck_assert_uint_lt(tally(NOTE_TYPE, NULL).n, 100000);
    ck_assert_uint_eq(notes_dropped(), 0);
    ck_assert_uint_le(recorder_live_bytes(), before + 4096);
}
END_TEST

START_TEST(wrong_arguments_are_refused) {
    ck_assert_int_eq(snap_type(NULL, "struct none"), SNAP_E_ARG);
    ck_assert_int_eq(snap_edge(blocks, NULL, "none"), SNAP_E_ARG);
    ck_assert_int_eq(snap_edge(blocks, blocks, NULL), SNAP_E_ARG);
    ck_assert_int_eq(snap_root(blocks, ""), SNAP_E_ARG);
    ck_assert_uint_eq(snap_hook_add(NULL, callback, NULL), 0);
    ck_assert_uint_eq(snap_hook_add("none", NULL, NULL), 0);
    ck_assert_uint_eq(snap_pool_add(NULL), 0);
    ck_assert_int_eq(snap_pool_grow(0, blocks, 8), SNAP_E_ARG);
    ck_assert_int_eq(snap_block_add(12345, blocks, 8), SNAP_E_ARG);
    ck_assert_int_eq(snap_hook_remove(0), SNAP_E_NOTFOUND);
    const snap_annotation unknown = {.struct_size = sizeof unknown, .what = 999};
    ck_assert_int_eq((int)snap_annotate_find()(&unknown), SNAP_E_ARG);
}
END_TEST

START_TEST(long_names_are_cut) {
    char name[4000];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    blocks[0] = malloc(8);
    ck_assert_int_eq(snap_type(blocks[0], name), 0);
    struct tally t = tally(NOTE_TYPE, blocks[0]);
    ck_assert_uint_eq(strlen(name_of(&t.last)), 1000);
    free(blocks[0]);
}
END_TEST

enum { N_THREADS = 8, N_OWN = 4000 };

/* NULL if all went well. */
static void *work(void *context) {
    const uint64_t pool = *(const uint64_t *)context;
    char *const memory = malloc(N_OWN * 64);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < N_OWN; i++)
            if (snap_block_add(pool, memory + i * 64, 64) < 0 ||
                snap_type(memory + i * 64, round & 1 ? "struct odd" : "struct even") < 0)
                return context;
        for (int i = 0; i < N_OWN; i++)
            if (i % 4 != 0 && snap_block_remove(memory + i * 64) < 0)
                return context;
    }
    return NULL;
}

START_TEST(threads_do_not_lose_notes) {
    uint64_t pool = snap_pool_add("shared");
    pthread_t threads[N_THREADS];
    for (int i = 0; i < N_THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, work, &pool), 0);
    for (int i = 0; i < 20; i++) { /* moments meanwhile */
        if (recorder_freeze(FREEZE_NS) == 0) {
            notes_for_each(count_live, NULL);
            recorder_thaw();
        }
        usleep(1000);
    }
    for (int i = 0; i < N_THREADS; i++) {
        void *failed;
        ck_assert_int_eq(pthread_join(threads[i], &failed), 0);
        ck_assert_ptr_null(failed);
    }
    ck_assert_uint_eq(live_blocks(), N_THREADS * N_OWN / 4);
    ck_assert_int_eq(snap_pool_remove(pool), 0);
}
END_TEST

START_TEST(a_forked_child_goes_on) {
    blocks[0] = malloc(16);
    ck_assert_int_eq(snap_root(blocks[0], "inherited"), 0);
    const pid_t child = fork();
    if (child == 0) {
        recorder_after_fork_child();
        const int is_good = snap_root_remove(blocks[0], "inherited") == 0 &&
                            snap_root(blocks[0], "own") == 0 && tally(NOTE_ROOT, blocks[0]).n == 1;
        _exit(is_good ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert_uint_eq(tally(NOTE_ROOT, blocks[0]).n, 1);
    free(blocks[0]);
}
END_TEST

static void at_exit_handler(void) {}
static void on_exit_handler(int status, void *argument) {
    (void)status;
    (void)argument;
}

static uint32_t n_handlers;

static int count_handlers(void *context, const struct note *note) {
    if (note->kind == NOTE_EXIT && note->a == (uintptr_t)context)
        n_handlers += note->pool;
    return 0;
}

static uint32_t handlers(uintptr_t function) {
    n_handlers = 0;
    ck_assert_int_eq(recorder_freeze(FREEZE_NS), 0);
    notes_for_each(count_handlers, (void *)function);
    recorder_thaw();
    return n_handlers;
}

int on_exit(void (*function)(int, void *), void *argument);

START_TEST(exit_handlers_are_counted) {
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(atexit(at_exit_handler), 0);
    ck_assert_int_eq(on_exit(on_exit_handler, NULL), 0);
    ck_assert_uint_eq(handlers((uintptr_t)at_exit_handler), 5);
    ck_assert_uint_eq(handlers((uintptr_t)on_exit_handler), 1);
}
END_TEST

int main(void) {
    Suite *const suite = suite_create("notes");
    TCase *const tests = tcase_create("notes");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, types_are_kept_replaced_and_taken_back);
    tcase_add_test(tests, edges_and_roots_are_told_apart_by_name);
    tcase_add_test(tests, hooks_have_a_stack_and_an_id);
    tcase_add_test(tests, pools_are_reset_and_removed_as_a_whole);
    tcase_add_test(tests, notes_of_freed_blocks_make_room);
    tcase_add_test(tests, wrong_arguments_are_refused);
    tcase_add_test(tests, long_names_are_cut);
    tcase_add_test(tests, threads_do_not_lose_notes);
    tcase_add_test(tests, a_forked_child_goes_on);
    tcase_add_test(tests, exit_handlers_are_counted);
    suite_add_tcase(suite, tests);
    SRunner *const runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_ENV);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
