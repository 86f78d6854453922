/* A program that knows its own graph. It builds lists, rings, trees, a hash table, arrays of
 * structs and of pointers at random, writes down what refers to what, and stops at "ready" for a
 * snapshot to be taken. Usage: graph_oracle NODES SEED BOOK
 *
 * The book has a line for each block, "n ADDRESS SIZE TYPE", where TYPE begins with "?" if no typed
 * chain leads there; for each word that holds a pointer, "e BLOCK OFFSET VALUE"; for each root, "r
 * KIND NAME VALUE". Blocks that are not in the book are not the oracle's. */
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct item {
    struct item *next;
    uint64_t hash;
    double weight;
    char name[24];
};

struct chain {
    struct item *first, *last;
    unsigned n;
};

struct link {
    struct link *next, *prev;
};

struct job { /* found by its link only, as in the kernel */
    unsigned id;
    double cost;
    struct link queue;
    char *title;
};

struct ring_node {
    struct ring_node *next, *prev, *self;
    float values[6];
};

struct tree_node {
    struct tree_node *left, *right;
    uintptr_t parent_colour; /* lowest bit: red */
    uint64_t key;
    struct item *data;
};

struct samples {
    double *values;
    size_t n;
};

struct entry {
    struct entry *chain;
    char *key;
    struct samples samples;
    uint32_t hash;
};

struct table {
    size_t n_entries, n_buckets;
    struct entry **buckets;
    double load;
};

struct record {
    unsigned id, n_bytes;
    struct record *peer, *peers[3]; /* any, itself as well */
    unsigned char *buffer, *cursor, *end;
    void (*visit)(struct record *);
};

struct vertex {
    double x, y;
    struct vertex *nearest; /* in the same array or in another */
    struct item *tag;
};

struct mesh {
    struct vertex *vertices;
    unsigned n_vertices;
    struct mesh *next;
};

struct part {
    uint32_t length;
    struct record *record;
};

struct message {
    struct message *older;
    size_t n_parts;
    struct part parts[];
};

struct secret {
    uint64_t number;
    struct secret *other;
    char padding[40];
};

struct box {
    struct box *next;
    void *content; /* a record, or a secret that nothing else knows */
    int kind;
    union {
        struct record *record;
        double number;
        char *text;
    } as;
};

static struct chain chains[8];
static struct link job_queue = {&job_queue, &job_queue};
static struct ring_node *ring;
static struct tree_node *tree;
struct table *table; /* not static: as a name of another unit would be */
static struct {
    unsigned n_records;
    struct record **records;
} registry;
static struct mesh *meshes;
static struct message *newest;
static struct box *boxes;
static _Thread_local struct item *of_thread;

static FILE *book;
static uint64_t state;

static uint64_t next_random(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * 2685821657736338717u;
}

static unsigned below(unsigned n) {
    return (unsigned)(next_random() >> 33) % n;
}

static void *get(size_t size) {
    void *const memory = malloc(size);
    if (memory == NULL)
        abort();
    memset(memory, 0, size);
    return memory;
}

/* ---- building ---- */

static struct item *item_new(void) {
    struct item *const i = get(sizeof *i);
    i->hash = next_random();
    i->weight = (double)below(1000) / 7;
    snprintf(i->name, sizeof i->name, "item %u", below(100000));
    return i;
}

static void build_chains(unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        struct chain *const c = &chains[below(8)];
        struct item *const item = item_new();
        if (c->last != NULL)
            c->last->next = item;
        else
            c->first = item;
        c->last = item;
        c->n++;
    }
}

static struct item *any_item(void) {
    struct item *i = chains[below(8)].first;
    for (unsigned step = below(16); i != NULL && i->next != NULL && step > 0; step--)
        i = i->next;
    return i;
}

static void build_jobs(unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        struct job *const job = get(sizeof *job);
        job->id = i;
        job->cost = 0.5 * i;
        job->title = get(32 + below(40));
        snprintf(job->title, 32, "job %u", i);
        struct link *const at = i % 2 ? &job_queue : job_queue.next;
        job->queue = (struct link){at, at->prev};
        at->prev->next = &job->queue;
        at->prev = &job->queue;
    }
}

