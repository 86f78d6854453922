// Containers and classes of C++. Every block of operator new belongs to the world.
#include "typing_world.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <forward_list>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <variant>
#include <vector>

void *operator new(std::size_t size) {
    void *const block = std::calloc(1, size);
    if (block == nullptr)
        std::abort();
    world_add(block, size);
    return block;
}
void operator delete(void *block) noexcept {
    world_forget(block);
    std::free(block);
}
void operator delete(void *block, std::size_t) noexcept {
    operator delete(block);
}

namespace shop {

struct Item {
    int id = 0;
    Item *like = nullptr;
    std::string text;
};

struct Order {
    long id = 0;
    std::vector<Item *> items;
    std::optional<Item> gift;
    std::unique_ptr<Item> extra;
};

struct Base {
    Base *above = nullptr;
};
struct Derived : Base {
    Item *item = nullptr;
    long more[4] = {};
};

struct alignas(16) Wide {
    long double number = 0;
    Item *item = nullptr;
};

struct Server {
    std::map<int, Order> orders;
    std::map<std::string, Item *> by_name;
    std::multimap<short, Item *> many;
    std::set<Item *> seen;
    std::unordered_map<int, Item> stock;
    std::unordered_set<std::string> words;
    std::list<Order> list;
    std::forward_list<Item> forward;
    std::deque<Item> queue;
    std::vector<Item> items;
    std::vector<bool> bits;
    std::map<int, Wide> wide;
    std::vector<std::map<int, Item>> maps;
    std::variant<int, Item *> choice;
    std::function<int(int)> formula;
    std::unique_ptr<int[]> numbers;
    std::string name;
    Item *pair[2] = {};
};

static Server g_server;
static std::unique_ptr<Server> hidden;
static Base *volatile bases;
static Derived *volatile derived;

} // namespace shop

using namespace shop;

static std::string text(std::size_t n) {
    return std::string(16 + n % 50, 'x');
}

static void expect_text(const std::string &s) {
    if (s.capacity() > 15)
        world_expect(s.data(), "char[]");
}

static Item *expect_item(Item *item) {
    world_expect(item, "shop::Item");
    expect_text(item->text);
    return item;
}

static Item *make_item(std::size_t n) {
    auto *const item = new Item;
    item->id = (int)n;
    item->text = text(n);
    return expect_item(item);
}

static void fill_order(Order &order, std::size_t n) {
    order.items.reserve(n % 4 + 1);
    order.items.push_back(make_item(n));
    world_expect(order.items.data(), "shop::Item*[]");
    if (n % 3 == 0) {
        order.gift.emplace();
        order.gift->text = text(n);
        order.gift->like = make_item(n + 1);
        expect_text(order.gift->text);
    }
    if (n % 2 == 0)
        order.extra.reset(make_item(n));
}

