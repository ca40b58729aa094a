"""Networks that leave a supernet: equal outputs, nothing of nasx in them, and files that run no code."""

import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from nn.test_choices import CONTEXT, Decoder, Network
from torch import nn
from torch.nn import functional as F

import nasx
from nasx import TaskSpec
from nasx.nn import ConvBlock, DropPath, Elastic, LayerChoice, load_network, plain, save_network, to_onnx
from nasx.spaces import DARTS, ENASCell, ENASMacro, FBNet, NASBench201, ProxylessMobile, ShuffleNetV2

SPEC = TaskSpec((1, 7, 8), 10, "image_classification")  # odd heights: poolings and reductions round up
IMAGES = {
    "darts": DARTS(cells=3, channels=4, nodes=2),
    "enas cell": ENASCell(cells=3, channels=4, nodes=3),
    "enas macro": ENASMacro(layers=4, channels=4),
    "fbnet": FBNet(channels=(8, 12), repeats=(1, 2), strides=(1, 2), stem=8, stem_stride=1, head=16),
    "proxyless": ProxylessMobile(
        channels=(6, 12), repeats=(1, 2), strides=(1, 2), stem=5, stem_stride=1, first=6, head=16
    ),
    "nasbench201": NASBench201(cells=1, channels=4),
    "canonical": NASBench201(cells=1, channels=4, canonical=True),
    "shufflenet": ShuffleNetV2(
        channels=(12, 20), repeats=(1, 2), stem=6, stem_stride=1, head=16, multipliers=(0.5, 1, 2)
    ),
}


class Branching(nn.Module):
    """What it computes depends on the data: nobody can trace it."""

    def __init__(self):
        super().__init__()
        self.first = LayerChoice({"relu": nn.ReLU(), "block": ConvBlock(1, 1)})
        self.inner = LayerChoice(
            {"one": nn.Sequential(DropPath(0.5), nn.Conv2d(1, 2, 1)), "two": nn.Conv2d(1, 2, 3, padding=1)}
        )

    def forward(self, x):
        x = self.first(x)
        return self.inner(x if x.sum() > 0 else -x).mean((2, 3))


class Lively(nn.Module):
    """It computes other things while it is trained."""

    def __init__(self):
        super().__init__()
        self.layer = LayerChoice({"linear": nn.Linear(4, 4), "skip": nn.Identity()})

    def forward(self, x):
        return self.layer(F.dropout(x, 0.5, self.training))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def ours(network):
    return [type(m).__qualname__ for m in network.modules() if type(m).__module__.startswith("nasx")]


def worn(supernet, inputs):
    """A supernet whose running statistics and weights are those of no fresh one."""
    supernet.train()
    for norm in supernet.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    if not any(isinstance(module, Elastic) for module in supernet.modules()):  # sizes have no mixture
        supernet(inputs)
    return supernet.eval()


@pytest.mark.parametrize("name", IMAGES)
def test_fifty_networks_of_each_space_compute_what_their_paths_do(name):
    space = IMAGES[name]
    images = torch.randn(3, 1, 7, 8)
    supernet = worn(space.supernet(SPEC), images)
    for row in space.sample(50, seed=1):
        architecture = space.architecture(row)
        network = architecture.extract(supernet)
        assert not ours(network)
        with torch.no_grad(), supernet.path(architecture):
            torch.testing.assert_close(network(images), supernet(images), rtol=1e-5, atol=1e-5)
        assert not network.training
    assert set(network.state_dict()) == set(supernet.extract(architecture).state_dict())


MODULES = {
    "network": (Network, torch.randn(3, 4)),
    "two of three": (lambda: Network(2), torch.randn(3, 4)),
    "decoder": (lambda: Decoder(11, layers=2), torch.randint(11, (3, CONTEXT))),
    "branching": (Branching, torch.randn(3, 1, 5, 5)),
    "lively": (Lively, torch.randn(3, 4)),
}


