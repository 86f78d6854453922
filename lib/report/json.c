/* Reports for programs: JSON, schema 1, as snapdiff(1) documents it. The only file that uses the
 * JSON library; what others embed of a report they get as text.
 *
 * Invariant: every key of the schema is there, in the documented order; numbers are integers;
 * strings are valid UTF-8, with \xNN for what is not; equal input gives equal bytes. Numbers above
 * 2^63 - 1 are cut there: JSON readers disagree on them. */
#include "report/report.h"

#include "base/err.h"
#include "base/printable.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define TOP_DEFAULT 200
#define FRAMES_DEFAULT 64
#define FRAMES_MAX 1024

/* What one report is made with. A broken value makes the whole broken: jansson's setters refuse
 * NULL and the end says so; what a file could not tell has its message in err already. */
struct building {
    int failed; /* or a negative SNAP_E_* */
    snap_error *err;
    snap_location *frames; /* of one stack */
    unsigned max_frames;
    size_t top;
};

/* The first failure counts. */
static void building_failed(struct building *b, int result) {
    if (b->failed == 0)
        b->failed =
            result == SNAP_E_NOMEM ? err_set(b->err, result, "no memory for the report") : result;
}

static void set(struct building *b, json_t *object, const char *key, json_t *value) {
    if (json_object_set_new_nocheck(object, key, value) < 0)
        building_failed(b, SNAP_E_NOMEM);
}

static void append(struct building *b, json_t *array, json_t *value) {
    if (json_array_append_new(array, value) < 0)
        building_failed(b, SNAP_E_NOMEM);
}

