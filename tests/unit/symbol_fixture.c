/* A small program with debug information, for tests that damage its file. Never run. */
#include <stdio.h>
#include <stdlib.h>

struct item {
    struct item *next;
    int value;
};

static inline struct item *make(struct item *next, int value) {
    struct item *const item = malloc(sizeof *item);
    if (!item)
        abort();
    item->next = next;
    item->value = value;
    return item;
}

int sum(const struct item *list);

__attribute__((noinline)) int sum(const struct item *list) {
    int total = 0;
    for (; list; list = list->next)
        total += list->value;
    return total;
}

int main(int argc, char **argv) {
    struct item *list = NULL;
    for (int i = 0; i < argc; i++)
        list = make(list, argv[i][0]);
    printf("%d\n", sum(list));
    return 0;
}
