/* Handles of NVIDIA's libraries (cuBLAS, cuDNN, cuSOLVER, cuSPARSE, cuFFT, cuRAND, NCCL), each of
 * which holds memory and other resources: who made them, and how many are left. The functions stand
 * in handle_calls.def.
 *
 * Frameworks call these by name, so ours stand in front of them; by dlsym, hook_dlsym.c hands them
 * out where the library really has them. Invariant: the function called is the one that the caller
 * would have got without us: that of the program, else of the libraries which its own object needs,
 * else the one that dlsym has found for it. Nothing else of these libraries is called. */
#include "capture/hook_handles.h"

#include <dlfcn.h>
#include <string.h>

#include <heapsnap/snapdef.h>

#include "capture/hook.h"
#include "capture/hook_cuda.h"
#include "capture/next.h"

enum { NOT_INITIALIZED = 1, NCCL_IN_PROGRESS = 7 };
enum library { CUBLAS = 1, CUBLASLT, CUDNN, CUSOLVER, CUSPARSE, CURAND, CUFFT, NCCL };

struct nccl_id {
    char bytes[128];
};

enum handle_id {
#define HANDLE_CALL(symbol, ...) HANDLE_##symbol,
#include "capture/handle_calls.def"
    N_HANDLES
};

#define HANDLE_CALL(symbol, library, kind, parameters, ...) HOOK_EXPORT int symbol parameters;
#include "capture/handle_calls.def"

/* By names that nothing can come before. */
#define HANDLE_CALL(symbol, library, kind, parameters, ...)                                        \
    extern __typeof(symbol) own_##symbol __attribute__((alias(#symbol), visibility("hidden")));
#include "capture/handle_calls.def"

static const struct {
    const char *symbol;
    void *ours;
} handles[N_HANDLES] = {
#define HANDLE_CALL(symbol, ...) {#symbol, (void *)own_##symbol},
#include "capture/handle_calls.def"
};

static void *_Atomic handed[N_HANDLES]; /* what a dlsym found that nothing else leads to */

/* Libraries that a call of this thread is inside of: what they call of themselves is no handle of
 * the program's. */
static __thread uint32_t inside __attribute__((tls_model("initial-exec")));

static bool is_ours(const void *address) {
    for (int i = 0; i < N_HANDLES; i++)
        if (handles[i].ours == address)
            return true;
    return false;
}

/* What another thread's dlclose has taken away since is no function of that name any more. */
static void *last_handed(enum handle_id id) {
    Dl_info info;
    void *const found = atomic_load(&handed[id]);
    return found != NULL && dladdr(found, &info) != 0 && info.dli_saddr == found &&
                   strcmp(info.dli_sname, handles[id].symbol) == 0
               ? found
               : NULL;
}

/* The function that the caller's object would be bound to. Takes the loader's lock. */
static void *bound_to(enum handle_id id, const void *caller) {
    void *const found = hook_dlsym_behind(RTLD_DEFAULT, handles[id].symbol, caller, is_ours);
    if (found != NULL)
        return found;
    recorder_mute(1);
    next_forget_error();
    recorder_mute(0);
    return last_handed(id);
}

/* Whose call ends in ours by a jump is not the caller by its return address. */
static void *find_real(enum handle_id id, const void *caller) {
    void *const found = bound_to(id, caller);
    return found != NULL ? found : next_anywhere(handles[id].symbol, is_ours);
}

/* Ours is handed out only where it will call what was found. cuDNN is a library that looks for
 * functions of its own names in others: given ours, which calls that of the caller's object, it
 * would call itself without end. */
struct hook_answer hook_handles_find(void *handle, const char *name, const void *caller) {
    int id = 0;
    while (id < N_HANDLES && strcmp(handles[id].symbol, name) != 0)
        id++;
    if (id == N_HANDLES)
        return (struct hook_answer){NULL, 0};
    void *const found = hook_dlsym_behind(handle, name, caller, is_ours);
    if (found == NULL)
        return (struct hook_answer){NULL, 1};
    void *bound = bound_to(id, caller);
    if (bound == NULL)
        atomic_store(&handed[id], bound = found);
    return (struct hook_answer){bound == found ? handles[id].ours : found, 1};
}

struct call {
    struct stack_start start;
    uint64_t mark;
    uint32_t kind;
    enum library library;
};

/* Handles of two libraries may have the same value. */
static uint64_t key_of(const struct call *c, uint64_t handle) {
    return (uint64_t)c->library << HOOK_HANDLE_SHIFT | handle;
}

static void made(struct call *c, const void *handle) {
    if (handle != NULL)
        hook_cuda_resource(c->kind, key_of(c, (uintptr_t)handle), &c->start);
}

static void made_all(struct call *c, void *const *all, int n) {
    for (int i = 0; i < n; i++)
        made(c, all[i]);
}

static void made_plan(struct call *c, int plan) {
    hook_cuda_resource(c->kind, key_of(c, (uint32_t)plan), &c->start);
}

static void destroyed(struct call *c, const void *handle) {
    if (handle != NULL)
        hook_cuda_resource_gone(c->kind, key_of(c, (uintptr_t)handle), c->mark);
}

static void destroyed_plan(struct call *c, int plan) {
    hook_cuda_resource_gone(c->kind, key_of(c, (uint32_t)plan), c->mark);
}

#define HANDLE_CALL(symbol, library_, kind_, parameters, arguments, after)                         \
    int symbol parameters {                                                                        \
        struct call call = {.start = STACKS_START_HERE(),                                          \
                            .mark = hook_cuda_mark(),                                              \
                            .kind = (kind_),                                                       \
                            .library = (library_)};                                                \
        struct call *const c = &call;                                                              \
        void *const address_ = find_real(HANDLE_##symbol, __builtin_return_address(0));            \
        int(*real_) parameters;                                                                    \
        if (address_ == NULL)                                                                      \
            return NOT_INITIALIZED;                                                                \
        memcpy(&real_, &address_, sizeof real_);                                                   \
        const uint32_t before = inside;                                                            \
        inside |= 1u << (library_);                                                                \
        const int result = real_ arguments;                                                        \
        inside = before;                                                                           \
        if (!(before & 1u << (library_)) &&                                                        \
            (result == 0 || ((library_) == NCCL && result == NCCL_IN_PROGRESS))) {                 \
            after;                                                                                 \
        }                                                                                          \
        return result;                                                                             \
    }
#include "capture/handle_calls.def"
