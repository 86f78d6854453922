// Every hook, seen through the probe: what is allocated is recorded as asked for, what is freed is
// gone, what fails changes nothing. Runs over whatever allocator it is loaded with.
// Usage: hooks_load (with the recorder of the tests preloaded)
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <new>
#include <pthread.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <heapsnap/snapdef.h>

#include "probe.h"

static const probe *p;
static unsigned wrong;

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            wrong++;                                                                               \
            char text[300];                                                                        \
            const int n_text = snprintf(text, sizeof text, "line %d: %s\n", __LINE__, #condition); \
            if (write(2, text, static_cast<size_t>(n_text)) < 0)                                   \
                abort();                                                                           \
        }                                                                                          \
    } while (0)

static bool recorded(const void *block, size_t size, unsigned kind, unsigned flags = 0) {
    recorder_block b;
    if (p->block(block, &b) != 1)
        return false;
    if (b.size != size || b.flags >> 24 != kind || (b.flags & 0xffff) != flags || b.stack == 0 ||
        b.birth == 0) {
        fprintf(stderr, "size %lu kind %u flags %u stack %u birth %lu\n", b.size, b.flags >> 24,
                b.flags & 0xffff, b.stack, b.birth);
        return false;
    }
    return true;
}
static bool gone(const void *block) {
    recorder_block b;
    return p->block(block, &b) == 0;
}

static void *early_block = malloc(77);
static __attribute__((constructor(101))) void very_early() {
    early_block = malloc(78);
}

static void *volatile keep;

static void c_functions() {
    const unsigned block = SNAP_NODE_BLOCK, aligned = SNAP_NODE_FLAG_ALIGNED;
    char *a = static_cast<char *>(malloc(100));
    EXPECT(recorded(a, 100, block));
    EXPECT(malloc_usable_size(a) >= 100);
    memset(a, 1, malloc_usable_size(a));
    a = static_cast<char *>(realloc(a, 200));
    EXPECT(recorded(a, 200, block));
    volatile size_t huge = SIZE_MAX / 2 - 4096;
    EXPECT(realloc(a, huge) == nullptr);
    EXPECT(recorded(a, 200, block));
    void *const before = a;
    a = static_cast<char *>(realloc(a, 1 << 20));
    EXPECT(recorded(a, 1 << 20, block));
    EXPECT(before == a || gone(before));
    free(a);
    EXPECT(gone(a));
    EXPECT(malloc(huge) == nullptr && errno == ENOMEM);
    EXPECT(calloc(huge, 16) == nullptr);
    EXPECT(reallocarray(nullptr, huge, 16) == nullptr);
    keep = calloc(10, 30);
    EXPECT(recorded(keep, 300, block));
    EXPECT(static_cast<char *>(keep)[299] == 0);
    keep = reallocarray(keep, 20, 30);
    EXPECT(recorded(keep, 600, block));
    free(keep);
    void *b = nullptr;
    EXPECT(posix_memalign(&b, 256, 50) == 0);
    EXPECT(recorded(b, 50, block, aligned) && reinterpret_cast<uintptr_t>(b) % 256 == 0);
    free(b);
    EXPECT(gone(b));
    volatile size_t three = 3;
    EXPECT(posix_memalign(&b, three, 50) == EINVAL);
    b = aligned_alloc(64, 128);
    EXPECT(recorded(b, 128, block, aligned));
    free(b);
    b = memalign(4096, 10);
    EXPECT(recorded(b, 10, block, aligned));
    free(b);
    b = valloc(10);
    EXPECT(recorded(b, 10, block, aligned));
    free(b);
    if (getenv("NO_PVALLOC") ==
        nullptr) { // not every allocator has it: libc's would take its place
        b = pvalloc(10);
        EXPECT(recorded(b, 10, block, aligned));
        free(b);
    }
    b = malloc(0);
    EXPECT(recorded(b, 0, block));
    free(b);
    EXPECT(gone(b));
    b = malloc(8);
    void *const zero = realloc(b, 0);
    EXPECT(zero == nullptr ? gone(b) : recorded(zero, 0, block));
    if (zero != nullptr)
        free(zero);
    errno = 5;
    free(nullptr);
    b = malloc(40 << 20);
    EXPECT(recorded(b, 40 << 20, block));
    free(b);
    EXPECT(errno == 5);
    char *const copy = strdup("thirteen chars");
    EXPECT(recorded(copy, 15, block));
    free(copy);
    // Neighbours as close as the allocator puts them.
    void *many[3000];
    for (unsigned i = 0; i < 3000; i++)
        many[i] = malloc(1 + i % 16);
    for (unsigned i = 0; i < 3000; i += 97)
        EXPECT(recorded(many[i], 1 + i % 16, block));
    for (unsigned i = 0; i < 3000; i += 2)
        free(many[i]);
    for (unsigned i = 0; i < 3000; i += 101)
        EXPECT(i % 2 ? recorded(many[i], 1 + i % 16, block) : gone(many[i]));
    for (unsigned i = 1; i < 3000; i += 2)
        free(many[i]);
}

