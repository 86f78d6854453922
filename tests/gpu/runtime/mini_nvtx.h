/* As much of NVTX's header for memory as device_nvtx.c needs, for machines that have not got it:
 * the same names, layouts and way to load a tool (nvToolsExtMem.h and nvtxDetail/ of NVTX 3). */
#ifndef MINI_NVTX_H
#define MINI_NVTX_H

#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define NVTX_EXT_COMPATID_MEM 0x0102
#define NVTX_MEM_HEAP_USAGE_TYPE_SUB_ALLOCATOR 1
#define NVTX_MEM_HEAP_USAGE_TYPE_LAYOUT 2
#define NVTX_MEM_TYPE_VIRTUAL_ADDRESS 1
#define NVTX_MEM_REGION_REF_TYPE_POINTER 1
#define NVTX_MEM_REGION_REF_TYPE_HANDLE 2
enum {
    NVTX_MESSAGE_UNKNOWN,
    NVTX_MESSAGE_TYPE_ASCII,
    NVTX_MESSAGE_TYPE_UNICODE,
    NVTX_MESSAGE_TYPE_REGISTERED
};

typedef struct mini_domain *nvtxDomainHandle_t;
typedef struct mini_string *nvtxStringHandle_t;
typedef struct mini_heap *nvtxMemHeapHandle_t;
typedef struct mini_region *nvtxMemRegionHandle_t;
typedef union {
    const char *ascii;
    const wchar_t *unicode;
    nvtxStringHandle_t registered;
} nvtxMessageValue_t;
typedef union {
    const void *pointer;
    nvtxMemRegionHandle_t handle;
} nvtxMemRegionRef_t;
typedef struct {
    size_t size;
    const void *ptr;
} nvtxMemVirtualRangeDesc_t;
typedef struct {
    uint16_t extCompatID, structSize;
    uint32_t reserved0, usage, type;
    size_t typeSpecificDescSize;
    const void *typeSpecificDesc;
    uint32_t category, messageType;
    nvtxMessageValue_t message;
} nvtxMemHeapDesc_t;
typedef struct {
    uint16_t extCompatID, structSize;
    uint32_t regionType;
    nvtxMemHeapHandle_t heap;
    size_t regionCount, regionDescElementSize;
    const void *regionDescElements;
    nvtxMemRegionHandle_t *regionHandleElementsOut;
} nvtxMemRegionsRegisterBatch_t;
typedef struct {
    uint16_t extCompatID, structSize;
    uint32_t regionType;
    size_t regionDescCount, regionDescElementSize;
    const void *regionDescElements;
} nvtxMemRegionsResizeBatch_t;
typedef struct {
    uint16_t extCompatID, structSize;
    uint32_t refType;
    size_t refCount, refElementSize;
    const nvtxMemRegionRef_t *refElements;
} nvtxMemRegionsUnregisterBatch_t;
typedef struct {
    uint32_t regionRefType, nameType;
    nvtxMemRegionRef_t region;
    nvtxMessageValue_t name;
    uint32_t category, reserved0;
} nvtxMemRegionNameDesc_t;
typedef struct {
    uint16_t extCompatID, structSize;
    uint32_t reserved0;
    size_t regionCount, regionElementSize;
    const nvtxMemRegionNameDesc_t *regionElements;
    size_t reserved1;
} nvtxMemRegionsNameBatch_t;

enum { MINI_CORE2 = 5, MINI_CORE2_SLOTS = 16, MINI_MEMORY_SLOTS = 63 };
typedef void mini_fn(void);
static mini_fn *mini_core2[MINI_CORE2_SLOTS];
static mini_fn **mini_core2_table[MINI_CORE2_SLOTS];
static intptr_t mini_memory[MINI_MEMORY_SLOTS];

static int mini_get_table(int module, mini_fn ****table, unsigned *size) {
    if (module != MINI_CORE2)
        return 0;
    for (int i = 0; i < MINI_CORE2_SLOTS; i++)
        mini_core2_table[i] = &mini_core2[i];
    *table = mini_core2_table;
    *size = MINI_CORE2_SLOTS;
    return 1;
}

static const void *mini_exports(uint32_t id) {
    static const struct {
        size_t size;
        int (*get_table)(int module, mini_fn ****table, unsigned *size);
    } callbacks = {sizeof callbacks, mini_get_table};
    return id == 1 ? &callbacks : NULL;
}

static void mini_start(void) {
    static struct {
        size_t id, n;
        intptr_t *slots;
    } segment = {1, MINI_MEMORY_SLOTS, mini_memory};
    static struct {
        uint16_t version, size, module, compatible;
        size_t n_segments;
        void *segments;
        intptr_t (*exports)(uint32_t);
        const void *info;
    } module = {3, sizeof module, 1, NVTX_EXT_COMPATID_MEM, 1, &segment, NULL, NULL};
    static int is_done;
    int (*core)(const void *(*)(uint32_t)), (*extension)(void *);
    const char *const path = getenv("NVTX_INJECTION64_PATH");
    void *const library = is_done++ == 0 && path ? dlopen(path, RTLD_LAZY) : NULL;
    void *found;
    if (library && (found = dlsym(library, "InitializeInjectionNvtx2")) != NULL) {
        memcpy(&core, &found, sizeof found);
        if (!core(mini_exports))
            memset(mini_core2, 0, sizeof mini_core2);
    }
    if (library && (found = dlsym(library, "InitializeInjectionNvtxExtension")) != NULL) {
        memcpy(&extension, &found, sizeof found);
        if (!extension(&module))
            memset(mini_memory, 0, sizeof mini_memory);
    }
}

#define MINI_CALL(slot, type, ...)                                                                 \
    __extension__({                                                                                \
        type *f_ = NULL;                                                                           \
        mini_start();                                                                              \
        memcpy(&f_, &(slot), sizeof f_);                                                           \
        f_ ? f_(__VA_ARGS__) : (__typeof(f_(__VA_ARGS__)))0;                                       \
    })
typedef void *mini_name(const char *);
typedef void *mini_wide_name(const wchar_t *);
typedef void *mini_register(void *, const char *);
typedef void *mini_describe(void *, const void *);
#define nvtxDomainCreateA(name) ((nvtxDomainHandle_t)MINI_CALL(mini_core2[12], mini_name, name))
#define nvtxDomainCreateW(name)                                                                    \
    ((nvtxDomainHandle_t)MINI_CALL(mini_core2[13], mini_wide_name, name))
#define nvtxDomainRegisterStringA(d, text)                                                         \
    ((nvtxStringHandle_t)MINI_CALL(mini_core2[10], mini_register, d, text))
#define nvtxDomainRangePop(d) ((void)(d), mini_core2[5] == NULL ? -2 : 0)
#define nvtxMemHeapRegister(d, x)                                                                  \
    ((nvtxMemHeapHandle_t)MINI_CALL(mini_memory[0], mini_describe, d, x))
#define nvtxMemHeapUnregister(d, x) ((void)MINI_CALL(mini_memory[1], mini_describe, d, x))
#define nvtxMemHeapReset(d, x) ((void)MINI_CALL(mini_memory[2], mini_describe, d, x))
#define nvtxMemRegionsRegister(d, x) ((void)MINI_CALL(mini_memory[3], mini_describe, d, x))
#define nvtxMemRegionsResize(d, x) ((void)MINI_CALL(mini_memory[4], mini_describe, d, x))
#define nvtxMemRegionsUnregister(d, x) ((void)MINI_CALL(mini_memory[5], mini_describe, d, x))
#define nvtxMemRegionsName(d, x) ((void)MINI_CALL(mini_memory[6], mini_describe, d, x))

#endif
