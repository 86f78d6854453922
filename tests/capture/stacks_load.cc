// A load for the check of stacks: everything that moves a stack in an unusual way, with allocations
// at every turn. Usage: stacks_load ROUNDS LIBRARY LIBRARY (two libraries that export make_blocks)
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <ucontext.h>

#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#if __has_attribute(noclone) /* not in clang, which makes no clones */
#define KEEP __attribute__((noinline, noclone))
#else
#define KEEP __attribute__((noinline))
#endif

static thread_local uint64_t state;
static void *volatile sink;

static unsigned chance(unsigned n) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return static_cast<unsigned>(state >> 20) % n;
}

static KEEP void allocate() {
    void *const a = malloc(chance(200));
    void *const b = new char[chance(100) + 1];
    sink = a;
    free(a);
    sink = b;
    delete[] static_cast<char *>(b);
}

static KEEP void wander(unsigned depth);

static KEEP void with_alloca(unsigned depth) {
    char *const some = static_cast<char *>(__builtin_alloca(16 + chance(4000)));
    some[0] = 1;
    sink = some;
    allocate();
    wander(depth);
    allocate();
}

static KEEP void aligned_frame(unsigned depth) { // realigned stack: the CFA is an expression
    alignas(64) volatile char block[128];
    block[0] = static_cast<char>(depth);
    char *const some = static_cast<char *>(__builtin_alloca(16 + chance(100)));
    sink = some;
    wander(depth);
    allocate();
    block[1] = block[0];
}

static KEEP void far_frame(unsigned depth) {
    volatile char block[70000];
    block[0] = block[69999] = 0;
    wander(depth);
    allocate();
    block[1] = block[0];
}

static KEEP void thrower(unsigned depth) {
    if (depth == 0 || chance(4) == 0) {
        allocate();
        throw std::runtime_error("an error with a text that is allocated " + std::to_string(depth));
    }
    std::string holds(chance(100), 'x');
    thrower(depth - 1);
    sink = &holds;
}

static KEEP void catcher(unsigned depth) {
    try {
        thrower(chance(8));
    } catch (const std::exception &e) {
        sink = const_cast<char *>(e.what());
        allocate();
        wander(depth);
    }
    allocate();
}

static KEEP void jumper(jmp_buf *back, unsigned depth) {
    allocate();
    if (depth == 0)
        longjmp(*back, 1);
    jumper(back, depth - 1);
    allocate();
}

static KEEP void jumped(unsigned depth) {
    jmp_buf back;
    if (setjmp(back) == 0)
        jumper(&back, chance(6));
    allocate();
    wander(depth);
}

static KEEP void saves_much(unsigned depth) { // uses every callee-saved register
    uint64_t v[12];
    for (unsigned i = 0; i < 12; i++)
        v[i] = state + i;
    wander(depth);
    uint64_t sum = 0;
    for (unsigned i = 0; i < 12; i++)
        sum += v[i] * (v[(i + 1) % 12] | 1);
    sink = reinterpret_cast<void *>(sum);
    allocate();
}

// From the same start along the same words, with one frame more or less on the way: what another
// call left in a frame of variable size still stands there. Only the frame pointer tells.
static thread_local uintptr_t same_start;
static KEEP void varied() {
    const uintptr_t here = reinterpret_cast<uintptr_t>(__builtin_alloca(16));
    if (same_start == 0)
        same_start = here - 4096;
    sink = __builtin_alloca(here - same_start);
    void *const block = malloc(24);
    sink = block;
    free(block);
}
static KEEP void between() {
    varied();
    asm volatile("");
}
static KEEP void frame_pointers() {
    void (*const ways[])() = {varied, between};
    same_start = 0;
    for (unsigned i = 0; i < 40; i++) {
        ways[i % 2]();
        asm volatile("");
    }
}

static KEEP void deep(unsigned depth) {
    if (depth == 0 || chance(50) == 0)
        allocate();
    if (depth > 0)
        deep(depth - 1);
    if (chance(50) == 0)
        allocate();
}

static KEEP void wander(unsigned depth) {
    allocate();
    if (depth == 0)
        return;
    for (unsigned i = chance(3); i > 0; i--)
        switch (chance(8)) {
        case 0: with_alloca(depth - 1); break;
        case 1: aligned_frame(depth - 1); break;
        case 2: catcher(depth - 1); break;
        case 3: jumped(depth - 1); break;
        case 4: saves_much(depth - 1); break;
        case 5: far_frame(depth - 1); break;
        default: wander(depth - 1);
        }
    allocate();
}

// Coroutines, some on stacks that are unmapped when they end.
struct coroutine {
    ucontext_t here, back;
    void *stack;
    bool done;
};
static thread_local coroutine *running;