static void build_ring(unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        struct ring_node *const r = get(sizeof *r);
        r->next = r->prev = r->self = r;
        r->values[0] = (float)i;
        if (ring != NULL) {
            r->next = ring;
            r->prev = ring->prev;
            ring->prev->next = r;
            ring->prev = r;
        }
        ring = r;
    }
}

static void build_tree(unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        struct tree_node *const t = get(sizeof *t);
        t->key = next_random();
        t->data = any_item();
        struct tree_node **at = &tree, *parent = NULL;
        while (*at != NULL) {
            parent = *at;
            at = t->key < parent->key ? &parent->left : &parent->right;
        }
        t->parent_colour = (uintptr_t)parent | (uintptr_t)below(2);
        *at = t;
    }
}

static void build_table(unsigned n) {
    table = get(sizeof *table);
    table->n_buckets = 16 + n / 3;
    table->buckets = get(table->n_buckets * sizeof(struct entry *));
    for (unsigned i = 0; i < n; i++) {
        struct entry *const e = get(sizeof *e);
        const size_t length = 10 + below(30);
        e->key = get(length);
        snprintf(e->key, length, "key %u", i);
        e->samples.n = 2 + below(12);
        e->samples.values = get(e->samples.n * sizeof(double));
        for (size_t k = 0; k < e->samples.n; k++)
            e->samples.values[k] = (double)below(1u << 30) / 1024;
        e->hash = (uint32_t)next_random();
        struct entry **const bucket = &table->buckets[e->hash % table->n_buckets];
        e->chain = *bucket;
        *bucket = e;
        table->n_entries++;
    }
}

static void visit(struct record *r) {
    r->id ^= 1;
}

static struct record *any_record(void) {
    return registry.records[below(registry.n_records)];
}

static void build_records(unsigned n) {
    registry.records = get(n * sizeof(struct record *));
    for (unsigned i = 0; i < n; i++) {
        struct record *const r = registry.records[i] = get(sizeof *r);
        r->id = i;
        r->n_bytes = 24 + below(200);
        r->buffer = get(r->n_bytes);
        for (unsigned k = 0; k < r->n_bytes; k++)
            r->buffer[k] = (unsigned char)next_random();
        r->cursor = r->buffer + below(r->n_bytes);
        r->end = r->buffer + r->n_bytes; /* past the end: refers to nothing */
        r->visit = visit;
        registry.n_records++;
        r->peer = any_record();
        for (unsigned k = 0; k < 3; k++)
            r->peers[k] = below(3) ? any_record() : NULL;
    }
}

static void build_meshes(unsigned n) {
    for (unsigned made = 0; made < n; made++) {
        struct mesh *const m = get(sizeof *m);
        m->n_vertices = 2 + below(60);
        m->vertices = get(m->n_vertices * sizeof(struct vertex));
        m->next = meshes;
        meshes = m;
        for (unsigned i = 0; i < m->n_vertices; i++) {
            struct vertex *const v = &m->vertices[i];
            const struct mesh *const of = m->next != NULL && below(2) ? m->next : m;
            v->x = (double)below(4096);
            v->nearest = &of->vertices[below(of->n_vertices)];
            v->tag = below(4) ? NULL : any_item();
        }
    }
}

static void build_messages(unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        const size_t n_parts = 1 + below(9);
        struct message *const m = get(sizeof *m + n_parts * sizeof m->parts[0]);
        m->n_parts = n_parts;
        m->older = newest;
        newest = m;
        for (size_t k = 0; k < n_parts; k++) {
            m->parts[k].length = below(5000);
            m->parts[k].record = any_record();
        }
    }
}

