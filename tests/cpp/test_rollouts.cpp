#include <doctest/doctest.h>

#include <vector>

#include "helpers.hpp"
#include "nasx/rollouts.hpp"

using namespace nasx;

namespace {

using Rows = std::vector<std::int32_t>;

// Rollouts of two decisions and one objective.
struct Book {
    std::vector<double> weights{1};
    Rollouts rollouts;

    explicit Book(std::size_t batch_size, bool repeats = false)
        : rollouts(2, 1, batch_size, repeats, weights, 0.9, std::nullopt) {}

    static Genotypes view(const Rows& x) { return {x.data(), x.size() / 2, 2}; }

    std::size_t draw(const Rows& x, double log_prob = 0) {
        const std::vector<double> log_probs(x.size(), log_prob);
        return rollouts.draw(view(x), view(x), {log_probs.data(), x.size() / 2, 2});
    }

    void tell(const Rows& x, double loss = 1) {
        const std::vector<double> losses(x.size() / 2, loss), violations(x.size() / 2);
        rollouts.tell(view(x), {losses.data(), losses.size(), 1}, violations);
    }
};

}  // namespace

TEST_CASE("a rollout waits for its result once, and what has one is complete as it is drawn") {
    Book book(2);
    CHECK(book.draw({0, 1, 0, 1}, -1) == 2);
    book.tell({0, 1});
    CHECK_FALSE(book.rollouts.ready());
    CHECK(book.draw({5, 5, 0, 1, 6, 6}, -2) == 2);  // the second completes the batch
    const Batch batch = book.rollouts.take();
    CHECK(batch.rows == Rows{0, 1, 0, 1});
    CHECK(batch.log_probs == std::vector<double>{-1, -1, -2, -2});
    CHECK(batch.rewards.size() == 2);
    CHECK_FALSE(book.rollouts.ready());
}

TEST_CASE("with repeats each draw waits for a result of its own, the oldest first") {
    Book book(1, true);
    CHECK(book.draw({0, 1}, -1) == 1);
    CHECK(book.draw({0, 1}, -2) == 1);
    for (const double log_prob : {-1.0, -2.0}) {
        book.tell({0, 1});
        CHECK(book.rollouts.take().log_probs[0] == log_prob);
    }
    book.tell({0, 1});
    CHECK_FALSE(book.rollouts.ready());
}

TEST_CASE("results of rows that were not drawn are kept") {
    Book book(1);
    book.tell({3, 3});
    CHECK_FALSE(book.rollouts.ready());
    const Rows x{3, 3, 4, 4};
    bool is_new[2] = {true, false};
    book.rollouts.is_new(Book::view(x), is_new);
    CHECK_FALSE(is_new[0]);
    CHECK(is_new[1]);
    book.draw({3, 3});
    CHECK(book.rollouts.ready());
}

TEST_CASE("many wait at a time, and their places are used again") {
    Book book(100);
    for (std::int32_t round = 0; round < 3; ++round) {
        Rows x;
        for (std::int32_t i = 0; i < 100; ++i) {
            x.insert(x.end(), {round, i});
        }
        CHECK(book.draw(x) == 100);
        Rows reversed;
        for (std::size_t i = 100; i-- > 0;) {
            reversed.insert(reversed.end(), {x[2 * i], x[2 * i + 1]});
        }
        book.tell(reversed);
        REQUIRE(book.rollouts.ready());
        CHECK(book.rollouts.take().rows == reversed);
    }
}

TEST_CASE("rollouts refuse what does not fit") {
    Book book(2);
    const Rows x{0, 1};
    const std::vector<double> two(2);
    CHECK(test::has(test::refusal([&] { book.rollouts.take(); }), "must hold a batch of 2; there are 0"));
    CHECK(test::has(test::refusal([&] { book.rollouts.tell(Book::view(x), {two.data(), 2, 1}, two); }),
                    "losses must have shape (1, 1); got (2, 1)"));
    CHECK(test::has(test::refusal([&] { book.rollouts.draw(Book::view(x), Book::view(x), {}); }),
                    "must have one shape"));
    CHECK(test::has(test::refusal([] { Book(0); }), "batch_size must be at least 1"));
    const auto made = [&two](std::size_t objectives, double momentum) {
        return test::refusal([&] { Rollouts(2, objectives, 1, false, two, momentum, std::nullopt); });
    };
    CHECK(made(2, 0.5).empty());
    // 5 times this number is 4 beyond 2^64.
    CHECK(test::has(made(3689348814741910324u, 0.5), "weights must have one number for each"));
    CHECK(test::has(made(2, 1.0), "momentum must be in [0, 1)"));
}