static json_t *number(uint64_t value) {
    return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

static json_t *text(const char *value) {
    /* jansson escapes control characters; only bytes that are not UTF-8 need help. */
    json_t *const plain = json_string(value);
    if (plain != NULL)
        return plain;
    const size_t size = strlen(value) * 4 + 1;
    char *const escaped = malloc(size);
    if (escaped == NULL)
        return NULL;
    text_escape(escaped, size, value);
    json_t *const result = json_string(escaped);
    free(escaped);
    return result;
}

static json_t *series(struct building *b, const uint64_t *values, size_t n) {
    json_t *const array = json_array();
    for (size_t i = 0; i < n; i++)
        append(b, array, number(values[i]));
    return array;
}

static const char *domain_name(char out[24], uint32_t domain) {
    return report_domain(out, domain);
}

static json_t *totals_of(struct building *b, const snap_diff_snapshot *s) {
    json_t *const totals = json_object();
    for (uint32_t domain = SNAP_DOMAIN_HOST; domain <= SNAP_DOMAIN_MANAGED; domain++) {
        char name[24];
        json_t *const row = json_object();
        set(b, row, "count", number(s->totals[domain].count));
        set(b, row, "bytes", number(s->totals[domain].bytes));
        if (domain == SNAP_DOMAIN_DEVICE || s->totals[domain].cached_bytes != 0)
            set(b, row, "cached_bytes", number(s->totals[domain].cached_bytes));
        set(b, totals, domain_name(name, domain), row);
    }
    return totals;
}

static json_t *snapshot_of(struct building *b, const snap_diff_snapshot *s) {
    json_t *const object = json_object();
    const char *const command = snap_meta_text(s->snapshot, SNAP_META_COMMAND);
    set(b, object, "file", text(s->file));
    set(b, object, "label", text(s->label));
    set(b, object, "step", s->has_step ? json_integer(s->step) : json_null());
    set(b, object, "sequence", number(s->sequence));
    set(b, object, "pid", number(s->pid));
    set(b, object, "rank", s->has_rank ? number(s->rank) : json_null());
    set(b, object, "time_ns", number(s->time_ns));
    set(b, object, "complete", json_boolean(s->complete));
    set(b, object, "totals", totals_of(b, s));
    json_t *const process = json_object();
    set(b, process, "rss_bytes", number(s->rss_bytes));
    set(b, process, "malloc_in_use_bytes", number(s->malloc_in_use_bytes));
    set(b, process, "malloc_free_bytes", number(s->malloc_free_bytes));
    set(b, object, "process", process);
    set(b, object, "command", text(command != NULL ? command : ""));
    return object;
}

/* The whole stack, allocators included: what a person need not see a program may. */
static json_t *stack_of(struct building *b, const snap_snapshot *s, uint64_t stack) {
    json_t *const array = json_array();
    size_t n = 0;
    int result = b->failed != 0 ? b->failed
                                : snap_stack(s, stack, b->frames, b->max_frames, &n, NULL, b->err);
    for (size_t i = 0; result >= 0 && i < n; i++) {
        const snap_location *const f = &b->frames[i];
        snap_module module = {.path = ""};
        if (f->module != 0)
            result = snap_module_get(s, f->module, &module, b->err);
        json_t *const frame = json_object();
        set(b, frame, "function", text(f->function));
        set(b, frame, "file", text(f->file));
        set(b, frame, "line", number(f->line));
        set(b, frame, "module", text(module.path));
        set(b, frame, "offset", number(f->offset));
        if (snap_location_is_allocator(s, f))
            set(b, frame, "allocator", json_true());
        if (f->kind != SNAP_FRAM_NATIVE)
            set(b, frame, "managed", json_true());
        append(b, array, frame);
    }
    if (result < 0)
        building_failed(b, result);
    return array;
}

static json_t *types_of(struct building *b, const snap_diff_type *rows, size_t n,
                        size_t n_snapshots, const char *key) {
    json_t *const array = json_array();
    for (size_t i = 0; i < n && i < b->top; i++) {
        char domain[24];
        json_t *const row = json_object();
        set(b, row, key, text(rows[i].name));
        set(b, row, "domain", text(domain_name(domain, rows[i].domain)));
        set(b, row, "counts", series(b, rows[i].counts, n_snapshots));
        set(b, row, "bytes", series(b, rows[i].bytes, n_snapshots));
        if (n_snapshots > 1) {
            set(b, row, "trend", text(snap_trend_name(rows[i].trend)));
            set(b, row, "growth_bytes", json_integer(rows[i].growth_bytes));
            set(b, row, "growth_count", json_integer(rows[i].growth_count));
            set(b, row, "share_ppm", number(rows[i].share_ppm));
        }
        append(b, array, row);
    }
    return array;
}

static json_t *sites_of(struct building *b, const snap_diff *d, const snap_diff_site *sites,
                        size_t n) {
    const size_t n_snapshots = snap_diff_n_snapshots(d);
    json_t *const array = json_array();
    for (size_t i = 0; i < n && i < b->top && b->failed == 0; i++) {
        const snap_diff_site *const s = &sites[i];
        char key[24], domain[24];
        snprintf(key, sizeof key, "%016" PRIx64, s->key);
        json_t *const row = json_object();
        set(b, row, "stack", stack_of(b, snap_diff_snapshots(d)[s->snapshot].snapshot, s->stack));
        set(b, row, "counts", series(b, s->counts, n_snapshots));
        set(b, row, "bytes", series(b, s->bytes, n_snapshots));
        set(b, row, "domain", text(domain_name(domain, s->domain)));
        set(b, row, "label", text(s->label));
        set(b, row, "key", text(key));
        if (n_snapshots > 1) {
            set(b, row, "trend", text(snap_trend_name(s->trend)));
            set(b, row, "growth_bytes", json_integer(s->growth_bytes));
            set(b, row, "growth_count", json_integer(s->growth_count));
            set(b, row, "new_count", number(s->new_count));
            set(b, row, "new_bytes", number(s->new_bytes));
            set(b, row, "share_ppm", number(s->share_ppm));
            set(b, row, "blamed", json_boolean(s->blamed));
        }
        append(b, array, row);
    }
    return array;
}

static json_t *hooks_of(struct building *b, const snap_diff *d) {
    size_t n;
    const snap_diff_hook *const hooks = snap_diff_hooks(d, &n);
    json_t *const array = json_array();
    for (size_t i = 0; i < n && i < b->top; i++) {
        json_t *const row = json_object();
        set(b, row, "registry", text(hooks[i].registry));
        set(b, row, "callback", text(hooks[i].callback));
        set(b, row, "file", text(hooks[i].file));
        set(b, row, "line", number(hooks[i].line));
        set(b, row, "counts", series(b, hooks[i].counts, snap_diff_n_snapshots(d)));
        set(b, row, "retained_bytes", number(hooks[i].retained_bytes));
        append(b, array, row);
    }
    return array;
}

static json_t *signed_series(struct building *b, const int64_t *values, size_t n) {
    json_t *const array = json_array();
    for (size_t i = 0; i < n; i++)
        append(b, array, json_integer(values[i]));
    return array;
}

static void put_devices(struct building *b, json_t *root, const snap_diff *d) {
    size_t n_devices;
    const size_t n = snap_diff_n_snapshots(d);
    const snap_diff_device *const devices = snap_diff_devices(d, &n_devices);
    json_t *const array = json_array();
    for (size_t i = 0; i < n_devices; i++) {
        const snap_diff_device *const v = &devices[i];
        json_t *const row = json_object();
        set(b, row, "device", number(v->device));
        set(b, row, "name", text(v->name));
        set(b, row, "live_bytes", series(b, v->live, n));
        set(b, row, "cached_bytes", series(b, v->cached, n));
        set(b, row, "graph_bytes", series(b, v->graphs, n));
        set(b, row, "largest_gap_bytes", series(b, v->largest_gap, n));
        set(b, row, "returnable_bytes", series(b, v->returnable, n));
        set(b, row, "reported_bytes", series(b, v->reported, n));
        set(b, row, "residual_bytes", signed_series(b, v->residual, n));
        append(b, array, row);
    }
    if (n_devices > 0)
        set(b, root, "devices", array);
    else
        json_decref(array);
}

static json_t *suspect_chain_of(struct building *b, const snap_diff_suspect *s) {
    json_t *const array = json_array();
    for (size_t i = 0; i < s->n_chain; i++) {
        json_t *const step = json_object();
        set(b, step, "edge", text(s->chain[i].edge));
        set(b, step, "node", text(s->chain[i].node));
        if (*s->chain[i].label != '\0')
            set(b, step, "label", text(s->chain[i].label));
        set(b, step, "count", number(s->chain[i].count));
        set(b, step, "bytes", number(s->chain[i].bytes));
        if (s->chain[i].is_list)
            set(b, step, "list", json_true());
        if (s->chain[i].is_suspect)
            set(b, step, "suspect", json_true());
        append(b, array, step);
    }
    return array;
}

static json_t *suspect_hook_of(struct building *b, const snap_diff_hook *h, size_t n) {
    json_t *const object = json_object();
    set(b, object, "registry", text(h->registry));
    set(b, object, "callback", text(h->callback));
    set(b, object, "file", text(h->file));
    set(b, object, "line", number(h->line));
    set(b, object, "counts", series(b, h->counts, n));
    return object;
}

static json_t *suspect_of(struct building *b, const snap_diff *d, const snap_diff_suspect *s,
                          size_t rank) {
    const size_t n_snapshots = snap_diff_n_snapshots(d);
    char domain[24];
    json_t *const row = json_object();
    set(b, row, "rank", number(rank));
    set(b, row, "class", text(snap_suspect_class_name(s->suspect_class)));
    set(b, row, "domain", text(domain_name(domain, s->domain)));
    set(b, row, "type", text(s->type));
    set(b, row, "counts", series(b, s->counts, n_snapshots));
    set(b, row, "bytes", series(b, s->bytes, n_snapshots));
    set(b, row, "growth_bytes", json_integer(s->growth_bytes));
    set(b, row, "share_ppm", number(s->share_ppm));
    set(b, row, "retained_bytes", number(s->retained_bytes));
    set(b, row, "trend", text(snap_trend_name(s->trend)));
    set(b, row, "match", text(snap_match_name(s->match)));
    set(b, row, "holder", text(s->holder));
    set(b, row, "chain", suspect_chain_of(b, s));
    set(b, row, "site", stack_of(b, snap_diff_snapshots(d)[s->snapshot].snapshot, s->stack));
    set(b, row, "advice", text(s->advice));
    set(b, row, "growth_count", json_integer(s->growth_count));
    set(b, row, "exclusive_bytes", number(s->exclusive_bytes));
    set(b, row, "root_kind", text(s->root_kind));
    set(b, row, "root_module", text(s->root_module));
    set(b, row, "thread", text(s->thread));
    set(b, row, "doubtful", json_boolean(s->is_doubtful));
    set(b, row, "slope_bytes", json_integer(s->slope_bytes));
    set(b, row, "chance_ppm", number(s->chance_ppm));
    set(b, row, "usual", text(s->usual));
    set(b, row, "known", json_boolean(s->is_known));
    set(b, row, "baseline_growth_bytes", json_integer(s->baseline_growth_bytes));
    if (s->hook != NULL)
        set(b, row, "hook", suspect_hook_of(b, s->hook, n_snapshots));
    if (s->views_count != 0) {
        json_t *const views = json_object();
        set(b, views, "count", number(s->views_count));
        set(b, views, "shown_bytes", number(s->views_shown_bytes));
        set(b, views, "kept_bytes", number(s->views_kept_bytes));
        set(b, row, "views", views);
    }
    return row;
}

static json_t *suspects_of(struct building *b, const snap_diff *d) {
    size_t n;
    const snap_diff_suspect *const suspects = snap_diff_suspects(d, &n);
    json_t *const array = json_array();
    for (size_t i = 0; i < n && i < b->top && b->failed == 0; i++)
        append(b, array, suspect_of(b, d, &suspects[i], i + 1));
    return array;
}

static json_t *intervals_of(struct building *b, const snap_diff *d) {
    json_t *const array = json_array();
    for (size_t i = 0; i + 1 < snap_diff_n_snapshots(d); i++) {
        const snap_diff_interval *const v = &snap_diff_intervals(d)[i];
        json_t *const row = json_object();
        set(b, row, "new_count", number(v->new_count));
        set(b, row, "new_bytes", number(v->new_bytes));
        set(b, row, "freed_count", number(v->freed_count));
        set(b, row, "freed_bytes", number(v->freed_bytes));
        set(b, row, "surviving_count", number(v->surviving_count));
        set(b, row, "surviving_bytes", number(v->surviving_bytes));
        set(b, row, "match", text(snap_match_name(v->match)));
        set(b, row, "match_ppm", number(v->match_ppm));
        append(b, array, row);
    }
    return array;
}

static json_t *not_leaks_of(struct building *b, const snap_diff *d) {
    size_t n;
    const snap_diff_not_leak *const rows = snap_diff_not_leaks(d, &n);
    json_t *const array = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *const row = json_object();
        set(b, row, "class", text(rows[i].kind));
        set(b, row, "bytes", number(rows[i].bytes));
        set(b, row, "explanation", text(rows[i].explanation));
        append(b, array, row);
    }
    return array;
}

