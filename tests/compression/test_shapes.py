"""Shapes and orders by themselves."""

import json

import pytest

from nasx.compression.shapes import LayerShape, Order, Shape


def test_a_layer_with_neither_part_is_left_out():
    shape = Shape(8, (LayerShape(0, 0, 0), LayerShape(2, 1, 4), None))
    assert shape.layers == (None, LayerShape(2, 1, 4), None)
    assert shape.kept == (1,)
    assert shape.uniform
    assert hash(shape) == hash(Shape(8, [None, LayerShape(2, 1, 4), None]))


@pytest.mark.parametrize(
    "layers",
    [[LayerShape(0, 0, 4)], [LayerShape(2, 2, 0)], [None], [LayerShape(2, 2, 4), LayerShape(2, 1, 4)]],
)
def test_layers_that_differ_or_lack_something_are_not_uniform(layers):
    assert not Shape(8, layers).uniform


def test_shapes_are_written_and_read():
    shape = Shape(8, (LayerShape(4, 2, 3), None, LayerShape(0, 0, 5)))
    assert Shape.from_dict(json.loads(json.dumps(shape.to_dict()))) == shape
    for wrong in ({}, {"hidden": 3}, {"hidden": 3, "layers": [[1, 2]]}, {"hidden": "3", "layers": []}, [1]):
        with pytest.raises(ValueError, match="this is no shape"):
            Shape.from_dict(wrong)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3, 2, 1), ValueError, "heads must be a multiple of groups; got 3 heads and 2 groups"),
        ((0, 2, 1), ValueError, "heads and groups must both be 0"),
        ((2, 0, 1), ValueError, "heads and groups must both be 0"),
        ((2, 1, -1), ValueError, "mlp must be at least 0; got -1"),
        ((2.0, 1, 1), TypeError, "heads must be an integer; got 2.0"),
    ],
)
def test_layers_that_cannot_be_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        LayerShape(*arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0, []), ValueError, "hidden must be at least 1; got 0"),
        ((4, 3), TypeError, "layers must be a sequence of LayerShape or None; got 3"),
        ((4, [(1, 1, 1)]), TypeError, r"layers\[0\] must be a LayerShape or None; got \(1, 1, 1\)"),
    ],
)
def test_shapes_that_cannot_be_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Shape(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden": [0, 0]}, "hidden must hold each number from 0 to 1 once"),
        ({"heads": [None, [1, 2]]}, r"heads\[1\] must hold each number from 0 to 1 once"),
        ({"mlp": [[0, -1]]}, r"mlp\[0\] must be at least 0; got -1"),
    ],
)
def test_orders_that_are_no_permutations_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Order(**arguments)