static unsigned handled;
static void handler() {
    if (++handled == 3)
        std::set_new_handler(nullptr);
}

struct alignas(128) wide {
    char bytes[256];
};

static void operators() {
    const unsigned made = SNAP_NODE_NEW, aligned = SNAP_NODE_FLAG_ALIGNED;
    int *const one = new int;
    EXPECT(recorded(one, sizeof *one, made));
    delete one;
    EXPECT(gone(one));
    char *volatile some = new char[1000];
    EXPECT(recorded(some, 1000, made));
    delete[] some;
    EXPECT(gone(some));
    wide *volatile w = new wide;
    EXPECT(recorded(w, 256, made, aligned) && reinterpret_cast<uintptr_t>(w) % 128 == 0);
    delete w;
    EXPECT(gone(w));
    w = new wide[3];
    EXPECT(recorded(w, 768, made, aligned));
    delete[] w;
    some = new (std::nothrow) char[10];
    EXPECT(recorded(some, 10, made));
    ::operator delete[](some, std::nothrow);
    EXPECT(gone(some));
    if (getenv("NO_THROW") != nullptr) // an allocator that aborts instead
        return;
    volatile size_t huge = SIZE_MAX / 2 - 4096;
    EXPECT((new (std::nothrow) char[huge]) == nullptr);
    bool thrown = false;
    try {
        some = new char[huge];
    } catch (const std::bad_alloc &) {
        thrown = true;
    }
    EXPECT(thrown);
    std::set_new_handler(handler);
    thrown = false;
    try {
        some = static_cast<char *>(::operator new(huge));
    } catch (const std::bad_alloc &) {
        thrown = true;
    }
    EXPECT(thrown && handled >= 3);
    void *const after = malloc(33); // recording goes on
    EXPECT(recorded(after, 33, SNAP_NODE_BLOCK));
    free(after);
}

