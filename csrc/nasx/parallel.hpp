// The core's own pool of threads.
//
// Started at the first large enough loop, never at import. One caller at a time uses the workers; others that
// come meanwhile, and loops inside loops, run on their own thread, so nothing waits and nothing deadlocks.
// After fork() the child starts with no workers and makes new ones. Results must not depend on how a range is
// cut.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

namespace nasx {

inline constexpr std::size_t most_threads = 65536;

// Number of threads a loop may use, its caller included. Throws std::invalid_argument when it is zero or more
// than most_threads.
void set_num_threads(std::size_t threads);

// What was set, else the number of CPUs this process may run on.
std::size_t get_num_threads();

// Runs function(data) on the caller and on so many threads less one, and waits for all: GOMP_parallel of
// GNU's OpenMP runtime, whose flags are 0 here.
using TeamFunction = void (*)(void (*function)(void*), void* data, unsigned threads, unsigned flags);

// Threads of another library in this process, which loops may borrow; null: there are none. That library's
// threads spin for a while after its own loops, and take the CPUs from ours if ours are others. A forked
// child has none.
void set_team(TeamFunction team);

// While one is alive, loops of its thread run on the team, if there is one. For kernels that are called
// between that library's own: others are not to start its threads, which a forked child could not use any
// more.
class BorrowedTeam {
  public:
    BorrowedTeam();
    ~BorrowedTeam();
    BorrowedTeam(const BorrowedTeam&) = delete;
    BorrowedTeam& operator=(const BorrowedTeam&) = delete;

  private:
    bool before_;
};

namespace detail {
using RangeFunction = void (*)(void* context, std::size_t begin, std::size_t end);
void run(std::size_t begin, std::size_t end, std::size_t grain, RangeFunction function, void* context);
}  // namespace detail

// Calls function(b, e) on disjoint pieces of [begin, end), at least `grain` (>= 1) long but for the last.
// The caller works too. The first exception thrown cancels what has not started and is rethrown here.
template <class Function>
void parallel_for(std::size_t begin, std::size_t end, std::size_t grain, Function&& function) {
    using Plain = std::remove_reference_t<Function>;
    detail::run(
        begin, end, grain,
        [](void* context, std::size_t b, std::size_t e) { (*static_cast<Plain*>(context))(b, e); },
        const_cast<void*>(static_cast<const void*>(&function)));
}

}  // namespace nasx
