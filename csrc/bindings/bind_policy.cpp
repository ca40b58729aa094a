#include <pybind11/stl.h>

#include <optional>

#include "arguments.hpp"
#include "nasx/lstm.hpp"
#include "nasx/policy.hpp"
#include "nasx/rollouts.hpp"

template <>
struct pybind11::detail::type_caster<nasx::Rollouts> : nasx::bindings::InitialisedCaster<nasx::Rollouts> {};

namespace nasx::bindings {
namespace {

using Floats = py::array_t<double>;

// What is learned stays in the caller's arrays.
std::span<double> writable(py::handle value, const char* name) {
    py::array array = typed_array<double>(value, name, 1);
    if (!array.writeable()) {
        throw py::value_error(std::string(name) + " must be writeable");
    }
    return {static_cast<double*>(array.mutable_data()), static_cast<std::size_t>(array.shape(0))};
}

AdamState adam_state(py::handle parameters, py::handle first, py::handle second, std::int64_t steps) {
    return {writable(parameters, "parameters"), writable(first, "first"), writable(second, "second"), steps};
}

PpoSettings ppo_settings(double learning_rate, double clip, double entropy_weight, double value_weight,
                         double lambda, double max_norm, double target_kl, py::ssize_t epochs,
                         py::ssize_t minibatch) {
    return {learning_rate,
            clip,
            entropy_weight,
            value_weight,
            lambda,
            max_norm,
            target_kl,
            count(epochs, "epochs"),
            count(minibatch, "minibatch")};
}

py::tuple bind_sample(py::handle cardinalities, py::handle conditions, py::handle logits, py::ssize_t n,
                      std::uint64_t seed, std::uint64_t first) {
    const Decisions space = decisions(cardinalities, conditions);
    const auto numbers = vector<double>(logits, "logits");
    auto rows_out = new_matrix<std::int32_t>(count(n, "n"), space.size());
    auto log_probs_out = new_matrix<double>(count(n, "n"), space.size());
    const auto rows = matrix_of(rows_out);
    const auto log_probs = matrix_of(log_probs_out);
    {
        const py::gil_scoped_release release;
        sample_policy(space, numbers, {seed, 0, first}, rows, log_probs);
    }
    return py::make_tuple(std::move(rows_out), std::move(log_probs_out));
}

Floats bind_log_probs(py::handle cardinalities, py::handle conditions, py::handle logits, py::handle rows) {
    const Decisions space = decisions(cardinalities, conditions);
    const auto numbers = vector<double>(logits, "logits");
    const auto x = matrix<std::int32_t>(rows, "rows");
    auto out = new_matrix<double>(x.rows, x.cols);
    const auto log_probs = matrix_of(out);
    {
        const py::gil_scoped_release release;
        policy_log_probs(space, numbers, x, log_probs);
    }
    return out;
}

Floats bind_policy_gradient(py::handle cardinalities, py::handle conditions, py::handle logits,
                            py::handle rows, py::handle advantages, double entropy_weight) {
    const Decisions space = decisions(cardinalities, conditions);
    const auto numbers = vector<double>(logits, "logits");
    const auto x = matrix<std::int32_t>(rows, "rows");
    const auto gains = vector<double>(advantages, "advantages");
    auto out = new_vector<double>(numbers.size());
    const auto gradient = span_of(out);
    {
        const py::gil_scoped_release release;
        policy_gradient(space, numbers, x, gains, entropy_weight, gradient);
    }
    return out;
}

void bind_reinforce_step(py::handle cardinalities, py::handle conditions, py::handle parameters,
                         py::handle first, py::handle second, std::int64_t steps, py::handle rows,
                         py::handle advantages, double entropy_weight, double learning_rate) {
    const Decisions space = decisions(cardinalities, conditions);
    const AdamState state = adam_state(parameters, first, second, steps);
    const auto x = matrix<std::int32_t>(rows, "rows");
    const auto gains = vector<double>(advantages, "advantages");
    const py::gil_scoped_release release;
    reinforce_step(space, state, x, gains, entropy_weight, learning_rate);
}

Floats bind_advantages(py::handle rows, py::handle values, py::handle rewards, double lambda) {
    const auto x = matrix<std::int32_t>(rows, "rows");
    const auto v = matrix<double>(values, "values");
    const auto r = vector<double>(rewards, "rewards");
    auto out = new_matrix<double>(x.rows, x.cols);
    const auto advantages = matrix_of(out);
    {
        const py::gil_scoped_release release;
        generalized_advantages(x, v, r, lambda, advantages);
    }
    return out;
}

Floats bind_critic_values(py::handle cardinalities, py::handle conditions, py::handle critic,
                          py::handle rows) {
    const Decisions space = decisions(cardinalities, conditions);
    const auto numbers = vector<double>(critic, "critic");
    const auto x = matrix<std::int32_t>(rows, "rows");
    auto out = new_matrix<double>(x.rows, x.cols);
    const auto values = matrix_of(out);
    {
        const py::gil_scoped_release release;
        critic_values(space, numbers, x, values);
    }
    return out;
}

py::tuple bind_ppo_gradient(py::handle cardinalities, py::handle conditions, py::handle parameters,
                            py::handle rows, py::handle log_probs, py::handle advantages, py::handle targets,
                            double clip, double entropy_weight, double value_weight) {
    const Decisions space = decisions(cardinalities, conditions);
    const auto numbers = vector<double>(parameters, "parameters");
    const Behaviour behaviour{matrix<std::int32_t>(rows, "rows"), matrix<double>(log_probs, "log_probs"), {}};
    const auto gains = matrix<double>(advantages, "advantages");
    const auto goals = matrix<double>(targets, "targets");
    const PpoSettings settings{.clip = clip, .entropy_weight = entropy_weight, .value_weight = value_weight};
    auto out = new_vector<double>(numbers.size());
    const auto gradient = span_of(out);
    PpoReport report;
    {
        const py::gil_scoped_release release;
        report = ppo_gradient(space, numbers, behaviour, gains, goals, settings, gradient);
    }
    return py::make_tuple(std::move(out), report.kl, report.clipped);
}

py::tuple bind_ppo_update(py::handle cardinalities, py::handle conditions, py::handle parameters,
                          py::handle first, py::handle second, std::int64_t steps, py::handle rows,
                          py::handle log_probs, py::handle rewards, double learning_rate, double clip,
                          double entropy_weight, double value_weight, double lambda, double max_norm,
                          double target_kl, py::ssize_t epochs, py::ssize_t minibatch, std::uint64_t seed,
                          std::uint32_t generation) {
    const Decisions space = decisions(cardinalities, conditions);
    const AdamState state = adam_state(parameters, first, second, steps);
    const Behaviour behaviour{matrix<std::int32_t>(rows, "rows"), matrix<double>(log_probs, "log_probs"),
                              vector<double>(rewards, "rewards")};
    const PpoSettings settings = ppo_settings(learning_rate, clip, entropy_weight, value_weight, lambda,
                                              max_norm, target_kl, epochs, minibatch);
    PpoReport report;
    {
        const py::gil_scoped_release release;
        report = ppo_update(space, state, behaviour, settings, seed, generation);
    }
    return py::make_tuple(report.steps, report.kl, report.clipped);
}

// Rollouts are served under the GIL, which is their lock: these calls are short.
std::size_t bind_draw(Rollouts& rollouts, py::handle rows, py::handle canonical, py::handle log_probs) {
    return rollouts.draw(matrix<std::int32_t>(rows, "rows"), matrix<std::int32_t>(canonical, "canonical"),
                         matrix<double>(log_probs, "log_probs"));
}

void bind_tell(Rollouts& rollouts, py::handle canonical, py::handle losses, py::handle violations) {
    rollouts.tell(matrix<std::int32_t>(canonical, "canonical"), matrix<double>(losses, "losses"),
                  vector<double>(violations, "violations"));
}

void bind_keep(Rollouts& rollouts, py::handle canonical, py::handle losses, py::handle violations) {
    rollouts.keep(matrix<std::int32_t>(canonical, "canonical"), matrix<double>(losses, "losses"),
                  vector<double>(violations, "violations"));
}

py::array_t<bool> bind_is_new(const Rollouts& rollouts, py::handle canonical) {
    const auto x = matrix<std::int32_t>(canonical, "canonical");
    auto out = new_vector<bool>(x.rows);
    rollouts.is_new(x, span_of(out));
    return out;
}

py::tuple bind_take(Rollouts& rollouts) {
    const Batch batch = rollouts.take();
    const auto n = static_cast<py::ssize_t>(rollouts.batch_size());
    const auto d = static_cast<py::ssize_t>(rollouts.width());
    return py::make_tuple(py::array_t<std::int32_t>({n, d}, batch.rows.data()),
                          Floats({n, d}, batch.log_probs.data()), Floats(n, batch.rewards.data()),
                          Floats(n, batch.baselines.data()));
}

py::tuple bind_sample_lstm(py::handle cardinalities, py::handle conditions, py::handle start,
                           py::handle embeddings, py::handle from_input, py::handle from_hidden,
                           py::handle bias, py::handle heads, py::handle head_bias, float temperature,
                           float bound, py::ssize_t n, std::uint64_t seed, std::uint64_t first) {
    const Decisions space = decisions(cardinalities, conditions);
    const LstmPolicy policy{vector<float>(start, "start"),
                            matrix<float>(embeddings, "embeddings"),
                            matrix<float>(from_input, "from_input"),
                            matrix<float>(from_hidden, "from_hidden"),
                            vector<float>(bias, "bias"),
                            matrix<float>(heads, "heads"),
                            vector<float>(head_bias, "head_bias"),
                            temperature,
                            bound};
    auto rows_out = new_matrix<std::int32_t>(count(n, "n"), space.size());
    auto log_probs_out = new_matrix<double>(count(n, "n"), space.size());
    const auto rows = matrix_of(rows_out);
    const auto log_probs = matrix_of(log_probs_out);
    {
        const py::gil_scoped_release release;
        sample_lstm(space, policy, {seed, 0, first}, rows, log_probs);
    }
    return py::make_tuple(std::move(rows_out), std::move(log_probs_out));
}

}  // namespace

void register_policy(py::module_ module) {
    using py::arg;
    module.def("sample", &bind_sample, arg("cardinalities"), arg("conditions"), arg("logits"), arg("n"),
               arg("seed"), arg("first"), "Rows and log-probabilities.");
    module.def("log_probs", &bind_log_probs, arg("cardinalities"), arg("conditions"), arg("logits"),
               arg("rows"), "Log-probabilities of choices.");
    module.def("policy_gradient", &bind_policy_gradient, arg("cardinalities"), arg("conditions"),
               arg("logits"), arg("rows"), arg("advantages"), arg("entropy_weight"));
    module.def("reinforce_step", &bind_reinforce_step, arg("cardinalities"), arg("conditions"),
               arg("parameters"), arg("first"), arg("second"), arg("steps"), arg("rows"), arg("advantages"),
               arg("entropy_weight"), arg("learning_rate"));
    module.def("generalized_advantages", &bind_advantages, arg("rows"), arg("values"), arg("rewards"),
               arg("lambda_"));
    module.def("critic_values", &bind_critic_values, arg("cardinalities"), arg("conditions"), arg("critic"),
               arg("rows"));
    module.def("ppo_gradient", &bind_ppo_gradient, arg("cardinalities"), arg("conditions"), arg("parameters"),
               arg("rows"), arg("log_probs"), arg("advantages"), arg("targets"), arg("clip"),
               arg("entropy_weight"), arg("value_weight"), "Gradient, divergence, share clipped.");
    module.def("ppo_update", &bind_ppo_update, arg("cardinalities"), arg("conditions"), arg("parameters"),
               arg("first"), arg("second"), arg("steps"), arg("rows"), arg("log_probs"), arg("rewards"),
               arg("learning_rate"), arg("clip"), arg("entropy_weight"), arg("value_weight"), arg("lambda_"),
               arg("max_norm"), arg("target_kl"), arg("epochs"), arg("minibatch"), arg("seed"),
               arg("generation"), "Steps made, divergence, share clipped.");
    py::class_<Rollouts>(module, "Rollouts", "What a policy drew and what became of it.")
        .def(py::init([](py::ssize_t d, py::ssize_t objectives, py::ssize_t batch_size, bool repeats,
                         py::handle weights, double momentum, std::optional<double> exponent) {
                 return Rollouts(count(d, "d"), count(objectives, "objectives"),
                                 count(batch_size, "batch_size"), repeats, vector<double>(weights, "weights"),
                                 momentum, exponent);
             }),
             arg("d"), arg("objectives"), arg("batch_size"), arg("repeats"), arg("weights"), arg("momentum"),
             arg("exponent"))
        .def("draw", &bind_draw, arg("rows"), arg("canonical"), arg("log_probs"))
        .def("tell", &bind_tell, arg("canonical"), arg("losses"), arg("violations"))
        .def("keep", &bind_keep, arg("canonical"), arg("losses"), arg("violations"))
        .def("is_new", &bind_is_new, arg("canonical"))
        .def("take", &bind_take, "Rows, log-probabilities, rewards and baselines.")
        .def_property_readonly("ready", &Rollouts::ready)
        .def("__copy__", [](const Rollouts& self) { return Rollouts(self); })
        .def("__deepcopy__", [](const Rollouts& self, const py::dict&) { return Rollouts(self); });
    module.def("sample_lstm", &bind_sample_lstm, arg("cardinalities"), arg("conditions"), arg("start"),
               arg("embeddings"), arg("from_input"), arg("from_hidden"), arg("bias"), arg("heads"),
               arg("head_bias"), arg("temperature"), arg("bound"), arg("n"), arg("seed"), arg("first"),
               "Rows and log-probabilities.");
}

}  // namespace nasx::bindings
