/* A module that is loaded late: each thread gets its thread-local variables when it first asks for
 * them. */
void *volatile *scan_module_word(void);

static _Thread_local struct {
    char before[200];
    void *volatile word;
} local;

void *volatile *scan_module_word(void) {
    return &local.word;
}
