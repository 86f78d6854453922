/* The library of cc-vtable-stripped: keeps what was done to a document, to undo it. */
#include "cc-vtable-stripped.h"

#include <cmath>
#include <cstdio>
#include <memory>
#include <vector>

namespace drawing {

class Action {
  public:
    virtual ~Action() = default;
    virtual void undo() = 0;
    virtual size_t bytes() const = 0;
};

class StrokeAction : public Action {
  public:
    explicit StrokeAction(unsigned number) {
        for (unsigned i = 0; i < n_points; i++) {
            x_[i] = std::sin(number + 0.1f * (float)i);
            y_[i] = std::cos(number + 0.1f * (float)i);
        }
    }
    void undo() override { x_[0] = y_[0] = 0; }
    size_t bytes() const override { return sizeof *this; }

  private:
    enum { n_points = 40 };
    float x_[n_points], y_[n_points];
};

class TextAction : public Action {
  public:
    explicit TextAction(unsigned number) { std::snprintf(text_, sizeof text_, "line %u", number); }
    void undo() override { text_[0] = '\0'; }
    size_t bytes() const override { return sizeof *this; }

  private:
    char text_[88];
};

struct Document {
    std::vector<std::unique_ptr<Action>> history;
    unsigned n_undo = 0;
    void add(std::unique_ptr<Action> action) {
        if (n_undo != 0 && history.size() >= n_undo)
            history.erase(history.begin());
        history.push_back(std::move(action));
    }
};

static Document *document;

void open_document(unsigned n_undo) {
    delete document;
    document = new Document;
    document->n_undo = n_undo;
    document->history.reserve(8192);
}

void stroke(unsigned number) {
    document->add(std::make_unique<StrokeAction>(number));
}

void text(unsigned number) {
    document->add(std::make_unique<TextAction>(number));
}

size_t history_bytes() {
    size_t sum = 0;
    for (const auto &action : document->history)
        sum += action->bytes();
    return sum;
}

} // namespace drawing
