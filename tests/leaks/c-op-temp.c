/* Operators on matrices. The softmax of a matrix takes a workspace.
 * leak: where a row is not finite it returns an error without freeing the workspace.
 * fixed: it leaves by the common end. */
#include "rounds.h"

#include <math.h>

enum { ROWS = 16, COLUMNS = 96, CALLS_PER_ROUND = 300, BAD_EVERY = 6 };

struct matrix {
    size_t n_rows, n_columns;
    float *values;
};

static int frees_on_error;
static size_t leaked;

static struct matrix *matrix_new(size_t n_rows, size_t n_columns) {
    struct matrix *const m = malloc(sizeof *m);
    if (m == NULL || (m->values = calloc(n_rows * n_columns, sizeof m->values[0])) == NULL)
        abort();
    m->n_rows = n_rows;
    m->n_columns = n_columns;
    return m;
}

static void matrix_free(struct matrix *m) {
    free(m->values);
    free(m);
}

int op_softmax(struct matrix *out, const struct matrix *in) {
    const size_t workspace_bytes = in->n_rows * in->n_columns * sizeof(float);
    float *const workspace = malloc(workspace_bytes);
    int result = 0;
    if (workspace == NULL)
        return -1;
    for (size_t row = 0; row < in->n_rows; row++) {
        const float *const x = in->values + row * in->n_columns;
        float *const e = workspace + row * in->n_columns;
        float sum = 0;
        for (size_t i = 0; i < in->n_columns; i++)
            sum += e[i] = expf(x[i]);
        if (!isfinite(sum)) {
            if (!frees_on_error) {
                leaked += workspace_bytes;
                return -2;
            }
            result = -2;
            goto end;
        }
        for (size_t i = 0; i < in->n_columns; i++)
            e[i] /= sum;
    }
    memcpy(out->values, workspace, workspace_bytes);
end:
    free(workspace);
    return result;
}

int main(int argc, char **argv) {
    frees_on_error = !rounds_leak(argc, argv);
    struct matrix *const probabilities = matrix_new(ROWS, COLUMNS);
    unsigned n_bad = 0;
    for (int round = 0; round <= N_ROUNDS; round++) {
        for (unsigned call = 0; call < CALLS_PER_ROUND; call++) {
            struct matrix *const logits = matrix_new(ROWS, COLUMNS);
            for (size_t i = 0; i < ROWS * COLUMNS; i++)
                logits->values[i] = (float)((i * 37 + call) % 11) / 5.0f;
            if (call % BAD_EVERY == 1)
                logits->values[call] = INFINITY;
            n_bad += op_softmax(probabilities, logits) != 0;
            matrix_free(logits);
        }
        rounds_end(round, leaked);
    }
    matrix_free(probabilities);
    return n_bad == 0;
}
