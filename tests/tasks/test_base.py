"""`TaskSpec` and the `Task` protocol."""

import inspect
import subprocess
import sys

import numpy as np
import pytest

import nasx
from nasx import Task, TaskSpec


def test_spec_normalises_and_compares():
    spec = TaskSpec([np.int64(3), 8, 8], np.int32(10), "image_classification")
    assert spec == TaskSpec((3, 8, 8), 10, "image_classification")
    assert type(spec.input_shape[0]) is type(spec.num_outputs) is int
    assert len({spec, TaskSpec((3, 8, 8), 10, "image_classification")}) == 1


@pytest.mark.parametrize("shape", [(), (0, 8), (3, -1), (3.0, 8), (True, 8), 3, None, "ab"])
def test_bad_input_shape_is_named(shape):
    with pytest.raises(ValueError, match="input_shape must be a non-empty tuple of positive integers"):
        TaskSpec(shape, 10, "image_classification")


@pytest.mark.parametrize("outputs", [0, -3, 2.0, True, None])
def test_bad_num_outputs_is_named(outputs):
    with pytest.raises(ValueError, match=f"num_outputs must be a positive integer; got {outputs}"):
        TaskSpec((1,), outputs, "regression")


@pytest.mark.parametrize("kind", ["", None])
def test_bad_kind_is_named(kind):
    with pytest.raises(ValueError, match="kind must be a non-empty string"):
        TaskSpec((1,), 1, kind)


def test_task_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Task()


def test_supernet_tasks_are_those_with_a_spec_a_device_and_the_three_methods():
    from nasx.tasks import SupernetTask

    methods = {name: lambda self: None for name in ("spec", "device", "loaders", "loss", "score")}
    assert isinstance(type("Whole", (), methods)(), SupernetTask)
    for name in methods:
        rest = {other: method for other, method in methods.items() if other != name}
        assert not isinstance(type("Short", (), rest)(), SupernetTask)


def test_image_classification_serves_supernets_and_takes_what_they_ask():
    from nasx.tasks import ImageClassification, SupernetTask, TabularBenchmark

    images, labels = np.zeros((4, 1, 8, 8), np.float32), np.array([0, 1, 0, 1])
    task = ImageClassification((images, labels), (images, labels), device="cpu")
    assert isinstance(task, SupernetTask)
    assert task.device.type == "cpu"
    assert not hasattr(TabularBenchmark, "loaders")
    for name in ("loaders", "loss", "score"):
        asked, taken = (inspect.signature(getattr(cls, name)) for cls in (SupernetTask, ImageClassification))
        assert [(p.name, p.kind, p.default) for p in asked.parameters.values()] == [
            (p.name, p.kind, p.default) for p in taken.parameters.values()
        ]


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'Classification'"):
        nasx.tasks.Classification  # noqa: B018
    assert "ImageClassification" in dir(nasx.tasks)


def test_without_torch_the_extra_is_named():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import nasx.tasks, nasx.hardware, nasx.spaces\n"
        "def said(call):\n"
        "    try: call()\n"
        "    except nasx.errors.MissingDependencyError as error: print(error)\n"
        "said(lambda: nasx.tasks.ImageClassification)\n"
        "spec = nasx.TaskSpec((1, 8, 8), 10, 'image_classification')\n"
        "space = nasx.spaces.ConvNet()\n"
        "said(lambda: nasx.hardware.ParamsTable().bind(space, spec))\n"
        "said(lambda: space.decode(space.sample(1)[0]).build(spec))\n"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.splitlines() == [
        f"{what} needs torch: pip install 'nasx[torch]'"
        for what in ("nasx.tasks.ImageClassification", "nasx.hardware.ParamsTable", "nasx.nn")
    ]
