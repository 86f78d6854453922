/* What text reports are made of: colours, names cut to columns, wrapped lines, stacks. Whatever
 * comes from a file is escaped here. */
#include "report/page.h"

#include "base/err.h"
#include "base/printable.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TOP_DEFAULT 10
#define FRAMES_DEFAULT 8

void page_color(struct page *p, enum color c) {
    static const char *const codes[] = {"\033[0m",    "\033[1m",    "\033[1;31m",
                                        "\033[1;33m", "\033[1;32m", "\033[2m"};
    if (p->color)
        fputs(codes[c], p->out);
}

unsigned page_columns(const char *text) {
    unsigned columns = 0;
    for (; *text != '\0'; text++)
        columns += ((unsigned char)*text & 0xc0) != 0x80;
    return columns;
}

/* Cuts escaped text at a number of columns; the end says so. */
static void cut(char *text, unsigned columns) {
    if (page_columns(text) <= columns || columns < 4)
        return;
    unsigned at = 0;
    char *p = text;
    for (; *p != '\0' && at < columns - 3; at++)
        for (p++; ((unsigned char)*p & 0xc0) == 0x80;)
            p++;
    memcpy(p, "...", 4);
}

const char *page_name(char *out, const char *text, unsigned columns) {
    text_escape(out, NAME_MAX_BYTES - 4, text);
    cut(out, columns);
    return out;
}

void page_wrapped(struct page *p, const char *prefix, const char *text) {
    const unsigned indent = page_columns(prefix);
    unsigned column = indent;
    fputs(prefix, p->out);
    int is_first = 1;
    while (*text != '\0') {
        const size_t length = strcspn(text, " ");
        char word[NAME_MAX_BYTES];
        snprintf(word, sizeof word, "%.*s", (int)(length < 1000 ? length : 1000), text);
        const unsigned columns = page_columns(word);
        if (!is_first && column + 1 + columns > p->width) {
            fprintf(p->out, "\n%*s", (int)indent, "");
            column = indent;
            is_first = 1;
        }
        fprintf(p->out, "%s%s", is_first ? "" : " ", word);
        column += columns + !is_first;
        is_first = 0;
        text += length;
        text += strspn(text, " ");
    }
    fputc('\n', p->out);
}

void page_note(struct page *p, const char *prefix, const char *text) {
    char safe[NAME_MAX_BYTES];
    text_escape(safe, sizeof safe, text);
    page_wrapped(p, prefix, safe);
}

const char *page_percent(char text[24], uint32_t ppm) {
    snprintf(text, 24, "%" PRIu32 "%%", (ppm + 5000) / 10000);
    return text;
}

const char *page_plural(int64_t n) {
    return n == 1 || n == -1 ? "" : "s";
}

size_t page_choose(size_t n, size_t out[COLUMNS_MAX]) {
    if (n <= COLUMNS_MAX) {
        for (size_t i = 0; i < n; i++)
            out[i] = i;
        return n;
    }
    for (size_t i = 0; i < COLUMNS_MAX; i++)
        out[i] = i * (n - 1) / (COLUMNS_MAX - 1);
    return COLUMNS_MAX;
}

void page_series(struct page *p, const char *title, const uint64_t *values, size_t n, int is_size) {
    size_t chosen[COLUMNS_MAX];
    const size_t n_chosen = page_choose(n, chosen);
    fprintf(p->out, "    %-7s ", title);
    for (size_t i = 0; i < n_chosen; i++) {
        char text[TEXT_SIZE_MAX];
        if (is_size)
            text_size(text, values[chosen[i]]);
        else
            snprintf(text, sizeof text, "%" PRIu64, values[chosen[i]]);
        const char *arrow = i == 0 ? "" : chosen[i] == chosen[i - 1] + 1 ? " -> " : " .. ";
        fprintf(p->out, "%s%s", arrow, text);
    }
}

void page_with_size(struct page *p, unsigned indent, const char *text, const char *size) {
    char safe[NAME_MAX_BYTES];
    const unsigned used = indent + page_columns(size) + 2;
    const unsigned left = p->width > used + 16 ? p->width - used : 16;
    page_name(safe, text, left);
    const unsigned pad = left > page_columns(safe) ? left - page_columns(safe) : 0;
    fprintf(p->out, "%*s%s%*s  %s\n", (int)indent, "", safe, (int)pad, "", size);
}

int page_stack(struct page *p, const snap_snapshot *s, uint64_t stack, snap_error *err) {
    struct report_stack shown;
    SNAP_TRY(report_stack(s, stack, p->frames, &shown, err));
    int result = 0;
    for (size_t i = 0; i < shown.n && result == 0; i++) {
        const snap_location *const f = &shown.frames[i];
        if (shown.n_gap > 0 && i == shown.gap_at)
            fprintf(p->out, "      (%zu native)\n", shown.n_gap);
        snap_module module = {.path = ""};
        if (f->module != 0)
            result = snap_module_get(s, f->module, &module, err);
        if (result < 0)
            break;
        char place[NAME_MAX_BYTES], function[NAME_MAX_BYTES], raw[600];
        if (*f->file != '\0' && f->line != 0)
            snprintf(raw, sizeof raw, "%.500s:%" PRIu64, report_base_name(f->file), f->line);
        else if (*f->file != '\0')
            snprintf(raw, sizeof raw, "%.500s", report_base_name(f->file));
        else if (*module.path != '\0' && *f->function != '\0')
            snprintf(raw, sizeof raw, "%.500s", report_base_name(module.path));
        else
            *raw = '\0';
        page_name(place, raw, p->width / 2);
        if (*f->function != '\0')
            snprintf(raw, sizeof raw, "%.599s", f->function);
        else
            snprintf(raw, sizeof raw, "%.500s+0x%" PRIx64,
                     *module.path != '\0' ? report_base_name(module.path) : "unknown code",
                     f->offset);
        const unsigned left = p->width - 8 - page_columns(place);
        page_name(function, raw, left);
        const unsigned pad = page_columns(function) < 30 ? 30 - page_columns(function) : 0;
        fprintf(p->out, "      %s", function);
        if (*place != '\0') {
            const unsigned room = left > page_columns(function) ? left - page_columns(function) : 0;
            fprintf(p->out, "%*s  ", (int)(pad < room ? pad : room), "");
            page_color(p, DIM);
            fputs(place, p->out);
            page_color(p, PLAIN);
        }
        fputc('\n', p->out);
    }
    if (result == 0 && shown.n_more > 0)
        fprintf(p->out, "      (%zu more)\n", shown.n_more);
    free(shown.frames);
    return result;
}

struct page page_start(FILE *out, const snap_report_options *o) {
    return (struct page){
        .out = out,
        .width = o->width,
        .top = o->top != 0 ? o->top : TOP_DEFAULT,
        .frames = o->frames != 0 ? o->frames : FRAMES_DEFAULT,
        .color = o->color,
        .top_given = o->top != 0,
        .all = o->all,
    };
}
