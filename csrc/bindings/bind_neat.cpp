#include <pybind11/stl.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "arguments.hpp"
#include "nasx/neat.hpp"
#include "nasx/neat_networks.hpp"

template <>
struct pybind11::detail::type_caster<nasx::neat::Topology>
    : nasx::bindings::InitialisedCaster<nasx::neat::Topology> {};
template <>
struct pybind11::detail::type_caster<nasx::neat::Genomes>
    : nasx::bindings::InitialisedCaster<nasx::neat::Genomes> {};
template <>
struct pybind11::detail::type_caster<nasx::neat::Networks>
    : nasx::bindings::InitialisedCaster<nasx::neat::Networks> {};
template <>
struct pybind11::detail::type_caster<nasx::neat::Neat> : nasx::bindings::InitialisedCaster<nasx::neat::Neat> {
};

namespace nasx::bindings {
namespace {

using namespace nasx::neat;
using Floats = py::array_t<double>;

Topology make_topology(std::int32_t inputs, std::int32_t outputs, bool bias, bool recurrent,
                       std::vector<std::uint8_t> activations, std::vector<std::uint8_t> aggregations) {
    Topology topology{inputs, outputs, bias, recurrent, std::move(activations), std::move(aggregations)};
    topology.check();
    return topology;
}

Genomes bind_start(const Topology& topology, py::ssize_t n, double connections, double range,
                   std::uint64_t seed, std::uint64_t first) {
    const std::size_t wanted = count(n, "n");
    const py::gil_scoped_release release;
    Genomes out;
    Genome genome;
    for (std::size_t i = 0; i < wanted; ++i) {
        Stream stream(seed, Purpose::neat_start, 0, first + i);
        topology.start(stream, connections, range, genome);
        out.append(genome.view());
    }
    return out;
}

void bind_check(const Topology& topology, const Genomes& genomes) {
    const py::gil_scoped_release release;
    for (std::size_t i = 0; i < genomes.size(); ++i) {
        topology.check(genomes[i], i);
    }
}

std::size_t place(const Genomes& genomes, py::ssize_t i) {
    if (i < 0 || static_cast<std::size_t>(i) >= genomes.size()) {
        throw py::index_error("there are " + std::to_string(genomes.size()) + " genomes; got place " +
                              std::to_string(i));
    }
    return static_cast<std::size_t>(i);
}

Genomes take(const Genomes& genomes, py::handle places) {
    Genomes out;
    for (const std::int64_t i : vector<std::int64_t>(places, "places")) {
        out.append(genomes[place(genomes, i)]);
    }
    return out;
}

Genomes cut(const Genomes& genomes, py::ssize_t begin, py::ssize_t end) {
    Genomes out;
    for (py::ssize_t i = begin; i < end; ++i) {
        out.append(genomes[place(genomes, i)]);
    }
    return out;
}

Genomes join(const std::vector<const Genomes*>& parts) {
    Genomes out;
    for (const Genomes* part : parts) {
        if (part == nullptr) {
            throw py::type_error("parts must hold genomes; got None");
        }
        out.append(*part);
    }
    return out;
}

// Genes as lists: (id, activation, aggregation) and (innovation, source, target, weight, enabled).
py::tuple genes(const Genomes& genomes, py::ssize_t i) {
    const GenomeView genome = genomes[place(genomes, i)];
    py::list nodes, links;
    for (const Node& node : genome.nodes) {
        nodes.append(py::make_tuple(node.id, node.activation, node.aggregation));
    }
    for (const Link& link : genome.links) {
        links.append(
            py::make_tuple(link.innovation, link.source, link.target, link.weight, link.enabled != 0));
    }
    return py::make_tuple(nodes, links);
}

Genomes from_genes(
    const std::vector<std::tuple<std::int32_t, std::uint8_t, std::uint8_t>>& nodes,
    const std::vector<std::tuple<std::int32_t, std::int32_t, std::int32_t, double, bool>>& links) {
    Genome genome;
    for (const auto& [id, activation, aggregation] : nodes) {
        genome.nodes.push_back({id, activation, aggregation});
    }
    for (const auto& [innovation, source, target, weight, enabled] : links) {
        genome.links.push_back({weight, innovation, source, target, enabled ? 1 : 0});
    }
    Genomes out;
    out.append(genome.view());
    return out;
}

template <class Count>
py::array_t<std::int64_t> counts(const Genomes& genomes, Count&& count_of) {
    auto out = new_vector<std::int64_t>(genomes.size());
    const auto values = span_of(out);
    for (std::size_t i = 0; i < genomes.size(); ++i) {
        values[i] = static_cast<std::int64_t>(count_of(genomes[i]));
    }
    return out;
}

Genomes bind_cross(const Genomes& fitter, const Genomes& other, double average, double keep_disabled,
                   std::uint64_t seed) {
    Stream stream(seed, Purpose::neat_child, 0, 0);
    Genome child;
    cross(fitter[place(fitter, 0)], other[place(other, 0)], {average, keep_disabled}, stream, child);
    Genomes out;
    out.append(child.view());
    return out;
}

Floats shaped(std::initializer_list<std::size_t> shape) {
    return Floats(std::vector<py::ssize_t>(shape.begin(), shape.end()));
}

Floats bind_evaluate(const Networks& networks, py::handle x) {
    const auto rows = matrix<double>(x, "x");
    auto out = shaped({networks.size(), rows.rows, networks.outputs()});
    const auto values = span_of(out);
    {
        const py::gil_scoped_release release;
        networks.evaluate(rows, values);
    }
    return out;
}

// The numbers of an array (networks, rows, columns), and how many rows there are.
std::pair<std::span<const double>, std::size_t> cube(py::handle value, const char* name,
                                                     const Networks& networks, std::size_t columns) {
    const py::array array = typed_array<double>(value, name, 3);
    if (static_cast<std::size_t>(array.shape(0)) != networks.size() ||
        static_cast<std::size_t>(array.shape(2)) != columns) {
        throw py::value_error(std::string(name) + " must have shape (" + std::to_string(networks.size()) +
                              ", n, " + std::to_string(columns) + "); got (" +
                              std::to_string(array.shape(0)) + ", " + std::to_string(array.shape(1)) + ", " +
                              std::to_string(array.shape(2)) + ")");
    }
    return {{static_cast<const double*>(array.data()), static_cast<std::size_t>(array.size())},
            static_cast<std::size_t>(array.shape(1))};
}

Floats bind_evaluate_each(const Networks& networks, py::handle x) {
    const auto [numbers, rows] = cube(x, "x", networks, networks.inputs());
    auto out = shaped({networks.size(), rows, networks.outputs()});
    const auto values = span_of(out);
    {
        const py::gil_scoped_release release;
        networks.evaluate_each(numbers, rows, values);
    }
    return out;
}

py::tuple bind_step(const Networks& networks, py::handle x, py::handle state) {
    const auto [numbers, copies] = cube(x, "x", networks, networks.inputs());
    const auto before = cube(state, "state", networks, networks.width());
    if (before.second != copies) {
        throw py::value_error("state must be that of " + std::to_string(copies) + " copies; got " +
                              std::to_string(before.second));
    }
    auto out = shaped({networks.size(), copies, networks.outputs()});
    auto next = shaped({networks.size(), copies, networks.width()});
    const auto values = span_of(out), after = span_of(next);
    {
        const py::gil_scoped_release release;
        networks.step(numbers, copies, before.first, after, values);
    }
    return py::make_tuple(std::move(out), std::move(next));
}

// Takes what is named out of a dictionary.
class Named {
  public:
    explicit Named(const py::dict& settings) : left_(settings.attr("copy")()) {}