static json_t *limits_of(struct building *b, const snap_diff *d) {
    size_t n;
    const char *const *const limits = snap_diff_limits(d, &n);
    json_t *const array = json_array();
    for (size_t i = 0; i < n; i++)
        append(b, array, text(limits[i]));
    return array;
}

static json_t *finding_of(struct building *b, const snap_diff *d) {
    const snap_diff_finding *const f = snap_diff_get_finding(d);
    json_t *const object = json_object();
    set(b, object, "trend", text(snap_trend_name(f->trend)));
    set(b, object, "total_growth_bytes", json_integer(f->total_growth));
    set(b, object, "blamed_growth_bytes", json_integer(f->blamed_growth));
    set(b, object, "blamed_sites", number(f->n_blamed));
    set(b, object, "share_ppm", number(f->share_ppm));
    set(b, object, "threshold_bytes", number(f->threshold_bytes));
    set(b, object, "references", json_boolean(f->has_references));
    return object;
}

static int building_start(struct building *b, const snap_report_options *options, snap_error *err) {
    /* No stack in a file is deeper than a reader gives out. */
    const unsigned frames = options->frames != 0 ? options->frames : FRAMES_DEFAULT;
    *b = (struct building){.err = err,
                           .max_frames = frames < FRAMES_MAX ? frames : FRAMES_MAX,
                           .top = options->top != 0 ? options->top : TOP_DEFAULT};
    b->frames = calloc(b->max_frames, sizeof *b->frames);
    return b->frames != NULL ? 0 : err_set(err, SNAP_E_NOMEM, "no memory for a stack");
}

