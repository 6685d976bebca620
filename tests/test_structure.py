"""The shape of the package: imports go strictly downward, and what is heavy stays out."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import jacobian_chain

ORDER = [
    "errors", "tokens", "names", "syntax", "tape", "shapes", "sizes", "combination", "statements", "assembly", "layers", "survey",
    "shaped", "matrices", "functions", "language", "reading", "select", "arrays", "maps", "layout", "derivation", "notation", "writers",
    "article", "typesetting", "mathml", "equations", "plaintext", "pasting", "webpage", "paper", "typst", "formats", "handout",
    "formula", "render", "elementary", "operations", "calculus", "blocks", "abstraction",
    "graph", "placement", "curves", "drawing", "svg", "pictures", "exposition", "indices", "dense",
    "residues", "numeric", "verification", "witness", "worlds", "export", "symbolic", "verdict", "words", "problem", "vocabulary", "answer",
    "evaluate", "field", "transcript", "claims", "diagnosis", "checking", "wording", "expressions", "listing", "glossary", "phrases",
    "calls", "products", "solution", "appraisal", "transcription", "trials", "mistakes", "explanation", "assessment", "slips",
    "peeling", "steps", "factors", "concrete_steps", "bracketing", "workload", "dimensions", "layer_plans", "array_plans", "cost",
    "grading", "jacobian", "concrete", "articles", "interface", "exercises", "worksheet", "cli", "__main__",
]  # fmt: skip
NESTED = "L3(L2(L1(x,θ1),θ2),θ3)"
FOLDER = Path(jacobian_chain.__file__).parent


def imported(path: Path) -> set[str]:
    """Modules of the package and of others that a file imports anywhere."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "jacobian_chain":
                found.update(f"jacobian_chain.{alias.name}" for alias in node.names if (FOLDER / f"{alias.name}.py").exists())
            else:
                found.add(node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return found


def test_every_module_has_its_place() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == {*ORDER, "__init__"}


def test_imports_go_downward() -> None:
    for name in ORDER:
        for module in imported(FOLDER / f"{name}.py"):
            if module.startswith("jacobian_chain."):
                assert ORDER.index(module.split(".")[1]) < ORDER.index(name), f"{name} imports {module}"


def test_heavy_modules_stay_at_their_edge() -> None:
    for name in ORDER:
        outside = {module.split(".")[0] for module in imported(FOLDER / f"{name}.py")}
        top = set()
        for node in ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.module:
                top.add(node.module.split(".")[0])
            elif isinstance(node, ast.Import):
                top.update(alias.name.split(".")[0] for alias in node.names)
        assert "click" not in outside or name == "cli"
        assert "sympy" not in top or name == "symbolic"
        assert "sympy" not in outside or name in ("symbolic", "jacobian", "concrete", "interface", "cli")


def test_only_one_module_transposes_and_reverses() -> None:
    """Nodes are changed by ``_replace(adjoint=…)`` and ``_replace(args=…)``, nowhere but in layout; reading sets an adjoint anew."""
    for name in ORDER:
        for node in ast.walk(ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "_replace":
                changed = {keyword.arg for keyword in node.keywords}
                assert "args" not in changed or name == "layout"
                assert "adjoint" not in changed or name in ("layout", "notation")


def test_nothing_executes_text() -> None:
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
                assert name not in ("eval", "exec", "sympify", "parse_expr", "lambdify"), path


@pytest.mark.parametrize("words", [["derive", NESTED], ["check", NESTED, "J_{x^3}L^3 J_{θ^2}L^2", "--wrt", "θ2"]], ids=["derive", "check"])
def test_deriving_and_checking_load_neither_sympy_nor_rich(words: list[str]) -> None:
    program = (
        f"import sys; sys.argv = {['jacobian-chain', *words]!r}\n"
        "from jacobian_chain.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "print(*[name for name in ('sympy', 'rich', 'mpmath', 'numpy', 'json') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, encoding="utf-8")
    assert "J_" in done.stdout
    assert done.stderr.strip() == ""