static void coroutine_main() {
    coroutine *const c = running;
    for (unsigned i = 0; i < 5; i++) {
        wander(4);
        swapcontext(&c->here, &c->back);
    }
    c->done = true;
    swapcontext(&c->here, &c->back);
}

static KEEP void coroutines() {
    const size_t size = 512 << 10;
    coroutine *some[4] = {};
    for (unsigned turn = 0; turn < 60; turn++) {
        coroutine *&c = some[chance(4)];
        if (c == nullptr) {
            c = new coroutine;
            c->stack =
                mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            c->done = false;
            getcontext(&c->here);
            c->here.uc_stack.ss_sp = c->stack;
            c->here.uc_stack.ss_size = size;
            c->here.uc_link = nullptr;
            makecontext(&c->here, coroutine_main, 0);
        }
        running = c;
        swapcontext(&c->back, &c->here);
        allocate();
        if (c->done) {
            munmap(c->stack, size);
            delete c;
            c = nullptr;
        }
    }
}

// malloc in a handler is not allowed by any standard, and done by many programs: here it strikes
// only while no allocation is under way.
static volatile sig_atomic_t in_signal;
static void handler(int) {
    const int saved = in_signal;
    in_signal = 1;
    wander(1);
    in_signal = saved;
}

static KEEP void signals() {
    for (unsigned i = 0; i < 20; i++) {
        raise(i % 2 ? SIGUSR1 : SIGUSR2);
        allocate();
        volatile unsigned *const nothing = static_cast<volatile unsigned *>(
            mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        (void)nothing;
        munmap(const_cast<unsigned *>(nothing), 4096);
    }
}

static void *volatile fault_page;
static void on_fault(int) { // interrupts at an exact instruction
    wander(2);
    mprotect(fault_page, 4096, PROT_READ | PROT_WRITE);
}
static KEEP void faults() {
    for (unsigned i = 0; i < 5; i++) {
        mprotect(fault_page, 4096, PROT_NONE);
        *static_cast<volatile char *>(fault_page) = 1;
        allocate();
    }
}

static char **libraries;
static KEEP void modules() {
    for (unsigned i = 0; i < 4; i++) {
        void *const module = dlopen(libraries[i & 1], RTLD_NOW | RTLD_LOCAL);
        if (module == nullptr) {
            fprintf(stderr, "%s\n", dlerror());
            exit(1);
        }
        void (*make_blocks)(unsigned);
        void *const found = dlsym(module, "make_blocks");
        memcpy(&make_blocks, &found, sizeof found);
        make_blocks(chance(30));
        dlclose(module);
        allocate();
    }
}

static unsigned rounds;

static void *work(void *seed) {
    state = reinterpret_cast<uintptr_t>(seed) * UINT64_C(88172645463325252) + 1;
    char *const alternate = static_cast<char *>(malloc(256 << 10));
    stack_t stack = {};
    stack.ss_sp = alternate;
    stack.ss_size = 256 << 10;
    sigaltstack(&stack, nullptr);
    for (unsigned i = 0; i < rounds; i++) {
        wander(7);
        if (i % 4 == 0)
            coroutines();
        if (i % 8 == 1)
            deep(chance(1500));
        if (i % 4 == 2)
            signals();
        if (i % 16 == 3)
            frame_pointers();
        std::map<std::string, std::vector<int>> things;
        for (unsigned k = 0; k < 20; k++)
            things[std::to_string(chance(1000))].resize(chance(50));
    }
    stack.ss_flags = SS_DISABLE;
    sigaltstack(&stack, nullptr);
    free(alternate);
    return nullptr;
}

int main(int argc, char **argv) {
    if (argc != 4)
        return 2;
    rounds = static_cast<unsigned>(atoi(argv[1]));
    libraries = argv + 2;
    struct sigaction action = {};
    action.sa_handler = handler;
    sigaction(SIGUSR1, &action, nullptr);
    action.sa_flags = SA_ONSTACK;
    sigaction(SIGUSR2, &action, nullptr);
    action.sa_handler = on_fault;
    action.sa_flags = 0;
    sigaction(SIGSEGV, &action, nullptr);
    fault_page = mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_t threads[3];
    for (uintptr_t i = 0; i < 3; i++)
        pthread_create(&threads[i], nullptr, work, reinterpret_cast<void *>(i + 2));
    work(reinterpret_cast<void *>(uintptr_t(1)));
    for (unsigned i = 0; i < rounds / 4 + 1; i++) {
        modules();
        faults();
    }
    for (pthread_t thread : threads)
        pthread_join(thread, nullptr);
    puts("done");
    return 0;
}
