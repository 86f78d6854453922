/* A program whose references are known: one of each sort that the scan must see, or must not.
 *
 * Says on standard output what it has made, then calls exit, where the snapshot is taken:
 *   edge SOURCE WORD TARGET OFFSET    the block at SOURCE refers to the one at TARGET
 *   none SOURCE TARGET                it does not
 *   root KIND TARGET LOW              a root of that kind, of low confidence or not
 *   local MODULE ADDRESS TID          a thread-local variable: 0 of the program, 1 of the module
 *   missing BYTES                     of blocks cannot be read
 * All numbers but KIND are hexadecimal.
 *
 * SCAN_MODULE: a module to be loaded, if set.
 * usage: scan_cases [THREADS [LENGTH OF A CHAIN]] */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define KEEP __attribute__((noinline))
#define PAGE 4096u

enum { GLOBAL = 1, STACK, REGISTER, TLS, API, MAPPING, ALT_STACK };

/* Addresses are kept inverted, so that the books are no references. */
typedef uintptr_t hidden;

static hidden hide(const void *p) {
    return ~(uintptr_t)p;
}
static uintptr_t *show(hidden h) {
    return (uintptr_t *)~h;
}

static KEEP hidden make(size_t size) {
    void *const p = malloc(size);
    if (!p)
        exit(3);
    memset(p, 0, size);
    return hide(p);
}

static void say_edge(hidden from, size_t word, hidden to, size_t offset) {
    printf("edge %jx %zx %jx %zx\n", (uintmax_t)~from, word, (uintmax_t)~to, offset);
}
static void say_none(hidden from, hidden to) {
    printf("none %jx %jx\n", (uintmax_t)~from, (uintmax_t)~to);
}
static void say_root(int kind, hidden to, int low) {
    printf("root %d %jx %d\n", kind, (uintmax_t)~to, low);
}

static void connect_words(hidden from, size_t word, hidden to, size_t offset) {
    show(from)[word] = ~to + offset;
    say_edge(from, word, to, offset);
}

/* Overwrites what calls have left below on the stack. */
static KEEP void clean_stack(void) {
    volatile char room[64 << 10];
    memset((char *)room, 0, sizeof room);
    __asm__ volatile("" ::"r"(room) : "memory");
}

/* --- between blocks --- */

static KEEP void make_edges(void) {
    const hidden a = make(64), b = make(64), c = make(40), empty = make(0), odd = make(29);
    const hidden tags = make(64);
    connect_words(a, 0, b, 0);
    connect_words(a, 1, b, 63);    /* the last byte */
    connect_words(a, 2, a, 0);     /* itself */
    connect_words(a, 3, a, 24);    /* its own word */
    connect_words(b, 0, a, 0);     /* a cycle */
    connect_words(b, 1, empty, 0); /* a block without bytes */
    for (size_t tag = 1; tag < 8; tag++)
        connect_words(tags, tag, c, tag);
    const hidden past = make(64), other = make(64);
    show(past)[0] = ~c + 40;    /* one past the end */
    show(past)[1] = ~empty + 1; /* of nothing */
    say_none(past, c);
    say_none(past, empty);
    const uintptr_t value = ~other;
    memcpy((char *)show(past) + 20, &value, sizeof value); /* not at a multiple of 8 */
    say_none(past, other);
    memcpy((char *)show(odd) + 24, &value, 5); /* in the rest that is no whole word */
    connect_words(odd, 2, other, 8);
    /* In what malloc gave, but nobody asked for. */
    const hidden slack = make(20), behind = make(64);
    show(slack)[2] = ~behind;
    say_none(slack, behind);
    show(slack)[1] = (uintptr_t)1 << 60 | ~behind; /* marked in the high bits */
}

/* Chains through blocks of many sizes and distances. */
static KEEP void make_chain(int length) {
    hidden last = make(24);
    uint64_t seed = 7;
    for (int i = 0; i < length; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        const size_t size = 8 + (seed >> 40) % (i % 100 == 0 ? 100000 : 300);
        const hidden next = make(size);
        const size_t word = (seed >> 20) % (size / 8);
        connect_words(next, word, last, 0);
        last = next;
    }
}

/* Great ones, mostly never touched. */
static KEEP void make_great(void) {
    const size_t size = (size_t)3 << 30;
    const hidden great = hide(calloc(size, 1)), small = make(32);
    if (!~great)
        exit(3);
    connect_words(great, 0, small, 0);
    connect_words(great, size / 8 / 2 + 1, small, 8);
    connect_words(great, size / 8 - 1, small, 16);
    connect_words(small, 0, great, size - 1);
    const hidden aligned = hide(aligned_alloc(1 << 22, 5 << 20));
    if (!~aligned)
        exit(3);
    connect_words(aligned, 12345, great, (size_t)1 << 31);
    connect_words(small, 1, aligned, 0);
    connect_words(small, 2, aligned, (4 << 20) + 1);
}

