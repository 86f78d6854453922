/* Structs, lists, trees, tables and their like, in C. */
#include "typing_world.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct buffer {
    char *data;
    size_t used, size;
};

struct session {
    struct session *next;
    struct buffer in, out;
    int fd : 8, state : 8;
    union {
        void *any;
        long number;
    } user;
    struct {
        struct tree *cookies;
        int n_cookies;
    };
};

struct tree {
    struct tree *left, *right;
    const char *key;
    struct value *value;
};

typedef struct {
    unsigned refs;
    double *numbers;
    struct tree *back[2];
} unnamed_t;

struct value {
    unnamed_t *unnamed;
    uint64_t hash;
    union {
        struct tree *as_tree;
        struct tree *as_forest;
    } same;
    long padding;
};

/* Kernel-like lists. */
struct list {
    struct list *next, *previous;
};
struct job {
    long id;
    struct list all;
    struct session *session;
    char name[16];
};

struct message {
    struct message *reply;
    uint32_t length;
    char text[];
};

struct old_style {
    struct old_style *next;
    int n;
    struct value *values[1];
};

/* Inheritance by hand. */
struct shape {
    struct shape *next;
    int kind;
};
struct circle {
    struct shape shape;
    struct value *colour;
    double radius[3];
};

struct table {
    struct session **slots;
    size_t n_slots;
    struct value *pool;
    size_t n_pool;
};

struct header { /* of a block with something else behind it */
    size_t n;
};

enum { SLOTS = 64 };
static struct {
    struct session *sessions[SLOTS];
    struct table table;
    struct {
        struct tree *root;
        int depth;
    } index[4];
} g_server;
static struct list jobs = {&jobs, &jobs};
static struct message *messages;
static struct old_style *old;
static struct shape *shapes;
static void *volatile opaque;
static struct header *volatile counted;
struct circle *volatile a_circle;
static char *volatile text;
static struct session **volatile many;

static uint64_t state;
static unsigned next_random(unsigned limit) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((state >> 33) % limit);
}

static struct value *fill_value(struct value *value, int depth);

static struct tree *make_tree(int depth) {
    struct tree *const tree = world_block(sizeof *tree, "struct tree");
    tree->key = world_block(3 + next_random(40), "char[]");
    if (depth > 0 && next_random(4))
        tree->left = make_tree(depth - 1);
    if (depth > 0 && next_random(4))
        tree->right = make_tree(depth - 1);
    if (next_random(2))
        tree->value = fill_value(world_block(sizeof *tree->value, "struct value"), depth - 1);
    return tree;
}

static struct value *fill_value(struct value *value, int depth) {
    if (next_random(3) == 0) {
        unnamed_t *const unnamed = world_block(sizeof *unnamed, "unnamed_t");
        value->unnamed = unnamed;
        unnamed->numbers = world_block(8 * (1 + (size_t)next_random(30)), "double[]");
        if (depth > 0)
            unnamed->back[next_random(2)] = make_tree(depth - 1);
    }
    if (depth > 0 && next_random(5) == 0)
        value->same.as_tree = make_tree(depth - 1);
    value->hash = next_random(1u << 30);
    return value;
}

static struct session *make_session(void) {
    struct session *const session = world_block(sizeof *session, "struct session");
    session->in.data = world_block(1 + next_random(500), "char[]");
    if (next_random(2))
        session->out.data = world_block(1 + next_random(500), "char[]");
    if (next_random(8) == 0)
        session->cookies = make_tree(3);
    session->fd = 3;
    return session;
}

static void add_job(void) {
    struct job *const job = world_block(sizeof *job, NULL);
    world_expect_guess(job, "struct job");
    job->session = g_server.sessions[0];
    job->all.next = jobs.next;
    job->all.previous = &jobs;
    jobs.next->previous = &job->all;
    jobs.next = &job->all;
}

void world_build(unsigned seed, size_t n) {
    static struct tree *cache;
    state = seed;
    for (size_t i = 0; i < n; i++) {
        struct session *const session = make_session();
        struct session **const slot = &g_server.sessions[next_random(SLOTS)];
        session->next = *slot;
        *slot = session;
        if (i == 0)
            g_server.sessions[0] = session;
    }
    for (int i = 0; i < 4; i++)
        g_server.index[i].root = make_tree(6);
    g_server.table.n_slots = 100;
    g_server.table.slots = world_block(100 * sizeof(void *), "struct session*[]");
    for (size_t i = 0; i < 100; i++)
        g_server.table.slots[i] = make_session();
    g_server.table.n_pool = 7;
    g_server.table.pool = world_block(7 * sizeof(struct value), "struct value[]");
    for (size_t i = 0; i < 7; i++)
        fill_value(&g_server.table.pool[i], 2);
    for (int i = 0; i < 5; i++)
        add_job();
    for (int i = 0; i < 9; i++) {
        struct message *const message =
            world_block(sizeof *message + next_random(100), "struct message");
        message->reply = messages;
        messages = message;
    }
    for (size_t i = 1; i < 5; i++) {
        struct old_style *const one =
            world_block(sizeof *one + i * sizeof(void *), "struct old_style");
        one->next = old;
        one->values[i - 1] = fill_value(world_block(sizeof(struct value), "struct value"), 2);
        old = one;
    }
    /* A list of circles that is declared as one of shapes; one pointer says what they are. */
    for (int i = 0; i < 3; i++) {
        struct circle *const circle = world_block(sizeof *circle, NULL);
        if (i == 2)
            world_expect(circle, "struct circle");
        else
            world_expect_guess(circle, "struct circle");
        circle->colour = world_block(sizeof(struct value), "struct value");
        if (i < 2)
            world_expect_guess(circle->colour, "struct value");
        circle->shape.next = shapes;
        shapes = &circle->shape;
        a_circle = circle;
    }
    struct job *const hidden = world_block(sizeof *hidden, NULL);
    world_expect_guess(hidden, "struct job");
    hidden->session = g_server.sessions[0];
    opaque = hidden;
    /* Its size is a multiple of the header's; its pointers say that it is no array of headers. */
    counted = world_block(sizeof *counted + 4 * sizeof(void *), NULL);
    counted->n = 4;
    memcpy(counted + 1, g_server.table.slots, 4 * sizeof(void *));
    cache = make_tree(1);
    text = world_block(100, "char[]");
    many = world_block(sizeof(void *), "struct session*");
    *many = g_server.sessions[0];

    world_expect_name(&g_server.sessions[0], "g_server.sessions[*]");
    world_expect_name(&g_server.table.slots, "g_server.table.slots");
    world_expect_name(&g_server.index[2].root, "g_server.index[*].root");
    world_expect_name(&cache, "world_build::cache");
    world_expect_name(&shapes, "shapes");
    world_expect_name(&jobs, "jobs.next");
    world_expect_label(g_server.sessions[0], offsetof(struct session, in.data), "in.data");
    world_expect_label(g_server.sessions[0], offsetof(struct session, cookies), "cookies");
    world_expect_label(g_server.table.slots, 24, "[*]");
    world_expect_label(g_server.table.pool, sizeof(struct value) * 3, "[*].unnamed");
    world_expect_label(old, offsetof(struct old_style, values) + 16, "values[*]");
    world_expect_label(a_circle, 0, "shape.next");
    world_expect_label(jobs.next, 8, "all.next");
}
