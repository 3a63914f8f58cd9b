"""The package as it is shipped: its names, its stubs, its import and its notebooks."""

import ast
import inspect
import pathlib
import subprocess
import sys

import pytest

import sharpwave as sw
from sharpwave import _sharpwave
from conftest import ROOT


def members(thing):
    return {name for name in vars(thing) if not name.startswith("_")}


def test_the_stubs_name_what_the_module_has():
    stub = ast.parse(pathlib.Path(sw.__file__).with_name("_sharpwave.pyi").read_text())
    functions = {node.name: node for node in stub.body if isinstance(node, ast.FunctionDef)}
    classes = {node.name: node for node in stub.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")}
    assert members(_sharpwave) == functions.keys() | classes.keys()
    for name, node in functions.items():
        assert [a.arg for a in node.args.args] == list(inspect.signature(getattr(_sharpwave, name)).parameters), name
    for name, node in classes.items():
        methods = {m.name: m for m in node.body if isinstance(m, ast.FunctionDef) and not m.name.startswith("_")}
        own = getattr(_sharpwave, name)
        assert members(own) == methods.keys(), name
        for method, m in methods.items():
            if callable(getattr(own, method)):
                given = list(inspect.signature(getattr(own, method)).parameters)
                assert [a.arg for a in m.args.args] == given, f"{name}.{method}"
    assert pathlib.Path(sw.__file__).with_name("py.typed").is_file()


def test_every_public_name_is_there_and_says_what_it_is():
    for name in sw.__all__:
        thing = getattr(sw, name)
        if name != "__version__":
            assert inspect.getdoc(thing), name
            for method, function in vars(thing).items() if inspect.isclass(thing) else ():
                if callable(function) and not method.startswith("_") and method not in ("get", "learn", "generate"):
                    assert inspect.getdoc(function), f"{name}.{method}"


def test_importing_brings_nothing_heavy():
    heavy = "numpy pandas torch matplotlib tqdm transformers".split()
    code = f"import sys, sharpwave; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


NOTEBOOKS = sorted((ROOT / "python" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("matplotlib"), pytest.importorskip("ipykernel")
    book = nbformat.read(path, 4)
    for cell in book.cells:
        assert cell.cell_type != "code" or cell.outputs == [] and cell.execution_count is None, f"{path.name} holds outputs"
    nbclient.NotebookClient(book, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    pictures = [o for c in book.cells if c.cell_type == "code" for o in c.outputs if "image/png" in o.get("data", {})]
    assert pictures, "no picture was drawn"


def test_there_are_two_notebooks():
    assert len(NOTEBOOKS) == 2
