/* Reports by name, and the stack that they all show. A format is a row in the table below; nothing
 * here knows what a format looks like. */
#include "report/report.h"

#include "base/err.h"
#include "base/printable.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct report_format *const formats[] = {&report_text, &report_json, &report_html,
                                                      &report_junit};

#define STACK_MAX 1024
#define NATIVE_SHOWN 2

static int find_format(const char *name, const struct report_format **out, snap_error *err) {
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (strcmp(formats[i]->name, name) == 0) {
            *out = formats[i];
            return 0;
        }
    return err_set(err, SNAP_E_NOTFOUND, "no report format '%.60s'", name);
}

static int not_written(const char *format, snap_error *err) {
    return err_set(err, SNAP_E_NOTFOUND, "only comparisons are written as '%.60s'", format);
}

static snap_report_options complete(const snap_report_options *given) {
    snap_report_options options = {0};
    if (given != NULL)
        memcpy(&options, given,
               given->struct_size == 0 || given->struct_size > sizeof options ? sizeof options
                                                                              : given->struct_size);
    if (options.width == 0)
        options.width = 80;
    if (options.width < 40)
        options.width = 40;
    return options;
}

static int finish(FILE *out, int result, snap_error *err) {
    if (result < 0)
        return result;
    errno = 0;
    if (fflush(out) != 0 || ferror(out))
        return err_set(err, SNAP_E_IO, "cannot write the report: %s",
                       errno != 0 ? strerror(errno) : "write error");
    return 0;
}

int snap_report_diff(const snap_diff *d, const char *format, FILE *out,
                     const snap_report_options *options, snap_error *err) {
    const struct report_format *found;
    SNAP_TRY(find_format(format, &found, err));
    const snap_report_options all = complete(options);
    return finish(out, found->diff(d, out, &all, err), err);
}

int snap_report_ranks(const snap_ranks *r, const char *format, FILE *out,
                      const snap_report_options *options, snap_error *err) {
    const struct report_format *found;
    SNAP_TRY(find_format(format, &found, err));
    if (found->ranks == NULL)
        return err_set(err, SNAP_E_NOTFOUND, "ranks cannot be reported as '%.60s'", format);
    const snap_report_options all = complete(options);
    return finish(out, found->ranks(r, out, &all, err), err);
}

int snap_report_census(const snap_diff *d, const char *format, FILE *out,
                       const snap_report_options *options, snap_error *err) {
    const struct report_format *found;
    SNAP_TRY(find_format(format, &found, err));
    if (found->census == NULL)
        return not_written(format, err);
    const snap_report_options all = complete(options);
    return finish(out, found->census(d, out, &all, err), err);
}

int snap_report_holders(const snap_holders *holders, const snap_snapshot *s, const char *format,
                        FILE *out, const snap_report_options *options, snap_error *err) {
    const struct report_format *found;
    SNAP_TRY(find_format(format, &found, err));
    if (found->holders == NULL)
        return not_written(format, err);
    const snap_report_options all = complete(options);
    return finish(out, found->holders(holders, s, out, &all, err), err);
}

int snap_report_holdings(const snap_holdings *holdings, const snap_snapshot *s, int lost,
                         const char *format, FILE *out, const snap_report_options *options,
                         snap_error *err) {
    const struct report_format *found;
    SNAP_TRY(find_format(format, &found, err));
    if (found->holdings == NULL)
        return not_written(format, err);
    const snap_report_options all = complete(options);
    return finish(out, found->holdings(holdings, s, lost, out, &all, err), err);
}

const char *report_holder_class(snap_holder_class c) {
    switch (c) {
    case SNAP_HOLDER_ROOTED: return "rooted";
    case SNAP_HOLDER_POSSIBLY_LOST: return "possibly-lost";
    case SNAP_HOLDER_LOST: return "lost";
    }
    return "?";
}

size_t snap_escape(char *out, size_t size, const char *text) {
    return text_escape(out, size, text);
}

const char *report_base_name(const char *path) {
    const char *const slash = strrchr(path, '/');
    return slash != NULL && slash[1] != '\0' ? slash + 1 : path;
}

const char *report_domain(char *text, uint32_t domain) {
    const char *const name = snap_code_name(SNAP_TABLE_NODE, SNAP_NODE_COL_DOMAIN, domain);
    if (name != NULL)
        return name;
    snprintf(text, 24, "domain %u", domain);
    return text;
}

/* Functions below which every stack of a process or thread starts. */
static int is_start(const char *function) {
    static const char *const names[] = {"_start",
                                        "__libc_start_main_impl",
                                        "__libc_start_main",
                                        "__libc_start_call_main",
                                        "start_thread",
                                        "clone",
                                        "clone3",
                                        "__clone",
                                        "__clone3",
                                        "thread_start"};
    const size_t length = strcspn(function, "@");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i]) == length && memcmp(names[i], function, length) == 0)
            return 1;
    return 0;
}

int report_stack(const snap_snapshot *s, uint64_t stack, unsigned max, struct report_stack *out,
                 snap_error *err) {
    snap_location *const frames = calloc(STACK_MAX, sizeof *frames);
    if (frames == NULL)
        return err_set(err, SNAP_E_NOMEM, "no memory for a stack");
    size_t n = 0;
    int truncated = 0;
    const int result = snap_stack(s, stack, frames, STACK_MAX, &n, &truncated, err);
    if (result < 0) {
        free(frames);
        return result;
    }
    size_t first = 0;
    while (first < n && snap_location_is_allocator(s, &frames[first]))
        first++;
    if (first == n)
        first = 0;
    size_t last = n;
    while (!truncated && last > first + 1 && is_start(frames[last - 1].function))
        last--;
    const size_t all = last - first;
    size_t managed = first;
    while (managed < last && frames[managed].kind == SNAP_FRAM_NATIVE)
        managed++;
    *out = (struct report_stack){.frames = frames, .n = all < max ? all : max};
    memmove(frames, frames + first, all * sizeof *frames);
    managed -= first;
    if (all > max && managed < all) {
        out->n = out->gap_at = managed < NATIVE_SHOWN ? managed : NATIVE_SHOWN;
        out->n_gap = managed - out->gap_at;
        for (size_t i = managed; i < all && out->n < max; i++)
            if (frames[i].kind != SNAP_FRAM_NATIVE)
                frames[out->n++] = frames[i];
    }
    out->n_more = all - out->n_gap - out->n + (truncated ? 1 : 0);
    return 0;
}
