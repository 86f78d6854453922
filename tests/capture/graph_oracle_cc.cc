/* The same as graph_oracle.c in C++, for containers of the standard library and classes with
 * virtual functions: what words of a container's node are pointers is that of libstdc++. In the
 * book a type that begins with "~" is a regular expression. Usage: graph_oracle_cc NODES SEED BOOK
 */
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <initializer_list>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <unistd.h>
#include <unordered_map>
#include <variant>
#include <vector>

namespace shop {

struct Item {
    int id = 0;
    double price = 0;
    Item *like = nullptr;
    std::string text;
};

struct Order {
    int id = 0;
    std::string customer;
    std::vector<int> amounts;
    std::shared_ptr<Item> item;
};

struct Ticket {
    int number = 0;
    Item *about = nullptr;
    std::unique_ptr<Order> order;
};

class Shape {
  public:
    virtual ~Shape() = default;
    virtual double area() const = 0;
    Shape *above = nullptr;
};

class Named {
  public:
    virtual ~Named() = default;
    virtual int name_size() const { return (int)name.size(); }
    std::string name;
    Named *alias = nullptr;
};

class Disc : public Shape {
  public:
    double area() const override { return 3.14 * radius * radius; }
    double radius = 1;
};

class Label : public Shape, public Named { // two tables of functions, pointers to both
  public:
    double area() const override { return (double)name_size(); }
    Item *item = nullptr;
};

struct Leaf {
    std::unique_ptr<Leaf> left, right;
    unsigned key = 0;
};

static std::vector<Order> orders;
static std::list<Ticket> tickets;
static std::map<int, std::string> names;
static std::map<std::string, Item *> by_name;
static std::set<Item *> seen;
static std::unordered_map<int, std::shared_ptr<Item>> stock;
static std::deque<Ticket> waiting;
static std::vector<std::unique_ptr<Shape>> shapes;
static std::vector<Named *> labels;
static std::unique_ptr<Leaf> root;
static std::shared_ptr<std::vector<Item *>> favourites;
static std::optional<std::vector<double>> measured;
static std::variant<int, std::unique_ptr<Item>, std::string> choice;
static std::vector<std::variant<int, std::unique_ptr<Item>, double>> choices;
static std::function<double(double)> formula;

} // namespace shop

using namespace shop;

static std::mt19937_64 generator;
static FILE *book;

static unsigned below(unsigned n) {
    return (unsigned)(generator() >> 33) % n;
}

// ---- writing down

static void node(const void *block, size_t size, const char *type) {
    std::fprintf(book, "n %zu %zu %s\n", (size_t)block, size, type);
}

static void word(const void *block, const void *at) {
    const uintptr_t value = *(const uintptr_t *)at;
    if (value != 0)
        std::fprintf(book, "e %zu %zu %zu\n", (size_t)block,
                     (size_t)((const char *)at - (const char *)block), (size_t)value);
}

static void words(const void *block, std::initializer_list<size_t> offsets) {
    for (const size_t offset : offsets)
        word(block, (const char *)block + offset);
}

// block: the one that the container lies in; nullptr: none, it is a global
static void string_in(const void *block, const std::string &s) {
    if (block != nullptr)
        word(block, &s); // short ones refer to themselves
    if (s.capacity() > 15)
        node(s.data(), s.capacity() + 1, "char[]");
}

template <typename T>
static void vector_in(const void *block, const std::vector<T> &v, const char *type) {
    if (block != nullptr)
        for (unsigned i = 0; i < 3; i++)
            word(block, (const char *)&v + 8 * i);
    if (v.capacity() > 0)
        node(v.data(), v.capacity() * sizeof(T), type);
}

static void root_of(const char *name, const void *value) {
    if (value != nullptr)
        std::fprintf(book, "r global %s %zu\n", name, (size_t)value);
}

static void item_words(const void *block, const Item &item) {
    word(block, &item.like);
    string_in(block, item.text);
}

static void shared_in(const void *block, const std::shared_ptr<Item> &item) {
    word(block, &item);
    word(block, (const char *)&item + 8);
}

static void order_words(const void *block, const Order &order) {
    string_in(block, order.customer);
    vector_in(block, order.amounts, "int[]");
    shared_in(block, order.item);
}

static void ticket_words(const void *block, const Ticket &ticket) {
    word(block, &ticket.about);
    word(block, &ticket.order);
    if (ticket.order) {
        node(ticket.order.get(), sizeof(Order), "shop::Order");
        order_words(ticket.order.get(), *ticket.order);
    }
}

static void write_orders() {
    vector_in(nullptr, orders, "shop::Order[]");
    for (const Order &order : orders)
        order_words(orders.data(), order);
    root_of("orders", orders.data());
}

