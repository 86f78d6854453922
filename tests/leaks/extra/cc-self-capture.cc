// Requests with a callback for their end.
// leak: the callback has a shared_ptr of its own request. fixed: a weak_ptr.
#include <functional>
#include <memory>
#include <vector>

#include "rounds.h"

namespace {

enum { REQUESTS_PER_ROUND = 250, BODY_BYTES = 640 };

struct Request {
    std::vector<unsigned char> body = std::vector<unsigned char>(BODY_BYTES);
    std::function<size_t()> on_end;
};

// A request with its counts, its body, and the closure.
const size_t request_bytes = 2 * sizeof(long) + sizeof(Request) + BODY_BYTES;

size_t handle(bool leak, int number) {
    auto request = std::make_shared<Request>();
    request->body[0] = (unsigned char)number;
    if (leak)
        request->on_end = [request] { return request->body.size(); };
    else
        request->on_end = [weak = std::weak_ptr<Request>(request)] {
            auto held = weak.lock();
            return held ? held->body.size() : 0;
        };
    return request->on_end();
}

} // namespace

int main(int argc, char **argv) {
    const bool leak = rounds_leak(argc, argv);
    size_t leaked = 0, sum = 0;
    for (int round = 0; round <= N_ROUNDS; round++) {
        for (int i = 0; i < REQUESTS_PER_ROUND; i++) {
            sum += handle(leak, i);
            leaked += leak ? request_bytes + 16 : 0;
        }
        rounds_end(round, leaked);
    }
    return sum == 1;
}
