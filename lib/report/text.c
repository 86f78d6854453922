/* Reports for people: the verdict first, then what grew and where it was allocated, then the sums
 * that back it, then what is no leak and what the files cannot tell. Fits into 80 columns and holds
 * no control characters but the colours asked for. Computes nothing: rows come sorted and judged.
 */
#include "report/page.h"

#include "base/err.h"
#include "base/printable.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int put_stack(struct page *p, const snap_diff *d, const snap_diff_site *site,
                     snap_error *err) {
    return page_stack(p, snap_diff_snapshots(d)[site->snapshot].snapshot, site->stack, err);
}

static void put_verdict(struct page *p, const snap_diff *d) {
    static const struct {
        const char *word;
        enum color color;
    } looks[] = {
        [SNAP_VERDICT_NO_GROWTH] = {"no growth", GREEN},
        [SNAP_VERDICT_GROWTH] = {"GROWTH", YELLOW},
        [SNAP_VERDICT_LEAK] = {"LEAK", RED},
    };
    const snap_diff_finding *const f = snap_diff_get_finding(d);
    const size_t n = snap_diff_n_snapshots(d);
    char size[TEXT_SIZE_MAX], share[24], where[80], text[240];
    size_t n_suspects = 0;
    snap_diff_suspects(d, &n_suspects);
    const int is_known = f->has_references ? n_suspects > 0 : f->n_blamed > 0;
    const int64_t growth = is_known ? f->blamed_growth : f->total_growth;
    if (f->has_references && is_known)
        snprintf(where, sizeof where, "%s of growth", page_percent(share, f->share_ppm));
    else if (is_known)
        snprintf(where, sizeof where, "%s of growth at %" PRIu32 " site%s",
                 page_percent(share, f->share_ppm), f->n_blamed, page_plural(f->n_blamed));
    else
        snprintf(where, sizeof where, "spread over many sites");
    if (f->verdict == SNAP_VERDICT_NO_GROWTH)
        snprintf(text, sizeof text, "in use %s over %zu snapshots",
                 text_signed_size(size, f->total_growth), n);
    else if (n > 2)
        snprintf(text, sizeof text, "%s per snapshot, %s, %s over %zu snapshots",
                 text_signed_size(size, growth / (int64_t)(n - 1)), where,
                 snap_trend_name(f->trend), n);
    else
        snprintf(text, sizeof text, "%s, %s, between 2 snapshots", text_signed_size(size, growth),
                 where);
    page_color(p, looks[f->verdict].color);
    fputs(looks[f->verdict].word, p->out);
    page_color(p, PLAIN);
    const unsigned width = p->width;
    p->width -= page_columns(looks[f->verdict].word);
    page_wrapped(p, "  ", text);
    p->width = width;
}

/* The first line of a row: rank, growth, share, trend, domain. */
static void put_growth(struct page *p, size_t rank, int64_t bytes, int64_t count, uint32_t ppm,
                       snap_trend trend, uint32_t domain, size_t n_snapshots) {
    char size[TEXT_SIZE_MAX], share[24], domain_text[24];
    fprintf(p->out, "%3zu ", rank);
    page_color(p, BOLD);
    fputs(text_signed_size(size, bytes), p->out);
    page_color(p, PLAIN);
    fprintf(p->out, "  %+" PRId64 " block%s", count, page_plural(count));
    if (ppm > 0)
        fprintf(p->out, "  %s of growth", page_percent(share, ppm));
    if (n_snapshots > 2)
        fprintf(p->out, "  %s", snap_trend_name(trend));
    fprintf(p->out, "  %s\n", report_domain(domain_text, domain));
}

