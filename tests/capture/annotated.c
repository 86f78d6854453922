/* A program that says things about its memory, true and outdated ones, for test_annotated.py. Sizes
 * tell its blocks apart. */
#include <heapsnap/annotate.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void *kept[64];
static uintptr_t hidden[8];
static int in_no_block;

static void callback(void *argument, int number) {
    (void)argument;
    (void)number;
}
static void at_exit_handler(void) {}
static void key_destructor(void *value) {
    (void)value;
}
static void signal_handler(int number) {
    (void)number;
}

static void types(void) {
    kept[0] = malloc(1001);
    snap_type(kept[0], "struct right");
    /* Freed, and most likely had again: nothing was said of the new one. */
    void *const freed = malloc(1002);
    snap_type(freed, "struct outdated");
    free(freed);
    kept[1] = malloc(1002);
    kept[2] = malloc(1003);
    snap_type(kept[2], "struct taken_back");
    snap_type(kept[2], NULL);
    kept[3] = malloc(1004);
    snap_type((char *)kept[3] + 8, "struct inside");
}

static void edges_and_roots(void) {
    void *const target = malloc(1101), *const from = malloc(1102), *const rooted = malloc(1103);
    void *const from_global = malloc(1104), *const gone = malloc(1105),
                *const region = malloc(1106);
    for (int i = 0; i < 6; i++)
        hidden[i] = ~(uintptr_t)((void *[]){target, from, rooted, from_global, gone, region})[i];
    snap_root(from, "held by nothing that shows");
    snap_edge((char *)from + 16, target, "link");
    snap_edge(from, target, "undone");
    snap_edge_remove(from, target, "undone");
    snap_root((char *)rooted + 24, "inside");
    snap_edge(&in_no_block, from_global, "from a global");
    snap_root(gone, "undone root");
    snap_root_remove(gone, "undone root");
    uintptr_t *const memory =
        mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memory[100] = (uintptr_t)region;
    mprotect((char *)memory + 4096, 4096, PROT_NONE);
    snap_root_region(memory, 8192, "my region");
}

static void pools(void) {
    char *const memory = malloc(100000), *const opaque = malloc(100001);
    char *const lost = malloc(100002), *const mapped = mmap(NULL, 65536, PROT_READ | PROT_WRITE,
                                                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t pool = snap_pool_add("arena");
    snap_pool_grow(pool, memory + 64, 90000);
    for (int i = 0; i < 50; i++)
        snap_block_add(pool, memory + 64 + i * 1000, 500);
    for (int i = 0; i < 50; i += 2)
        snap_block_remove(memory + 64 + i * 1000);
    /* A block that holds a pointer, and one that is pointed at. */
    void *const target = malloc(1201);
    memcpy(memory + 64 + 1000, &target, sizeof target);
    kept[10] = memory + 64 + 1000;
    pool = snap_pool_add("opaque arena");
    snap_pool_grow(pool, opaque, 100001);
    kept[11] = opaque;
    /* Memory that goes without a word. */
    pool = snap_pool_add("careless arena");
    snap_pool_grow(pool, lost, 100002);
    snap_block_add(pool, lost, 77);
    free(lost);
    kept[12] = malloc(100002);
    pool = snap_pool_add("mapped arena");
    snap_pool_grow(pool, mapped, 65536);
    snap_block_add(pool, mapped + 128, 1301);
    kept[13] = mapped + 128;
    /* Reset and removed. */
    pool = snap_pool_add("reset arena");
    kept[14] = malloc(50000);
    snap_pool_grow(pool, kept[14], 50000);
    snap_block_add(pool, kept[14], 1401);
    snap_pool_reset(pool);
    snap_block_add(pool, (char *)kept[14] + 4096, 1402);
    pool = snap_pool_add("removed arena");
    kept[15] = malloc(50001);
    snap_pool_grow(pool, kept[15], 50001);
    snap_block_add(pool, kept[15], 1501);
    snap_pool_remove(pool);
    /* An arena out of an arena: only the inner blocks count. */
    pool = snap_pool_add("outer arena");
    kept[16] = malloc(70000);
    snap_pool_grow(pool, kept[16], 70000);
    snap_block_add(pool, kept[16], 20000);
    const uint64_t inner = snap_pool_add("inner arena");
    snap_pool_grow(inner, kept[16], 20000);
    snap_block_add(inner, (char *)kept[16] + 32, 1601);
}

static void hooks(void) {
    void *const argument = malloc(1701);
    pthread_key_t key;
    uint64_t id = snap_hook_add("on_batch_end", callback, argument);
    snap_hook_remove(id);
    for (int i = 0; i < 3; i++)
        snap_hook_add("on_batch_end", callback, argument);
    for (int i = 0; i < 4; i++)
        atexit(at_exit_handler);
    pthread_key_create(&key, key_destructor);
    signal(SIGUSR2, signal_handler);
    signal(SIGCHLD, signal_handler);
}

int main(void) {
    types();
    edges_and_roots();
    pools();
    hooks();
    printf("%d\n", snap_type(kept[0], "struct right"));
    return 0;
}
