/* A library whose own library is linked to the driver. */
#include "plugin.h"

int inner_run(void **out, int n);

__attribute__((visibility("default"))) int plugin_run(void **out, int n) {
    return inner_run(out, n);
}

__attribute__((visibility("default"))) int plugin_look(void) {
    return 1;
}