static void write_tickets() {
    for (const Ticket &ticket : tickets) {
        const char *const block = (const char *)&ticket - 16;
        node(block, 16 + sizeof ticket, "std::list<shop::Ticket>::node");
        words(block, {0, 8});
        ticket_words(block, ticket);
    }
    if (!tickets.empty())
        root_of("tickets", (const char *)&tickets.front() - 16);
    const size_t per_block = 512 / sizeof(Ticket);
    const auto *const raw = (const uintptr_t *)&waiting; // map, its size, two iterators of four
    const auto *const map = (const uintptr_t *)raw[0];
    const auto *const first = (const uintptr_t *)raw[5], *const last = (const uintptr_t *)raw[9];
    node(map, raw[1] * 8, "shop::Ticket*[]");
    for (const uintptr_t *slot = first; slot <= last; slot++) {
        word(map, slot);
        node((const void *)*slot, per_block * sizeof(Ticket), "shop::Ticket[]");
        auto *const begin = (const Ticket *)(slot == first ? raw[2] : *slot);
        auto *const end = slot == last ? (const Ticket *)raw[6] : (const Ticket *)*slot + per_block;
        for (const Ticket *ticket = begin; ticket < end; ticket++)
            ticket_words((const void *)*slot, *ticket);
    }
    root_of("waiting", map);
}

static void write_maps() {
    for (const auto &pair : names) {
        const char *const block = (const char *)&pair - 32;
        node(block, 32 + sizeof pair, "std::map<int, std::string>::node");
        words(block, {8, 16, 24});
        string_in(block, pair.second);
    }
    for (const auto &pair : by_name) {
        const char *const block = (const char *)&pair - 32;
        node(block, 32 + sizeof pair, "std::map<std::string, shop::Item*>::node");
        words(block, {8, 16, 24});
        string_in(block, pair.first);
        word(block, &pair.second);
    }
    for (const auto &item : seen) {
        const char *const block = (const char *)&item - 32;
        node(block, 40, "std::set<shop::Item*>::node");
        words(block, {8, 16, 24, 32});
    }
    const auto *const raw = (const uintptr_t *)&stock; // buckets, their number, first node
    node((const void *)raw[0], raw[1] * 8,
         "std::unordered_map<int, std::shared_ptr<shop::Item>>::bucket[]");
    for (size_t i = 0; i < raw[1]; i++)
        word((const void *)raw[0], (const uintptr_t *)raw[0] + i);
    for (const auto &pair : stock) {
        const char *const block = (const char *)&pair - 8;
        node(block, 8 + sizeof pair, "std::unordered_map<int, std::shared_ptr<shop::Item>>::node");
        words(block, {0});
        shared_in(block, pair.second);
        const char *const counted = (const char *)pair.second.get() - 16;
        node(counted, 16 + sizeof(Item), "std::make_shared<shop::Item>");
        item_words(counted, *pair.second);
    }
    root_of("stock", (const void *)raw[0]);
    root_of("names", (const void *)((const uintptr_t *)&names)[2]);
    root_of("seen", (const void *)((const uintptr_t *)&seen)[2]);
}

static void write_shapes() {
    vector_in(nullptr, shapes, "std::unique_ptr<shop::Shape>[]");
    vector_in(nullptr, labels, "shop::Named*[]");
    for (const auto &shape : shapes) {
        word(shapes.data(), &shape);
        if (const auto *const label = dynamic_cast<const Label *>(shape.get())) {
            node(label, sizeof *label, "shop::Label");
            word(label, &label->above);
            word(label, &label->alias);
            word(label, &label->item);
            string_in(label, label->name);
        } else {
            node(shape.get(), sizeof(Disc), "shop::Disc");
            word(shape.get(), &shape->above);
        }
    }
    for (const auto &label : labels)
        word(labels.data(), &label);
    root_of("shapes", shapes.data());
    root_of("labels", labels.data());
}

static void write_leaves() {
    std::vector<const Leaf *> todo{root.get()};
    while (!todo.empty()) {
        const Leaf *const leaf = todo.back();
        todo.pop_back();
        node(leaf, sizeof *leaf, "shop::Leaf");
        word(leaf, &leaf->left);
        word(leaf, &leaf->right);
        if (leaf->left)
            todo.push_back(leaf->left.get());
        if (leaf->right)
            todo.push_back(leaf->right.get());
    }
    root_of("root", root.get());
}

