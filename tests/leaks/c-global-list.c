/* A mail relay. Every message that went out leaves its envelope in a journal for the operator.
 * leak: nobody trims the journal. fixed: it keeps the newest JOURNAL_MAX. */
#include "rounds.h"

#include <stdint.h>

enum { MESSAGES_PER_ROUND = 1500, JOURNAL_MAX = 200 };

struct envelope {
    struct envelope *next;
    unsigned long id;
    uint32_t checksum, size;
    char *sender, *recipient;
    char subject[72];
};

static struct {
    const char *title;
    unsigned long n_delivered;
    unsigned n_kept;
    struct envelope *newest;
} journal = {.title = "delivered"};

static size_t leaked;

static void *checked(void *memory) {
    if (memory == NULL)
        abort();
    return memory;
}

static size_t envelope_bytes(const struct envelope *e) {
    return sizeof *e + strlen(e->sender) + 1 + strlen(e->recipient) + 1;
}

static void envelope_free(struct envelope *e) {
    free(e->sender);
    free(e->recipient);
    free(e);
}

static void journal_add(struct envelope *e) {
    e->id = ++journal.n_delivered;
    e->next = journal.newest;
    journal.newest = e;
    journal.n_kept++;
}

static void journal_trim(unsigned max) {
    if (journal.n_kept <= max)
        return;
    struct envelope **link = &journal.newest;
    for (unsigned i = 0; i < max; i++)
        link = &(*link)->next;
    while (*link != NULL) {
        struct envelope *const old = *link;
        *link = old->next;
        envelope_free(old);
        journal.n_kept--;
    }
}

static uint32_t send_body(const char *body, size_t size) {
    uint32_t sum = 2166136261u;
    for (size_t i = 0; i < size; i++)
        sum = (sum ^ (unsigned char)body[i]) * 16777619u;
    return sum;
}

static void deliver(unsigned long number) {
    char address[64];
    struct envelope *const e = checked(calloc(1, sizeof *e));
    snprintf(address, sizeof address, "user%lu@mail.example.org", number % 977);
    e->sender = checked(strdup(address));
    snprintf(address, sizeof address, "list-%lu@example.net", number % 31);
    e->recipient = checked(strdup(address));
    snprintf(e->subject, sizeof e->subject, "Re: order %lu", number);
    e->size = 400 + number * 7919 % 3000;
    char *const body = checked(malloc(e->size));
    memset(body, 'a' + (int)(number % 26), e->size);
    e->checksum = send_body(body, e->size);
    free(body);
    journal_add(e);
}

int main(int argc, char **argv) {
    const int leak = rounds_leak(argc, argv);
    for (int round = 0; round <= N_ROUNDS; round++) {
        for (int i = 0; i < MESSAGES_PER_ROUND; i++) {
            deliver(journal.n_delivered);
            if (leak)
                leaked += envelope_bytes(journal.newest);
            else
                journal_trim(JOURNAL_MAX);
        }
        rounds_end(round, leaked);
    }
    journal_trim(0);
    return 0;
}