static int put_site(struct page *p, const snap_diff *d, const snap_diff_site *s, size_t rank,
                    snap_error *err) {
    const size_t n = snap_diff_n_snapshots(d);
    char text[NAME_MAX_BYTES];
    put_growth(p, rank, s->growth_bytes, s->growth_count, s->share_ppm, s->trend, s->domain, n);
    if (s->stack == 0)
        fprintf(p->out, "    %s\n", page_name(text, s->label, p->width - 4));
    page_series(p, "bytes", s->bytes, n, 1);
    fputc('\n', p->out);
    page_series(p, "blocks", s->counts, n, 0);
    if (s->new_count > 0)
        fprintf(p->out, ", %" PRIu64 " new", s->new_count);
    fputc('\n', p->out);
    SNAP_TRY(put_stack(p, d, s, err));
    fputc('\n', p->out);
    return 0;
}

/* Growing sites (but for those to blame, if asked), a line each. */
static void put_other_sites(struct page *p, const snap_diff *d, int skip_blamed) {
    size_t n, listed = 0, others = 0;
    const snap_diff_site *const sites = snap_diff_sites(d, &n);
    const size_t most = p->top_given || p->all ? p->top : 3;
    for (size_t i = 0; i < n && sites[i].growth_bytes > 0; i++)
        others += !(skip_blamed && sites[i].blamed);
    if (others == 0)
        return;
    fputs(skip_blamed ? "other growth\n" : "sites that grew\n", p->out);
    for (size_t i = 0; i < n && sites[i].growth_bytes > 0 && listed < most; i++) {
        char size[TEXT_SIZE_MAX], text[NAME_MAX_BYTES];
        if (skip_blamed && sites[i].blamed)
            continue;
        listed++;
        fprintf(p->out, "  %10s  %+8" PRId64 "  %-9s  %s\n",
                text_signed_size(size, sites[i].growth_bytes), sites[i].growth_count,
                snap_diff_n_snapshots(d) > 2 ? snap_trend_name(sites[i].trend) : "-",
                page_name(text, sites[i].label, p->width - 33));
    }
    if (others > listed)
        fprintf(p->out, "  (%zu more)\n", others - listed);
    fputc('\n', p->out);
}

/* Blamed sites in full, the other growing ones in a line each. */
static int put_sites(struct page *p, const snap_diff *d, snap_error *err) {
    size_t n, shown = 0, rest = 0, others = 0;
    const snap_diff_site *const sites = snap_diff_sites(d, &n);
    for (size_t i = 0; i < n && sites[i].growth_bytes > 0; i++) {
        if (!sites[i].blamed)
            others++;
        else if (shown < p->top)
            SNAP_TRY(put_site(p, d, &sites[i], ++shown, err));
        else
            rest++;
    }
    if (rest > 0)
        fprintf(p->out, "    (%zu more sites that grew; --top shows more)\n\n", rest);
    if (others > 0 && (p->top_given || p->all || shown == 0))
        put_other_sites(p, d, 1);
    return 0;
}
/* Rows of another table, a line each. */
static void put_rows(struct page *p, const snap_diff *d, const char *title,
                     const snap_diff_type *rows, size_t n, int name_is_path) {
    char text[NAME_MAX_BYTES], size[TEXT_SIZE_MAX], in_use[TEXT_SIZE_MAX], domain[24], share[24];
    const size_t last = snap_diff_n_snapshots(d) - 1;
    size_t shown = 0, rest = 0;
    fprintf(p->out, "    growth    blocks share     in use trend      %s\n", title);
    for (size_t i = 0; i < n; i++) {
        const snap_diff_type *const r = &rows[i];
        if (r->growth_bytes <= 0 && !p->top_given)
            continue;
        if (shown == p->top) {
            rest++;
            continue;
        }
        shown++;
        const char *shown_name = name_is_path ? report_base_name(r->name) : r->name;
        if (*shown_name == '\0')
            shown_name = name_is_path ? "(no module)" : report_domain(domain, r->domain);
        fprintf(p->out, "%10s %+9" PRId64 " %5s %10s %-9s  %s\n",
                text_signed_size(size, r->growth_bytes), r->growth_count,
                page_percent(share, r->share_ppm), text_size(in_use, r->bytes[last]),
                last > 1 ? snap_trend_name(r->trend) : "-",
                page_name(text, shown_name, p->width - 50));
    }
    if (rest > 0)
        fprintf(p->out, "  (%zu more; --top shows more)\n", rest);
    if (shown == 0)
        fputs("  (nothing grew)\n", p->out);
    fputc('\n', p->out);
}