extern "C" void world_build(unsigned seed, std::size_t n) {
    n /= 20;
    for (std::size_t i = 0; i < n; i++) {
        const int key = (int)(i * 7919 + seed) % 100000;
        Order &order = g_server.orders[key];
        world_expect(&order, "std::map<int, shop::Order>::node");
        fill_order(order, i);
        const auto named =
            g_server.by_name.emplace(text(i) + std::to_string(i), make_item(i)).first;
        world_expect(&*named, "std::map<std::string, shop::Item*>::node");
        expect_text(named->first);
        world_expect(&*g_server.many.emplace((short)i, make_item(i)),
                     "std::multimap<short, shop::Item*>::node");
        world_expect(&*g_server.seen.insert(make_item(i)).first, "std::set<shop::Item*>::node");
        Item &item = g_server.stock[key];
        item.text = text(i);
        world_expect(&item, "std::unordered_map<int, shop::Item>::node");
        expect_text(item.text);
        const auto word = g_server.words.insert(text(i) + std::to_string(i)).first;
        world_expect(&*word, "std::unordered_set<std::string>::node");
        expect_text(*word);
        g_server.list.emplace_back();
        world_expect(&g_server.list.back(), "std::list<shop::Order>::node");
        fill_order(g_server.list.back(), i + 1);
        g_server.forward.emplace_front();
        world_expect(&g_server.forward.front(), "std::forward_list<shop::Item>::node");
        g_server.forward.front().like = make_item(i);
        g_server.queue.emplace_back();
        world_expect(&g_server.queue.back(), "shop::Item[]");
        g_server.queue.back().text = text(i);
        expect_text(g_server.queue.back().text);
        Wide &wide = g_server.wide[key];
        world_expect(&wide, "std::map<int, shop::Wide>::node");
        wide.item = make_item(i);
    }
    g_server.queue.emplace_back(); // the one behind the last has room
    world_expect(&g_server.queue.back(), "shop::Item[]");
    world_expect(*(void *const *)&g_server.queue, "shop::Item*[]");
    world_expect(*(void *const *)&g_server.stock, "std::unordered_map<int, shop::Item>::bucket[]");
    world_expect(*(void *const *)&g_server.words, "std::unordered_set<std::string>::bucket[]");
    for (std::size_t i = 0; i < 40; i++) {
        g_server.items.emplace_back();
        g_server.items.back().text = text(i);
        g_server.items.back().like = make_item(i);
    }
    for (const auto &item : g_server.items)
        expect_text(item.text);
    world_expect(g_server.items.data(), "shop::Item[]");
    // What lies behind the last element of a vector is no reference of it.
    g_server.items.reserve(100);
    world_expect(g_server.items.data(), "shop::Item[]");
    void *const other = world_block(sizeof(Item), nullptr);
    (g_server.items.data() + g_server.items.size())->like = (Item *)other;
    const auto distance = [](const void *from, const void *to) {
        return (std::size_t)((const char *)to - (const char *)from);
    };
    const void *const items = g_server.items.data();
    const auto &last = g_server.items.back();
    world_expect_unused(items, distance(items, &last.like), 0);
    world_expect_unused(items, distance(items, &(&last + 1)->like), 1);
    // Nor is what lies behind the text of a string.
    Item *const brief = g_server.items[3].like, *const longer = g_server.items[4].like;
    std::string("brief").swap(brief->text);
    std::memcpy(&brief->text[8], &other, sizeof other);
    world_expect_unused(brief, distance(brief, &brief->text[8]), 1);
    longer->text.reserve(200);
    longer->like = brief;
    expect_text(longer->text);
    std::memcpy(&longer->text[160], &other, sizeof other);
    world_expect_unused(longer->text.data(), 160, 1);
    world_expect_unused(longer, distance(longer, &longer->text), 0);
    world_expect_unused(longer, distance(longer, &longer->like), 0);
    g_server.bits.resize(1000);
    world_expect(*(void *const *)&g_server.bits, "unsigned long[]");
    for (int i = 0; i < 5; i++) {
        g_server.maps.emplace_back();
        for (int k = 0; k < 5; k++)
            g_server.maps.back()[k].like = make_item((std::size_t)k);
    }
    for (const auto &map : g_server.maps)
        for (const auto &pair : map)
            world_expect(&pair, "std::map<int, shop::Item>::node");
    world_expect(g_server.maps.data(), "std::map<int, shop::Item>[]");
    // If it is a pointer, it is one to an item.
    g_server.choice = make_item(2);
    // The function's own data: nobody knows.
    long big[4] = {1, 2, 3, (long)n};
    g_server.formula = [big](int k) { return (int)big[k]; };
    g_server.numbers = std::make_unique<int[]>(33);
    world_expect(g_server.numbers.get(), "int[]");
    g_server.name = text(30);
    expect_text(g_server.name);
    g_server.pair[1] = make_item(1);
    hidden = std::make_unique<Server>();
    world_expect(hidden.get(), "shop::Server");
    hidden->orders[1].items.push_back(make_item(3));
    world_expect(&hidden->orders[1], "std::map<int, shop::Order>::node");
    world_expect(hidden->orders[1].items.data(), "shop::Item*[]");
    world_expect(*(void *const *)&hidden->queue, "shop::Item*[]");
    world_expect(&*hidden->queue.begin(), "shop::Item[]");
    auto *const one = new Derived;
    world_expect(one, "shop::Derived");
    one->item = make_item(1);
    bases = one;
    derived = one;

    const Order &order = g_server.orders.begin()->second;
    const char *const node = (const char *)&*g_server.orders.begin() - 32;
    world_expect_label(node, 8, "[*]");
    world_expect_label(node, (std::size_t)((const char *)&order.items - node), "value.items");
    world_expect_label(&*g_server.by_name.begin(), 32, "key");
    world_expect_label(&*g_server.by_name.begin(), 64, "value");
    world_expect_label(g_server.items.data(), 8 + sizeof(Item), "[*].like");
    world_expect_label(g_server.maps.data(), 16 + sizeof(std::map<int, Item>), "[*][*]");
    world_expect_label(*(void *const *)&g_server.stock, 8 * (std::size_t)0, "[*]");
    world_expect_label(hidden.get(), 16, "orders[*]");
    world_expect_label(hidden.get(), (std::size_t)((char *)&hidden->pair[1] - (char *)hidden.get()),
                       "pair[*]");
    world_expect_name((char *)&g_server.orders + 16, "shop::g_server.orders[*]");
    world_expect_name(&g_server.items, "shop::g_server.items");
    world_expect_name(&hidden, "shop::hidden");
}
