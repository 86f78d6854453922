/* Looks like an interpreter to the recorder, of the version that UNKNOWN_VERSION says; nothing in
 * its structures means anything. */
#include <stdlib.h>
#include <string.h>

const char *Py_GetVersion(void);
void *PyGILState_GetThisThreadState(void);
void *PyThreadState_GetUnchecked(void);
void *_PyThreadState_UncheckedGet(void);

char _PyRuntime[64 << 10] = "xdebugpy";
char PyCode_Type[1024];

const char *Py_GetVersion(void) {
    return getenv("UNKNOWN_VERSION");
}
void *PyGILState_GetThisThreadState(void) {
    return (void *)8;
}
void *PyThreadState_GetUnchecked(void) {
    return (void *)8;
}
void *_PyThreadState_UncheckedGet(void) {
    return (void *)8;
}

static void *kept[1000];

int main(void) {
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        kept[i] = calloc(1, 4321);
    return kept[999] ? 7 : 1;
}