static void put_hooks(struct page *p, const snap_diff *d) {
    size_t n, shown = 0;
    const snap_diff_hook *const hooks = snap_diff_hooks(d, &n);
    const size_t last = snap_diff_n_snapshots(d) - 1;
    fputs(last > 0 ? "  change    count    retains  hook\n" : "   count    retains  hook\n",
          p->out);
    for (size_t i = 0; i < n && shown < p->top; i++, shown++) {
        char raw[900], text[NAME_MAX_BYTES], size[TEXT_SIZE_MAX];
        const int64_t change = (int64_t)(hooks[i].counts[last] - hooks[i].counts[0]);
        if (*hooks[i].file != '\0')
            snprintf(raw, sizeof raw, "%.300s -> %.300s (%.200s:%" PRIu64 ")", hooks[i].registry,
                     hooks[i].callback, report_base_name(hooks[i].file), hooks[i].line);
        else
            snprintf(raw, sizeof raw, "%.300s -> %.300s", hooks[i].registry, hooks[i].callback);
        if (last > 0)
            fprintf(p->out, "%+8" PRId64 " ", change);
        fprintf(p->out, "%8" PRIu64 " %10s  %s\n", hooks[i].counts[last],
                hooks[i].retained_bytes != 0 ? text_size(size, hooks[i].retained_bytes) : "-",
                page_name(text, raw, p->width - (last > 0 ? 30 : 21)));
    }
    if (n == 0)
        fputs("  (none known)\n", p->out);
    if (n > shown)
        fprintf(p->out, "  (%zu more; --top shows more)\n", n - shown);
    if (last > 0)
        fputc('\n', p->out);
}

static const char *time_text(char text[40], uint64_t time_ns) {
    const time_t seconds = (time_t)(time_ns / 1000000000);
    struct tm tm;
    if (gmtime_r(&seconds, &tm) == NULL || strftime(text, 40, "%Y-%m-%d %H:%M:%SZ", &tm) == 0)
        memcpy(text, "?", 2);
    return text;
}

/* The end of a path tells more than its start. */
static const char *path_name(char *out, const char *path, unsigned columns) {
    text_escape(out, NAME_MAX_BYTES, path);
    const unsigned all = page_columns(out);
    if (all <= columns || columns < 4)
        return out;
    char *p = out;
    for (unsigned skip = all - columns + 3; skip > 0; skip--)
        for (p++; ((unsigned char)*p & 0xc0) == 0x80;)
            p++;
    memmove(out + 3, p, strlen(p) + 1);
    memcpy(out, "...", 3);
    return out;
}

static void put_snapshot_line(struct page *p, const snap_diff_snapshot *s, size_t number) {
    char file[NAME_MAX_BYTES], label[NAME_MAX_BYTES], facts[NAME_MAX_BYTES] = "", time[40];
    size_t n = 0;
    if (s->has_step)
        n += (size_t)snprintf(facts + n, sizeof facts - n, "  step %" PRId64, s->step);
    if (s->has_rank)
        n += (size_t)snprintf(facts + n, sizeof facts - n, "  rank %" PRIu64, s->rank);
    if (*s->label != '\0')
        n += (size_t)snprintf(facts + n, sizeof facts - n, "  \"%s\"",
                              page_name(label, s->label, 24));
    if (s->time_ns != 0)
        n += (size_t)snprintf(facts + n, sizeof facts - n, "  %s", time_text(time, s->time_ns));
    if (!s->complete)
        snprintf(facts + n, sizeof facts - n, "  incomplete");
    const unsigned used = page_columns(facts) + 6;
    fprintf(p->out, "  #%-2zu %s%s\n", number,
            path_name(file, s->file, used + 16 < p->width ? p->width - used : 16), facts);
}

