/* Verifies a snapshot and prints its outline: rows of tables, summary, the deepest stack. For tests
 * that look at files of other programs.
 *
 *     outline FILE.snap */
#include <heapsnap/snapshot.h>
#include <inttypes.h>
#include <stdio.h>

static int fail(int result, const snap_error *err) {
    fprintf(stderr, "outline: %s: %s\n", snap_error_name(result), err->message);
    return 2;
}

int main(int argc, char **argv) {
    static const char *const kinds[] = {"", "total", "type", "site", "type_edge"};
    snap_snapshot *s;
    snap_error err;
    int result = argc == 2 ? snap_open(&s, argv[1], NULL, &err) : SNAP_E_ARG;
    if (result)
        return fail(result, &err);
    const snap_summary_row *rows;
    size_t n;
    snap_location at[64];
    if ((result = snap_verify(s, NULL, NULL, &err)) || (result = snap_summary(s, &rows, &n, &err)))
        return fail(result, &err);
    for (unsigned t = 0; t < SNAP_N_TABLES; t++) {
        const uint32_t id = snap_table_id((snap_table)t);
        printf("%c%c%c%c %" PRIu64 "\n", (char)id, (char)(id >> 8), (char)(id >> 16),
               (char)(id >> 24), snap_rows(s, (snap_table)t));
    }
    for (size_t i = 0; i < n; i++) {
        const char *const domain =
            snap_code_name(SNAP_TABLE_NODE, SNAP_NODE_COL_DOMAIN, rows[i].domain);
        if (rows[i].kind > SNAP_SUMM_TYPE_EDGE)
            continue;
        printf("%s %s %" PRIu64, kinds[rows[i].kind],
               rows[i].kind == SNAP_SUMM_TOTAL ? domain : rows[i].label, rows[i].count);
        if (rows[i].kind != SNAP_SUMM_TYPE_EDGE)
            printf(" %" PRIu64, rows[i].bytes);
        putchar('\n');
    }
    if ((result = snap_stack(s, snap_rows(s, SNAP_TABLE_STAK), at, 64, &n, NULL, &err)))
        return fail(result, &err);
    printf("stack");
    for (size_t i = 0; i < n; i++)
        printf(" %s %s:%" PRIu64, at[i].function, at[i].file, at[i].line);
    putchar('\n');
    snap_close(s);
    return 0;
}