/* A block with holes: memory that cannot be read, and memory that the copy does not get. */
static KEEP void make_holes(int in_place) {
    const size_t size = 64 * PAGE;
    const hidden block = hide(aligned_alloc(PAGE, size)), target = make(32);
    if (!~block)
        exit(3);
    connect_words(block, 1, target, 0);
    connect_words(block, size / 8 - 1, target, 8);
    connect_words(block, 5 * PAGE / 8, target, 16);
    char *const bytes = (char *)show(block);
    if (mprotect(bytes + 3 * PAGE, 2 * PAGE, PROT_NONE) != 0 ||
        madvise(bytes + 40 * PAGE, PAGE, MADV_DONTFORK) != 0)
        exit(3);
    printf("missing %x\n", (in_place ? 2 : 3) * PAGE);
}

/* --- from outside --- */

static void *volatile global_words[4];
static struct {
    char name[13];
    void *volatile last[2];
} global_struct;
static _Thread_local void *volatile local_words[2];
static pthread_key_t key;
static _Atomic int n_ready;

/* Of the module, whose variables live in memory that the loader gets by malloc when a thread first
 * asks. */
static void *volatile *(*module_word)(void);

static KEEP void load_module(void) {
    const char *const path = getenv("SCAN_MODULE");
    void *const module = path ? dlopen(path, RTLD_NOW) : NULL;
    void *const found = module ? dlsym(module, "scan_module_word") : NULL;
    if (path && !found)
        exit(3);
    memcpy(&module_word, &found, sizeof module_word);
}

static void say_local(int module, void *volatile *variable) {
    printf("local %x %jx %x\n", module, (uintmax_t)(uintptr_t)variable, (unsigned)gettid());
}

static KEEP void put_locals(size_t size) {
    say_local(0, &local_words[0]);
    if (!module_word)
        return;
    const hidden of_module = make(size);
    *module_word() = show(of_module);
    say_root(TLS, of_module, 0);
    say_local(1, module_word());
}

static KEEP void put_globals(void) {
    static void *volatile of_function;
    const hidden a = make(32), b = make(48), c = make(64);
    global_words[2] = show(a);
    global_struct.last[1] = show(b);
    of_function = (char *)show(c) + 10;
    (void)of_function;
    say_root(GLOBAL, a, 0);
    say_root(GLOBAL, b, 0);
    say_root(GLOBAL, c, 0);
    const hidden d = make(72), e = make(80);
    local_words[1] = show(d);
    pthread_setspecific(key, show(e));
    say_root(TLS, d, 0);
    say_root(TLS, e, 0);
}

static KEEP void put_mappings(void) {
    void **const plain =
        mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void **const shared =
        mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char name[] = "/tmp/scan-cases-XXXXXX";
    const int fd = mkstemp(name);
    if (plain == MAP_FAILED || shared == MAP_FAILED || fd < 0 || unlink(name) != 0 ||
        ftruncate(fd, 4 * PAGE) != 0)
        exit(3);
    void **const file = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    void **const cut = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (file == MAP_FAILED || cut == MAP_FAILED)
        exit(3);
    const hidden a = make(100), b = make(110), c = make(120), d = make(130);
    plain[77777] = show(a);
    shared[1] = (char *)show(b) + 1;
    file[3] = show(c);
    file[3 * PAGE / 8] = show(c);
    cut[5] = show(d);
    cut[3 * PAGE / 8] = show(d);
    if (ftruncate(fd, PAGE) != 0) /* the other pages end in SIGBUS */
        exit(3);
    say_root(MAPPING, a, 1);
    say_root(MAPPING, b, 1);
    say_root(MAPPING, c, 1);
    say_root(MAPPING, d, 1);
}

static void ready(void) {
    atomic_fetch_add(&n_ready, 1);
}

/* Sleeps in a system call with a block on its stack, and one in its local storage. */
static void *sleep_with_block(void *unused) {
    void *volatile block = show(make(200)), *volatile inner = show(make(208));
    const hidden local = make(216);
    local_words[0] = show(local);
    flockfile(stdout);
    say_root(STACK, hide(block), 0);
    say_root(STACK, hide((void *)inner), 0);
    say_root(TLS, local, 0);
    put_locals(224);
    funlockfile(stdout);
    ready();
    for (;;)
        pause();
    return unused;
}

/* Runs with blocks in registers only: one that calls keep, one that they do not. */
static KEEP void spin(uintptr_t inverted_a, uintptr_t inverted_b) {
    __asm__ volatile("notq %0\n\t"
                     "notq %1\n\t"
                     "movq %0, %%r13\n\t"
                     "movq %1, %%r9\n\t"
                     "notq %0\n\t"
                     "notq %1\n\t"
                     "lock addl $1, %2\n"
                     "1:\n\t"
                     "pause\n\t"
                     "jmp 1b"
                     : "+r"(inverted_a), "+r"(inverted_b), "+m"(n_ready)
                     :
                     : "r13", "r9", "memory");
}

