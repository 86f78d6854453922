/* Pools in memory of a device and of the host, of which the program tells NVTX only; then a
 * snapshot of itself. Prints the books of each pool. Arguments: FILE, seed. With NVTX's own header
 * where it is there (REAL_NVTX), else with as much of it. */
#include <heapsnap/capture.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef REAL_NVTX
#include <nvtx3/nvToolsExtMem.h>
#else
#include "runtime/mini_nvtx.h"
#endif

#include "runtime/mini_cuda.h"

enum { SLOT = 4096, SLOTS = 512, SIZE = SLOT * SLOTS };

static char *memory(void) {
    void *at;
    if (cudaMalloc(&at, SIZE))
        exit(3);
    return at;
}

static nvtxMemHeapHandle_t heap(nvtxDomainHandle_t domain, char *at, unsigned usage, unsigned type,
                                unsigned message_type, nvtxMessageValue_t message) {
    const nvtxMemVirtualRangeDesc_t range = {SIZE, at};
    nvtxMemHeapDesc_t d = {.extCompatID = NVTX_EXT_COMPATID_MEM,
                           .structSize = sizeof d,
                           .usage = usage,
                           .type = type,
                           .typeSpecificDescSize = sizeof range,
                           .typeSpecificDesc = &range,
                           .messageType = message_type,
                           .message = message};
    return nvtxMemHeapRegister(domain, &d);
}

static void add(nvtxDomainHandle_t domain, nvtxMemHeapHandle_t h, char *at, size_t size,
                nvtxMemRegionHandle_t *out) {
    const nvtxMemVirtualRangeDesc_t range = {size, at};
    const nvtxMemRegionsRegisterBatch_t d = {.extCompatID = NVTX_EXT_COMPATID_MEM,
                                             .structSize = sizeof d,
                                             .regionType = NVTX_MEM_TYPE_VIRTUAL_ADDRESS,
                                             .heap = h,
                                             .regionCount = 1,
                                             .regionDescElementSize = sizeof range,
                                             .regionDescElements = &range,
                                             .regionHandleElementsOut = out};
    nvtxMemRegionsRegister(domain, &d);
}

static void resize(nvtxDomainHandle_t domain, char *at, size_t size) {
    const nvtxMemVirtualRangeDesc_t range = {size, at};
    const nvtxMemRegionsResizeBatch_t d = {.extCompatID = NVTX_EXT_COMPATID_MEM,
                                           .structSize = sizeof d,
                                           .regionType = NVTX_MEM_TYPE_VIRTUAL_ADDRESS,
                                           .regionDescCount = 1,
                                           .regionDescElementSize = sizeof range,
                                           .regionDescElements = &range};
    nvtxMemRegionsResize(domain, &d);
}

static void take(nvtxDomainHandle_t domain, char *at, nvtxMemRegionHandle_t handle) {
    nvtxMemRegionRef_t reference;
    if (handle)
        reference.handle = handle;
    else
        reference.pointer = at;
    const nvtxMemRegionsUnregisterBatch_t d = {.extCompatID = NVTX_EXT_COMPATID_MEM,
                                               .structSize = sizeof d,
                                               .refType = handle ? NVTX_MEM_REGION_REF_TYPE_HANDLE
                                                                 : NVTX_MEM_REGION_REF_TYPE_POINTER,
                                               .refCount = 1,
                                               .refElementSize = sizeof reference,
                                               .refElements = &reference};
    nvtxMemRegionsUnregister(domain, &d);
}

static void name(nvtxDomainHandle_t domain, char *at, const char *text) {
    nvtxMemRegionNameDesc_t n = {.regionRefType = NVTX_MEM_REGION_REF_TYPE_POINTER,
                                 .nameType = NVTX_MESSAGE_TYPE_ASCII};
    n.region.pointer = at;
    n.name.ascii = text;
    const nvtxMemRegionsNameBatch_t d = {.extCompatID = NVTX_EXT_COMPATID_MEM,
                                         .structSize = sizeof d,
                                         .regionCount = 1,
                                         .regionElementSize = sizeof n,
                                         .regionElements = &n};
    nvtxMemRegionsName(domain, &d);
}

