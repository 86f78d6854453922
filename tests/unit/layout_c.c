/* Types and variables in C, for a test that reads this program's debug information. Never run. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct unknown;
struct item {
    struct item *next;
    union {
        long number;
        void *pointer;
    } as;
    unsigned first : 3, second : 5;
    struct {
        short x, y;
    };
    char name[12];
    struct unknown *unknown;
};

typedef struct {
    const struct item *volatile items[4][2];
    int (*function)(struct item *);
} holder_t;

struct message {
    uint32_t length;
    char text[];
};

struct store {
    long clock;
    struct item *first;
};

/* Set once each, to memory that LLVM puts into their places. */
static struct store *g_store;
static struct item **g_table;

struct item g_items[3];
holder_t g_holder;
static struct message *volatile g_message;
static __thread struct item *volatile t_item;
enum colour { RED, GREEN } g_colour;

int main(int argc, char **argv) {
    static struct item *volatile cache;
    cache = &g_items[argc];
    g_store = calloc(1, sizeof *g_store);
    g_table = malloc(40 * sizeof *g_table);
    for (int i = 0; i < argc + 39; i++)
        g_table[i] = malloc(sizeof **g_table);
    puts(argv[0]);
    g_store->clock += argc;
    g_store->first = g_table[argc];
    printf("%ld %s\n", g_store->clock, g_store->first->name);
    t_item = cache->next;
    g_message = (void *)argv[0];
    g_holder.items[1][1] = t_item;
    g_colour = GREEN;
    puts(g_message->text);
    return (int)g_holder.items[argc][0]->as.number + t_item->x;
}