static void put_total_line(struct page *p, const char *title, const uint64_t *values, size_t n,
                           int is_known) {
    size_t chosen[COLUMNS_MAX];
    const size_t n_chosen = page_choose(n, chosen);
    char text[TEXT_SIZE_MAX];
    if (!is_known)
        return;
    fprintf(p->out, "  %-14s", title);
    for (size_t i = 0; i < n_chosen; i++)
        fprintf(p->out, " %9s", text_size(text, values[chosen[i]]));
    const uint64_t first = values[0], last = values[n - 1];
    const int64_t growth = last >= first ? (int64_t)(last - first) : -(int64_t)(first - last);
    if (n > 1)
        fprintf(p->out, " %10s", text_signed_size(text, growth));
}

static void put_process_line(struct page *p, const snap_diff *d, const char *title,
                             size_t field_offset) {
    const size_t n = snap_diff_n_snapshots(d);
    const snap_diff_snapshot *const s = snap_diff_snapshots(d);
    uint64_t *const values = calloc(n, sizeof *values);
    uint64_t all = 0;
    for (size_t i = 0; values != NULL && i < n; i++) {
        memcpy(&values[i], (const char *)&s[i] + field_offset, sizeof *values);
        all |= values[i];
    }
    if (values != NULL && all != 0) {
        put_total_line(p, title, values, n, 1);
        fputc('\n', p->out);
    }
    free(values);
}

static void put_count(struct page *p, int is_growth, int64_t count) {
    if (is_growth)
        fprintf(p->out, "  %+" PRId64 " block%s", count, page_plural(count));
    else
        fprintf(p->out, "  %" PRId64 " block%s", count, page_plural(count));
}

static void put_device_line(struct page *p, const char *title, const uint64_t *values, size_t n) {
    uint64_t all = 0;
    for (size_t i = 0; i < n; i++)
        all |= values[i];
    if (all == 0)
        return;
    put_total_line(p, title, values, n, 1);
    fputc('\n', p->out);
}

/* What the driver has given, and what became of it; what is left over is never left out. */
static void put_devices(struct page *p, const snap_diff *d) {
    size_t n_devices;
    const size_t n = snap_diff_n_snapshots(d);
    const snap_diff_device *const devices = snap_diff_devices(d, &n_devices);
    for (size_t i = 0; i < n_devices; i++) {
        const snap_diff_device *const v = &devices[i];
        char text[NAME_MAX_BYTES], size[TEXT_SIZE_MAX];
        const int64_t rest = v->residual[n - 1];
        fprintf(p->out, "device %" PRIu32 "%s%s\n", v->device, *v->name ? "  " : "",
                page_name(text, v->name, p->width - 12));
        put_device_line(p, "live", v->live, n);
        put_device_line(p, "cached", v->cached, n);
        put_device_line(p, "- returnable", v->returnable, n); /* parts of what is cached */
        put_device_line(p, "- largest gap", v->largest_gap, n);
        put_device_line(p, "of graphs", v->graphs, n);
        put_device_line(p, "driver says", v->reported, n);
        if (v->reported[n - 1] != 0)
            fprintf(p->out, "  %-14s %s of contexts, code, and what nobody tracks\n", "the rest",
                    text_signed_size(size, rest));
        else
            fprintf(p->out, "  %-14s unknown: the driver does not say what this process has\n",
                    "the rest");
    }
}