static void regions() {
    recorder_region r;
    const size_t page = 4096;
    char *const m = static_cast<char *>(
        mmap(nullptr, 16 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    EXPECT(p->region(m, &r) == 1 && r.size >= 16 * page && r.stack != 0 &&
           r.protection == (PROT_READ | PROT_WRITE));
    munmap(m + 4 * page, page);
    EXPECT(p->region(m + 4 * page, &r) == 0);
    EXPECT(p->region(m, &r) == 1 &&
           r.address + r.size == reinterpret_cast<uintptr_t>(m) + 4 * page);
    EXPECT(p->region(m + 5 * page, &r) == 1 &&
           r.address == reinterpret_cast<uintptr_t>(m) + 5 * page);
    void *const to = mremap(m + 8 * page, 8 * page, 64 * page, MREMAP_MAYMOVE);
    EXPECT(to != MAP_FAILED && p->region(to, &r) == 1);
    EXPECT(p->region(static_cast<char *>(to) + 63 * page, &r) == 1);
    munmap(to, 64 * page);
    EXPECT(p->region(to, &r) == 0);
    munmap(m, 16 * page);
    EXPECT(p->region(m, &r) == 0);
    void *const old = sbrk(8 * page);
    if (old != reinterpret_cast<void *>(-1)) {
        EXPECT(p->region(old, &r) == 1);
        if (sbrk(0) == static_cast<char *>(old) + 8 * page) {
            sbrk(-8 * static_cast<intptr_t>(page));
            EXPECT(p->region(old, &r) == 0);
        }
    }
    recorder_counts before, after;
    p->counts(&before);
    void *const file = mmap(nullptr, page, PROT_READ, MAP_PRIVATE, open("/proc/self/exe", 0), 0);
    EXPECT(p->region(file, &r) == 0);
    p->counts(&after);
    EXPECT(after.dropped_regions == before.dropped_regions);
}

static pthread_key_t key;
static bool late_seen;
static void late(void *block) {
    free(block); // after the recorder's own destructor, perhaps
    void *const b = malloc(55);
    late_seen = recorded(b, 55, SNAP_NODE_BLOCK);
    free(b);
}
struct thread_object {
    void *block = malloc(66);
    ~thread_object() {
        free(block);
        free(malloc(67));
    }
};
static thread_local thread_object object;

static void *short_life(void *) {
    pthread_setspecific(key, malloc(44));
    keep = object.block;
    return nullptr;
}

static void threads() {
    pthread_key_create(&key, late);
    for (unsigned i = 0; i < 40; i++) {
        pthread_t some[4];
        for (pthread_t &t : some)
            pthread_create(&t, nullptr, short_life, nullptr);
        for (pthread_t t : some)
            pthread_join(t, nullptr);
    }
    EXPECT(late_seen);
    recorder_counts c;
    p->counts(&c);
    EXPECT(c.own_bytes < 64u << 20);
}

static void *churn(void *stop) {
    while (!*static_cast<volatile bool *>(stop))
        free(malloc(100));
    return nullptr;
}

static void forks() {
    pthread_atfork(p->before_fork, p->after_fork_parent, p->after_fork_child);
    volatile bool stop = false;
    pthread_t busy[3];
    for (pthread_t &t : busy)
        pthread_create(&t, nullptr, churn, const_cast<bool *>(&stop));
    void *const mine = malloc(123);
    for (unsigned i = 0; i < 12; i++) {
        const pid_t child = fork();
        if (child == 0) {
            void *const fresh = malloc(124);
            EXPECT(recorded(mine, 123, SNAP_NODE_BLOCK, SNAP_NODE_FLAG_INHERITED));
            EXPECT(recorded(fresh, 124, SNAP_NODE_BLOCK));
            free(mine);
            EXPECT(gone(mine));
            _exit(wrong != 0);
        }
        int status = 1;
        waitpid(child, &status, 0);
        EXPECT(status == 0);
    }
    EXPECT(recorded(mine, 123, SNAP_NODE_BLOCK));
    // Copies that run no handlers, made while other threads are anywhere, and while frozen.
    for (unsigned i = 0; i < 12; i++) {
        if (i % 3 == 0)
            p->freeze(1000000000);
        const pid_t child = _Fork();
        if (child == 0) {
            if (i % 3 == 0)
                p->thaw();
            for (unsigned k = 0; k < 1000; k++)
                free(malloc(k));
            _exit(0);
        }
        if (i % 3 == 0)
            p->thaw();
        int status = 1;
        waitpid(child, &status, 0);
        EXPECT(status == 0);
    }
    for (unsigned i = 0; i < 10; i++) {
        const pid_t child = vfork();
        if (child == 0) {
            keep = malloc(31); // not allowed, and done
            execl("/bin/true", "true", static_cast<char *>(nullptr));
            _exit(1);
        }
        int status = 1;
        waitpid(child, &status, 0);
        EXPECT(status == 0);
        EXPECT(recorded(keep, 31, SNAP_NODE_BLOCK));
        free(keep);
        char name[] = "true";
        char *const arguments[] = {name, nullptr};
        pid_t spawned;
        EXPECT(posix_spawn(&spawned, "/bin/true", nullptr, nullptr, arguments, environ) == 0);
        waitpid(spawned, &status, 0);
        EXPECT(status == 0);
    }
    EXPECT(system("exit 0") == 0);
    stop = true;
    for (pthread_t t : busy)
        pthread_join(t, nullptr);
    free(mine);
}

static void moments() {
    recorder_block b;
    const uint64_t mark = p->birth_mark();
    void *const later = malloc(10);
    EXPECT(p->block(later, &b) == 1 && b.birth > mark);
    free(later);
    p->mute(1);
    void *const unseen = malloc(11);
    p->mute(0);
    EXPECT(gone(unseen));
    free(unseen);
    EXPECT(p->freeze(1000000000) == 0);
    EXPECT(p->freeze(1000000000) == 0); // nests
    p->thaw();
    void *const frozen = malloc(12); // the freezer itself does not wait, nor is it recorded
    p->thaw();
    EXPECT(gone(frozen));
    free(frozen);
}

static void at_exit() {
    void *const b = malloc(88);
    if (!recorded(b, 88, SNAP_NODE_BLOCK))
        _exit(3);
    free(b);
}

int main() {
    p = static_cast<const probe *>(dlsym(RTLD_DEFAULT, "heapsnap_probe"));
    if (p == nullptr) {
        fprintf(stderr, "the recorder of the tests is not loaded\n");
        return 2;
    }
    int foreign = 0;
    const char *const allocator = p->allocator(&foreign);
    printf("allocator %s%s\n", allocator ? allocator : "?", foreign ? ", foreign" : "");
    fflush(stdout);
    if (foreign) { // nothing to see; all that matters is that nothing breaks
        free(reallocarray(malloc(10), 20, 30));
        delete[] new char[100];
        return 4;
    }
    atexit(at_exit);
    EXPECT(recorded(early_block, 77, SNAP_NODE_BLOCK));
    c_functions();
    operators();
    regions();
    threads();
    forks();
    moments();
    recorder_counts c;
    p->counts(&c);
    EXPECT(c.dropped_blocks == 0 && c.dropped_stacks == 0);
    printf("%u wrong, %lu unknown frees\n", wrong, c.unknown_frees);
    return wrong != 0;
}
