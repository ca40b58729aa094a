"""Plain transformers on disk, and as ONNX models."""

import json
import random
import re
import subprocess
import sys
import time

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import tiny_transformers as tiny
import torch

from nasx.compression.blueprint import Blueprint
from nasx.compression.families import family_of
from nasx.compression.files import load, save, to_onnx
from nasx.compression.plain import PlainTransformer
from nasx.compression.shapes import LayerShape, Shape

every_kind = pytest.mark.parametrize("kind", tiny.KINDS)


def part_of(kind, seed=9):
    family = family_of(tiny.build(kind))
    return family.extract(tiny.random_shape(family.shape, seed), plain=True)


def test_saved_networks_compute_the_same_in_a_new_process(tmp_path):
    expected = {}
    for i, kind in enumerate(tiny.KINDS):
        model = tiny.build(kind)
        part, x = part_of(kind), tiny.texts(model)
        save(part, tmp_path / f"{i}.json")
        torch.save(x, tmp_path / f"{i}.pt")
        for name, value in tiny.outputs(part, x).items():
            expected[f"{i}.{name}"] = value
    code = f"""
import sys, torch, safetensors.torch
import nasx.compression.files
found = {{}}
for i in range({len(tiny.KINDS)}):
    x = torch.load(f"{tmp_path}/{{i}}.pt", weights_only=True)
    with torch.no_grad():
        given = nasx.compression.files.load(f"{tmp_path}/{{i}}")(x)
    for name, value in given._asdict().items():
        if value is not None:
            found[f"{{i}}.{{name}}"] = value.contiguous()
assert "transformers" not in sys.modules
safetensors.torch.save_file(found, "{tmp_path}/found.safetensors")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    found = safetensors.torch.load_file(tmp_path / "found.safetensors")
    assert found.keys() == expected.keys()
    for (
        name,
        value,
    ) in found.items():  # products of numbers that lie elsewhere in memory may be summed otherwise
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-5)


def test_half_precision_and_frozen_weights_are_kept(tmp_path):
    part = part_of("llama").to(torch.bfloat16)
    part.tokens.requires_grad_(False)
    save(part, tmp_path / "small.safetensors")
    again = load(tmp_path / "small")
    assert again.tokens.weight.dtype == torch.bfloat16
    learning = {name for name, value in again.named_parameters() if value.requires_grad}
    assert learning == {name for name, _ in part.named_parameters()} - {"tokens.weight"}
    assert not again.training
    assert again.plan == part.plan


def test_shared_parts_are_saved_by_themselves(tmp_path):
    family = family_of(tiny.build("gpt2"))
    shape = tiny.random_shape(family.shape, 1)
    save(family.extract(shape, share=True), tmp_path / "small")
    assert (tmp_path / "small.safetensors").stat().st_size < 4 * family.parameters(shape) + 8000
    x = tiny.texts(family.model)
    got, expected = (tiny.outputs(one, x) for one in (load(tmp_path / "small"), family.extract(shape)))
    torch.testing.assert_close(got["logits"], expected["logits"], rtol=0, atol=1e-5)


@every_kind
def test_onnx_runtime_computes_the_same(kind, tmp_path):
    model = tiny.build(kind)
    part = part_of(kind)
    to_onnx(part, tmp_path / "part.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "part.onnx", providers=["CPUExecutionProvider"])
    for batch, tokens in ((1, 5), (3, 9)):  # neither is what it was exported with
        x = tiny.texts(model, batch, tokens)
        mask = torch.ones_like(x)
        mask[0, 4:] = 0
        feed = {"input_ids": x, "attention_mask": mask}
        if part.plan.token_types:
            feed["token_type_ids"] = (x % part.plan.token_types).long()
        expected = tiny.outputs(part, **feed)
        assert [one.name for one in session.get_outputs()] == list(expected)
        found = session.run(None, {name: value.numpy() for name, value in feed.items()})
        for one, value in zip(found, expected.values(), strict=True):
            np.testing.assert_allclose(one, value.numpy(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert, classes"])
def test_models_of_the_users_class_are_exported_too(kind, tmp_path):
    model = tiny.build(kind)
    to_onnx(model, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    x = tiny.texts(model)
    feed = {one.name: np.ones(x.shape, np.int64) for one in session.get_inputs()}
    feed["input_ids"] = x.numpy()
    expected = tiny.outputs(model, **{name: torch.from_numpy(value) for name, value in feed.items()})
    np.testing.assert_allclose(session.run(None, feed)[0], expected["logits"].numpy(), rtol=0, atol=1e-4)


def test_other_modules_are_not_written(tmp_path):
    with pytest.raises(TypeError, match=r"must be a PlainTransformer; got Linear$"):
        save(torch.nn.Linear(2, 2), tmp_path / "x")
    with pytest.raises(TypeError, match=r"got LlamaForCausalLM; its save_pretrained\(\) writes it"):
        save(tiny.build("llama"), tmp_path / "x")
    with pytest.raises(TypeError, match="model must be one of"):
        to_onnx(torch.nn.Linear(2, 2), tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


def _without(document, *path):
    *parents, last = path
    for key in parents:
        document = document[key]
    del document[last]


DAMAGE = {
    "another format": lambda d: d.update(format="nasx network 1"),
    "no plan": lambda d: _without(d, "plan"),
    "a setting too few": lambda d: _without(d, "plan", "eps" if "eps" in d["plan"] else "epsilon"),
    "another width": lambda d: d["plan"]["shape"].update(hidden=9),
    "a huge width": lambda d: d["plan"]["shape"].update(hidden=10**12),
    "a layer too many": lambda d: d["plan"]["shape"]["layers"].append([1, 1, 1]),
    "a layer left out": lambda d: d["plan"]["shape"]["layers"].__setitem__(0, None),
    "text for a number": lambda d: d["plan"].update(vocabulary="40"),
    "truth for a number": lambda d: d["plan"].update(vocabulary=True),
    "a number for truth": lambda d: d["plan"].update(causal=1),
    "an unknown norm": lambda d: d["plan"].update(norm="batch"),
    "an unknown activation": lambda d: d["plan"].update(activation="__import__"),
    "a head that it lacks": lambda d: d["plan"].update(head="masked"),
    "classes without a pooler": lambda d: d["plan"].update(head="classes", classes=2),
    "no epsilon": lambda d: d["plan"].update(epsilon=float("inf")),
    "padding that has no position": lambda d: d["plan"].update(padding=99),
    "a list": lambda d: d.update(plan=[1, 2]),
    "weights too many": lambda d: d["plan"].update(tied=True),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_descriptions_are_refused(damage, tmp_path):
    save(part_of("llama, biases, untied"), tmp_path / "small")
    path = tmp_path / "small.json"
    document = json.loads(path.read_text())
    DAMAGE[damage](document)
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"small.json and .*small.safetensors are damaged or no transformer"):
        load(tmp_path / "small")


def test_damaged_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing")
    save(part_of("llama"), tmp_path / "small")
    weights = tmp_path / "small.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"small.safetensors is damaged"):
        load(tmp_path / "small")
    (tmp_path / "small.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="damaged or no transformer"):
        load(tmp_path / "small")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head_dim": 3, "rotary": 1.0}, "head_dim must be even where positions turn heads; got 3"),
        ({"vocabulary": 0}, "vocabulary must be at least 1; got 0"),
        ({"scales": (1.0, 1.0)}, "scales must have one number for each of the 1 layers; got 2"),
        ({"scales": (float("nan"),)}, "must be finite"),
        ({"head": "scores"}, "unknown head 'scores'"),
        ({"shape": Shape(4, [None])}, "must leave no layer out"),
    ],
)
def test_plans_that_cannot_be_are_refused(changes, message):
    plan = {"shape": Shape(4, [LayerShape(1, 1, 1)]), "head_dim": 2, "vocabulary": 5, "scales": (1.0,)}
    PlainTransformer(Blueprint(**plan))
    with pytest.raises(ValueError, match=message):
        Blueprint(**{**plan, **changes})


@pytest.mark.parametrize("ending", ["json", "safetensors"])
def test_random_damage_is_read_or_refused(ending, tmp_path):
    save(part_of("gpt2"), tmp_path / "small")
    path = tmp_path / f"small.{ending}"
    whole, draw, refused = path.read_bytes(), random.Random(0), []
    numbers = [match.span() for match in re.finditer(rb"-?\d+|true|false|null", whole[:3000])]
    for _ in range(150):
        damaged = bytearray(whole)
        if ending == "json" and draw.random() < 0.5:
            begin, end = draw.choice(numbers)
            other = [b"-1", b"1e999", b"null", b"[]", b"true", b"9" * 30, b"9" * 400, b'"x"', b"{}", b"0"]
            damaged[begin:end] = draw.choice(other)
        else:
            for _ in range(draw.choice([1, 3, 30])):
                damaged[draw.randrange(min(3000, len(damaged)))] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            load(tmp_path / "small")
        except ValueError as error:
            refused.append(str(error))
    assert len(refused) > 50
    assert all("small.safetensors" in message for message in refused)


def test_a_short_description_of_many_layers_takes_no_time(tmp_path):
    save(part_of("gpt2"), tmp_path / "small")
    path = tmp_path / "small.json"
    document = json.loads(path.read_text())
    document["plan"]["shape"]["layers"] = [[1, 1, 1]] * 100_000
    document["plan"]["scales"] = [1.0] * 100_000
    path.write_text(json.dumps(document))
    begin = time.process_time()
    with pytest.raises(ValueError, match="it has 100000 layers"):
        load(tmp_path / "small")
    assert time.process_time() - begin < 5