static void put_totals(struct page *p, const snap_diff *d) {
    size_t n_totals, chosen[COLUMNS_MAX];
    const size_t n = snap_diff_n_snapshots(d), n_chosen = page_choose(n, chosen);
    const snap_diff_type *const totals = snap_diff_totals(d, &n_totals);
    fputs("in use          ", p->out);
    for (size_t i = 0; i < n_chosen; i++) {
        char text[24];
        snprintf(text, sizeof text, "#%zu", chosen[i] + 1);
        fprintf(p->out, " %9s", text);
    }
    fputs(n > 1 ? "     growth\n" : "\n", p->out);
    for (size_t i = 0; i < n_totals; i++) {
        char domain[24];
        put_total_line(p, report_domain(domain, totals[i].domain), totals[i].bytes, n, 1);
        if (n_chosen < COLUMNS_MAX)
            put_count(p, n > 1, n > 1 ? totals[i].growth_count : (int64_t)totals[i].counts[0]);
        fputc('\n', p->out);
    }
    put_process_line(p, d, "RSS", offsetof(snap_diff_snapshot, rss_bytes));
    put_process_line(p, d, "malloc in use", offsetof(snap_diff_snapshot, malloc_in_use_bytes));
    put_process_line(p, d, "malloc free", offsetof(snap_diff_snapshot, malloc_free_bytes));
    put_devices(p, d);
    fputc('\n', p->out);
}

/* Mappings of the program's own that grew, a line each. */
static void put_mapped(struct page *p, const snap_diff *d) {
    size_t n, listed = 0, n_grown = 0;
    const snap_diff_site *const rows = snap_diff_mapped(d, &n);
    const size_t most = p->top_given || p->all ? p->top : 3;
    while (n_grown < n && rows[n_grown].growth_bytes > 0)
        n_grown++;
    if (n_grown == 0)
        return;
    fputs("mapped by the program itself, blocks in it or not\n", p->out);
    for (; listed < n_grown && listed < most; listed++) {
        const snap_diff_site *const m = &rows[listed];
        char size[TEXT_SIZE_MAX], text[NAME_MAX_BYTES];
        fprintf(p->out, "  %10s  %+8" PRId64 "  %-9s  %s\n",
                text_signed_size(size, m->growth_bytes), m->growth_count,
                snap_diff_n_snapshots(d) > 2 ? snap_trend_name(m->trend) : "-",
                page_name(text, m->label, p->width - 33));
    }
    if (n_grown > listed)
        fprintf(p->out, "  (%zu more)\n", n_grown - listed);
    fputc('\n', p->out);
}

/* Of many rows the first and the last: whether row i of n is left out; two dots stand for all. */
static int is_elided(struct page *p, size_t i, size_t n) {
    if (p->all || n < 12 || i < 5 || i >= n - 5)
        return 0;
    if (i == 5)
        fputs("  ..\n", p->out);
    return 1;
}

static void put_intervals(struct page *p, const snap_diff *d) {
    const size_t n = snap_diff_n_snapshots(d);
    const snap_diff_interval *const intervals = snap_diff_intervals(d);
    fputs("blocks                     new              freed         surviving  match\n", p->out);
    for (size_t i = 0; i + 1 < n; i++) {
        if (is_elided(p, i, n - 1))
            continue;
        const snap_diff_interval *const v = &intervals[i];
        char title[48], a[TEXT_SIZE_MAX], b[TEXT_SIZE_MAX], c[TEXT_SIZE_MAX];
        snprintf(title, sizeof title, "#%zu -> #%zu", i + 1, i + 2);
        fprintf(p->out, "  %-10s %7" PRIu64 " %9s %7" PRIu64 " %9s %7" PRIu64 " %9s  %s", title,
                v->new_count, text_size(a, v->new_bytes), v->freed_count,
                text_size(b, v->freed_bytes), v->surviving_count, text_size(c, v->surviving_bytes),
                snap_match_name(v->match));
        if (v->surviving_count != 0 || v->freed_count != 0)
            fprintf(p->out, " %" PRIu32 "%%", v->match_ppm / 10000);
        fputc('\n', p->out);
    }
    fputc('\n', p->out);
}

