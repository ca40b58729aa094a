#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include "helpers.hpp"
#include "nasx/parallel.hpp"

using namespace nasx;

namespace {

// Visits must be one each.
bool covers_once(std::size_t begin, std::size_t end, std::size_t grain) {
    std::vector<std::atomic<int>> visits(end);
    parallel_for(begin, end, grain, [&](std::size_t b, std::size_t e) {
        for (std::size_t i = b; i < e; ++i) {
            ++visits[i];
        }
    });
    for (std::size_t i = 0; i < end; ++i) {
        if (visits[i] != (i >= begin ? 1 : 0)) {
            return false;
        }
    }
    return true;
}

}  // namespace

TEST_CASE("every index is visited once") {
    for (const std::size_t threads : {1, 2, 5}) {
        set_num_threads(threads);
        CHECK(get_num_threads() == threads);
        for (const std::size_t n : {0, 1, 2, 7, 1000}) {
            for (const std::size_t grain : {1, 3, 64, 5000}) {
                CHECK(covers_once(n / 3, n, grain));
            }
        }
    }
    CHECK(test::has(test::refusal([] { set_num_threads(0); }), "threads"));
    CHECK(test::has(test::refusal([] { set_num_threads(most_threads + 1); }), "at most 65536"));
}

TEST_CASE("nested loops run on the thread they are in") {
    set_num_threads(4);
    std::atomic<int> wrong{0};
    parallel_for(0, 64, 1, [&](std::size_t, std::size_t) {
        const auto self = std::this_thread::get_id();
        parallel_for(0, 64, 1,
                     [&](std::size_t, std::size_t) { wrong += std::this_thread::get_id() != self; });
    });
    CHECK(wrong == 0);
}

TEST_CASE("an exception reaches the caller and the pool goes on") {
    set_num_threads(3);
    for (int i = 0; i < 20; ++i) {
        CHECK_THROWS_AS(parallel_for(0, 100, 1,
                                     [](std::size_t b, std::size_t) {
                                         if (b % 10 == 3) {
                                             throw std::out_of_range("no");
                                         }
                                     }),
                        std::out_of_range);
        CHECK(covers_once(0, 100, 1));
    }
}

TEST_CASE("several threads may call at once, and change the number of threads") {
    std::vector<std::thread> callers;
    std::atomic<int> failures{0};
    for (std::size_t t = 0; t < 4; ++t) {
        callers.emplace_back([&, t] {
            for (std::size_t i = 0; i < 50; ++i) {
                set_num_threads(1 + (t + i) % 3);
                failures += !covers_once(0, 200, 5);
            }
        });
    }
    for (std::thread& caller : callers) {
        caller.join();
    }
    CHECK(failures == 0);
}

// The thread sanitizer does not follow forks of a process with threads.
#ifndef __SANITIZE_THREAD__
TEST_CASE("a forked child makes its own pool, also while others use the parent's") {
    set_num_threads(2);
    // The address sanitizer of GCC 12 forks with its allocator's locks as other threads left them: there the
    // parent is quiet.
#ifdef __SANITIZE_ADDRESS__
    std::atomic<bool> stop{true};
#else
    std::atomic<bool> stop{false};
#endif
    std::thread other([&] {
        while (!stop) {
            covers_once(0, 1000, 10);
        }
    });
    for (int i = 0; i < 20; ++i) {
        covers_once(0, 100, 1);
        const pid_t child = fork();
        if (child == 0) {
            alarm(20);
            _exit(covers_once(0, 1000, 10) && covers_once(0, 1000, 10) ? 0 : 1);
        }
        int status = -1;
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(status == 0);
    }
    stop = true;
    other.join();
}
#endif

namespace {

std::atomic<int> teams{0};

// As GOMP_parallel: the caller and threads of its own.
void team(void (*function)(void*), void* data, unsigned threads, unsigned flags) {
    CHECK(flags == 0);
    ++teams;
    std::vector<std::thread> others;
    for (unsigned i = 1; i < threads; ++i) {
        others.emplace_back(function, data);
    }
    function(data);
    for (std::thread& other : others) {
        other.join();
    }
}

}  // namespace

TEST_CASE("loops run on a team where it is borrowed, and nowhere else") {
    set_num_threads(3);
    set_team(team);
    teams = 0;
    CHECK(covers_once(0, 1000, 1));
    CHECK(teams == 0);
    {
        const BorrowedTeam outer;
        CHECK(covers_once(0, 1000, 1));
        CHECK(teams == 1);
        {
            const BorrowedTeam inner;
            CHECK(covers_once(0, 1000, 1));
        }
        CHECK(covers_once(0, 2, 1));
        CHECK(teams == 3);
        CHECK(covers_once(0, 10, 64));  // one piece needs no threads
        CHECK(teams == 3);
        CHECK(test::has(test::refusal([] {
                            parallel_for(0, 100, 1, [](std::size_t b, std::size_t) {
                                if (b == 50) {
                                    throw std::invalid_argument("fifty");
                                }
                            });
                        }),
                        "fifty"));
        std::atomic<int> wrong{0};
        std::thread another([&] { wrong += covers_once(0, 1000, 1) ? 0 : 1; });  // it borrows nothing
        another.join();
        CHECK(wrong == 0);
        CHECK(teams == 4);
        set_num_threads(1);
        CHECK(covers_once(0, 1000, 1));
        CHECK(teams == 4);
    }
    set_num_threads(3);
    CHECK(covers_once(0, 1000, 1));
    CHECK(teams == 4);
#ifndef __SANITIZE_THREAD__  // it does not follow forks of a process with threads
    const pid_t child = fork();
    if (child == 0) {
        const BorrowedTeam borrowed;
        const bool right = covers_once(0, 1000, 1);
        _exit(right && teams == 4 ? 0 : 1);
    }
    int status = 1;
    waitpid(child, &status, 0);
    CHECK(status == 0);
#endif
    set_team(nullptr);
    const BorrowedTeam nobody;
    CHECK(covers_once(0, 1000, 1));
    CHECK(teams == 4);
}
