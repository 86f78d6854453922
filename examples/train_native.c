/* Trains a small neural network on handwritten digits and takes a snapshot
 * after each epoch.
 *
 * usage: train_native DIGITS.csv DIRECTORY [EPOCHS [KEEP]]
 *
 * One mistake is planted, of the kind that passes review:
 * remember_activations() keeps a copy of the hidden layer of every batch "for
 * the statistics" and nobody ever drops one. The program's last line names that
 * function. What else allocates is freed, batch by batch or at the end. KEEP
 * is how many bytes of each epoch it may keep; 0 is the program without the
 * mistake.
 *
 * Run it under `snap run`, so that the snapshots know where each block was
 * allocated. */
#include <heapsnap/capture.h>

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_PIXELS = 64, N_HIDDEN = 128, N_CLASSES = 10, BATCH_ROWS = 32, N_EPOCHS = 4 };
static const float learning_rate = 0.1f;

struct digits {
    float *pixels; /* n_rows * N_PIXELS, 0 to 1 */
    int *labels;
    size_t n_rows;
};

struct network {
    float w1[N_PIXELS][N_HIDDEN], b1[N_HIDDEN];
    float w2[N_HIDDEN][N_CLASSES], b2[N_CLASSES];
};

/* What one batch needs on the way forward and back. */
struct batch {
    size_t n_rows;
    float *hidden;   /* n_rows * N_HIDDEN, after the ReLU */
    float *d_logits; /* n_rows * N_CLASSES: softmax minus target */
};

struct activation_record {
    struct activation_record *next;
    size_t n_values;
    float values[];
};

static struct activation_record *activation_history;
static size_t keep_bytes; /* that are left in this epoch */
static const char *planted_leak = "none";

static void *checked(void *memory) {
    if (!memory) {
        fputs("train_native: out of memory\n", stderr);
        exit(2);
    }
    return memory;
}

/* The planted leak. */
__attribute__((noinline)) static void remember_activations(const struct batch *batch) {
    size_t n_values = batch->n_rows * N_HIDDEN;
    if (n_values > keep_bytes / sizeof *batch->hidden)
        n_values = keep_bytes / sizeof *batch->hidden;
    if (n_values == 0)
        return;
    keep_bytes -= n_values * sizeof *batch->hidden;
    struct activation_record *record =
        checked(malloc(sizeof *record + n_values * sizeof record->values[0]));
    record->n_values = n_values;
    memcpy(record->values, batch->hidden, n_values * sizeof record->values[0]);
    record->next = activation_history;
    activation_history = record;
    planted_leak = __func__;
}

/* A generator of its own, so that every run trains the same network. Uniform in
 * [0, 1). */
static float next_random(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (float)(*state >> 40) / (float)(1 << 24);
}

static int load_digits(struct digits *out, const char *path) {
    FILE *file = fopen(path, "r");
    if (!file)
        return -1;
    size_t capacity = 0;
    struct digits digits = {0};
    for (;;) {
        int values[N_PIXELS + 1], n = 0;
        while (n <= N_PIXELS && fscanf(file, n == 0 ? "%d" : ",%d", &values[n]) == 1)
            n++;
        if (n == 0 && feof(file))
            break;
        if (n <= N_PIXELS || values[N_PIXELS] < 0 || values[N_PIXELS] >= N_CLASSES) {
            fclose(file);
            free(digits.pixels);
            free(digits.labels);
            errno = EINVAL;
            return -1;
        }
        if (digits.n_rows == capacity) {
            capacity = capacity ? 2 * capacity : 256;
            digits.pixels =
                checked(reallocarray(digits.pixels, capacity, N_PIXELS * sizeof digits.pixels[0]));
            digits.labels = checked(reallocarray(digits.labels, capacity, sizeof digits.labels[0]));
        }
        for (int i = 0; i < N_PIXELS; i++)
            digits.pixels[digits.n_rows * N_PIXELS + i] = (float)values[i] / 16.0f;
        digits.labels[digits.n_rows++] = values[N_PIXELS];
    }
    fclose(file);
    *out = digits;
    return 0;
}

static void init_weights(struct network *net) {
    uint64_t seed = 42;
    memset(net, 0, sizeof *net);
    for (int i = 0; i < N_PIXELS; i++)
        for (int j = 0; j < N_HIDDEN; j++)
            net->w1[i][j] = (next_random(&seed) - 0.5f) * 0.4f;
    for (int j = 0; j < N_HIDDEN; j++)
        for (int k = 0; k < N_CLASSES; k++)
            net->w2[j][k] = (next_random(&seed) - 0.5f) * 0.3f;
}

/* Fills batch->hidden and batch->d_logits; returns the summed loss and adds to
 * *n_correct. */