static int put_table(struct page *p, const snap_diff *d, snap_report_by by, snap_error *err) {
    size_t n;
    const snap_diff_type *rows;
    switch (by) {
    case SNAP_REPORT_BY_SITE: return put_sites(p, d, err);
    case SNAP_REPORT_BY_TYPE:
        rows = snap_diff_types(d, &n);
        put_rows(p, d, "type", rows, n, 0);
        break;
    case SNAP_REPORT_BY_MODULE:
        rows = snap_diff_modules(d, &n);
        put_rows(p, d, "module", rows, n, 1);
        break;
    case SNAP_REPORT_BY_DOMAIN:
        rows = snap_diff_totals(d, &n);
        put_rows(p, d, "domain", rows, n, 0);
        break;
    case SNAP_REPORT_BY_HOOK: put_hooks(p, d); break;
    }
    return 0;
}

static void put_not_leaks(struct page *p, const snap_diff *d) {
    size_t n;
    const snap_diff_not_leak *const rows = snap_diff_not_leaks(d, &n);
    for (size_t i = 0; i < n; i++)
        page_note(p, "not a leak: ", rows[i].explanation);
    if (n > 0)
        fputc('\n', p->out);
}

static int put_findings(struct page *p, const snap_diff *d, snap_report_by by, snap_error *err) {
    put_verdict(p, d);
    fputc('\n', p->out);
    if (!snap_diff_get_finding(d)->has_references)
        return put_table(p, d, by, err);
    SNAP_TRY(text_suspects(p, d, err));
    if (by != SNAP_REPORT_BY_SITE)
        return put_table(p, d, by, err);
    if (p->top_given || p->all)
        put_other_sites(p, d, 0);
    return 0;
}

int text_findings(const snap_diff *d, FILE *out, const snap_report_options *options,
                  snap_error *err) {
    struct page page = page_start(out, options);
    return put_findings(&page, d, options->by, err);
}

static int text_diff(const snap_diff *d, FILE *out, const snap_report_options *options,
                     snap_error *err) {
    struct page page = page_start(out, options), *const p = &page;
    size_t n;
    SNAP_TRY(put_findings(p, d, options->by, err));
    if (p->all && options->by == SNAP_REPORT_BY_SITE) {
        SNAP_TRY(put_table(p, d, SNAP_REPORT_BY_TYPE, err));
        SNAP_TRY(put_table(p, d, SNAP_REPORT_BY_HOOK, err));
    }
    put_not_leaks(p, d);
    put_totals(p, d);
    put_mapped(p, d);
    put_intervals(p, d);
    fputs("snapshots\n", out);
    for (size_t i = 0; i < snap_diff_n_snapshots(d); i++)
        if (!is_elided(p, i, snap_diff_n_snapshots(d)))
            put_snapshot_line(p, &snap_diff_snapshots(d)[i], i + 1);
    const char *const *const limits = snap_diff_limits(d, &n);
    for (size_t i = 0; i < n; i++)
        page_note(p, "note: ", limits[i]);
    return 0;
}

static void put_census_rows(struct page *p, const snap_diff_type *rows, size_t n, const char *title,
                            int name_is_path) {
    char text[NAME_MAX_BYTES], size[TEXT_SIZE_MAX], domain[24];
    fprintf(p->out, "      bytes    blocks  %-8s  %s\n", "domain", title);
    for (size_t i = 0; i < n && i < p->top; i++) {
        const char *shown = name_is_path ? report_base_name(rows[i].name) : rows[i].name;
        if (*shown == '\0')
            shown = name_is_path ? "(no module)" : "(all)";
        fprintf(p->out, "%11s %9" PRIu64 "  %-8s  %s\n", text_size(size, rows[i].bytes[0]),
                rows[i].counts[0], report_domain(domain, rows[i].domain),
                page_name(text, shown, p->width - 33));
    }
    if (n > p->top)
        fprintf(p->out, "  (%zu more; --top shows more)\n", n - p->top);
}