/* Registers regions, some of them resized later, and takes back some, by address or by handle. */
static void use(const char *what, nvtxDomainHandle_t domain, nvtxMemHeapHandle_t h, char *at) {
    size_t sizes[SLOTS] = {0}, live = 0, n = 0;
    for (int i = 0; i < 4 * SLOTS; i++) {
        const int k = rand() % SLOTS;
        char *const slot = at + (size_t)k * SLOT;
        nvtxMemRegionHandle_t handle = NULL;
        if (sizes[k] && rand() % 3 == 0) {
            resize(domain, slot, sizes[k] = 1 + (size_t)rand() % SLOT);
            continue;
        }
        if (sizes[k])
            take(domain, slot, NULL);
        sizes[k] = rand() % 3 ? 1 + (size_t)rand() % SLOT : 0;
        if (!sizes[k])
            continue;
        add(domain, h, slot, sizes[k], &handle);
        if (rand() % 8 == 0) {
            take(domain, slot, handle);
            sizes[k] = 0;
        }
    }
    for (size_t k = 0; k < SLOTS; k++) {
        live += sizes[k];
        n += sizes[k] != 0;
    }
    printf("%s %zu %zu\n", what, n, live);
}

int main(int argc, char **argv) {
    const unsigned ascii = NVTX_MESSAGE_TYPE_ASCII, wide = NVTX_MESSAGE_TYPE_UNICODE,
                   registered = NVTX_MESSAGE_TYPE_REGISTERED, none = NVTX_MESSAGE_UNKNOWN;
    const unsigned parts = NVTX_MEM_HEAP_USAGE_TYPE_SUB_ALLOCATOR,
                   whole = NVTX_MEM_HEAP_USAGE_TYPE_LAYOUT;
    const unsigned plain = NVTX_MEM_TYPE_VIRTUAL_ADDRESS;
    if (argc != 3)
        return 2;
    srand((unsigned)atoi(argv[2]));
    const nvtxDomainHandle_t domain = nvtxDomainCreateA("a.domain");
    char *const named = memory(), *const unnamed = memory(), *const reset = memory(),
                *const gone = memory(), *const layout = memory(), *const strange = memory(),
                *const host = malloc(SIZE), *const block = malloc(100);
    nvtxMessageValue_t text;
    nvtxMemHeapHandle_t h;
    text.ascii = "named";
    h = heap(domain, named, parts, plain, ascii, text);
    use("named", domain, h, named);
    printf("handle %d\n", (void *)h == (void *)named);
    use("a.domain", domain, heap(domain, unnamed, parts, plain, none, text), unnamed);
    text.unicode = L"r\u00e9set \u20ac";
    h = heap(domain, reset, parts, plain, wide, text);
    use("discarded", domain, h, reset);
    nvtxMemHeapReset(domain, h);
    add(domain, h, reset + SLOT, 100, NULL);
    text.ascii = "gone";
    h = heap(domain, gone, parts, plain, ascii, text);
    use("discarded", domain, h, gone);
    nvtxMemHeapUnregister(domain, h);
    text.registered = nvtxDomainRegisterStringA(domain, "host");
    use("host", domain, heap(domain, host, parts, plain, registered, text), host);
    /* Neither is a pool: what is laid out is all in use, and what is of another form is counted. */
    text.ascii = "layout";
    use("discarded", domain, heap(domain, layout, whole, plain, ascii, text), layout);
    text.ascii = "strange";
    heap(domain, strange, parts, 77, ascii, text);
    /* Part of no heap, but with a name. */
    add(domain, NULL, block, 100, NULL);
    name(domain, block, "a block");
    printf("pop %d\n", nvtxDomainRangePop(domain));
    snap_error err = {0};
    const snap_take_options options = {.struct_size = sizeof options};
    if (snap_take(argv[1], &options, &err) != 0) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    printf("places %p %p %p %p %p\n", (void *)named, (void *)unnamed, (void *)reset, (void *)host,
           (void *)block);
    return 0;
}
