/* Limits on growth, as a user writes them for a test: SUBJECT>LIMIT[/step].
 *
 * A limit with a unit (B, KB, MiB, ...) is about bytes, a plain number about blocks. The subject
 * ends at the last '>', for names of C++ types hold some. Reads the finished comparison only. */
#include "base/err.h"
#include "diff/result.h"

#include <ctype.h>
#include <string.h>

enum subject { SUBJECT_DOMAIN, SUBJECT_ALL, SUBJECT_TYPE, SUBJECT_SITE, SUBJECT_HOOK, SUBJECT_RSS };

struct rule {
    enum subject subject;
    uint32_t domain;
    const char *name; /* of a type or a function; not terminated; NULL: any */
    size_t name_length;
    int is_bytes, per_step;
    uint64_t limit;
};

static const struct {
    const char *name;
    uint32_t domain;
} domains[] = {
    {"host", SNAP_DOMAIN_HOST},       {"python", SNAP_DOMAIN_PYTHON},
    {"device", SNAP_DOMAIN_DEVICE},   {"pinned", SNAP_DOMAIN_PINNED},
    {"managed", SNAP_DOMAIN_MANAGED}, {"device:live", SNAP_DOMAIN_DEVICE},
};

static const struct {
    const char *name;
    uint64_t factor;
} units[] = {
    {"B", 1},
    {"KB", 1000},
    {"MB", 1000000},
    {"GB", 1000000000},
    {"TB", 1000000000000},
    {"KiB", 1024},
    {"MiB", 1ull << 20},
    {"GiB", 1ull << 30},
    {"TiB", 1ull << 40},
};

static int starts_with(const char *text, size_t length, const char *prefix) {
    const size_t n = strlen(prefix);
    return length >= n && memcmp(text, prefix, n) == 0;
}

static int is_word(const char *text, size_t length, const char *word) {
    return length == strlen(word) && memcmp(text, word, length) == 0;
}

/* A decimal number with at most nine digits after the point, times factor; -1: none, or too large.
 * *out_end is behind its last digit. */
static int scan_number(const char *text, const char **out_end, uint64_t *out_whole,
                       uint64_t *out_nanos) {
    const char *p = text;
    uint64_t whole = 0, nanos = 0, place = 100000000;
    if (!isdigit((unsigned char)*p))
        return -1;
    for (; isdigit((unsigned char)*p); p++)
        if (__builtin_mul_overflow(whole, (uint64_t)10, &whole) ||
            __builtin_add_overflow(whole, (uint64_t)(*p - '0'), &whole))
            return -1;
    if (*p == '.' && isdigit((unsigned char)p[1]))
        for (p++; isdigit((unsigned char)*p); p++, place /= 10)
            nanos += place * (uint64_t)(*p - '0');
    *out_end = p;
    *out_whole = whole;
    *out_nanos = nanos;
    return 0;
}

static int parse_limit(const char *text, const char *rule, struct rule *out, snap_error *err) {
    const char *end;
    uint64_t whole, nanos;
    if (scan_number(text, &end, &whole, &nanos) < 0)
        return err_set(err, SNAP_E_ARG,
                       "rule '%.120s': '%.40s' is no limit such as 0, 1MB or 64KiB", rule, text);
    size_t length = strcspn(end, "/");
    if (end[length] == '/') {
        if (strcmp(end + length, "/step") != 0)
            return err_set(err, SNAP_E_ARG, "rule '%.120s': only '/step' may follow the limit",
                           rule);
        out->per_step = 1;
    }
    uint64_t factor = 0;
    if (length == 0) {
        factor = 1;
    } else {
        out->is_bytes = 1;
        for (size_t i = 0; i < sizeof units / sizeof *units; i++)
            if (is_word(end, length, units[i].name))
                factor = units[i].factor;
    }
    if (factor == 0)
        return err_set(err, SNAP_E_ARG,
                       "rule '%.120s': unknown unit '%.*s' (B, KB, MB, GB, TB, KiB, MiB, GiB, TiB)",
                       rule, (int)(length < 40 ? length : 40), end);
    uint64_t limit;
    if (__builtin_mul_overflow(whole, factor, &limit) || limit > INT64_MAX / 2)
        return err_set(err, SNAP_E_ARG, "rule '%.120s': the limit is too large", rule);
    out->limit = limit + (uint64_t)((double)nanos * 1e-9 * (double)factor);
    return 0;
}

