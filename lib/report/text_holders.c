/* Text about the references of one snapshot: chains to roots, the biggest retainers, what is lost.
 * Root first, one step a line; fits into the page's width. Computes nothing. */
#include "report/page.h"

#include "base/err.h"
#include "base/printable.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 3072

static void put_line(struct page *p, unsigned indent, const char *text) {
    char safe[NAME_MAX_BYTES];
    fprintf(p->out, "%*s%s\n", (int)indent, "",
            page_name(safe, text, p->width > indent + 20 ? p->width - indent : 20));
}

static const char *type_or(const char *type) {
    return *type != '\0' ? type : "(unknown type)";
}

static void put_step(struct page *p, const snap_holder_step *s, unsigned depth) {
    char text[LINE_MAX_BYTES], size[TEXT_SIZE_MAX], repeat[32] = "", label[600] = "";
    if (s->repeat > 1)
        snprintf(repeat, sizeof repeat, "x%" PRIu32 " ", s->repeat);
    if (*s->label != '\0')
        snprintf(label, sizeof label, " '%.500s'", s->label);
    snprintf(text, sizeof text, "%s%s%.1000s%s%.1000s%s%s%s", depth > 0 ? "-> " : "", repeat,
             s->edge, *s->edge != '\0' ? "  " : "", type_or(s->node), label,
             s->is_interior ? " (inside)" : "",
             s->is_low     ? " (doubtful)"
             : s->is_guess ? " (guess)"
                           : "");
    const unsigned indent = 6 + 2 * (depth < 12 ? depth : 12);
    page_with_size(p, indent, text,
                   text_size(size, s->retained_bytes != 0 ? s->retained_bytes : s->size_bytes));
}

static void put_chain(struct page *p, const snap_holder_chain *c, int is_further) {
    char text[LINE_MAX_BYTES], module[600] = "", thread[300] = "";
    if (*c->root_module != '\0')
        snprintf(module, sizeof module, " in %.500s", report_base_name(c->root_module));
    if (*c->root_thread != '\0')
        snprintf(thread, sizeof thread, ", %.250s", c->root_thread);
    snprintf(text, sizeof text, "%s%s %.1500s%s%s%s", is_further ? "also held by " : "",
             c->root_kind, c->root, module, thread, c->n_low > 0 ? "  (doubtful reference)" : "");
    page_color(p, is_further ? DIM : BOLD);
    put_line(p, 4, text);
    page_color(p, PLAIN);
    for (uint32_t i = 0; i < c->n_steps; i++) {
        /* The middle of a very long chain tells little. */
        if (c->n_steps > 24 && i >= 12 && i + 8 < c->n_steps) {
            if (i == 12)
                fprintf(p->out, "%*s... %" PRIu32 " more steps\n", 30, "", c->n_steps - 20);
            continue;
        }
        put_step(p, &c->steps[i], i + 1);
    }
}

static void put_group(struct page *p, const snap_holder_group *g, uint32_t rank) {
    char bytes[TEXT_SIZE_MAX], retained[TEXT_SIZE_MAX];
    fprintf(p->out, "%3" PRIu32 " ", rank);
    page_color(p, BOLD);
    fprintf(p->out, "%" PRIu64 " block%s, %s", g->count, g->count == 1 ? "" : "s",
            text_size(bytes, g->bytes));
    page_color(p, PLAIN);
    fprintf(p->out, ", %s %s", g->count == 1 ? "retains" : "retain",
            text_size(retained, g->retained_bytes));
    if (g->holder_class != SNAP_HOLDER_ROOTED)
        fprintf(p->out, "  %s", report_holder_class(g->holder_class));
    fputc('\n', p->out);
    if (g->holder_class == SNAP_HOLDER_LOST)
        fputs("    lost: no reference from any root leads there\n", p->out);
    for (uint32_t i = 0; i < g->n_chains; i++)
        put_chain(p, &g->chains[i], i > 0);
    fputc('\n', p->out);
}

int text_holders(const snap_holders *holders, const snap_snapshot *s, FILE *out,
                 const snap_report_options *options, snap_error *err) {
    struct page page = page_start(out, options), *const p = &page;
    char bytes[TEXT_SIZE_MAX], retained[TEXT_SIZE_MAX];
    fprintf(out, "%" PRIu64 " block%s, %s, %s %s, held in %" PRIu64 " way%s\n\n", holders->count,
            holders->count == 1 ? "" : "s", text_size(bytes, holders->bytes),
            holders->count == 1 ? "retains" : "retain",
            text_size(retained, holders->retained_bytes), holders->n_groups,
            holders->n_groups == 1 ? "" : "s");
    for (uint32_t i = 0; i < holders->n_shown; i++)
        put_group(p, &holders->groups[i], i + 1);
    if (holders->n_groups > holders->n_shown)
        fprintf(out, "    (%" PRIu64 " more ways; --top shows more)\n",
                holders->n_groups - holders->n_shown);
    for (size_t i = 0; i < holders->n_limits; i++)
        page_note(p, "note: ", holders->limits[i]);
    return 0;
}

