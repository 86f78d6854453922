/* Text about the ranks of a job: which of them differ and by what, then what all have in common,
 * each thing once. Computes nothing. */
#include "report/page.h"

#include "base/printable.h"

#include <inttypes.h>
#include <string.h>

#define SUSPECTS_DEFAULT 5
#define RANKS_SHOWN 16

static void put_headline(struct page *p, const snap_ranks *r) {
    size_t n, n_deviating = 0, which = 0;
    const snap_ranks_rank *const ranks = snap_ranks_ranks(r, &n);
    for (size_t i = 0; i < n; i++) {
        n_deviating += (size_t)ranks[i].is_deviating;
        which = ranks[i].is_deviating && (n_deviating == 1 ||
                                          ranks[i].deviation_bytes > ranks[which].deviation_bytes)
                    ? i
                    : which;
    }
    static const char *const words[] = {"no growth", "GROWTH", "LEAK"};
    int has_steps;
    int64_t first, last;
    const size_t n_steps = snap_ranks_steps(r, &has_steps, &first, &last);
    char text[200], size[TEXT_SIZE_MAX], steps[80] = "";
    if (has_steps && n_steps > 1)
        snprintf(steps, sizeof steps, ", steps %" PRId64 " to %" PRId64, first, last);
    else if (has_steps)
        snprintf(steps, sizeof steps, ", step %" PRId64, first);
    if (n_deviating == 0)
        snprintf(text, sizeof text, "%zu ranks, %zu snapshot%s each%s: no rank differs", n, n_steps,
                 page_plural((int64_t)n_steps), steps);
    else if (n_deviating == 1)
        snprintf(text, sizeof text,
                 "%zu ranks, %zu snapshot%s each%s: rank %" PRIu64 " differs by %s", n, n_steps,
                 page_plural((int64_t)n_steps), steps, ranks[which].rank,
                 text_signed_size(size, ranks[which].deviation_bytes));
    else
        snprintf(text, sizeof text,
                 "%zu ranks, %zu snapshot%s each%s: %zu ranks differ, rank %" PRIu64 " most, by %s",
                 n, n_steps, page_plural((int64_t)n_steps), steps, n_deviating, ranks[which].rank,
                 text_signed_size(size, ranks[which].deviation_bytes));
    const snap_verdict verdict = snap_ranks_verdict(r);
    page_color(p, verdict == SNAP_VERDICT_LEAK     ? RED
                  : verdict == SNAP_VERDICT_GROWTH ? YELLOW
                                                   : GREEN);
    fputs(words[verdict], p->out);
    page_color(p, PLAIN);
    page_wrapped(p, "  ", text);
    fputc('\n', p->out);
}

static void put_ranks(struct page *p, const snap_ranks *r) {
    size_t n, n_left_out = 0;
    const snap_ranks_rank *const ranks = snap_ranks_ranks(r, &n);
    fprintf(p->out, "  %8s %12s %12s %14s\n", "rank", "in use", "growth", "beyond median");
    for (size_t i = 0; i < n; i++) {
        /* Of many, those that differ and the first few. */
        if (n > RANKS_SHOWN && i >= RANKS_SHOWN / 2 && !ranks[i].is_deviating && !p->all) {
            n_left_out++;
            continue;
        }
        char bytes[TEXT_SIZE_MAX], growth[TEXT_SIZE_MAX], beyond[TEXT_SIZE_MAX];
        if (ranks[i].is_deviating)
            page_color(p, BOLD);
        fprintf(p->out, "  %8" PRIu64 " %12s %12s %14s%s\n", ranks[i].rank,
                text_size(bytes, (uint64_t)ranks[i].bytes),
                text_signed_size(growth, ranks[i].growth_bytes),
                text_signed_size(beyond, ranks[i].deviation_bytes),
                ranks[i].is_deviating ? "  <" : "");
        if (ranks[i].is_deviating)
            page_color(p, PLAIN);
    }
    if (n_left_out > 0)
        fprintf(p->out, "  %8s (%zu more that do not differ)\n", "...", n_left_out);
    fputc('\n', p->out);
}

static int put_things(struct page *p, const snap_ranks *r, int common, snap_error *err) {
    size_t n, n_ranks, shown = 0, left = 0;
    const snap_ranks_thing *const things = snap_ranks_things(r, &n);
    const snap_ranks_rank *const ranks = snap_ranks_ranks(r, &n_ranks);
    const size_t most = p->all ? n : p->top_given ? p->top : SUSPECTS_DEFAULT;
    int result = 0;
    for (size_t i = 0; i < n && result == 0; i++) {
        if (things[i].is_common != common)
            continue;
        if (shown == most) {
            left++;
            continue;
        }
        if (shown++ == 0)
            fputs(common ? "on all ranks alike\n\n" : "where ranks differ\n\n", p->out);
        result = text_suspect(p, ranks[things[i].rank].diff, things[i].suspect, shown, err);
        char size[TEXT_SIZE_MAX], middle[TEXT_SIZE_MAX];
        if (common)
            fprintf(p->out, "    on %zu of %zu ranks, %s in the middle\n\n", things[i].n_ranks,
                    n_ranks, text_signed_size(middle, things[i].median_bytes));
        else
            fprintf(p->out,
                    "    rank %" PRIu64 " %s, in the middle %s; more than that on %zu of %zu\n\n",
                    ranks[things[i].rank].rank,
                    text_signed_size(size, things[i].growth_bytes[things[i].rank]),
                    text_signed_size(middle, things[i].median_bytes), things[i].n_deviating,
                    n_ranks);
    }
    if (left > 0)
        fprintf(p->out, "    (%zu more suspects; --all shows them)\n\n", left);
    return result;
}

int text_ranks(const snap_ranks *r, FILE *out, const snap_report_options *options,
               snap_error *err) {
    struct page page = page_start(out, options), *const p = &page;
    put_headline(p, r);
    put_ranks(p, r);
    int result = put_things(p, r, 0, err);
    if (result == 0)
        result = put_things(p, r, 1, err);
    size_t n;
    const char *const *const limits = snap_ranks_limits(r, &n);
    if (n > 0)
        fputs("what these files cannot tell\n", out);
    for (size_t i = 0; i < n; i++)
        page_note(p, "  ", limits[i]);
    return result;
}