/* Takes the whole report. */
static int building_end(struct building *b, json_t *root, FILE *out, size_t flags) {
    int result = b->failed;
    if (result == 0 &&
        (json_dumpf(root, out, flags | JSON_ENSURE_ASCII) < 0 || fputc('\n', out) == EOF))
        result = err_set(b->err, SNAP_E_IO, "cannot write the report");
    json_decref(root);
    free(b->frames);
    return result;
}

/* The tables that a comparison and a census share. */
static void put_tables(struct building *b, json_t *root, const snap_diff *d) {
    size_t n_types, n_sites, n_mapped;
    const snap_diff_type *const types = snap_diff_types(d, &n_types);
    const snap_diff_site *const sites = snap_diff_sites(d, &n_sites);
    const snap_diff_site *const mapped = snap_diff_mapped(d, &n_mapped);
    set(b, root, "types", types_of(b, types, n_types, snap_diff_n_snapshots(d), "type"));
    set(b, root, "sites", sites_of(b, d, sites, n_sites));
    if (n_mapped > 0)
        set(b, root, "mapped", sites_of(b, d, mapped, n_mapped));
}

static void put_modules(struct building *b, json_t *root, const snap_diff *d) {
    size_t n_modules;
    const snap_diff_type *const modules = snap_diff_modules(d, &n_modules);
    set(b, root, "modules", types_of(b, modules, n_modules, snap_diff_n_snapshots(d), "module"));
}

