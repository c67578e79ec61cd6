"""What the code must never do with users' input: run it. Checked in the source itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SOURCES = sorted([*(REPOSITORY / "src").rglob("*.py"), *(REPOSITORY / "workflow").rglob("*.py")])
RULES = sorted([REPOSITORY / "Snakefile", REPOSITORY / "workflow" / "Snakefile"])
RULES += sorted((REPOSITORY / "workflow" / "rules").glob("*.smk"))
REPORT = REPOSITORY / "src" / "longimorph" / "report"
PAGES = sorted([*(REPORT / "templates").iterdir(), *(REPORT / "static").glob("*.js")])
MARKUP_OF_TEXT = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write"
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "code", "pty"}
CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "subprocess.getoutput"}
CALLS |= {"subprocess.getstatusoutput", "os.execl", "os.spawnl", "yaml.unsafe_load", "yaml.full_load"}
CALLS |= {"yaml.Loader", "yaml.FullLoader", "yaml.UnsafeLoader", "pd.read_pickle", "tempfile.mktemp"}
SAFE_LOADERS = {"SafeLoader", "CSafeLoader"}


def name_of(node: ast.expr) -> str:
    """A name with its dots, such as ``os.system``."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    """The argument of that name."""
    return next((word.value for word in call.keywords if word.arg == name), None)


def constant(node: ast.expr | None) -> object:
    """The value of a constant, None for all else."""
    return node.value if isinstance(node, ast.Constant) else None


def wrongs_of_call(call: ast.Call) -> Iterator[str]:
    """Yield what is forbidden about a call."""
    name = name_of(call.func)
    if name in CALLS:
        yield f"calls {name}"
    shell = keyword(call, "shell")
    if shell is not None and constant(shell) is not False:
        yield f"{name} with a shell"
    if name == "yaml.load":
        loader = keyword(call, "Loader") or (call.args[1] if len(call.args) > 1 else None)
        if loader is None or name_of(loader).split(".")[-1] not in SAFE_LOADERS:
            yield "yaml.load without a safe loader"
    if name in ("np.load", "numpy.load") and constant(keyword(call, "allow_pickle")):
        yield "np.load with pickle"
    if name == "torch.load" and constant(keyword(call, "weights_only")) is not True:
        yield "torch.load of more than weights"


def wrongs(tree: ast.AST) -> Iterator[str]:
    """Yield what is forbidden in a file, with its lines."""
    for node in ast.walk(tree):
        found: list[str] = []
        if isinstance(node, ast.Import):
            found = [a.name for a in node.names if a.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom):
            found = [node.module] if (node.module or "").split(".")[0] in MODULES else []
        elif isinstance(node, ast.Call):
            found = list(wrongs_of_call(node))
        yield from (f"line {node.lineno}: {text}" for text in found)  # type: ignore[attr-defined]


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.relative_to(REPOSITORY).as_posix())
def test_nothing_that_runs_what_it_reads(file: Path) -> None:
    assert list(wrongs(ast.parse(file.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize("file", RULES, ids=lambda file: file.name)
def test_rules_start_scripts_and_no_shells(file: Path) -> None:
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    assert [line for line in lines if line.startswith(("shell:", "shell(", "eval(", "exec("))] == []


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_pages_take_text_as_text(file: Path) -> None:
    """No template switches escaping off, no script makes markup or code of text."""
    text = file.read_text(encoding="utf-8")
    assert re.findall(rf"\|\s*safe\b|autoescape|{MARKUP_OF_TEXT}|\beval\(|new Function", text) == []


@pytest.mark.parametrize(
    "text",
    ["import pickle", "from pickle import loads", "eval('1')", "exec(x)", "os.system(x)", "yaml.load(x)",
     "yaml.load(x, yaml.Loader)", "yaml.load(x, Loader=yaml.FullLoader)", "subprocess.run(x, shell=True)",
     "subprocess.run(x, shell=y)", "np.load(x, allow_pickle=True)", "torch.load(x)"],
)  # fmt: skip
def test_what_is_forbidden_is_found(text: str) -> None:
    assert len(list(wrongs(ast.parse(text)))) == 1


@pytest.mark.parametrize(
    "text", ["yaml.load(x, Loader=yaml.SafeLoader)", "run(x, shell=False)", "np.load(x)"]
)
def test_what_is_allowed_is_not(text: str) -> None:
    assert list(wrongs(ast.parse(text))) == []