static void *run_with_registers(void *unused) {
    const hidden a = make(300), b = make(308);
    flockfile(stdout);
    say_root(REGISTER, a, 0);
    say_root(REGISTER, b, 0);
    funlockfile(stdout);
    clean_stack();
    spin(a, b);
    return unused;
}

/* In a signal's handler, on a stack of its own. */
static void on_signal(int signal) {
    void *volatile block = show(make(400));
    (void)signal;
    say_root(ALT_STACK, hide(block), 1);
    ready();
    for (;;)
        pause();
}

static void *handle_on_other_stack(void *unused) {
    char *const stack =
        mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const stack_t alternate = {.ss_sp = stack, .ss_size = 1 << 16};
    void *volatile block = show(make(408));
    if (stack == MAP_FAILED || sigaltstack(&alternate, NULL) != 0)
        exit(3);
    say_root(STACK, hide(block), 1);
    raise(SIGUSR1);
    return unused;
}

/* On a coroutine's stack in a block of malloc: what it refers to is a reference of the block. */
static ucontext_t coroutine, back;
static hidden coroutine_stack;

static void in_coroutine(void) {
    void *volatile block = show(make(500));
    printf("held %jx %jx\n", (uintmax_t)~coroutine_stack, (uintmax_t)block);
    swapcontext(&coroutine, &back);
}

/* On one in a mapping: nobody knows where it is in use. */
static ucontext_t mapped, mapped_back;

static void in_mapped(void) {
    void *volatile block = show(make(508));
    say_root(MAPPING, hide(block), 1);
    swapcontext(&mapped, &mapped_back);
}

static KEEP void make_mapped_coroutine(void) {
    const size_t size = 1 << 16;
    char *const stack =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack == MAP_FAILED)
        exit(3);
    getcontext(&mapped);
    mapped.uc_stack.ss_sp = stack;
    mapped.uc_stack.ss_size = size;
    mapped.uc_link = NULL;
    makecontext(&mapped, in_mapped, 0);
    swapcontext(&mapped_back, &mapped);
}

/* A thread that is in one. */
static ucontext_t resting;

static void rest(void) {
    void *volatile block = show(make(416));
    flockfile(stdout);
    say_root(ALT_STACK, hide(block), 1);
    funlockfile(stdout);
    ready();
    for (;;)
        pause();
}

static void *rest_in_coroutine(void *unused) {
    const size_t size = 1 << 16;
    char *const stack =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *volatile block = show(make(424));
    if (stack == MAP_FAILED)
        exit(3);
    flockfile(stdout);
    say_root(STACK, hide(block), 1);
    funlockfile(stdout);
    getcontext(&resting);
    resting.uc_stack.ss_sp = stack;
    resting.uc_stack.ss_size = size;
    resting.uc_link = NULL;
    makecontext(&resting, rest, 0);
    setcontext(&resting);
    return unused;
}

static KEEP void make_coroutine(void) {
    coroutine_stack = make(1 << 16);
    getcontext(&coroutine);
    coroutine.uc_stack.ss_sp = show(coroutine_stack);
    coroutine.uc_stack.ss_size = 1 << 16;
    coroutine.uc_link = NULL;
    makecontext(&coroutine, in_coroutine, 0);
    swapcontext(&back, &coroutine);
    say_root(GLOBAL, coroutine_stack, 0);
}

static void start(void *(*fn)(void *)) {
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 << 10);
    if (pthread_create(&thread, &attributes, fn, NULL) != 0)
        exit(3);
    pthread_attr_destroy(&attributes);
}

static KEEP void make_all(int n_threads, int length) {
    make_edges();
    make_chain(length);
    make_great();
    make_holes(getenv("IN_PLACE") != NULL);
    load_module();
    put_globals();
    put_locals(88);
    put_mappings();
    make_coroutine();
    make_mapped_coroutine();
    start(run_with_registers);
    start(handle_on_other_stack);
    start(rest_in_coroutine);
    for (int i = 0; i < n_threads; i++)
        start(sleep_with_block);
}

int main(int argc, char **argv) {
    const int n_threads = argc > 1 ? atoi(argv[1]) : 3;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_ONSTACK;
    sigaction(SIGUSR1, &action, NULL);
    pthread_key_create(&key, NULL);
    make_all(n_threads, argc > 2 ? atoi(argv[2]) : 20000);
    while (atomic_load(&n_ready) < n_threads + 3)
        usleep(1000);
    usleep(100000); /* until they sleep */
    clean_stack();
    void *volatile block = show(make(600));
    say_root(STACK, hide(block), 0);
    fflush(stdout);
    exit(0);
}