@pytest.mark.parametrize("name", MODULES)
def test_networks_of_users_modules_compute_what_their_paths_do(name):
    make, inputs = MODULES[name]
    space = nasx.space_of(make)
    supernet = worn(space.supernet(), inputs)
    for row in space.enumerate():
        architecture = space.architecture(row)
        network = architecture.extract(supernet)
        assert not ours(network)
        with supernet.path(architecture):
            torch.testing.assert_close(network(inputs), supernet(inputs), rtol=1e-5, atol=1e-5)
        if name in ("branching", "lively"):  # their own code stays, only choices are gone
            assert type(network) is make
        if name == "lively":
            assert (network.train()(torch.ones(99, 4)) == network(torch.ones(99, 4))).float().mean() < 0.9


def test_weights_are_copies_and_the_supernet_stays_as_it_is():
    space = IMAGES["nasbench201"]
    supernet = space.supernet(SPEC)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    network = space.decode([3, 2, 3, 1, 4, 3]).extract(supernet)
    assert network.training
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())
    assert not any(module._forward_pre_hooks for module in supernet.modules())


def test_norms_are_measured_for_the_network_alone_where_batches_are_given():
    space = IMAGES["nasbench201"]
    batches = [(3 * torch.randn(8, 1, 7, 8) + 1, torch.zeros(8)) for _ in range(3)]
    supernet = worn(space.supernet(SPEC), batches[0][0])
    architecture = space.decode([3, 2, 3, 1, 4, 3])
    network = architecture.extract(supernet, batches=batches)
    twin = supernet.extract(architecture)
    nasx.nn.recalibrate(twin, batches, lambda batch: twin(batch[0]))
    mine, theirs = network.state_dict(), twin.state_dict()
    assert all(torch.allclose(mine[name], theirs[name], rtol=1e-5, atol=1e-6) for name in theirs)
    stem = network.get_submodule("stem.1").running_mean
    expected = torch.stack([network.get_submodule("stem.0")(x).mean((0, 2, 3)) for x, _ in batches]).mean(0)
    torch.testing.assert_close(stem, expected, rtol=1e-4, atol=1e-6)
    assert not network.training
    with pytest.raises(ValueError, match="batches must hold at least one batch"):
        architecture.extract(supernet, batches=[])


def test_what_was_extracted_is_trained_on():
    space = IMAGES["darts"]
    network = space.architecture(space.sample(1, seed=2)[0]).extract(space.supernet(SPEC)).train()
    images, labels = torch.randn(16, 1, 7, 8), torch.arange(16) % 10
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    means = network.get_submodule("stem.1").running_mean
    assert means.abs().sum() > 0


def test_parts_of_nasx_that_cannot_be_traced_are_named():
    class Ours(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    Ours.__module__ = "nasx.nn.ours"
    with pytest.raises(TypeError, match=r"modules of nasx that cannot be traced: .*Ours"):
        plain(nn.Sequential(Ours()))


# -- files -----------------------------------------------------------------------------------------------------


def extracted(name="nasbench201", row=None):
    space = IMAGES[name]
    supernet = worn(space.supernet(SPEC), torch.randn(3, 1, 7, 8))
    row = space.sample(1, seed=5)[0] if row is None else row
    return space.architecture(np.asarray(row, np.int32)).extract(supernet)


@pytest.mark.parametrize("name", IMAGES)
def test_saved_networks_are_read_to_the_bit(name, tmp_path):
    network = extracted(name)
    network.get_submodule("stem.0").weight.requires_grad_(False)
    save_network(network, tmp_path / "best")
    assert {file.name for file in tmp_path.iterdir()} == {"best.json", "best.safetensors"}
    again = load_network(tmp_path / "best.safetensors")
    images = torch.randn(3, 1, 7, 8)
    assert torch.equal(again(images), network(images))
    assert repr(again) == repr(network)
    assert [(n, p.requires_grad) for n, p in again.named_parameters()] == [
        (n, p.requires_grad) for n, p in network.named_parameters()
    ]
    assert not again.training
    again.train()(images).sum().backward()
    save_network(again, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == (tmp_path / "best.json").read_text()


def test_networks_of_users_modules_are_saved_too(tmp_path):
    for name in ("network", "decoder"):
        make, inputs = MODULES[name]
        space = nasx.space_of(make)
        for row in space.sample(4, seed=0):
            network = space.architecture(row).extract(space.supernet()).eval()
            save_network(network, tmp_path / "best")
            assert torch.equal(load_network(tmp_path / "best")(inputs), network(inputs))


def test_layers_keep_their_settings(tmp_path):
    network = plain(
        nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2, padding=1, groups=3, bias=False),
            nn.BatchNorm2d(6, eps=1e-3, momentum=None, affine=False),
            nn.LeakyReLU(0.3),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.GroupNorm(2, 6),
            nn.Dropout(0.25),
            nn.Flatten(),
            nn.Linear(24, 8, bias=False),
            nn.Unflatten(1, (2, 4)),
            nn.LayerNorm(4),
        ).eval()
    )
    save_network(network, tmp_path / "net")
    x = torch.randn(2, 3, 7, 7)
    again = load_network(tmp_path / "net")
    assert repr(again) == repr(network)
    assert torch.equal(again(x), network(x))


