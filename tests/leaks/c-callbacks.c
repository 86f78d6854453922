/* Windows that want to know when the colours change: each registers a function with itself as its
 * argument in the table of a bus, which holds a reference to the window.
 * leak: a closed window stays registered, one in every round. fixed: closing takes it out. */
#include "rounds.h"

#include <stdint.h>

enum { WINDOWS_PER_ROUND = 20, WIDTH = 192, HEIGHT = 160 };

typedef void listener_fn(void *context, int event);

struct listener {
    listener_fn *notify;
    void *context;
};

struct bus {
    struct listener *listeners;
    size_t n_listeners, capacity;
    unsigned long n_events;
};

struct window {
    unsigned n_references, background;
    char title[40];
    uint32_t *pixels;
};

static struct bus colour_bus;
static size_t leaked;

static struct window *window_open(unsigned number) {
    struct window *const w = calloc(1, sizeof *w);
    if (w == NULL || (w->pixels = malloc(WIDTH * HEIGHT * sizeof *w->pixels)) == NULL)
        abort();
    w->n_references = 1;
    snprintf(w->title, sizeof w->title, "document %u", number);
    return w;
}

static void window_unref(struct window *w) {
    if (--w->n_references > 0)
        return;
    free(w->pixels);
    free(w);
}

static void on_colours_changed(void *context, int event) {
    struct window *const w = context;
    w->background = (unsigned)event * 0x10101u;
    for (unsigned i = 0; i < WIDTH * HEIGHT; i++)
        w->pixels[i] = w->background;
}

static void on_statistics(void *context, int event) {
    unsigned long *const count = context;
    *count += event != 0;
}

static void bus_subscribe(struct bus *bus, listener_fn *notify, void *context) {
    if (bus->n_listeners == bus->capacity) {
        bus->capacity = bus->capacity == 0 ? 8 : 2 * bus->capacity;
        bus->listeners = realloc(bus->listeners, bus->capacity * sizeof bus->listeners[0]);
        if (bus->listeners == NULL)
            abort();
    }
    bus->listeners[bus->n_listeners++] = (struct listener){notify, context};
}

static void bus_unsubscribe(struct bus *bus, listener_fn *notify, void *context) {
    for (size_t i = 0; i < bus->n_listeners; i++)
        if (bus->listeners[i].notify == notify && bus->listeners[i].context == context) {
            bus->listeners[i] = bus->listeners[--bus->n_listeners];
            bus->listeners[bus->n_listeners] = (struct listener){0};
            return;
        }
}

static void bus_emit(struct bus *bus, int event) {
    bus->n_events++;
    for (size_t i = 0; i < bus->n_listeners; i++)
        bus->listeners[i].notify(bus->listeners[i].context, event);
}

int main(int argc, char **argv) {
    const int leak = rounds_leak(argc, argv);
    static unsigned long n_seen;
    bus_subscribe(&colour_bus, on_statistics, &n_seen);
    for (int round = 0; round <= N_ROUNDS; round++) {
        for (unsigned i = 0; i < WINDOWS_PER_ROUND; i++) {
            struct window *const w = window_open(i);
            w->n_references++;
            bus_subscribe(&colour_bus, on_colours_changed, w);
            bus_emit(&colour_bus, (int)i);
            if (leak && i == WINDOWS_PER_ROUND / 2) {
                leaked += sizeof *w + WIDTH * HEIGHT * sizeof *w->pixels;
            } else {
                bus_unsubscribe(&colour_bus, on_colours_changed, w);
                window_unref(w);
            }
            window_unref(w);
        }
        rounds_end(round, leaked);
    }
    return n_seen == 0;
}