static double forward(const struct network *net, const float *pixels, const int *labels,
                      struct batch *batch, int *n_correct) {
    double loss = 0;
    for (size_t r = 0; r < batch->n_rows; r++) {
        const float *x = pixels + r * N_PIXELS;
        float *hidden = batch->hidden + r * N_HIDDEN, *d = batch->d_logits + r * N_CLASSES;
        for (int j = 0; j < N_HIDDEN; j++)
            hidden[j] = net->b1[j];
        for (int i = 0; i < N_PIXELS; i++)
            for (int j = 0; j < N_HIDDEN; j++)
                hidden[j] += x[i] * net->w1[i][j];
        for (int k = 0; k < N_CLASSES; k++)
            d[k] = net->b2[k];
        for (int j = 0; j < N_HIDDEN; j++) {
            hidden[j] = hidden[j] > 0 ? hidden[j] : 0;
            for (int k = 0; k < N_CLASSES; k++)
                d[k] += hidden[j] * net->w2[j][k];
        }
        int best = 0;
        for (int k = 1; k < N_CLASSES; k++)
            best = d[k] > d[best] ? k : best;
        *n_correct += best == labels[r];
        float top = d[best], sum = 0;
        for (int k = 0; k < N_CLASSES; k++)
            sum += d[k] = expf(d[k] - top);
        for (int k = 0; k < N_CLASSES; k++)
            d[k] /= sum;
        loss -= log(d[labels[r]] + 1e-12);
        d[labels[r]] -= 1.0f;
    }
    return loss;
}

static void backward(struct network *net, const float *pixels, const struct batch *batch) {
    const float rate = learning_rate / (float)batch->n_rows;
    for (size_t r = 0; r < batch->n_rows; r++) {
        const float *x = pixels + r * N_PIXELS, *hidden = batch->hidden + r * N_HIDDEN;
        const float *d = batch->d_logits + r * N_CLASSES;
        float d_hidden[N_HIDDEN] = {0};
        for (int j = 0; j < N_HIDDEN; j++)
            for (int k = 0; k < N_CLASSES && hidden[j] > 0; k++) {
                d_hidden[j] += d[k] * net->w2[j][k];
                net->w2[j][k] -= rate * d[k] * hidden[j];
            }
        for (int k = 0; k < N_CLASSES; k++)
            net->b2[k] -= rate * d[k];
        for (int i = 0; i < N_PIXELS; i++)
            for (int j = 0; j < N_HIDDEN; j++)
                net->w1[i][j] -= rate * x[i] * d_hidden[j];
        for (int j = 0; j < N_HIDDEN; j++)
            net->b1[j] -= rate * d_hidden[j];
    }
}

static double train_batch(struct network *net, const struct digits *digits, size_t first,
                          int *n_correct) {
    struct batch batch = {.n_rows = digits->n_rows - first};
    if (batch.n_rows > BATCH_ROWS)
        batch.n_rows = BATCH_ROWS;
    batch.hidden = checked(calloc(batch.n_rows * N_HIDDEN, sizeof batch.hidden[0]));
    batch.d_logits = checked(calloc(batch.n_rows * N_CLASSES, sizeof batch.d_logits[0]));
    const float *pixels = digits->pixels + first * N_PIXELS;
    double loss = forward(net, pixels, digits->labels + first, &batch, n_correct);
    backward(net, pixels, &batch);
    remember_activations(&batch);
    free(batch.hidden);
    free(batch.d_logits);
    return loss;
}

static int snapshot_epoch(const char *directory, int epoch, size_t n_samples) {
    char path[4096], label[32];
    snprintf(path, sizeof path, "%s/epoch%d.snap", directory, epoch);
    snprintf(label, sizeof label, "epoch %d", epoch);
    const snap_counter samples = {"samples", (int64_t)n_samples};
    const snap_take_options options = {.struct_size = sizeof options,
                                       .label = label,
                                       .step = epoch,
                                       .has_step = 1,
                                       .overwrite = 1,
                                       .counters = &samples,
                                       .n_counters = 1};
    snap_error err;
    if (snap_take(path, &options, &err) < 0) {
        fprintf(stderr, "train_native: cannot take %s: %s\n", path, err.message);
        return -1;
    }
    return 0;
}

int main(int argc, char **argv) {
    struct digits digits;
    if (argc < 3 || argc > 5) {
        fputs("usage: train_native DIGITS.csv DIRECTORY [EPOCHS [KEEP]]\n", stderr);
        return 2;
    }
    const int n_epochs = argc > 3 ? atoi(argv[3]) : N_EPOCHS;
    const size_t keep = argc > 4 ? strtoul(argv[4], NULL, 10) : SIZE_MAX;
    if (load_digits(&digits, argv[1]) < 0) {
        fprintf(stderr, "train_native: cannot read %s: %s\n", argv[1], strerror(errno));
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct network *net = checked(malloc(sizeof *net));
    init_weights(net);
    int status = 0;
    for (int epoch = 1; epoch <= n_epochs && status == 0; epoch++) {
        keep_bytes = keep;
        int n_correct = 0;
        double loss = 0;
        for (size_t first = 0; first < digits.n_rows; first += BATCH_ROWS)
            loss += train_batch(net, &digits, first, &n_correct);
        printf("epoch %d: loss %.4f, accuracy %.1f%%\n", epoch, loss / (double)digits.n_rows,
               100.0 * n_correct / (double)digits.n_rows);
        if (snapshot_epoch(argv[2], epoch, (size_t)epoch * digits.n_rows) < 0)
            status = 2;
    }
    free(net);
    free(digits.pixels);
    free(digits.labels);
    printf("planted leak: %s\n", planted_leak);
    return status;
}