static int put_census_sites(struct page *p, const snap_diff *d, snap_error *err) {
    size_t n;
    const snap_diff_site *const sites = snap_diff_sites(d, &n);
    for (size_t i = 0; i < n && i < p->top; i++) {
        char text[NAME_MAX_BYTES], size[TEXT_SIZE_MAX], domain[24];
        fprintf(p->out, "%3zu ", i + 1);
        page_color(p, BOLD);
        fputs(text_size(size, sites[i].bytes[0]), p->out);
        page_color(p, PLAIN);
        fprintf(p->out, " in %" PRIu64 " block%s  %s\n", sites[i].counts[0],
                sites[i].counts[0] == 1 ? "" : "s", report_domain(domain, sites[i].domain));
        if (sites[i].stack == 0)
            fprintf(p->out, "    %s\n", page_name(text, sites[i].label, p->width - 4));
        SNAP_TRY(put_stack(p, d, &sites[i], err));
    }
    if (n > p->top)
        fprintf(p->out, "    (%zu more sites; --top shows more)\n", n - p->top);
    if (n == 0)
        fputs("  (no blocks)\n", p->out);
    return 0;
}

static void put_fact(struct page *p, const char *title, const char *text) {
    char safe[NAME_MAX_BYTES];
    if (text != NULL && *text != '\0')
        fprintf(p->out, "%-12s %s\n", title, page_name(safe, text, p->width - 13));
}

/* What one child process has: there may be many of them, and their sum is there, too. */
static int is_of_one_child(const char *name) {
    static const char prefix[] = "child";
    const size_t n = sizeof prefix - 1;
    return strncmp(name, prefix, n) == 0 && name[n] >= '0' && name[n] <= '9';
}

/* Named numbers of one META key, several to a line. */
static void put_named(struct page *p, const snap_snapshot *s, uint32_t key, const char *title) {
    unsigned column = 0;
    for (size_t i = 0; i < snap_meta_count(s); i++) {
        const snap_meta_row row = snap_meta_get(s, i);
        if (row.key != key || (key == SNAP_META_PROCESS && is_of_one_child(row.name)))
            continue;
        char raw[300], item[NAME_MAX_BYTES], size[TEXT_SIZE_MAX];
        const size_t length = strlen(row.name);
        if (key == SNAP_META_PROCESS && length > 6 && strcmp(row.name + length - 6, "_bytes") == 0)
            snprintf(raw, sizeof raw, "%.*s %s", (int)(length - 6 < 200 ? length - 6 : 200),
                     row.name, text_size(size, row.value));
        else if (key == SNAP_META_USER)
            snprintf(raw, sizeof raw, "%.200s %" PRId64, row.name, (int64_t)row.value);
        else
            snprintf(raw, sizeof raw, "%.200s %" PRIu64, row.name, row.value);
        page_name(item, raw, p->width - 13);
        const unsigned columns = page_columns(item);
        if (column == 0 || column + 2 + columns > p->width) {
            fprintf(p->out, "%s%-12s %s", column == 0 ? "" : "\n", column == 0 ? title : "", item);
            column = 13 + columns;
        } else {
            fprintf(p->out, ", %s", item);
            column += 2 + columns;
        }
    }
    if (column > 0)
        fputc('\n', p->out);
}

/* What made the snapshot happen; NULL if unknown. */
static const char *trigger_name(uint64_t trigger) {
    static const char *const names[] = {
        [SNAP_TRIGGER_API] = "by the program",          [SNAP_TRIGGER_EXIT] = "at exit",
        [SNAP_TRIGGER_SIGNAL] = "on a signal",          [SNAP_TRIGGER_INTERVAL] = "by the clock",
        [SNAP_TRIGGER_TAKE] = "by snap take",           [SNAP_TRIGGER_CONDITION] = "on a condition",
        [SNAP_TRIGGER_OUT_OF_MEMORY] = "out of memory", [SNAP_TRIGGER_IMPORT] = "imported",
    };
    return trigger < sizeof names / sizeof *names ? names[trigger] : NULL;
}

