// The same in C++.
#include <cstdio>

namespace shop {

class Base {
  public:
    virtual ~Base();
    long id = 0;
};
Base::~Base() = default;

struct Side {
    virtual void turn() {}
    Side *left = nullptr;
};

template <typename T, int N> struct Box {
    T content;
    T *more[N];
    struct Inner {
        Box *outer;
    };
};

class Derived : public Base, public Side {
  public:
    static Derived *first;
    Box<unsigned long, 2> *box = nullptr;
    Box<Derived *, 3>::Inner inner{};
};
Derived *Derived::first;

struct Virtual : virtual Base {
    int own = 0;
};

Derived g_derived;
static Box<unsigned long, 2> g_box;

} // namespace shop

namespace {
shop::Virtual *volatile hidden;
}

int main(int argc, char **argv) {
    static shop::Derived *once = new shop::Derived;
    shop::Derived::first = once;
    shop::g_box.content = (unsigned long)argc;
    once->box = &shop::g_box;
    if (argc > 3)
        hidden = new shop::Virtual;
    std::puts(argv[0]);
    return (int)(once->id + shop::g_derived.id + (hidden != nullptr ? hidden->own : 0));
}