def test_what_cannot_be_read_without_code_is_not_written(tmp_path):
    with pytest.raises(TypeError, match=r"must be a torch.fx.GraphModule.*got Branching"):
        save_network(Branching(), tmp_path / "net")
    odd = nn.Conv2d(1, 1, 3)
    odd.padding = (7, 7)  # what it says of itself is no longer what it was made with
    odd.extra = nn.Linear(2, 2)
    with pytest.raises(TypeError, match=r"(?s)layer '0'.*cannot be described by settings"):
        save_network(plain(nn.Sequential(odd)), tmp_path / "net")

    class Seeding(nn.Module):
        def forward(self, x):
            return torch.bernoulli(x)

    with pytest.raises(TypeError, match=r"bernoulli.*is not known to be harmless"):
        save_network(plain(Seeding()), tmp_path / "net")
    assert not list(tmp_path.iterdir())


def change(document, path, value):
    *path, last = path
    for key in path:
        document = document[key]
    document[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["format"], "nasx network 2", "its format is 'nasx network 2'"),
        (["name"], "A:\n  pass\nimport os #", "is no name"),
        (["layers", "stem.0", "kind"], "Module", "unknown layer"),
        (["layers", "stem.0", "kind"], "os.system", "unknown layer"),
        (["layers", "stem.0", "settings", "dict", "out_channels"], 10**9, ""),
        (["nodes", 0, "target"], "x=__import__('os').system('true')", "is no name"),
        (["nodes", 0, "name"], "x y", "is no name"),
        (["nodes", 1, "target"], "stem.0'); print(1)", "is no name of a module"),
        (["nodes", 1, "target"], "stem.9", ""),
        (["nodes", 1, "op"], "call_everything", "is no operation"),
        (["nodes", 1], {"op": "call_function", "name": "a", "target": "os.system", "args": ["true"], "kwargs": {"dict": {}}}, "'os.system' is not known to be harmless"),
        (["nodes", 1], {"op": "call_function", "name": "a", "target": "torch.load", "args": ["true"], "kwargs": {"dict": {}}}, "'torch.load' is not known"),
        (["nodes", 1], {"op": "call_function", "name": "a", "target": "getattr", "args": [{"node": "images"}, "__class__"], "kwargs": {"dict": {}}}, "is not known to be harmless"),
        (["nodes", 1], {"op": "call_method", "name": "a", "target": "apply_", "args": [{"node": "images"}], "kwargs": {"dict": {}}}, "'apply_' is not known"),
        (["nodes", 1, "args"], {"lambda": "x"}, "is no kind of value"),
        (["nodes", 1, "kwargs"], {"dict": {"a=1)#": 1}}, "is no name"),
        (["nodes"], [], ""),
        (["tensors", "nothing"], True, "nothing"),
        (["tensors"], None, ""),
    ],
)  # fmt: skip
def test_files_that_say_anything_else_are_refused(tmp_path, path, value, message):
    save_network(extracted(), tmp_path / "net")
    document = json.loads((tmp_path / "net.json").read_text())
    change(document, path, value)
    (tmp_path / "net.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match=rf"net.json and .* damaged or no network: (?s:.*){message}"):
        load_network(tmp_path / "net")


def test_damaged_weights_and_files_that_are_not_there(tmp_path):
    save_network(extracted(), tmp_path / "net")
    whole = (tmp_path / "net.safetensors").read_bytes()
    for damaged in (whole[:100], b"", whole[:-4], b"\xff" * 64):
        (tmp_path / "net.safetensors").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"net.safetensors (is|are) damaged"):
            load_network(tmp_path / "net")
    with pytest.raises(FileNotFoundError):
        load_network(tmp_path / "other")