static void put_header(struct page *p, const snap_diff_snapshot *info) {
    const snap_snapshot *const s = info->snapshot;
    char text[NAME_MAX_BYTES], size[TEXT_SIZE_MAX];
    uint64_t value;
    page_color(p, BOLD);
    fputs(path_name(text, info->file, p->width - 12), p->out);
    page_color(p, PLAIN);
    fprintf(p->out, "  %s\n", text_size(size, snap_file_bytes(s)));
    put_fact(p, "command", snap_meta_text(s, SNAP_META_COMMAND));
    put_fact(p, "executable", snap_meta_text(s, SNAP_META_EXECUTABLE));
    fprintf(p->out, "%-12s %" PRIu64, "process", info->pid);
    if (info->has_rank)
        fprintf(p->out, ", rank %" PRIu64, info->rank);
    if (snap_meta_text(s, SNAP_META_HOST) != NULL)
        fprintf(p->out, " on %s", page_name(text, snap_meta_text(s, SNAP_META_HOST), 40));
    fprintf(p->out, ", snapshot %" PRIu64 " of its life\n", info->sequence);
    if (info->time_ns != 0) {
        fprintf(p->out, "%-12s %s", "taken", time_text(text, info->time_ns));
        if (snap_meta_number(s, SNAP_META_UPTIME_NS, NULL, &value))
            fprintf(p->out, ", after %.3f s", (double)value / 1e9);
        if (snap_meta_number(s, SNAP_META_TRIGGER, NULL, &value) && trigger_name(value) != NULL)
            fprintf(p->out, ", %s", trigger_name(value));
        fputc('\n', p->out);
    }
    if (snap_meta_number(s, SNAP_META_PAUSE_NS, NULL, &value))
        fprintf(p->out, "%-12s %.1f ms\n", "paused for", (double)value / 1e6);
    put_fact(p, "label", info->label);
    if (info->has_step)
        fprintf(p->out, "%-12s %" PRId64 "\n", "step", info->step);
    put_named(p, s, SNAP_META_USER, "counters");
    put_named(p, s, SNAP_META_PROCESS, "process has");
    put_fact(p, "allocator", snap_meta_text(s, SNAP_META_ALLOCATOR));
    put_fact(p, "writer", snap_meta_text(s, SNAP_META_WRITER));
    if (info->complete)
        fprintf(p->out, "%-12s yes\n", "complete");
    put_named(p, s, SNAP_META_COMPLETENESS, info->complete ? "but" : "INCOMPLETE");
}

static int text_census(const snap_diff *d, FILE *out, const snap_report_options *options,
                       snap_error *err) {
    struct page page = page_start(out, options), *const p = &page;
    size_t n;
    const snap_diff_type *rows;
    put_header(p, snap_diff_snapshots(d));
    fputc('\n', out);
    put_totals(p, d);
    switch (options->by) {
    case SNAP_REPORT_BY_SITE: return put_census_sites(p, d, err);
    case SNAP_REPORT_BY_TYPE:
        rows = snap_diff_types(d, &n);
        put_census_rows(p, rows, n, "type", 0);
        break;
    case SNAP_REPORT_BY_MODULE:
        rows = snap_diff_modules(d, &n);
        put_census_rows(p, rows, n, "module", 1);
        break;
    case SNAP_REPORT_BY_DOMAIN:
        rows = snap_diff_totals(d, &n);
        put_census_rows(p, rows, n, "all", 0);
        break;
    case SNAP_REPORT_BY_HOOK: put_hooks(p, d); break;
    }
    return 0;
}

const struct report_format report_text = {"text",       text_diff,     text_census,
                                          text_holders, text_holdings, text_ranks};