/* How many rows there are, shown or not. */
static void put_counts(struct building *b, json_t *root, const snap_diff *d) {
    size_t n;
    snap_diff_types(d, &n);
    set(b, root, "n_types", number(n));
    snap_diff_sites(d, &n);
    set(b, root, "n_sites", number(n));
    snap_diff_modules(d, &n);
    set(b, root, "n_modules", number(n));
    snap_diff_hooks(d, &n);
    set(b, root, "n_hooks", number(n));
}

static void put_address(struct building *b, json_t *object, uint64_t address) {
    char hex[24];
    snprintf(hex, sizeof hex, "0x%" PRIx64, address);
    set(b, object, "address", text(hex));
}

static json_t *dominators_of(struct building *b, const snap_holdings *holdings) {
    json_t *const array = json_array();
    for (size_t i = 0; i < holdings->n_tree; i++) {
        const snap_dominator_row *const r = &holdings->tree[i];
        json_t *const row = json_object();
        set(b, row, "depth", number(r->depth));
        set(b, row, "root", text(r->root));
        set(b, row, "edge", text(r->edge));
        set(b, row, "node", text(r->node));
        if (*r->label != '\0')
            set(b, row, "label", text(r->label));
        set(b, row, "id", number(r->id));
        put_address(b, row, r->address);
        set(b, row, "alike", number(r->n_alike));
        set(b, row, "bytes", number(r->size_bytes));
        set(b, row, "retained_bytes", number(r->retained_bytes));
        set(b, row, "retained_count", number(r->n_nodes));
        append(b, array, row);
    }
    return array;
}

/* Who retains most of the last snapshot. */
static json_t *retained_of(struct building *b, const snap_holdings *holdings) {
    json_t *const object = json_object();
    set(b, object, "bytes", number(holdings->total_bytes));
    set(b, object, "reachable_bytes", number(holdings->reachable_bytes));
    set(b, object, "dominators", dominators_of(b, holdings));
    return object;
}

static json_t *diff_of(struct building *b, const snap_diff *d, const snap_report_options *options) {
    json_t *const root = json_object(), *const snapshots = json_array();
    set(b, root, "schema", number(1));
    for (size_t i = 0; i < snap_diff_n_snapshots(d); i++)
        append(b, snapshots, snapshot_of(b, &snap_diff_snapshots(d)[i]));
    set(b, root, "snapshots", snapshots);
    set(b, root, "verdict", text(snap_verdict_name(snap_diff_verdict(d))));
    set(b, root, "suspects", suspects_of(b, d));
    put_devices(b, root, d);
    set(b, root, "hooks", hooks_of(b, d));
    put_tables(b, root, d);
    set(b, root, "not_leaks", not_leaks_of(b, d));
    set(b, root, "limits", limits_of(b, d));
    set(b, root, "finding", finding_of(b, d));
    set(b, root, "intervals", intervals_of(b, d));
    put_modules(b, root, d);
    put_counts(b, root, d);
    size_t n_suspects;
    snap_diff_suspects(d, &n_suspects);
    set(b, root, "n_suspects", number(n_suspects));
    if (options->holdings != NULL)
        set(b, root, "retained", retained_of(b, options->holdings));
    return root;
}

