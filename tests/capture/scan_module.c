/* A module that is loaded late: each thread gets its thread-local variables when it first asks for
 * them. It makes a table as it is loaded, and one when it is asked to. */
#include <stdlib.h>

typedef void callback(void *argument);
struct registration {
    callback *function;
    void *argument;
};

struct registration *scan_module_tables[2];
void scan_module_register(void);
void *volatile *scan_module_word(void);

static _Thread_local struct {
    char before[200];
    void *volatile word;
} local;

void *volatile *scan_module_word(void) {
    return &local.word;
}

__attribute__((noinline)) static void of_loading(void *argument) {
    __asm__ volatile("" : : "r"(argument) : "memory");
}

__attribute__((noinline)) static void of_running(void *argument) {
    __asm__ volatile("# other" : : "r"(argument) : "memory");
}

static struct registration *make(callback *function) {
    struct registration *const r = malloc(sizeof *r);
    void *const argument = malloc(100);
    if (r && argument)
        *r = (struct registration){function, argument};
    return r;
}

__attribute__((constructor)) static void load(void) {
    scan_module_tables[0] = make(of_loading);
}

void scan_module_register(void) {
    scan_module_tables[1] = make(of_running);
}