static void write_others() {
    node((const char *)favourites.get() - 16, 16 + sizeof *favourites,
         "~^std::make_shared<std::vector<shop::Item");
    vector_in((const char *)favourites.get() - 16, *favourites, "shop::Item*[]");
    for (const auto &item : *favourites)
        word(favourites->data(), &item);
    vector_in(nullptr, *measured, "double[]");
    const Item *const chosen = std::get<std::unique_ptr<Item>>(choice).get();
    node(chosen, sizeof *chosen, "?shop::Item"); // which alternative a variant has is not guessed
    item_words(chosen, *chosen);
    vector_in(nullptr, choices, "std::variant<int, std::unique_ptr<shop::Item>, double>[]");
    for (const auto &one : choices)
        if (const auto *const item = std::get_if<std::unique_ptr<Item>>(&one)) {
            word(choices.data(), item);
            node(item->get(), sizeof(Item), "?shop::Item");
            item_words(item->get(), **item);
        }
    root_of("favourites", (const char *)favourites.get() - 16);
    root_of("measured", measured->data());
    root_of("choice", chosen);
    root_of("choices", choices.data());
    root_of("formula", (const void *)*(const uintptr_t *)&formula);
}

// ---- building

static std::string some_text() {
    return "text " + std::string(below(40), 'x') + std::to_string(below(1000));
}

static Item *any_item() {
    return stock.at((int)below((unsigned)stock.size())).get();
}

static Order some_order() {
    Order order;
    order.id = (int)below(100000);
    order.customer = some_text();
    order.amounts.assign(1 + below(20), 1);
    order.item = stock.at((int)below((unsigned)stock.size()));
    return order;
}

static Ticket some_ticket() {
    Ticket ticket;
    ticket.number = (int)below(100000);
    ticket.about = any_item();
    if (below(3) == 0)
        ticket.order = std::make_unique<Order>(some_order());
    return ticket;
}

static void build(unsigned n) {
    for (unsigned i = 0; i < n / 6; i++) {
        auto item = std::make_shared<Item>();
        item->id = (int)i;
        item->price = below(100000) / 7.0;
        item->text = some_text();
        stock.emplace((int)i, item);
        item->like = any_item();
    }
    for (unsigned i = 0; i < n / 10; i++)
        names.emplace((int)i, some_text());
    for (unsigned i = 0; i < n / 12; i++) {
        by_name.emplace(some_text() + std::to_string(i), any_item());
        seen.insert(any_item());
    }
    orders.reserve(n / 20);
    for (unsigned i = 0; i < n / 20; i++)
        orders.push_back(some_order());
    for (unsigned i = 0; i < n / 12; i++) {
        tickets.push_back(some_ticket());
        if (below(2))
            waiting.push_back(some_ticket());
    }
    Shape *last = nullptr;
    for (unsigned i = 0; i < n / 12; i++) {
        if (below(2)) {
            auto label = std::make_unique<Label>();
            label->name = some_text();
            label->item = any_item();
            label->alias = labels.empty() ? nullptr : labels[below((unsigned)labels.size())];
            labels.push_back(label.get());
            shapes.push_back(std::move(label));
        } else {
            shapes.push_back(std::make_unique<Disc>());
        }
        shapes.back()->above = last;
        last = shapes.back().get();
    }
    for (unsigned i = 0; i < n / 10; i++) {
        auto leaf = std::make_unique<Leaf>();
        leaf->key = below(1u << 30);
        std::unique_ptr<Leaf> *at = &root;
        while (*at)
            at = leaf->key < (*at)->key ? &(*at)->left : &(*at)->right;
        *at = std::move(leaf);
    }
    favourites = std::make_shared<std::vector<Item *>>();
    for (unsigned i = 0; i < n / 50; i++)
        favourites->push_back(any_item());
    measured = std::vector<double>(n / 10, 0.5);
    choice = std::make_unique<Item>();
    for (unsigned i = 0; i < n / 50; i++) {
        choices.emplace_back((int)i);
        if (below(2))
            choices.back() = std::make_unique<Item>();
    }
    std::vector<double> powers(16, 2.0);
    double scale = 3;
    formula = [powers, scale](double x) { return scale * x + powers[0]; };
}

int main(int argc, char **argv) {
    if (argc != 4)
        return 2;
    generator.seed(std::strtoull(argv[2], nullptr, 10));
    build((unsigned)std::atoi(argv[1]));
    if ((book = std::fopen(argv[3], "w")) == nullptr)
        return 3;
    write_orders();
    write_tickets();
    write_maps();
    write_shapes();
    write_leaves();
    write_others();
    if (std::fclose(book) != 0)
        return 3;
    std::puts("ready");
    std::fflush(stdout);
    char line[16];
    return read(STDIN_FILENO, line, sizeof line) < 0 || formula(1) < 0 ? 3 : 0;
}