def test_a_pickled_network_runs_where_there_is_no_nasx(tmp_path):
    network = extracted()
    images = torch.randn(3, 1, 7, 8)
    torch.save((network, images, network(images).detach()), tmp_path / "network.pt")
    code = f"""
import sys
sys.modules["nasx"] = None
import torch
network, images, outputs = torch.load({str(tmp_path / "network.pt")!r}, weights_only=False)
print(torch.equal(network(images), outputs))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


# -- ONNX ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*IMAGES, "decoder"])
def test_onnx_models_give_equal_outputs_for_any_batch(name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    if name == "decoder":
        make, inputs = MODULES[name]
        space = nasx.space_of(make)
        network = space.decode([0, 1]).extract(space.supernet()).eval()
        more = torch.cat([inputs, inputs])
    else:
        network, inputs, more = extracted(name), torch.randn(2, 1, 7, 8), torch.randn(5, 1, 7, 8)
    before = network.training
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_onnx(network, tmp_path / "net.onnx", inputs)
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    for x in (inputs, more, more[:1]):
        (found,) = session.run(None, {"input": x.numpy()})
        np.testing.assert_allclose(found, network(x).detach().numpy(), rtol=1e-4, atol=1e-5)
    assert network.training == before
    with pytest.raises(ValueError, match=r"example must have a batch of two at least; got shape \(1,"):
        to_onnx(network, tmp_path / "net.onnx", inputs[:1])


class Centred(nn.Module):
    """Subtracts a running mean, which its own code follows: by an assignment, or in place."""

    def __init__(self, assigned=False):
        super().__init__()
        self.layer = nasx.nn.LayerChoice({"conv": nn.Conv2d(3, 3, 1), "identity": nn.Identity()})
        self.register_buffer("mean", torch.zeros(3))
        self.assigned = assigned

    def forward(self, x):
        x = self.layer(x)
        if self.training:
            mean = x.detach().mean((0, 2, 3))
            if self.assigned:
                self.mean = 0.5 * self.mean + 0.5 * mean
            else:
                self.mean.mul_(0.5).add_(0.5 * mean)
        return (x - self.mean[:, None, None]).mean((2, 3))


@pytest.mark.parametrize("assigned", [False, True])
def test_buffers_that_a_modules_own_code_changes_stay_as_they_are(assigned):
    space = nasx.space_of(lambda: Centred(assigned))
    network, architecture = space.supernet(), space.decode([1])
    x = torch.rand(4, 3, 4, 4) + 3
    network.train()
    with network.path(architecture):
        network(x)
    network.eval()
    kept = [buffer.clone() for buffer in network.buffers()]
    with torch.no_grad(), network.path(architecture):
        expected = network(x)
    found = architecture.extract(network).eval()
    with torch.no_grad():
        assert torch.equal(found(x), expected)
    assert all(isinstance(value, torch.Tensor) for value in found.state_dict().values())
    assert all(torch.equal(*pair) for pair in zip(kept, network.buffers(), strict=True))


def test_counts_go_on_in_plain_networks():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.register_buffer("n", torch.zeros(()))

        def forward(self, x):
            self.n.add_(1)
            return self.layer(x) / self.n

    network, x = Counting(), torch.ones(1, 2)
    found = plain(network)
    assert not found.n
    first, second = found(x), found(x)
    torch.testing.assert_close(second, first / 2)
