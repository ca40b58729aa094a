"""What architectures choose independently of each other, of every supernet that can say so."""

import numpy as np
import pytest
import torch
from torch import nn

import nasx
from nasx.nn import InputChoice, LayerChoice
from nasx.nn.parts import joined, option_scores, row_cells
from nasx.tasks.base import TaskSpec

SPEC = TaskSpec((1, 8, 8), 10, "image_classification")


def network():
    inner = LayerChoice({"a": nn.Tanh(), "b": nn.ReLU()}, name="inner")
    outer = LayerChoice({"deep": nn.Sequential(inner), "skip": nn.Identity()}, name="outer")
    return nn.Sequential(outer, LayerChoice({"x": nn.Tanh(), "y": nn.ReLU(), "z": nn.GELU()}, name="last"))


def test_every_architecture_is_one_choice_of_options():
    for space in (nasx.spaces.NASBench201(cells=1, channels=4), nasx.space_of(network)):
        parts = space.supernet(SPEC).parts
        rows = np.full((np.prod([len(part.options) for part in parts]), len(space)), -2, np.int32)
        grid = np.indices([len(part.options) for part in parts]).reshape(len(parts), -1)
        for part, column in zip(parts, grid, strict=True):
            rows[:, part.decisions] = part.options[column]
        assert {tuple(row) for row in rows.tolist()} == {tuple(row) for row in space.enumerate().tolist()}
        assert len(rows) == space.size


@pytest.mark.parametrize("nodes", [1, 2, 4])
def test_cells_of_darts_are_the_edges_that_an_architecture_keeps(nodes):
    space = nasx.spaces.DARTS(cells=3, channels=4, nodes=nodes)
    supernet = space.supernet(SPEC)
    assert np.prod([len(part.options) for part in supernet.parts], dtype=object) == space.size
    edges, operations = len(space.edges), len(space.all_operations)
    for genotype in space.sample(20, seed=1):
        cells = set()
        for part in supernet.parts:
            (option,) = np.flatnonzero((part.options == genotype[list(part.decisions)]).all(axis=1))
            cells.update(part.cells[option].tolist())
        expected = set()
        for number, choices in enumerate(supernet.choices_of(space.decode(genotype)).values()):
            for edge, choice in enumerate(choices.choices):
                if choice is not None:
                    expected.add((number * edges + edge) * operations + choice)
        assert cells == expected


def test_decisions_that_conditions_tie_are_one_part_unless_there_are_too_many_ways():
    few = nasx.Space(
        {"a": nasx.Integer(0, 1), "b": nasx.Integer(0, 2), "c": nasx.Integer(0, 3, when={"a": 1})}
    )
    parts = joined(few, row_cells([(1, 2), (1, 3), (1, 4)]))
    assert [part.decisions for part in parts] == [(0, 2), (1,)]
    assert parts[0].options.tolist() == [[0, -1], [1, 0], [1, 1], [1, 2], [1, 3]]
    assert parts[0].cells.tolist() == [[0, -1], [1, 5], [1, 6], [1, 7], [1, 8]]
    many = nasx.Space(
        {"a": nasx.Integer(0, 1)} | {f"b{i}": nasx.Integer(0, 9, when={"a": 1}) for i in range(5)}
    )
    parts = joined(many, row_cells([(1, 2), *[(1, 10)] * 5]))
    assert [part.decisions for part in parts] == [(j,) for j in range(6)]


def test_two_choices_of_one_parent_are_one_part():
    space = nasx.Space(
        {
            "a": nasx.Integer(0, 1),
            "b": nasx.Integer(0, 1, when={"a": 0}),
            "c": nasx.Integer(0, 1, when={"a": 1}),
            "d": nasx.Integer(0, 1, when={"c": 1}),
        }
    )
    (part,) = joined(space, row_cells([(4, 2)]))
    assert part.options.tolist() == space.enumerate().tolist()


def test_scores_of_the_derived_architecture_are_none_lost():
    torch.manual_seed(0)
    joins = nasx.space_of(
        lambda: nn.ModuleDict(
            {
                "join": InputChoice(4, chosen=2),
                "outer": LayerChoice(
                    {"deep": nn.ModuleList([InputChoice(3, chosen=2)]), "skip": nn.Identity()}
                ),
            }
        )
    )
    for _ in range(10):
        supernet = joins.supernet()
        for parameter in supernet.architecture_parameters():
            nn.init.normal_(parameter)
        row = np.full(len(joins), -1, np.int32)
        for part, score in zip(
            supernet.parts, option_scores(supernet.parts, supernet.strengths()), strict=True
        ):
            assert score.max() == 0
            row[list(part.decisions)] = part.options[score.argmax()]
        derived = supernet.derive()
        # Where the outer choice is the other, what is within makes no difference.
        assert (row == derived).all()