static int json_diff(const snap_diff *d, FILE *out, const snap_report_options *options,
                     snap_error *err) {
    struct building b;
    SNAP_TRY(building_start(&b, options, err));
    return building_end(&b, diff_of(&b, d, options), out, JSON_INDENT(1));
}

int report_json_compact(const snap_diff *d, FILE *out, const snap_report_options *options,
                        snap_error *err) {
    struct building b;
    SNAP_TRY(building_start(&b, options, err));
    return building_end(&b, diff_of(&b, d, options), out, JSON_COMPACT);
}

/* Metadata as it stands in the file: numbers, texts, and one object per named key. */
static json_t *meta_of(struct building *b, const snap_snapshot *s) {
    json_t *const object = json_object();
    for (size_t i = 0; i < snap_meta_count(s); i++) {
        const snap_meta_row row = snap_meta_get(s, i);
        const char *name = snap_code_name(SNAP_TABLE_META, SNAP_META_COL_KEY, row.key);
        char unknown[24];
        if (name == NULL) {
            snprintf(unknown, sizeof unknown, "key_%" PRIu32, row.key);
            name = unknown;
        }
        const int is_signed = row.key == SNAP_META_STEP || row.key == SNAP_META_USER;
        json_t *const value = *row.text != '\0' ? text(row.text)
                              : is_signed       ? json_integer((json_int_t)row.value)
                                                : number(row.value);
        if (*row.name == '\0') {
            set(b, object, name, value);
            continue;
        }
        json_t *group = json_object_get(object, name);
        if (!json_is_object(group)) {
            group = json_object();
            set(b, object, name, group);
        }
        char key[512];
        text_escape(key, sizeof key, row.name);
        set(b, group, key, value);
    }
    return object;
}

static json_t *tables_of(struct building *b, const snap_snapshot *s) {
    json_t *const object = json_object();
    for (snap_table table = 0; table < SNAP_TABLE_TOCC; table++) {
        const uint32_t id = snap_table_id(table);
        const char name[5] = {(char)id, (char)(id >> 8), (char)(id >> 16), (char)(id >> 24), 0};
        set(b, object, name, number(snap_rows(s, table)));
    }
    return object;
}

static int json_census(const snap_diff *d, FILE *out, const snap_report_options *options,
                       snap_error *err) {
    struct building building, *const b = &building;
    SNAP_TRY(building_start(b, options, err));
    const snap_diff_snapshot *const info = snap_diff_snapshots(d);
    json_t *const root = json_object();
    set(b, root, "schema", number(1));
    set(b, root, "snapshot", snapshot_of(b, info));
    set(b, root, "file_bytes", number(snap_file_bytes(info->snapshot)));
    set(b, root, "meta", meta_of(b, info->snapshot));
    set(b, root, "tables", tables_of(b, info->snapshot));
    put_tables(b, root, d);
    put_modules(b, root, d);
    put_devices(b, root, d);
    set(b, root, "hooks", hooks_of(b, d));
    set(b, root, "limits", limits_of(b, d));
    put_counts(b, root, d);
    return building_end(b, root, out, JSON_INDENT(1));
}

static json_t *steps_of(struct building *b, const snap_holder_chain *c) {
    json_t *const array = json_array();
    for (uint32_t i = 0; i < c->n_steps; i++) {
        const snap_holder_step *const s = &c->steps[i];
        json_t *const step = json_object();
        set(b, step, "edge", text(s->edge));
        set(b, step, "node", text(s->node));
        if (*s->label != '\0')
            set(b, step, "label", text(s->label));
        set(b, step, "repeat", number(s->repeat));
        set(b, step, "id", number(s->id));
        put_address(b, step, s->address);
        set(b, step, "bytes", number(s->size_bytes));
        set(b, step, "retained_bytes", number(s->retained_bytes));
        if (s->is_interior)
            set(b, step, "interior", json_true());
        if (s->is_low)
            set(b, step, "low", json_true());
        if (s->is_guess)
            set(b, step, "guess", json_true());
        append(b, array, step);
    }
    return array;
}