static void build_boxes(unsigned n) {
    struct secret *last = NULL;
    for (unsigned i = 0; i < n; i++) {
        struct box *const b = get(sizeof *b);
        b->next = boxes;
        boxes = b;
        if (below(2)) {
            b->content = any_record();
        } else {
            struct secret *const s = get(sizeof *s);
            s->number = next_random();
            s->other = last;
            b->content = last = s;
        }
        b->kind = (int)below(3);
        if (b->kind == 0) {
            b->as.record = any_record();
        } else if (b->kind == 1) {
            b->as.number = (double)below(100000) / 3;
        } else {
            b->as.text = get(40);
            snprintf(b->as.text, 40, "text %u", i);
        }
    }
}

/* ---- writing down ---- */

static void write_node(const void *block, size_t size, const char *type) {
    fprintf(book, "n %zu %zu %s\n", (size_t)block, size, type);
}

static void write_edge(const void *block, const void *word) {
    const uintptr_t value = *(const uintptr_t *)word;
    if (value > 1) /* NULL, and the colour of the root of the tree */
        fprintf(book, "e %zu %zu %zu\n", (size_t)block,
                (size_t)((const char *)word - (const char *)block), (size_t)value);
}

static void write_root(const char *kind, const char *name, const void *value) {
    if (value != NULL)
        fprintf(book, "r %s %s %zu\n", kind, name, (size_t)value);
}

static void write_item(const struct item *i, const char *type) {
    write_node(i, sizeof *i, type);
    write_edge(i, &i->next);
}

static void write_tree(void) {
    for (const struct tree_node *t = tree, *from = NULL; t != NULL;) {
        const struct tree_node *const up = (const void *)(t->parent_colour & ~(uintptr_t)1);
        const struct tree_node *to = up;
        if (from == up) {
            write_node(t, sizeof *t, "struct tree_node");
            write_edge(t, &t->left);
            write_edge(t, &t->right);
            write_edge(t, &t->parent_colour);
            write_edge(t, &t->data);
            to = t->left != NULL ? t->left : t->right != NULL ? t->right : up;
        } else if (from == t->left && t->right != NULL) {
            to = t->right;
        }
        from = t;
        t = to;
    }
}

static void write_lists(void) {
    for (unsigned i = 0; i < 8; i++)
        for (const struct item *item = chains[i].first; item != NULL; item = item->next)
            write_item(item, "struct item");
    for (const struct link *l = job_queue.next; l != &job_queue; l = l->next) {
        const struct job *const job = (const void *)((const char *)l - offsetof(struct job, queue));
        write_node(job, sizeof *job, "?struct job");
        write_edge(job, &job->queue.next);
        write_edge(job, &job->queue.prev);
        write_edge(job, &job->title);
        write_node(job->title, 0, "?char[]");
    }
    const struct ring_node *r = ring;
    do {
        write_node(r, sizeof *r, "struct ring_node");
        write_edge(r, &r->next);
        write_edge(r, &r->prev);
        write_edge(r, &r->self);
        r = r->next;
    } while (r != ring);
}

static void write_table(void) {
    write_node(table, sizeof *table, "struct table");
    write_edge(table, &table->buckets);
    write_node(table->buckets, table->n_buckets * sizeof(struct entry *), "struct entry *[]");
    for (size_t i = 0; i < table->n_buckets; i++) {
        write_edge(table->buckets, &table->buckets[i]);
        for (const struct entry *e = table->buckets[i]; e != NULL; e = e->chain) {
            write_node(e, sizeof *e, "struct entry");
            write_edge(e, &e->chain);
            write_edge(e, &e->key);
            write_edge(e, &e->samples.values);
            write_node(e->key, 0, "char[]");
            write_node(e->samples.values, e->samples.n * sizeof(double), "double[]");
        }
    }
}

static void write_records(void) {
    write_node(registry.records, 0, "struct record *[]");
    for (unsigned i = 0; i < registry.n_records; i++) {
        const struct record *const r = registry.records[i];
        write_edge(registry.records, &registry.records[i]);
        write_node(r, sizeof *r, "struct record");
        write_edge(r, &r->peer);
        for (unsigned k = 0; k < 3; k++)
            write_edge(r, &r->peers[k]);
        write_edge(r, &r->buffer);
        write_edge(r, &r->cursor);
        write_node(r->buffer, r->n_bytes, "unsigned char[]");
    }
}

