#include "nasx/parallel.hpp"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace nasx {
namespace {

thread_local bool inside_loop = false;
thread_local bool borrows_team = false;

struct Job {
    std::atomic<std::size_t> next;
    std::size_t end;
    std::size_t grain;
    detail::RangeFunction function;
    void* context;
    std::mutex error_mutex{};
    std::exception_ptr error{};

    void work() {
        const bool outer = std::exchange(inside_loop, true);
        for (;;) {
            const std::size_t begin = next.fetch_add(grain, std::memory_order_relaxed);
            if (begin >= end) {
                break;
            }
            try {
                function(context, begin, begin + std::min(grain, end - begin));
            } catch (...) {
                next.store(end, std::memory_order_relaxed);
                const std::lock_guard lock(error_mutex);
                if (!error) {
                    error = std::current_exception();
                }
            }
        }
        inside_loop = outer;
    }
};

class Pool {
  public:
    // False when another caller has the workers.
    bool try_run(Job& job, std::size_t threads, std::size_t pieces) {
        const std::unique_lock owner(owner_, std::try_to_lock);
        if (!owner) {
            return false;
        }
        resize(threads - 1);
        {
            const std::lock_guard lock(mutex_);
            job_ = &job;
            ++sequence_;
        }
        for (std::size_t i = 0; i < std::min(pieces - 1, workers_.size()); ++i) {
            wake_.notify_one();
        }
        job.work();
        // Workers that have not woken yet find no job and are not waited for.
        std::unique_lock lock(mutex_);
        job_ = nullptr;
        idle_.wait(lock, [&] { return running_ == 0; });
        return true;
    }

  private:
    void resize(std::size_t count) {
        if (count == wanted_) {
            return;
        }
        {
            const std::lock_guard lock(mutex_);
            stop_ = true;
        }
        wake_.notify_all();
        for (std::thread& worker : workers_) {
            worker.join();
        }
        workers_.clear();
        stop_ = false;
        wanted_ = count;
        // Signals belong to the threads of the host program.
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        try {
            while (workers_.size() < count) {
                workers_.emplace_back([this, seen = sequence_] { serve(seen); });
            }
        } catch (const std::system_error&) {
            // The system gives no more threads: the loop runs with those there are.
        }
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }

    void serve(std::size_t seen) {
        std::unique_lock lock(mutex_);
        for (;;) {
            wake_.wait(lock, [&] { return stop_ || sequence_ != seen; });
            if (stop_) {
                return;
            }
            seen = sequence_;
            Job* const job = job_;
            if (job == nullptr) {
                continue;
            }
            ++running_;
            lock.unlock();
            job->work();
            lock.lock();
            if (--running_ == 0) {
                idle_.notify_one();
            }
        }
    }

    std::mutex owner_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::condition_variable idle_;
    Job* job_ = nullptr;
    std::size_t sequence_ = 0;
    std::size_t running_ = 0;
    bool stop_ = false;
    std::size_t wanted_ = 0;
    std::vector<std::thread> workers_;
};

std::atomic<std::size_t> requested_threads{0};
// Never destroyed: workers may outlive static objects. A forked child drops the parent's pool unseen, since
// its threads are gone and its mutexes may be held by them.
std::atomic<Pool*> current_pool{nullptr};

Pool& pool() {
    Pool* existing = current_pool.load(std::memory_order_acquire);
    if (existing != nullptr) {
        return *existing;
    }
    static std::atomic<bool> registered{false};
    if (!registered.exchange(true)) {
        pthread_atfork(nullptr, nullptr, [] { current_pool.store(nullptr, std::memory_order_release); });
    }
    Pool* const fresh = new Pool;
    if (current_pool.compare_exchange_strong(existing, fresh, std::memory_order_acq_rel)) {
        return *fresh;
    }
    delete fresh;
    return *existing;
}

std::atomic<TeamFunction> current_team{nullptr};
std::mutex team_owner;

// False when there is no team, or another caller has it.
bool try_run_on_team(Job& job, std::size_t threads) {
    const TeamFunction team = borrows_team ? current_team.load(std::memory_order_acquire) : nullptr;
    if (team == nullptr) {
        return false;
    }
    const std::unique_lock owner(team_owner, std::try_to_lock);
    if (!owner) {
        return false;
    }
    team([](void* data) { static_cast<Job*>(data)->work(); }, &job, static_cast<unsigned>(threads), 0);
    return true;
}

std::size_t affinity_count() {
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        return static_cast<std::size_t>(std::max(1, CPU_COUNT(&set)));
    }
#endif
    return std::max(1u, std::thread::hardware_concurrency());
}

}  // namespace

void set_team(TeamFunction team) {
    static std::atomic<bool> registered{false};
    if (!registered.exchange(true)) {
        pthread_atfork(nullptr, nullptr, [] { current_team.store(nullptr, std::memory_order_release); });
    }
    current_team.store(team, std::memory_order_release);
}

BorrowedTeam::BorrowedTeam() : before_(std::exchange(borrows_team, true)) {}
BorrowedTeam::~BorrowedTeam() {
    borrows_team = before_;
}

void set_num_threads(std::size_t threads) {
    if (threads == 0 || threads > most_threads) {
        throw std::invalid_argument("threads must be at least 1 and at most " + std::to_string(most_threads) +
                                    "; got " + std::to_string(threads));
    }
    requested_threads.store(threads, std::memory_order_relaxed);
}

std::size_t get_num_threads() {
    // No static local here: a fork during its initialisation would lock the child out of it.
    static std::atomic<std::size_t> cpus{0};
    std::size_t threads = requested_threads.load(std::memory_order_relaxed);
    if (threads == 0) {
        threads = cpus.load(std::memory_order_relaxed);
    }
    if (threads == 0) {
        threads = affinity_count();
        cpus.store(threads, std::memory_order_relaxed);
    }
    return threads;
}

void detail::run(std::size_t begin, std::size_t end, std::size_t grain, RangeFunction function,
                 void* context) {
    if (begin >= end) {
        return;
    }
    const std::size_t length = end - begin;
    const std::size_t threads = length <= grain || inside_loop ? 1 : get_num_threads();
    if (threads > 1) {
        Job job{.next = begin, .end = end, .grain = grain, .function = function, .context = context};
        const std::size_t pieces = (length - 1) / grain + 1;
        if (try_run_on_team(job, std::min(threads, pieces)) || pool().try_run(job, threads, pieces)) {
            if (job.error) {
                std::rethrow_exception(job.error);
            }
            return;
        }
    }
    function(context, begin, end);
}

}  // namespace nasx
