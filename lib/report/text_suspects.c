/* Text about suspects: what grew and by how much, who holds it, the chain of references, where it
 * was allocated, what to do. Computes nothing. */
#include "report/page.h"

#include "base/err.h"
#include "base/printable.h"

#include <inttypes.h>
#include <string.h>

#define SUSPECTS_DEFAULT 5
#define LINE_MAX_BYTES 3072

/* What is no memory grows by number alone. */
static int is_counted_only(const snap_diff_suspect *s) {
    return s->suspect_class == SNAP_SUSPECT_RESOURCE && s->growth_bytes == 0;
}

static void put_headline(struct page *p, const snap_diff_suspect *s, size_t rank, size_t n) {
    char size[TEXT_SIZE_MAX], retained[TEXT_SIZE_MAX], share[24], domain[24];
    char text[LINE_MAX_BYTES], type[NAME_MAX_BYTES];
    fprintf(p->out, "%3zu ", rank);
    page_color(p, BOLD);
    fprintf(p->out, "%-8s  ", snap_suspect_class_name(s->suspect_class));
    size_t used = 0;
    *text = '\0';
    if (is_counted_only(s)) {
        fprintf(p->out, "%+" PRId64, s->growth_count);
    } else {
        fputs(text_signed_size(size, s->growth_bytes), p->out);
        used = (size_t)snprintf(text, sizeof text, "  %s of growth",
                                page_percent(share, s->share_ppm));
    }
    page_color(p, PLAIN);
    if (n > 2)
        used +=
            (size_t)snprintf(text + used, sizeof text - used, "  %s", snap_trend_name(s->trend));
    snprintf(text + used, sizeof text - used, "  retains %s  %s",
             text_size(retained, s->retained_bytes), report_domain(domain, s->domain));
    fprintf(p->out, "%s\n", text);
    page_name(type, *s->type != '\0' ? s->type : "(unknown type)", p->width - 30);
    fprintf(p->out, "    %s  %+" PRId64 "\n", type, s->growth_count);
}

static void put_hook(struct page *p, const snap_diff_hook *h, size_t n) {
    char raw[LINE_MAX_BYTES], text[NAME_MAX_BYTES], place[300] = "";
    if (*h->file != '\0')
        snprintf(place, sizeof place, " (%.250s:%" PRIu64 ")", report_base_name(h->file), h->line);
    snprintf(raw, sizeof raw, "callback %.500s%s, %+" PRId64 " in %.1000s", h->callback, place,
             (int64_t)(h->counts[n - 1] - h->counts[0]), h->registry);
    fprintf(p->out, "    %s\n", page_name(text, raw, p->width - 4));
}

static void put_chain(struct page *p, const snap_diff_suspect *s) {
    for (size_t i = 0; i < s->n_chain; i++) {
        const snap_diff_step *const step = &s->chain[i];
        /* The middle of a long chain tells little. */
        if (s->n_chain > 14 && i >= 6 && i + 6 < s->n_chain && !step->is_suspect) {
            if (i == 6)
                fprintf(p->out, "%*s... %zu more steps\n", 20, "", s->n_chain - 12);
            continue;
        }
        char text[LINE_MAX_BYTES], size[TEXT_SIZE_MAX], count[32] = "";
        if (step->count > 1)
            snprintf(count, sizeof count, "  x%" PRIu64, step->count);
        snprintf(text, sizeof text, "%s%.1000s  %.1000s%s%s%s%.200s", i > 0 ? "-> " : "",
                 step->edge, *step->node != '\0' ? step->node : "(unknown type)", count,
                 step->is_suspect && s->n_chain > 1 ? "  <" : "", *step->label != '\0' ? "  " : "",
                 step->label);
        if (step->is_suspect)
            page_color(p, BOLD);
        page_with_size(p, 6 + 2 * (unsigned)(i < 12 ? i : 12), text, text_size(size, step->bytes));
        if (step->is_suspect)
            page_color(p, PLAIN);
    }
}

static void put_holder(struct page *p, const snap_diff_suspect *s) {
    char raw[LINE_MAX_BYTES], text[NAME_MAX_BYTES], module[300] = "", thread[500] = "";
    if (*s->root_module != '\0')
        snprintf(module, sizeof module, " in %.250s", report_base_name(s->root_module));
    if (*s->thread != '\0')
        snprintf(thread, sizeof thread, ", %.400s", s->thread);
    snprintf(raw, sizeof raw, "held by %s %.1200s%s%s%s", s->root_kind, s->holder, module, thread,
             s->is_doubtful ? "  (only there: doubtful)" : "");
    fprintf(p->out, "    %s\n", page_name(text, raw, p->width - 4));
}

int text_suspect(struct page *p, const snap_diff *d, const snap_diff_suspect *s, size_t rank,
                 snap_error *err) {
    const size_t n = snap_diff_n_snapshots(d);
    put_headline(p, s, rank, n);
    if (*s->holder != '\0')
        put_holder(p, s);
    if (s->hook != NULL)
        put_hook(p, s->hook, n);
    put_chain(p, s);
    if (!is_counted_only(s)) {
        page_series(p, "bytes", s->bytes, n, 1);
        fputc('\n', p->out);
    }
    page_series(p, "count", s->counts, n, 0);
    fputc('\n', p->out);
    if (s->baseline_growth_bytes != 0) {
        char size[TEXT_SIZE_MAX];
        fprintf(p->out, "    %s in the baseline%s\n",
                text_signed_size(size, s->baseline_growth_bytes), s->is_known ? ": known" : "");
    }
    if (s->stack != 0) {
        fputs("    allocated by\n", p->out);
        SNAP_TRY(page_stack(p, snap_diff_snapshots(d)[s->snapshot].snapshot, s->stack, err));
    }
    if (*s->usual != '\0')
        page_note(p, "    usual: ", s->usual);
    page_note(p, "    -> ", s->advice);
    fputc('\n', p->out);
    return 0;
}

int text_suspects(struct page *p, const snap_diff *d, snap_error *err) {
    size_t n;
    const snap_diff_suspect *const suspects = snap_diff_suspects(d, &n);
    const size_t most = p->all ? n : p->top_given ? p->top : SUSPECTS_DEFAULT;
    for (size_t i = 0; i < n && i < most; i++)
        SNAP_TRY(text_suspect(p, d, &suspects[i], i + 1, err));
    if (n > most)
        fprintf(p->out, "    (%zu more suspects; --all shows them)\n\n", n - most);
    return 0;
}