static void write_others(void) {
    for (const struct mesh *m = meshes; m != NULL; m = m->next) {
        write_node(m, sizeof *m, "struct mesh");
        write_edge(m, &m->vertices);
        write_edge(m, &m->next);
        write_node(m->vertices, m->n_vertices * sizeof(struct vertex), "struct vertex[]");
        for (unsigned i = 0; i < m->n_vertices; i++) {
            write_edge(m->vertices, &m->vertices[i].nearest);
            write_edge(m->vertices, &m->vertices[i].tag);
        }
    }
    for (const struct message *m = newest; m != NULL; m = m->older) {
        write_node(m, sizeof *m + m->n_parts * sizeof m->parts[0], "struct message");
        write_edge(m, &m->older);
        for (size_t k = 0; k < m->n_parts; k++)
            write_edge(m, &m->parts[k].record);
    }
    for (const struct box *b = boxes; b != NULL; b = b->next) {
        write_node(b, sizeof *b, "struct box");
        write_edge(b, &b->next);
        write_edge(b, &b->content);
        if (b->kind != 1)
            write_edge(b, &b->as);
        if (b->kind == 2)
            write_node(b->as.text, 40, "?char[]");
    }
    const struct secret *s = NULL;
    for (const struct box *b = boxes; b != NULL && s == NULL; b = b->next) {
        unsigned i = 0;
        while (i < registry.n_records && registry.records[i] != b->content)
            i++;
        if (i == registry.n_records)
            s = b->content;
    }
    for (; s != NULL; s = s->other) {
        write_node(s, sizeof *s, "?struct secret");
        write_edge(s, &s->other);
    }
}

static void write_roots(void) {
    for (unsigned i = 0; i < 8; i++) {
        write_root("global", "chains", chains[i].first);
        write_root("global", "chains", chains[i].last);
    }
    write_root("global", "job_queue", job_queue.next);
    write_root("global", "ring", ring);
    write_root("global", "tree", tree);
    write_root("global", "table", table);
    write_root("global", "registry.records|registry", registry.records);
    write_root("global", "meshes", meshes);
    write_root("global", "newest", newest);
    write_root("global", "boxes", boxes);
}

/* ---- a thread that sleeps with things of its own ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int is_there, may_end;

__attribute__((noinline)) static void sleep_with(struct item *volatile *mine) {
    pthread_mutex_lock(&lock);
    write_item(*mine, "?struct item");
    write_root("stack", "thread_main", *mine);
    write_item(of_thread, "?struct item");
    write_root("tls", "of_thread", of_thread);
    is_there = 1;
    pthread_cond_broadcast(&changed);
    while (!may_end)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static void *thread_main(void *argument) {
    struct item *volatile mine = item_new();
    of_thread = item_new();
    sleep_with(&mine);
    free(mine);
    free(of_thread);
    return argument;
}

int main(int argc, char **argv) {
    if (argc != 4)
        return 2;
    const unsigned n = (unsigned)atoi(argv[1]);
    state = 88172645463325252u + strtoull(argv[2], NULL, 10) * 7919;
    build_chains(n / 5);
    build_jobs(n / 20);
    build_ring(n / 10);
    build_tree(n / 8);
    build_table(n / 20);
    build_records(n / 12);
    build_meshes(n / 50);
    build_messages(n / 20);
    build_boxes(n / 12);
    if ((book = fopen(argv[3], "w")) == NULL)
        return 3;
    write_lists();
    write_tree();
    write_table();
    write_records();
    write_others();
    write_roots();
    pthread_t thread;
    if (pthread_create(&thread, NULL, thread_main, NULL) != 0)
        return 3;
    pthread_mutex_lock(&lock);
    while (!is_there)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    if (fclose(book) != 0)
        return 3;
    puts("ready");
    fflush(stdout);
    char line[16];
    const ssize_t got = read(STDIN_FILENO, line, sizeof line);
    pthread_mutex_lock(&lock);
    may_end = 1;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    pthread_join(thread, NULL);
    return got < 0 ? 3 : 0;
}
