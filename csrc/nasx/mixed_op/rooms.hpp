// Room that pieces of a loop work in: made once for each thread that is at work, and not for each piece.
#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace nasx::mixed_op {

template <class Room>
class Rooms {
  public:
    // A room that nobody else has, until it is destroyed.
    class Lease {
      public:
        Lease(Rooms& owner, std::unique_ptr<Room> room) : owner_(owner), room_(std::move(room)) {}
        ~Lease() {
            const std::lock_guard lock(owner_.mutex_);
            owner_.free_.push_back(std::move(room_));  // there is space for it
        }
        Lease(const Lease&) = delete;
        Lease& operator=(const Lease&) = delete;
        Room& operator*() const { return *room_; }

      private:
        Rooms& owner_;
        std::unique_ptr<Room> room_;
    };

    // One that was given back, or else one made of these. What it holds of other pieces is still there.
    template <class... Arguments>
    Lease take(const Arguments&... arguments) {
        {
            const std::lock_guard lock(mutex_);
            if (!free_.empty()) {
                std::unique_ptr<Room> room = std::move(free_.back());
                free_.pop_back();
                return Lease(*this, std::move(room));
            }
            free_.reserve(++made_);
        }
        return Lease(*this, std::make_unique<Room>(arguments...));
    }

  private:
    std::mutex mutex_;
    std::vector<std::unique_ptr<Room>> free_;
    std::size_t made_ = 0;
};

}  // namespace nasx::mixed_op