    template <class T>
    void take(const char* name, T& value) {
        if (left_.contains(name)) {
            try {
                value = left_[name].cast<T>();
            } catch (const py::cast_error&) {
                throw py::type_error("setting " + std::string(name) + " has another type; got " +
                                     std::string(py::repr(left_[name])));
            }
            left_.attr("pop")(name);
        }
    }

    void finish() const {
        for (const auto& item : left_) {
            throw py::value_error("unknown setting " + std::string(py::repr(item.first)));
        }
    }

  private:
    py::dict left_;
};

Settings make_settings(const py::dict& values) {
    Settings s;
    Reproduction& r = s.reproduction;
    Named named(values);
    named.take("population_size", s.population_size);
    named.take("initial_connections", s.initial_connections);
    named.take("excess_coefficient", s.compatibility.excess);
    named.take("disjoint_coefficient", s.compatibility.disjoint);
    named.take("weight_coefficient", s.compatibility.weight);
    named.take("small_genome", s.compatibility.small);
    named.take("compatibility_threshold", s.threshold);
    named.take("target_species", s.target_species);
    named.take("threshold_step", s.threshold_step);
    named.take("stagnation", s.stagnation);
    named.take("protected_species", s.protected_species);
    named.take("population_stagnation", s.population_stagnation);
    named.take("allow_repeats", s.repeats);
    named.take("survival", r.survival);
    named.take("mutation_only", r.mutation_only);
    named.take("interspecies_mating", r.interspecies);
    named.take("champion_from", r.champion_from);
    named.take("averaging_crossover", r.crossover.average);
    named.take("keep_disabled", r.crossover.keep_disabled);
    named.take("weight_mutation", r.mutation.weights);
    named.take("weight_perturbation", r.mutation.perturbed);
    named.take("weight_power", r.mutation.power);
    named.take("weight_range", r.mutation.range);
    named.take("weight_limit", r.mutation.limit);
    named.take("add_node", r.mutation.add_node);
    named.take("add_connection", r.mutation.add_connection);
    named.take("toggle_connection", r.mutation.toggle);
    named.take("activation_mutation", r.mutation.activation);
    named.take("aggregation_mutation", r.mutation.aggregation);
    named.finish();
    return s;
}

void bind_tell(Neat& neat, const Genomes& genomes, py::handle losses, py::handle violations) {
    const auto x = matrix<double>(losses, "losses");
    const auto v = vector<double>(violations, "violations");
    const py::gil_scoped_release release;
    neat.tell(genomes, x, v);
}

Genomes bind_propose(Neat& neat, py::ssize_t n) {
    const std::size_t wanted = count(n, "n");
    const py::gil_scoped_release release;
    return neat.propose(wanted);
}

// (id, members, created, improved) of each.
py::list bind_species(const Neat& neat) {
    py::list out;
    for (const Species& one : neat.species()) {
        out.append(py::make_tuple(one.id, one.members, one.created, one.improved));
    }
    return out;
}

template <std::size_t n>
py::tuple names(const std::string_view (&values)[n]) {
    py::tuple out(n);
    for (std::size_t i = 0; i < n; ++i) {
        out[i] = py::str(std::string(values[i]));
    }
    return out;
}

}  // namespace

void register_neat(py::module_ module) {
    using py::arg;
    module.attr("activation_names") = names(activation_names);
    module.attr("aggregation_names") = names(aggregation_names);
    py::class_<Topology>(module, "Topology", "What all genomes of a search share.")
        .def(py::init(&make_topology), arg("inputs"), arg("outputs"), arg("bias"), arg("recurrent"),
             arg("activations"), arg("aggregations"))
        .def("start", &bind_start, arg("n"), arg("connections"), arg("size"), arg("seed"), arg("first"))
        .def("check", &bind_check, arg("genomes"))
        .def("__reduce__", [](const py::object& self) {
            const auto& t = self.cast<const Topology&>();
            const auto ints = [](const std::vector<std::uint8_t>& values) {
                py::list out;
                for (const std::uint8_t value : values) {
                    out.append(static_cast<int>(value));
                }
                return out;
            };
            return py::make_tuple(py::type::of(self),
                                  py::make_tuple(t.inputs, t.outputs, t.bias, t.recurrent,
                                                 ints(t.activations), ints(t.aggregations)));
        });
    py::class_<Genomes>(module, "Genomes", "Many genomes, one behind the other.")
        .def(py::init<>())
        .def("__len__", &Genomes::size)
        .def("__eq__", [](const Genomes& a, const Genomes& b) { return a == b; })
        .def("take", &take, arg("places"))
        .def("cut", &cut, arg("begin"), arg("end"))
        .def_static("join", &join, arg("parts"))
        .def("genes", &genes, arg("i"))
        .def_static("from_genes", &from_genes, arg("nodes"), arg("links"))
        .def("to_bytes", [](const Genomes& genomes) { return py::bytes(genomes.to_bytes()); })
        .def_static(
            "from_bytes", [](std::string_view bytes) { return Genomes::from_bytes(bytes); }, arg("blob"))
        .def(
            "hash", [](const Genomes& genomes, py::ssize_t i) { return genomes[place(genomes, i)].hash(); },
            arg("i"))
        .def("nodes",
             [](const Genomes& genomes) {
                 return counts(genomes, [](GenomeView genome) { return genome.nodes.size(); });
             })
        .def("enabled",
             [](const Genomes& genomes) {
                 return counts(genomes, [](GenomeView genome) { return genome.enabled(); });
             })
        .def(py::pickle([](const Genomes& genomes) { return py::bytes(genomes.to_bytes()); },
                        [](const py::bytes& bytes) { return Genomes::from_bytes(std::string_view(bytes)); }));
    py::class_<Networks>(module, "Networks", "Genomes as networks that compute.")
        .def(py::init([](const Topology& topology, const Genomes& genomes) {
                 const py::gil_scoped_release release;
                 return std::make_unique<Networks>(topology, genomes);
             }),
             arg("topology"), arg("genomes"))
        .def_property_readonly("width", &Networks::width)
        .def("evaluate", &bind_evaluate, arg("x"))
        .def("evaluate_each", &bind_evaluate_each, arg("x"))
        .def("step", &bind_step, arg("x"), arg("state"));
    py::class_<Neat>(module, "Neat", "A population that evolves.")
        .def(py::init([](const Topology& topology, const py::dict& settings, py::ssize_t objectives,
                         std::uint64_t seed) {
                 return Neat(topology, make_settings(settings), count(objectives, "objectives"), seed);
             }),
             arg("topology"), arg("settings"), arg("objectives"), arg("seed"))
        .def("propose", &bind_propose, arg("n"))
        .def("withdraw", &Neat::withdraw, arg("genomes"))
        .def("tell", &bind_tell, arg("genomes"), arg("losses"), arg("violations"))
        .def("species", &bind_species)
        .def("parents", [](const Neat& neat) { return neat.parents(); })
        .def_property_readonly("ahead", &Neat::ahead)
        .def_property_readonly("generation", &Neat::generation)
        .def_property_readonly("threshold", &Neat::threshold)
        .def("__copy__", [](const Neat& self) { return Neat(self); })
        .def("__deepcopy__", [](const Neat& self, const py::dict&) { return Neat(self); });
    module.def(
        "distance",
        [](const Genomes& a, py::ssize_t i, const Genomes& b, py::ssize_t j, double excess, double disjoint,
           double weight, std::size_t small) {
            return Compatibility{excess, disjoint, weight, small}.distance(a[place(a, i)], b[place(b, j)]);
        },
        arg("a"), arg("i"), arg("b"), arg("j"), arg("excess"), arg("disjoint"), arg("weight"), arg("small"));
    module.def("cross", &bind_cross, arg("fitter"), arg("other"), arg("average"), arg("keep_disabled"),
               arg("seed"));
    module.def(
        "check_settings", [](const py::dict& settings) { make_settings(settings).check(); }, arg("settings"));
    module.def(
        "activate",
        [](std::size_t kind, py::handle x) {
            const auto values = vector<double>(x, "x");
            if (kind >= std::size(activation_names)) {
                throw py::value_error("kind must be below " + std::to_string(std::size(activation_names)));
            }
            std::vector<double> room(values.begin(), values.end());
            room.resize((room.size() + 3) / 4 * 4);
            activate(static_cast<Activation>(kind), room);
            auto out = new_vector<double>(values.size());
            std::copy_n(room.begin(), values.size(), out.mutable_data());
            return out;
        },
        arg("kind"), arg("x"));
}

}  // namespace nasx::bindings