static json_t *chain_of(struct building *b, const snap_holder_chain *c) {
    json_t *const object = json_object();
    set(b, object, "root", text(c->root));
    set(b, object, "kind", text(c->root_kind));
    set(b, object, "module", text(c->root_module));
    set(b, object, "thread", text(c->root_thread));
    set(b, object, "low", number(c->n_low));
    set(b, object, "steps", steps_of(b, c));
    return object;
}

static int json_holders(const snap_holders *holders, const snap_snapshot *s, FILE *out,
                        const snap_report_options *options, snap_error *err) {
    struct building building, *const b = &building;
    SNAP_TRY(building_start(b, options, err));
    json_t *const root = json_object(), *const groups = json_array();
    set(b, root, "schema", number(1));
    set(b, root, "file", text(snap_path(s)));
    set(b, root, "count", number(holders->count));
    set(b, root, "bytes", number(holders->bytes));
    set(b, root, "retained_bytes", number(holders->retained_bytes));
    set(b, root, "n_groups", number(holders->n_groups));
    for (uint32_t i = 0; i < holders->n_shown; i++) {
        const snap_holder_group *const g = &holders->groups[i];
        char key[24];
        snprintf(key, sizeof key, "%016" PRIx64, g->fingerprint);
        json_t *const row = json_object(), *const chains = json_array();
        set(b, row, "class", text(report_holder_class(g->holder_class)));
        set(b, row, "fingerprint", text(key));
        set(b, row, "count", number(g->count));
        set(b, row, "bytes", number(g->bytes));
        set(b, row, "retained_bytes", number(g->retained_bytes));
        for (uint32_t k = 0; k < g->n_chains; k++)
            append(b, chains, chain_of(b, &g->chains[k]));
        set(b, row, "chains", chains);
        append(b, groups, row);
    }
    set(b, root, "groups", groups);
    json_t *const limits = json_array();
    for (size_t i = 0; i < holders->n_limits; i++)
        append(b, limits, text(holders->limits[i]));
    set(b, root, "limits", limits);
    return building_end(b, root, out, JSON_INDENT(1));
}

static json_t *lost_sites_of(struct building *b, const snap_holdings *holdings,
                             const snap_snapshot *s) {
    json_t *const array = json_array();
    for (size_t i = 0; i < holdings->n_lost && i < b->top && b->failed == 0; i++) {
        const snap_lost_site *const l = &holdings->lost[i];
        json_t *const row = json_object();
        set(b, row, "class", text(report_holder_class(l->holder_class)));
        set(b, row, "type", text(l->type));
        set(b, row, "count", number(l->count));
        set(b, row, "bytes", number(l->bytes));
        set(b, row, "indirect_count", number(l->indirect_count));
        set(b, row, "indirect_bytes", number(l->indirect_bytes));
        set(b, row, "cycle", json_boolean(l->is_cycle));
        set(b, row, "id", number(l->node));
        set(b, row, "stack", stack_of(b, s, l->stack));
        append(b, array, row);
    }
    return array;
}

static json_t *retained_types_of(struct building *b, const snap_holdings *holdings) {
    json_t *const array = json_array();
    for (size_t i = 0; i < holdings->n_types && i < b->top; i++) {
        json_t *const row = json_object();
        set(b, row, "type", text(holdings->types[i].type));
        set(b, row, "count", number(holdings->types[i].count));
        set(b, row, "bytes", number(holdings->types[i].bytes));
        set(b, row, "retained_bytes", number(holdings->types[i].retained_bytes));
        append(b, array, row);
    }
    return array;
}