static int parse_subject(const char *text, size_t length, const char *rule, struct rule *out,
                         snap_error *err) {
    for (size_t i = 0; i < sizeof domains / sizeof *domains; i++)
        if (is_word(text, length, domains[i].name)) {
            out->subject = SUBJECT_DOMAIN;
            out->domain = domains[i].domain;
            return 0;
        }
    if (is_word(text, length, "count") || is_word(text, length, "total")) {
        out->subject = SUBJECT_ALL;
        return 0;
    }
    if (is_word(text, length, "rss")) {
        out->subject = SUBJECT_RSS;
        return 0;
    }
    if (is_word(text, length, "hook")) {
        out->subject = SUBJECT_HOOK;
        return 0;
    }
    const int is_type = starts_with(text, length, "type:"),
              is_hook = starts_with(text, length, "hook:");
    if ((is_type || is_hook || starts_with(text, length, "site:")) && length > 5) {
        out->subject = is_type ? SUBJECT_TYPE : is_hook ? SUBJECT_HOOK : SUBJECT_SITE;
        out->name = text + 5;
        out->name_length = length - 5;
        return 0;
    }
    return err_set(err, SNAP_E_ARG,
                   "rule '%.80s': unknown subject '%.*s' (host, python, device, pinned, managed, "
                   "total, count, rss, type:NAME, site:FUNCTION, hook, hook:NAME)",
                   rule, (int)(length < 40 ? length : 40), text);
}

static int parse(const char *text, struct rule *out, snap_error *err) {
    *out = (struct rule){0};
    const char *const separator = strrchr(text, '>');
    if (separator == NULL || separator == text)
        return err_set(err, SNAP_E_ARG, "rule '%.120s' has not the form SUBJECT>LIMIT", text);
    SNAP_TRY(parse_limit(separator + 1, text, out, err));
    SNAP_TRY(parse_subject(text, (size_t)(separator - text), text, out, err));
    if (is_word(text, (size_t)(separator - text), "count") && out->is_bytes)
        return err_set(err, SNAP_E_ARG, "rule '%.120s': 'count' counts blocks, not bytes", text);
    if (out->subject == SUBJECT_HOOK && out->is_bytes)
        return err_set(err, SNAP_E_ARG, "rule '%.120s': 'hook' counts callbacks, not bytes", text);
    if (out->subject == SUBJECT_RSS && !out->is_bytes)
        return err_set(err, SNAP_E_ARG, "rule '%.120s': 'rss' needs a limit in bytes, such as 1MB",
                       text);
    return 0;
}

/* A type by its whole name, or by the last part of it: Session is struct Session, __main__.Session
 * and net::Session. */
static int is_type(const char *name, const struct rule *r) {
    const size_t length = strlen(name);
    if (length < r->name_length ||
        memcmp(name + length - r->name_length, r->name, r->name_length) != 0)
        return 0;
    return length == r->name_length || strchr(".: ", name[length - r->name_length - 1]) != NULL;
}

static int64_t add_growth(int64_t a, int64_t b) {
    int64_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return a > 0 ? INT64_MAX : INT64_MIN;
    return sum;
}