static void put_tree_row(struct page *p, const snap_dominator_row *r) {
    char text[LINE_MAX_BYTES], sizes[64], retained[TEXT_SIZE_MAX], alike[32] = "", label[600] = "";
    if (r->n_alike > 1)
        snprintf(alike, sizeof alike, "x%" PRIu32 " ", r->n_alike);
    if (*r->label != '\0')
        snprintf(label, sizeof label, " '%.500s'", r->label);
    if (r->depth == 0) {
        const char *const holder = *r->root != '\0' ? r->root : "(held by several)";
        snprintf(text, sizeof text, "%.1000s  %.1000s%s", holder, type_or(r->node), label);
    } else {
        snprintf(text, sizeof text, "-> %s%.1000s%s%.1000s%s", alike, r->edge,
                 *r->edge != '\0' ? "  " : "", type_or(r->node), label);
    }
    snprintf(sizes, sizeof sizes, "%10s", text_size(retained, r->retained_bytes));
    page_with_size(p, 2 + 2 * (r->depth < 16 ? r->depth : 16), text, sizes);
}

static int put_lost_site(struct page *p, const snap_snapshot *s, const snap_lost_site *l,
                         size_t rank, snap_error *err) {
    char bytes[TEXT_SIZE_MAX], indirect[TEXT_SIZE_MAX], name[NAME_MAX_BYTES];
    fprintf(p->out, "%3zu ", rank);
    page_color(p, BOLD);
    fprintf(p->out, "%s in %" PRIu64 " block%s", text_size(bytes, l->bytes), l->count,
            l->count == 1 ? "" : "s");
    page_color(p, PLAIN);
    if (l->indirect_count > 0)
        fprintf(p->out, ", and %s in %" PRIu64 " held by %s",
                text_size(indirect, l->indirect_bytes), l->indirect_count,
                l->count == 1 ? "it" : "them");
    fprintf(p->out, "  %s%s\n", report_holder_class(l->holder_class),
            l->is_cycle ? ", in a circle" : "");
    if (*l->type != '\0')
        fprintf(p->out, "    %s\n", page_name(name, l->type, p->width - 4));
    SNAP_TRY(page_stack(p, s, l->stack, err));
    fputc('\n', p->out);
    return 0;
}

static int put_lost(struct page *p, const snap_holdings *h, const snap_snapshot *s,
                    snap_error *err) {
    char size[TEXT_SIZE_MAX];
    fprintf(p->out, "lost %s in %" PRIu64 " block%s", text_size(size, h->lost_bytes), h->lost_count,
            h->lost_count == 1 ? "" : "s");
    if (h->possibly_lost_count > 0)
        fprintf(p->out, "; possibly lost %s in %" PRIu64, text_size(size, h->possibly_lost_bytes),
                h->possibly_lost_count);
    fprintf(p->out, "; reachable %s\n\n", text_size(size, h->reachable_bytes));
    for (size_t i = 0; i < h->n_lost && i < p->top; i++)
        SNAP_TRY(put_lost_site(p, s, &h->lost[i], i + 1, err));
    if (h->n_lost > p->top)
        fprintf(p->out, "    (%zu more; --top shows more)\n", h->n_lost - p->top);
    if (h->n_lost == 0)
        fputs("  (nothing)\n", p->out);
    return 0;
}

int text_holdings(const snap_holdings *h, const snap_snapshot *s, int lost, FILE *out,
                  const snap_report_options *options, snap_error *err) {
    struct page page = page_start(out, options), *const p = &page;
    char size[TEXT_SIZE_MAX], own[TEXT_SIZE_MAX], name[NAME_MAX_BYTES];
    if (lost)
        return put_lost(p, h, s, err);
    fputs("who retains most\n", out);
    for (size_t i = 0; i < h->n_tree; i++)
        put_tree_row(p, &h->tree[i]);
    if (h->n_tree == 0)
        fputs("  (nothing)\n", out);
    fputs("\n   retained       bytes    blocks  type\n", out);
    for (size_t i = 0; i < h->n_types && i < p->top; i++)
        fprintf(out, "%11s %11s %9" PRIu64 "  %s\n", text_size(size, h->types[i].retained_bytes),
                text_size(own, h->types[i].bytes), h->types[i].count,
                page_name(name, type_or(h->types[i].type), p->width - 35));
    if (h->n_types > p->top)
        fprintf(out, "  (%zu more; --top shows more)\n", h->n_types - p->top);
    if (h->lost_bytes > 0)
        fprintf(out, "\n%s of it is lost: --lost shows where it was allocated\n",
                text_size(size, h->lost_bytes));
    return 0;
}
