/* What PyTorch's caching allocator hands out of its segments: it reports every block to a profiler,
 * whether there is one or not, through a function of libc10 that stands in front of us by name.
 *
 * The reports come under the allocator's own lock: nothing here calls CUDA or waits for anybody but
 * a moment. The real function is looked for where PyTorch may have hidden it (libraries of Python
 * are loaded with RTLD_LOCAL); where there is none, nothing is done. */
#include <dlfcn.h>
#include <stdatomic.h>
#include <string.h>

#include "capture/hook.h"
#include "capture/hook_cuda.h"
#include "capture/next.h"
#include "capture/oom.h"

struct c10_device {
    int8_t type, index; /* type 1: CUDA; index -1: the current one */
};
enum { C10_CUDA = 1 };

typedef void report_fn(void *address, int64_t size, size_t allocated, size_t reserved,
                       struct c10_device device);

/* c10::reportMemoryUsageToProfiler(void *, int64_t, size_t, size_t, c10::Device) */
#define REPORT _ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE
#define REPORT_NAME "_ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE"
HOOK_EXPORT void REPORT(void *address, int64_t size, size_t allocated, size_t reserved,
                        struct c10_device device);

/* c10::reportOutOfMemoryToProfiler(int64_t, size_t, size_t, c10::Device) */
typedef void report_oom_fn(int64_t size, size_t allocated, size_t reserved,
                           struct c10_device device);
#define REPORT_OOM _ZN3c1027reportOutOfMemoryToProfilerElmmNS_6DeviceE
#define REPORT_OOM_NAME "_ZN3c1027reportOutOfMemoryToProfilerElmmNS_6DeviceE"
HOOK_EXPORT void REPORT_OOM(int64_t size, size_t allocated, size_t reserved,
                            struct c10_device device);

struct real {
    void *_Atomic function;
    _Atomic bool is_known;
};

static void *find_real(struct real *real, const char *name) {
    void *found = atomic_load(&real->function);
    if (atomic_load(&real->is_known))
        return found;
    recorder_mute(1);
    void *const library = dlopen("libc10.so", RTLD_LAZY | RTLD_NOLOAD);
    found = hook_dlsym_next(RTLD_NEXT, name);
    if (found == NULL && library != NULL)
        found = hook_dlsym_next(library, name);
    if (library != NULL)
        dlclose(library);
    next_forget_error();
    recorder_mute(0);
    atomic_store(&real->function, found);
    atomic_store(&real->is_known, true);
    return found;
}

void REPORT(void *address, int64_t size, size_t allocated, size_t reserved,
            struct c10_device device) {
    static struct real real;
    const struct stack_start start = STACKS_START_HERE();
    void *const found = find_real(&real, REPORT_NAME);
    report_fn *function;
    if (device.type == C10_CUDA && address != NULL && size != 0)
        hook_cuda_block((uintptr_t)address, size > 0 ? (uint64_t)size : 0, device.index, size < 0,
                        start.slot, start.pc, start.bp);
    memcpy(&function, &found, sizeof function);
    if (function != NULL)
        function(address, size, allocated, reserved, device);
}

/* Before PyTorch throws: it has given back its cache and tried again, so this is the end. */
void REPORT_OOM(int64_t size, size_t allocated, size_t reserved, struct c10_device device) {
    static struct real real;
    const struct stack_start start = STACKS_START_HERE();
    void *const found = find_real(&real, REPORT_OOM_NAME);
    report_oom_fn *function;
    if (device.type == C10_CUDA)
        oom_report("PyTorch's allocation", size > 0 ? (uint64_t)size : 0, &start);
    memcpy(&function, &found, sizeof function);
    if (function != NULL)
        function(size, allocated, reserved, device);
}
