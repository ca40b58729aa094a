import numpy as np
import pytest

from nasx.compression.shapes import LayerShape, Shape
from nasx.compression.space import CompressionSpace
from nasx.space import Space

GROUPED = Shape(64, (LayerShape(heads=6, groups=2, mlp=96),) * 3)
PLAIN = Shape(48, (LayerShape(heads=4, groups=4, mlp=96),) * 2)


@pytest.mark.parametrize("full", [GROUPED, PLAIN], ids=["grouped", "plain"])
@pytest.mark.parametrize("uniform", [False, True])
@pytest.mark.parametrize(
    "dimensions",
    [("hidden", "heads", "mlp", "skip", "layers"), ("mlp", "layers"), ("heads", "layers"), ("layers",)],
)
def test_genotypes_and_shapes_belong_together(full, uniform, dimensions):
    space = CompressionSpace(full, uniform=uniform, dimensions=dimensions, divisor=16)
    rows = space.sample(200, seed=1)
    for row in rows:
        shape = space.shape_of(row)
        assert (space.genotype_of(shape) == row).all()
        assert shape.kept
        assert not uniform or shape.uniform
        for layer, whole in zip(shape.layers, full.layers, strict=True):
            if layer is None:
                continue
            assert layer.mlp == whole.mlp or layer.mlp % 16 == 0
            if layer.heads:
                assert layer.heads % layer.groups == 0
                assert layer.heads // layer.groups <= whole.heads // whole.groups
    assert space.shape_of(space.genotype_of(full)) == full


def test_only_what_may_be_cut_is_cut():
    for name in ("hidden", "heads", "mlp"):
        space = CompressionSpace(GROUPED, dimensions=[name], divisor=16)
        shapes = [space.shape_of(row) for row in space.sample(100)]
        assert {s.kept for s in shapes} == {(0, 1, 2)}
        assert (len({s.hidden for s in shapes}) > 1) == (name == "hidden")
        layers = {layer for s in shapes for layer in s.layers}
        assert (len({layer.heads for layer in layers}) > 1) == (name == "heads")
        assert (len({layer.mlp for layer in layers}) > 1) == (name == "mlp")


def test_whole_layers_go_as_a_whole_unless_parts_may_be_skipped():
    whole = CompressionSpace(GROUPED, dimensions=["layers"])
    assert whole.size == 8
    assert len(whole.enumerate()) == 7  # not without any layer
    assert {s for row in whole.enumerate() for s in whole.shape_of(row).layers} == {None, GROUPED.layers[0]}
    parts = CompressionSpace(GROUPED, dimensions=["skip"])
    assert len(parts.enumerate()) == 4**3 - 1


def test_uniform_depth_follows_the_order():
    space = CompressionSpace(GROUPED, uniform=True, dimensions=["layers"], depth_order=[2, 0, 1])
    assert space.shape_of({"depth": 1}).kept == (2,)
    assert space.shape_of({"depth": 2}).kept == (0, 2)
    with pytest.raises(ValueError, match="depth_order must hold each number from 0 to 2 once"):
        CompressionSpace(GROUPED, uniform=True, depth_order=[0, 1])
    with pytest.raises(ValueError, match="shape must be one of this space"):
        space.genotype_of(Shape(64, (GROUPED.layers[0], None, None)))


def test_what_does_not_fit_together_is_left_out():
    space = CompressionSpace(
        PLAIN, uniform=True, divisor=12, fits=lambda hidden, layer: hidden == 12 * layer.heads
    )
    rows = space.enumerate()
    assert len(rows)
    assert all(s.hidden == 12 * s.layers[s.kept[0]].heads for s in map(space.shape_of, rows))


def test_matrices_are_read_as_single_rows_are():
    space = CompressionSpace(GROUPED, divisor=16)
    rows = space.sample(50, seed=3)
    hidden, attention, mlp = space.parts(rows)
    for k, row in enumerate(rows):
        choices = space.decode(row)
        assert space.hiddens[hidden[k]] == choices["hidden"]
        for i, options in enumerate(space.options):
            groups = choices[f"layer{i}.groups"]
            heads = groups * choices[f"layer{i}.heads"] if groups else 0
            assert options.attention[attention[k, i]] == (heads, groups)
            assert options.mlp[mlp[k, i]] == choices[f"layer{i}.mlp"]


def test_it_is_written_and_rebuilt():
    space = CompressionSpace(GROUPED, divisor=16, least=0.5, dimensions=["mlp", "skip"])
    settings = dict(space.settings)
    again = CompressionSpace(Shape.from_dict(settings.pop("full")), **settings)
    assert again == space
    assert (again.sample(20) == space.sample(20)).all()
    assert Space.from_dict(space.to_dict()) == space
    assert not np.shares_memory(again.cardinalities, space.cardinalities)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dimensions": "mlp"}, "dimensions must be a sequence of names"),
        ({"dimensions": ["mpl"]}, "did you mean 'mlp'"),
        ({"least": 0}, "least must be a share"),
        ({"divisor": 0}, "divisor must be an integer of at least 1"),
        ({"dimensions": ["mlp"], "divisor": 96}, "nothing is left to decide"),
    ],
)
def test_wrong_arguments_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        CompressionSpace(GROUPED, **settings)
