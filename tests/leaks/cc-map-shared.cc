/* A game server: players by number in a map, and in the room where they play.
 * leak: a player who leaves is taken out of the room, but stays in the map.
 * fixed: out of both. */
#include "rounds.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace lobby {

struct Move {
    int x, y;
    double time;
};

class Player {
  public:
    Player(int number, std::string name) : number_(number), name_(std::move(name)) {}
    int number() const { return number_; }
    void play(int x, int y) { moves_.push_back({x, y, 0.1 * (double)moves_.size()}); }
    size_t bytes() const {
        return (name_.size() > 15 ? name_.capacity() + 1 : 0) + moves_.capacity() * sizeof(Move);
    }

  private:
    int number_;
    std::string name_;
    std::vector<Move> moves_;
    double rating_[6] = {};
};

class Room {
  public:
    void enter(std::shared_ptr<Player> player) { seats_.push_back(std::move(player)); }
    void leave(int number) {
        for (auto seat = seats_.begin(); seat != seats_.end(); ++seat)
            if ((*seat)->number() == number) {
                seats_.erase(seat);
                return;
            }
    }

  private:
    std::vector<std::shared_ptr<Player>> seats_;
};

static std::map<int, std::shared_ptr<Player>> players;

static std::shared_ptr<Player> join(int number) {
    auto player = std::make_shared<Player>(number, "player number " + std::to_string(number));
    players.emplace(number, player);
    return player;
}

} // namespace lobby

int main(int argc, char **argv) {
    const int leak = rounds_leak(argc, argv);
    lobby::Room room;
    size_t leaked = 0;
    int number = 0;
    for (int round = 0; round <= N_ROUNDS; round++) {
        for (int game = 0; game < 600; game++) {
            auto player = lobby::join(number++);
            room.enter(player);
            for (int move = 0; move < 12; move++)
                player->play(move * 5 % 8, number % 8);
            room.leave(player->number());
            if (leak)
                /* the node of the map; the object behind its counts; what it has */
                leaked += 32 + sizeof(decltype(lobby::players)::value_type) + 16 +
                          sizeof(lobby::Player) + player->bytes();
            else
                lobby::players.erase(player->number());
        }
        rounds_end(round, leaked);
    }
    return 0;
}
