/* A program whose virtual tables and function pointers are known.
 *
 * Says on standard output, then calls exit, where the snapshot is taken:
 *   vptr BLOCK WORD NAME TOP      the block has a virtual table's address there, of that type
 *   novptr BLOCK                  it has none
 *   code BLOCK WORD FUNCTION      it holds the start of a function; BLOCK 0: a global, WORD is its
 * address nocode BLOCK                  it holds none frame TID START END           the thread has
 * a frame of a function there All numbers but TOP are hexadecimal. */
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <typeinfo>
#include <vector>

#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

namespace shapes {
struct Base {
    virtual ~Base() {}
    long a = 1;
};
struct Other {
    virtual int area() { return 0; }
    virtual ~Other() {}
};
struct Both : Base, Other {
    int area() override { return 2; }
    std::string name = "both";
};
struct Root {
    virtual ~Root() {}
};
struct Virtual : virtual Root {
    long b = 2;
};
template <typename T> struct Box : Base { T value{}; };
} // namespace shapes

namespace {
struct Hidden : shapes::Base {};

using callback = void (*)(void *);
struct Handler {
    long number;
    callback function;
    void *argument;
};

int n_called;
void on_event(void *) {
    n_called++;
}
void on_other(void *) {
    n_called += 2;
}

Handler table_of_handlers[2] = {{1, nullptr, nullptr}, {2, nullptr, nullptr}};
std::vector<void *> kept;

template <typename T> T *keep(T *object) {
    kept.push_back(object);
    return object;
}

void say_vptr(const void *block, unsigned word, const std::type_info &type) {
    const auto *const table = *(reinterpret_cast<const std::ptrdiff_t *const *>(block) + word);
    std::printf("vptr %jx %x %s %td\n", reinterpret_cast<std::uintmax_t>(block), word, type.name(),
                table[-2]);
}

void say_code(const void *block, std::uintmax_t word, callback function) {
    std::printf("code %jx %jx %jx\n", reinterpret_cast<std::uintmax_t>(block), word,
                reinterpret_cast<std::uintmax_t>(function));
}

void make_types() {
    using namespace shapes;
    say_vptr(keep(new Base), 0, typeid(Base));
    auto *const both = keep(new Both);
    say_vptr(both, 0, typeid(Both));
    say_vptr(both, 2, typeid(Both));
    say_vptr(keep(new Virtual), 0, typeid(Virtual));
    say_vptr(keep(new Box<std::vector<int>>), 0, typeid(Box<std::vector<int>>));
    say_vptr(keep(new Hidden), 0, typeid(Hidden));
    say_vptr(keep(new std::runtime_error("text")), 0, typeid(std::runtime_error));
    for (int i = 0; i < 1000; i++)
        keep(new Both);
    /* What is behind the address is no virtual table. */
    static const char text[] = "a text of an image, no table";
    auto **const texts = keep(new const void *[4]());
    texts[0] = text;
    texts[1] = &typeid(Base);
    texts[2] = &text[8];
    std::printf("novptr %jx\n", reinterpret_cast<std::uintmax_t>(texts));
}

void make_callbacks() {
    auto *const one = keep(new Handler{7, on_event, nullptr});
    say_code(one, 1, on_event);
    auto *const many = keep(new Handler[3]());
    many[0].function = on_other;
    many[2].function = on_event;
    say_code(many, 1, on_other);
    say_code(many, 7, on_event);
    table_of_handlers[1].function = on_other;
    say_code(nullptr, reinterpret_cast<std::uintmax_t>(&table_of_handlers[1].function), on_other);
    auto *const middle = keep(new std::uintptr_t[2]());
    middle[0] = reinterpret_cast<std::uintptr_t>(&on_event) + 3;
    middle[1] = reinterpret_cast<std::uintptr_t>(&on_event) - 1;
    std::printf("nocode %jx\n", reinterpret_cast<std::uintmax_t>(middle));
}
} // namespace

/* Sections of their own, so that their bounds are known. */
extern "C" {
extern char __start_frame_outer[], __stop_frame_outer[], __start_frame_inner[],
    __stop_frame_inner[];
extern char __start_frame_spin[], __stop_frame_spin[], __start_frame_main[], __stop_frame_main[];

static sem_t ready;
static volatile int spins = 1;

__attribute__((noinline, section("frame_inner"))) void sleep_inside(int *p) {
    sem_post(&ready);
    for (;;)
        pause();
    *p = 1;
}
__attribute__((noinline, section("frame_outer"))) void *sleep_outside(void *context) {
    volatile int room[33] = {};
    *static_cast<int *>(context) = gettid();
    sleep_inside(const_cast<int *>(&room[7]));
    return nullptr;
}
__attribute__((noinline, section("frame_spin"))) void *spin(void *context) {
    *static_cast<int *>(context) = gettid();
    sem_post(&ready);
    while (spins)
        continue;
    return nullptr;
}
}

static void say_frame(int tid, const char *start, const char *end) {
    std::printf("frame %x %jx %jx\n", tid, reinterpret_cast<std::uintmax_t>(start),
                reinterpret_cast<std::uintmax_t>(end));
}

static void make_threads() {
    static int sleeper, runner;
    pthread_t thread;
    sem_init(&ready, 0, 0);
    if (pthread_create(&thread, nullptr, sleep_outside, &sleeper) ||
        pthread_create(&thread, nullptr, spin, &runner))
        std::exit(3);
    sem_wait(&ready);
    sem_wait(&ready);
    usleep(100000); /* until one sleeps */
    say_frame(sleeper, __start_frame_inner, __stop_frame_inner);
    say_frame(sleeper, __start_frame_outer, __stop_frame_outer);
    say_frame(runner, __start_frame_spin, __stop_frame_spin);
}

__attribute__((section("frame_main"))) int main() {
    make_types();
    make_callbacks();
    make_threads();
    say_frame(getpid(), __start_frame_main, __stop_frame_main);
    std::fflush(stdout);
    std::exit(0);
}
