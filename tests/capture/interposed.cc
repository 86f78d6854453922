// A program that holds known blocks of each function that allocates, for test_interposer.py; with
// an argument it becomes that program at its end.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <malloc.h>
#include <new>
#include <sys/mman.h>
#include <unistd.h>

namespace {

void *held[8][16];
struct alignas(128) wide {
    char bytes[1920];
};

} // namespace

int main(int argc, char **argv) {
    const char *const text = dlerror(); // nobody has failed here
    std::printf("error %s\n", text ? text : "none");
    for (int i = 0; i < 16; i++) {
        held[0][i] = std::malloc(1201);
        held[1][i] = std::calloc(3, 401);
        held[2][i] = std::realloc(std::malloc(10), 1205);
        if (posix_memalign(&held[3][i], 64, 1207) != 0)
            return 1;
        held[4][i] = reallocarray(std::malloc(20), 3, 403);
        held[5][i] = ::operator new(1211);
        held[6][i] = new wide;
        held[7][i] = memalign(64, 1213);
        std::free(std::malloc(99));
        ::operator delete(::operator new(98));
    }
    void *const map =
        mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    std::printf("mapped %d usable %d\n", map != MAP_FAILED, malloc_usable_size(held[0][0]) >= 1201);
    std::printf("next %d\n", dlsym(RTLD_NEXT, "malloc") != nullptr);
    std::fflush(stdout);
    if (argc > 1) {
        execvp(argv[1], argv + 1);
        return 1;
    }
    return 0;
}
