"""Imports go one way, and `import nasx` stays light."""

import ast
import pathlib
import subprocess
import sys

import pytest

import nasx

PACKAGE = (
    pathlib.Path(nasx.space.__file__).parent if hasattr(nasx, "space") else pathlib.Path(nasx.__file__).parent
)
# Each layer may import from itself and from those before it.
LAYERS = [
    [
        "errors",
        "_arguments",
        "_fingerprint",
        "_interrupts",
        "_live",
        "_npz",
        "_runtime",
        "_core",
        "checkpoint",
        "journal_file",
    ],
    ["pareto", "population", "models", "statistics"],
    ["decisions", "space", "architecture", "spaces"],
    ["hardware", "nn"],
    ["tasks", "strategies", "proxies"],
    [
        *("registry", "executors", "trial", "problem", "journal", "result", "meta_result", "progress"),
        *("vectorized", "sampled", "shared_search", "weight_sharing", "loop"),
    ],
    ["comparison", "compression", "contest", "evaluation", "importance"],
    ["_figures", "_front_plots", "plots", "testing", "integrations"],
    ["cli"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
# Base classes that lower layers name in annotations or look up when they are called.
LAZY = {
    ("architecture", "tasks"),
    ("space", "tasks"),
    ("space", "nn"),
    ("architecture", "nn"),
    ("spaces", "tasks"),
    ("spaces", "nn"),
    ("nn", "tasks"),
    ("hardware", "plots"),
    ("hardware", "tasks"),
    ("result", "plots"),
    ("strategies", "registry"),
    ("strategies", "result"),
    ("comparison", "plots"),
}


def imports_of(path):
    """Modules of nasx that a file imports, and whether that happens when the file itself is imported."""
    tree = ast.parse(path.read_text())
    inside = {
        id(node)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef)
        or (isinstance(outer, ast.If) and "TYPE_CHECKING" in ast.dump(outer.test))
        for node in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "nasx":
            parts = node.module.split(".")[1:]
            names = parts[:1] or [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name.split(".")[1] for a in node.names if a.name.startswith("nasx.")]
        else:
            continue
        for name in names:
            yield name, id(node) not in inside


FILES = sorted(
    p for p in PACKAGE.rglob("*.py") if p.name not in ("__main__.py",) and p != PACKAGE / "__init__.py"
)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert own in LEVEL, f"{own} has no layer; give it one here and in CONTRIBUTING.md"
    for name, at_import in imports_of(path):
        if name in LEVEL and LEVEL[name] > LEVEL[own]:
            assert not at_import, f"{path} imports nasx.{name}, which is of a later layer"
            assert (own, name) in LAZY, f"{path} looks up nasx.{name}, which is of a later layer"


def python(code):
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_import_nasx_imports_nothing_heavy():
    code = "import sys, nasx; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = set(python(code).split())
    assert not loaded & {"numpy", "torch", "pandas", "matplotlib", "rich", "sqlite3", "sklearn"}


def test_a_search_imports_no_optional_package():
    code = """
import sys, nasx
space = nasx.Space({"a": nasx.Integer(0, 9)})
nasx.search(space, lambda a: float(a["a"]), objectives={"x": "minimize"}, evaluations=5)
print(*sorted({m.split(".")[0] for m in sys.modules}))
"""
    assert not set(python(code).split()) & {"torch", "pandas", "matplotlib", "rich", "sklearn"}


def test_public_names_are_all_there_and_no_module_hides_a_function():
    for name in nasx.__all__:
        assert getattr(nasx, name) is not None
    assert set(nasx.__all__) <= set(dir(nasx))
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        nasx.serach  # noqa: B018
    functions = [n for n in nasx.__all__ if callable(getattr(nasx, n))]
    assert not {f"{n}.py" for n in functions} & {p.name for p in PACKAGE.iterdir()}
    assert nasx.__version__


def test_typing_and_runtime_exports_agree():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    block = next(n for n in tree.body if isinstance(n, ast.If))
    typed = {alias.name for node in block.body for alias in node.names}
    assert typed == set(nasx.__all__)


def test_modules_are_there_without_an_import_of_their_own():
    code = "import nasx; print(nasx.nn.Elastic([16, 32], name='width'), nasx.integrations.__name__)"
    assert (
        "nasx.integrations"
        in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    )
