/* Objects of classes of many shapes, and a list of what each is: types have to come from run-time
 * type information alone. Callbacks in the shapes of C++.
 *
 * usage: rtti SNAPSHOT, under `snap run`. Prints "node ADDRESS TYPE" ("-": must have no type by a
 * virtual table) and "hook CALLBACK" lines. */
#include <heapsnap/capture.h>

#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <functional>
#include <memory>
#include <vector>

namespace app {
struct Base {
    virtual ~Base() = default;
    long value = 1;
};
struct Other {
    virtual ~Other() = default;
    virtual void act() {}
    long more = 2;
};
struct Single : Base {
    char text[40] = "single";
};
struct Multiple : Base, Other {
    long own = 3;
};
struct Left : virtual Base {
    long left = 4;
};
struct Right : virtual Base {
    long right = 5;
};
struct Diamond : Left, Right {
    long own = 6;
};
template <class T> struct Holder : Base { T held{}; };
} // namespace app

namespace {
struct Hidden : app::Other {
    long own = 7;
};
} // namespace

/* Points at data of the image that looks a little like a virtual table. */
static const void *const not_a_table[] = {nullptr, "4Fake", "", nullptr};
struct Plain {
    const void *const *first = not_a_table + 2;
    Plain *next = nullptr;
};

struct Listener {
    void (*function)(void *) = nullptr;
    void *argument = nullptr;
};

std::vector<app::Base *> objects;
std::vector<app::Other *> others;
std::vector<std::shared_ptr<app::Single>> shared;
std::vector<std::function<void()>> functions;
Listener listeners[3];
Plain *plain;

static void say(const void *address, const char *type) {
    std::printf("node %lu %s\n", reinterpret_cast<unsigned long>(address), type);
}

__attribute__((noinline)) static void on_event(void *p) {
    __asm__ volatile("" : : "r"(p) : "memory");
}

int main(int argc, char **argv) {
    if (argc != 2)
        return 2;
    auto *const diamond = new app::Diamond;
    auto *const multiple = new app::Multiple;
    auto *const second = new app::Multiple;
    auto *const hidden = new Hidden;
    objects = {new app::Base, new app::Single, multiple, diamond, new app::Holder<int *>};
    others = {second, hidden}; /* by a pointer into the middle, and to a start */
    shared.push_back(std::make_shared<app::Single>());
    shared.push_back(std::shared_ptr<app::Single>(new app::Single));
    plain = new Plain;
    say(objects[0], "app::Base");
    say(objects[1], "app::Single");
    say(multiple, "app::Multiple");
    say(second, "app::Multiple");
    say(diamond, "app::Diamond");
    say(objects[4], "app::Holder<int*>");
    say(hidden, "(anonymous namespace)::Hidden");
    say(shared[1].get(), "app::Single");
    say(plain, "-");
    say(objects.data(), "-");
    /* The object made in place lies behind the two counters of its control block. */
    say(reinterpret_cast<const char *>(shared[0].get()) - 16, "std::make_shared<app::Single>");

    listeners[1].argument = std::malloc(100);
    listeners[1].function = on_event;
    long a = argc, b = 2, c = 3, *const kept = new long(a);
    functions.emplace_back([kept, a, b, c] { *kept += a + b + c; });
    std::printf("hook on_event(void*)\nhook main::{lambda()#1}\n");
    /* What a library makes as it is loaded is as good as static. */
    void *const module = dlopen(std::getenv("MODULE"), RTLD_NOW);
    void *const found = module ? dlsym(module, "scan_module_register") : nullptr;
    if (!found)
        return 3;
    reinterpret_cast<void (*)()>(found)();
    std::printf("hook of_running\nnone of_loading\n");
    std::fflush(stdout);

    snap_error err;
    if (snap_take(argv[1], nullptr, &err) < 0) {
        std::fprintf(stderr, "rtti: %s\n", err.message);
        return 2;
    }
    functions[0]();
    return listeners[1].function == nullptr;
}
