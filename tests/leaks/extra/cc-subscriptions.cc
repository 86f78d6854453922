// A bus of events: views subscribe with a closure and unsubscribe when they close. Reopening a view
// subscribes it again. leak: unsubscribing erases the first closure of the view only. fixed: it
// erases all of them.
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "rounds.h"

namespace {

enum { N_VIEWS = 150 };

struct Document {
    std::vector<char> text = std::vector<char>(900);
};

struct Bus {
    std::unordered_multimap<int, std::function<size_t(int)>> handlers;

    void subscribe(int view, std::function<size_t(int)> handler) {
        handlers.emplace(view, std::move(handler));
    }
    size_t publish(int event) {
        size_t sum = 0;
        for (auto &entry : handlers)
            sum += entry.second(event);
        return sum;
    }
};

Bus bus;

// What one more subscription takes: a node of the table, the closure (too large to lie in it) and
// the document.
const size_t subscription_bytes =
    sizeof(void *) + sizeof(std::pair<const int, std::function<size_t(int)>>) +
    sizeof(std::shared_ptr<Document>) + 2 * sizeof(int) + 2 * sizeof(long) + sizeof(Document) + 900;

void open_view(int view, int width, int height) {
    auto document = std::make_shared<Document>();
    bus.subscribe(view, [document, width, height](int event) {
        return document->text.size() * size_t(width + height + event);
    });
}

void close_view(int view, bool all) {
    auto range = bus.handlers.equal_range(view);
    if (all)
        bus.handlers.erase(range.first, range.second);
    else if (range.first != range.second)
        bus.handlers.erase(range.first);
}

} // namespace

int main(int argc, char **argv) {
    const bool leak = rounds_leak(argc, argv);
    size_t leaked = 0, sum = 0;
    for (int round = 0; round <= N_ROUNDS; round++) {
        for (int view = 0; view < N_VIEWS; view++) {
            open_view(view, view % 7, round);
            open_view(view, view % 11, round); // opened twice, closed once
            sum += bus.publish(view);
            close_view(view, !leak);
            leaked += leak ? subscription_bytes : 0;
        }
        rounds_end(round, leaked);
    }
    return sum == 1;
}