static int64_t growth_of_rows(const snap_diff_type *rows, size_t n, const struct rule *r) {
    int64_t growth = 0;
    for (size_t i = 0; i < n; i++) {
        if (r->subject == SUBJECT_DOMAIN && rows[i].domain != r->domain)
            continue;
        if (r->subject == SUBJECT_TYPE && !is_type(rows[i].name, r))
            continue;
        growth = add_growth(growth, r->is_bytes ? rows[i].growth_bytes : rows[i].growth_count);
    }
    return growth;
}

/* FUNCTION of "FILE:LINE FUNCTION", else all. */
static const char *function_of_label(const char *label) {
    const char *const space = strrchr(label, ' ');
    const char *p = space;
    while (p != NULL && p > label && isdigit((unsigned char)p[-1]))
        p--;
    return p != space && p > label && p[-1] == ':' ? space + 1 : label;
}

/* Sites by what their label names: a function, or "FILE:LINE FUNCTION" of Python. */
static int64_t growth_of_sites(const struct snap_diff *d, const struct rule *r) {
    static const char prefix[] = "allocated in ";
    int64_t growth = 0;
    for (size_t i = 0; i < d->n_sites; i++) {
        const char *label = d->sites[i].label;
        if (strncmp(label, prefix, sizeof prefix - 1) == 0)
            label += sizeof prefix - 1;
        if (is_word(r->name, r->name_length, label) ||
            is_word(r->name, r->name_length, function_of_label(label)))
            growth = add_growth(growth,
                                r->is_bytes ? d->sites[i].growth_bytes : d->sites[i].growth_count);
    }
    return growth;
}

static int64_t growth_of_hooks(const struct snap_diff *d, const struct rule *r) {
    int64_t growth = 0;
    for (size_t i = 0; i < d->n_hooks; i++) {
        const snap_diff_hook *const h = &d->hooks[i];
        if (r->name == NULL || is_word(r->name, r->name_length, h->callback))
            growth = add_growth(growth, (int64_t)(h->counts[d->n - 1] - h->counts[0]));
    }
    return growth;
}

static int64_t growth_of(const struct snap_diff *d, const struct rule *r) {
    switch (r->subject) {
    case SUBJECT_DOMAIN:
    case SUBJECT_ALL: return growth_of_rows(d->totals, d->n_totals, r);
    case SUBJECT_TYPE: return growth_of_rows(d->types, d->n_types, r);
    case SUBJECT_SITE: return growth_of_sites(d, r);
    case SUBJECT_HOOK: return growth_of_hooks(d, r);
    case SUBJECT_RSS:
        return (int64_t)(d->snapshots[d->n - 1].rss_bytes - d->snapshots[0].rss_bytes);
    }
    return 0;
}

int64_t result_n_steps(const struct snap_diff *d) {
    return d->position_is_step ? d->snapshots[d->n - 1].step - d->snapshots[0].step
                               : (int64_t)d->n - 1;
}

int snap_diff_rule_check(const snap_diff *d, const char *rule, snap_diff_rule_result *out,
                         snap_error *err) {
    struct rule r;
    SNAP_TRY(parse(rule, &r, err));
    if (d == NULL)
        return 0;
    int64_t growth = growth_of(d, &r);
    /* Without steps a snapshot is one. The rate is compared by multiplying, so that no fraction is
     * lost. */
    const int64_t n_steps = result_n_steps(d);
    if (d->baseline != NULL) {
        const int64_t known = result_as_long(d, d->baseline, growth_of(d->baseline, &r));
        growth -= known > 0 ? known : 0;
    }
    const int64_t per = r.per_step && n_steps > 0 ? n_steps : 1;
    int64_t allowed;
    if (__builtin_mul_overflow((int64_t)r.limit, per, &allowed))
        allowed = INT64_MAX;
    *out = (snap_diff_rule_result){
        .broken = growth > allowed,
        .value = growth / per,
        .limit = (int64_t)r.limit,
        .unit = r.is_bytes                  ? "bytes"
                : r.subject == SUBJECT_HOOK ? "callbacks"
                                            : "blocks",
    };
    return 0;
}