static int json_holdings(const snap_holdings *holdings, const snap_snapshot *s, int lost, FILE *out,
                         const snap_report_options *options, snap_error *err) {
    struct building building, *const b = &building;
    SNAP_TRY(building_start(b, options, err));
    json_t *const root = json_object();
    set(b, root, "schema", number(1));
    set(b, root, "file", text(snap_path(s)));
    set(b, root, "bytes", number(holdings->total_bytes));
    set(b, root, "reachable_bytes", number(holdings->reachable_bytes));
    set(b, root, "lost_count", number(holdings->lost_count));
    set(b, root, "lost_bytes", number(holdings->lost_bytes));
    set(b, root, "possibly_lost_count", number(holdings->possibly_lost_count));
    set(b, root, "possibly_lost_bytes", number(holdings->possibly_lost_bytes));
    if (lost) {
        set(b, root, "lost", lost_sites_of(b, holdings, s));
        set(b, root, "n_lost", number(holdings->n_lost));
    } else {
        set(b, root, "types", retained_types_of(b, holdings));
        set(b, root, "n_types", number(holdings->n_types));
        set(b, root, "dominators", dominators_of(b, holdings));
    }
    return building_end(b, root, out, JSON_INDENT(1));
}

static json_t *rank_of(struct building *b, const snap_ranks_rank *r) {
    json_t *const row = json_object(), *const files = json_array();
    for (size_t i = 0; i < snap_diff_n_snapshots(r->diff); i++)
        append(b, files, text(snap_diff_snapshots(r->diff)[i].file));
    set(b, row, "rank", number(r->rank));
    set(b, row, "files", files);
    set(b, row, "verdict", text(snap_verdict_name(snap_diff_verdict(r->diff))));
    set(b, row, "bytes", json_integer(r->bytes));
    set(b, row, "growth_bytes", json_integer(r->growth_bytes));
    set(b, row, "deviation_bytes", json_integer(r->deviation_bytes));
    set(b, row, "deviating", json_boolean(r->is_deviating));
    return row;
}

static json_t *thing_of(struct building *b, const snap_ranks_rank *ranks, size_t n,
                        const snap_ranks_thing *thing, size_t number_of_thing) {
    json_t *const row = suspect_of(b, ranks[thing->rank].diff, thing->suspect, number_of_thing);
    json_t *const growth = json_array();
    for (size_t k = 0; k < n; k++)
        append(b, growth, json_integer(thing->growth_bytes[k]));
    set(b, row, "of_rank", number(ranks[thing->rank].rank));
    set(b, row, "growth_by_rank", growth);
    set(b, row, "median_growth_bytes", json_integer(thing->median_bytes));
    set(b, row, "n_ranks", number(thing->n_ranks));
    set(b, row, "common", json_boolean(thing->is_common));
    return row;
}

static int json_ranks(const snap_ranks *r, FILE *out, const snap_report_options *options,
                      snap_error *err) {
    struct building building, *const b = &building;
    SNAP_TRY(building_start(b, options, err));
    size_t n, n_things, n_limits;
    const snap_ranks_rank *const ranks = snap_ranks_ranks(r, &n);
    const snap_ranks_thing *const things = snap_ranks_things(r, &n_things);
    const char *const *const limits = snap_ranks_limits(r, &n_limits);
    json_t *const root = json_object(), *const rows = json_array(), *const array = json_array(),
                  *const sentences = json_array();
    int has_steps;
    int64_t first, last;
    set(b, root, "schema", number(1));
    set(b, root, "verdict", text(snap_verdict_name(snap_ranks_verdict(r))));
    set(b, root, "n_snapshots", number(snap_ranks_steps(r, &has_steps, &first, &last)));
    if (has_steps) {
        set(b, root, "first_step", json_integer(first));
        set(b, root, "last_step", json_integer(last));
    }
    for (size_t i = 0; i < n; i++)
        append(b, rows, rank_of(b, &ranks[i]));
    set(b, root, "ranks", rows);
    for (size_t i = 0; i < n_things && i < b->top && b->failed == 0; i++)
        append(b, array, thing_of(b, ranks, n, &things[i], i + 1));
    set(b, root, "suspects", array);
    for (size_t i = 0; i < n_limits; i++)
        append(b, sentences, text(limits[i]));
    set(b, root, "limits", sentences);
    return building_end(b, root, out, JSON_INDENT(1));
}

const struct report_format report_json = {"json",       json_diff,     json_census,
                                          json_holders, json_holdings, json_ranks};
