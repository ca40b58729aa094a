"""What pictures of fronts and of predictions show, read from the figure itself."""

import numpy as np
import pytest

import nasx
from nasx._figures import panels
from nasx.hardware import LatencyTable
from nasx.plots import plot_fronts, plot_predictions

BOTH = {"accuracy": "maximize", "ms": "minimize"}
SPACE = nasx.Space({"width": nasx.Integer(1, 6), "depth": nasx.Integer(1, 6)})


def metrics(architecture):
    return {"accuracy": architecture["width"] + architecture["depth"], "ms": architecture["width"] ** 2}


def result(**changed):
    options = {"objectives": BOTH, "strategy": "random_search", "evaluations": 20} | changed
    return nasx.search(SPACE, metrics, **options)


def lines(figure):
    return {line.get_label(): line for line in figure.axes[0].lines}


def test_fronts_and_the_truth_are_drawn_in_the_objectives_units(tmp_path):
    found = result()
    everything = [[w + d, w**2] for w in range(1, 7) for d in range(1, 7)]
    points = np.array([[7.0, 1.0], [3.0, 4.0]])
    figure = plot_fronts({"random": found, "mine": points}, truth=everything, path=tmp_path / "fronts.png")
    drawn = lines(figure)
    assert list(drawn) == ["true front", "random", "mine"]
    front = [(trial.metrics["ms"], trial.metrics["accuracy"]) for trial in found.pareto_front]
    assert list(zip(*drawn["random"].get_data(), strict=True)) == front
    np.testing.assert_array_equal(np.column_stack(drawn["mine"].get_data()), points[:, ::-1])
    # The truth is what nothing dominates: the deepest of each width, the cheapest first.
    truth = np.column_stack(drawn["true front"].get_data())
    np.testing.assert_array_equal(truth, [[w**2, w + 6] for w in range(1, 7)])
    assert drawn["true front"].get_drawstyle() == "steps-post"
    assert figure.axes[0].get_ylabel() == "accuracy (maximize)"
    assert figure.axes[0].get_xlabel() == "ms (minimize)"
    assert (tmp_path / "fronts.png").stat().st_size > 5_000


def test_a_true_front_that_is_maximised_falls_towards_the_worse():
    figure = plot_fronts(
        {"a": [[1.0, 1.0]]},
        objectives={"x": "minimize", "y": "maximize"},
        truth=[[1, 5], [2, 7], [3, 6], [0, 2]],
    )
    np.testing.assert_array_equal(
        np.column_stack(lines(figure)["true front"].get_data()), [[7, 2], [5, 1], [2, 0]]
    )


def test_points_are_joined_with_what_was_measured_of_them():
    told, seen = np.array([[0.9, 3.0], [0.8, 2.0]]), np.array([[0.85, 3.5], [0.8, 2.1]])
    figure = plot_fronts({"a": told, "b": told + 1}, objectives=BOTH, measured={"a": seen})
    drawn = lines(figure)
    np.testing.assert_array_equal(np.column_stack(drawn["a, measured"].get_data()), seen[:, ::-1])
    assert drawn["a, measured"].get_color() == drawn["a"].get_color() != drawn["b"].get_color()
    joints = [line for line in figure.axes[0].lines if line.get_label().startswith("_")]
    ends = [np.column_stack(line.get_data()) for line in joints]
    np.testing.assert_array_equal(ends, np.stack([told, seen], axis=1)[:, :, ::-1])


def test_pictures_go_into_axes_of_ones_own():
    figure, axes = panels(2)
    assert plot_fronts({"a": [[1.0, 2.0]]}, objectives=BOTH, axis=axes[0]) is figure
    assert plot_predictions([1.0], [2.0], axis=axes[1]) is figure
    part = figure.subfigures(1, 1).subplots()
    assert plot_predictions([1.0], [2.0], axis=part) is figure
    assert len(axes[0].lines) == 1
    assert len(axes[1].collections) == 2


def test_predictions_are_beside_measurements(tmp_path):
    table = LatencyTable(SPACE, [np.arange(1, 7), np.arange(1, 7)])
    rows = SPACE.sample(9, seed=0)
    seen = table(rows) * np.linspace(0.8, 1.2, 9)
    figure = table.plot(rows, seen, path=tmp_path / "table.png")
    points = figure.axes[0].collections[1].get_offsets()
    np.testing.assert_allclose(points, np.column_stack([seen, table(rows)]))
    within = np.mean(np.abs(table(rows) - seen) <= 0.1 * seen)
    assert f"within 10%: {within:.0%}" in figure.axes[0].get_title()
    assert figure.axes[0].get_xlabel() == "latency_ms, measured"
    assert (tmp_path / "table.png").stat().st_size > 5_000


@pytest.mark.parametrize(
    ("fronts", "options", "message"),
    [
        ({}, {}, "fronts is empty"),
        ({"a": [[1, 2]]}, {}, "objectives must be given where fronts holds no result"),
        ({"a": [[1, 2, 3]]}, {"objectives": BOTH}, r"fronts\['a'\] must be finite, of shape \(k, 2\)"),
        ({"a": [[1, np.nan]]}, {"objectives": BOTH}, r"fronts\['a'\] must be finite"),
        ({"a": [[1, 2]]}, {"objectives": {"x": "minimize"}}, "objectives must be two; got x"),
        ({"a": [[1, 2]]}, {"objectives": BOTH, "truth": [[1]]}, "truth must be finite, of shape"),
        ({"a": [[1, 2]]}, {"objectives": BOTH, "measured": {"b": [[1, 2]]}}, "measured: unknown label 'b'"),
        (
            {"a": [[1, 2]]},
            {"objectives": BOTH, "measured": {"a": [[1, 2], [3, 4]]}},
            r"measured\['a'\] must have shape \(1, 2\), a row for each point of the front; got \(2, 2\)",
        ),
    ],
)
def test_what_cannot_be_drawn_is_named(fronts, options, message):
    with pytest.raises(ValueError, match=message):
        plot_fronts(fronts, **options)


def test_results_of_other_objectives_are_refused():
    other = result(objectives={"accuracy": "minimize", "ms": "minimize"})
    with pytest.raises(ValueError, match=r"every result must have the objectives .*random_search has"):
        plot_fronts({"a": result(), "b": other})


@pytest.mark.parametrize(
    ("predicted", "measured", "message"),
    [
        ([1.0], [1.0, 2.0], "must be of the same architectures; got 1 and 2"),
        ([], [], "got 0 and 0"),
        ([np.inf], [1.0], "predicted must be finite; got inf"),
        ([1.0], [np.nan], "measured must be finite; got nan"),
    ],
)
def test_predictions_that_do_not_fit_are_named(predicted, measured, message):
    with pytest.raises(ValueError, match=message):
        plot_predictions(predicted, measured)
