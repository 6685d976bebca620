"""The command line: what is printed where, exit statuses, terminals."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from click.testing import CliRunner

from jacobian_chain.cli import _wants_color, cli, derive
from jacobian_chain.derivation import MAX_FACTORS
from jacobian_chain.jacobian import INDEX_POSITIONS, NAMINGS
from jacobian_chain.layout import LAYOUTS
from jacobian_chain.notation import NOTATIONS
from jacobian_chain.operations import ELEMENTWISE, OPERATIONS

SEED = "L3(L2(L1(x,θ1),θ2),θ3)"
LOSS = "x1 = f1(x, θ1); x2 = f2(x1, θ2); x3 = f3(x2, θ3); L = ℓ(x3)"


def run(*arguments: str, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    variables = {**os.environ, "PYTHONIOENCODING": "utf-8", **environment}
    return subprocess.run(
        [sys.executable, "-m", "jacobian_chain", *arguments], input=stdin, capture_output=True, env=variables, check=False
    )


def output(*arguments: str) -> list[str]:
    done = run("derive", *arguments)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()


def test_the_seed_question() -> None:
    lines = output(SEED, "--index", "super")
    assert lines[0].startswith("% numerator layout")
    assert lines[-1] == (
        r"J_{\theta} f = \left( J_{x^{3}} L^{3} \cdot J_{x^{2}} L^{2} \cdot J_{\theta^{1}} L^{1} \,\middle\vert\, "
        r"J_{x^{3}} L^{3} \cdot J_{\theta^{2}} L^{2} \,\middle\vert\, J_{\theta^{3}} L^{3} \right)"
    )


def test_the_first_answer() -> None:
    line = output(LOSS, "--wrt", "θ1", "--layout", "denominator", "--notation", "partial")[-1]
    assert line == (
        r"\frac{\partial L}{\partial \theta_{1}} = \frac{\partial x_{1}}{\partial \theta_{1}} \frac{\partial x_{2}}{\partial x_{1}} "
        r"\frac{\partial x_{3}}{\partial x_{2}} \frac{\partial L}{\partial x_{3}}"
    )
    line = output(LOSS, "--wrt", "θ1")[-1]
    assert line == (
        r"\frac{\partial L}{\partial \theta_{1}} = \frac{\partial L}{\partial x_{3}} \frac{\partial x_{3}}{\partial x_{2}} "
        r"\frac{\partial x_{2}}{\partial x_{1}} \frac{\partial x_{1}}{\partial \theta_{1}}"
    )
    line = output(LOSS, "--wrt", "θ1", "--points", "--notation", "jacobian")[-1]
    assert line == (
        r"J_{\theta_{1}} L = (J \ell)(x_{3}) \cdot (J_{x_{2}} f_{3})(x_{2}, \theta_{3}) \cdot (J_{x_{1}} f_{2})(x_{1}, \theta_{2}) "
        r"\cdot (J_{\theta_{1}} f_{1})(x, \theta_{1})"
    )


def test_residual_and_shared_parameters() -> None:
    line = output("x1 = f1(x, θ1); x2 = x1 + f2(x1, θ2); L = ℓ(x2)", "--wrt", "θ1", "--notation", "jacobian")[-1]
    assert line == r"J_{\theta_{1}} L = J_{x_{2}} \ell \cdot \left( I + J_{x_{1}} f_{2} \right) \cdot J_{\theta_{1}} f_{1}"
    line = output("L2(L1(x, θ), θ)")[-1]
    assert line == r"J_{\theta} f = J_{x_{2}} L_{2} \cdot J_{\theta} L_{1} + J_{\theta} L_{2}"


@pytest.mark.parametrize("notation", ["jacobian", "partial", "total"])
def test_one_value_in_two_slots(notation: str) -> None:
    done = run("derive", "f(x, x)", "--notation", notation)
    assert done.returncode == 2
    assert not done.stdout
    assert b"cannot tell the slots 1 and 2 of f apart" in done.stderr
    assert output("f(x, x)", "--notation", "slots")[-1] == r"J_{x} y = \partial_{1} f + \partial_{2} f"


def test_input_comes_from_files_and_pipes(tmp_path: Path) -> None:
    expected = output(SEED)
    path = tmp_path / "network.txt"
    path.write_bytes(b"\xef\xbb\xbf" + SEED.encode() + b"\r\n")
    assert output(f"@{path}") == expected
    assert run("derive", "-", stdin=SEED.encode()).stdout.decode().splitlines() == expected
    target = tmp_path / "out.tex"
    assert run("derive", SEED, "-o", str(target)).stdout == b""
    assert target.read_text(encoding="utf-8").splitlines() == expected


def test_bad_input_prints_nothing_and_says_where(tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(b"y = f(x)\nz = g(\xff)")
    done = run("derive", f"@{path}")
    assert (done.returncode, done.stdout) == (3, b"")
    assert f"{path}:2:7: the text is not valid UTF-8" in done.stderr.decode()
    done = run("derive", "L1(x θ1)")
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr.decode().splitlines() == [
        "error: composition:1:6: x and θ1 stand side by side",
        "L1(x θ1)",
        "     ^^",
        "hint: missing comma? write x, θ1 for two arguments, x*θ1 for a product",
    ]
    done = run("derive", SEED, "--wrt", "θ4")
    assert (done.returncode, done.stdout) == (3, b"")
    assert "--wrt:1:1" in done.stderr.decode()
    assert "did you mean θ1 or θ2 or θ3?" in done.stderr.decode()


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["derive"], 2),
        (["derive", SEED, "--layout", "sideways"], 2),
        (["derive", "@/nowhere/at/all"], 2),
        (["derive", "x = f(a); y = g(b)"], 2),
        (["derive", "2"], 2),
        (["derive", SEED, "--shared", "--expand"], 2),
        (["derive", SEED, "--notation", "nabla"], 2),
        (["derive", SEED, "--of", "nothing"], 3),
        (["derive", "f(" * 500 + "x" + ")" * 500, "--format", "sympy", "--shared"], 2),
        (["derive", SEED, "--wrt", ""], 2),
        (["derive", "y = softmax(X)"], 3),
        (["derive", "1e99999 x"], 4),
        (["derive", "; ".join(f"x{k} = x{k - 1} + f{k}(x{k - 1})" for k in range(1, 60)), "--expand"], 4),
        (["--version"], 0),
        (["--help"], 0),
        ([], 2),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else str(value),
)
def test_exit_status(arguments: list[str], status: int) -> None:
    done = run(*arguments)
    assert done.returncode == status
    assert b"Traceback" not in done.stderr


def test_help_shows_examples_that_run(tmp_path: Path) -> None:
    text = run("derive", "--help").stdout.decode().replace("\\\n", " ")
    examples = [line.strip() for line in text.splitlines() if line.strip().startswith("jacobian-chain ")]
    assert len(examples) == 3
    (tmp_path / "network.txt").write_text(LOSS, encoding="utf-8")
    for example in examples:
        command = [sys.executable, "-m", "jacobian_chain", *shlex.split(example)[1:]]
        done = subprocess.run(command, capture_output=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, example


def test_terminals() -> None:
    colour = run("--color", "always", "derive", SEED).stdout.decode()
    assert "\x1b[" in colour
    assert "\x1b[" not in run("derive", SEED).stdout.decode()
    error = run("derive", "f(x", "--color", "always").stderr.decode()
    assert error.startswith("\x1b[")


def test_colour_only_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert _wants_color({"color": None}, Terminal())
    assert not _wants_color({"color": None}, io.StringIO())
    assert not _wants_color({"color": "never"}, Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert not _wants_color({"color": None}, Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not _wants_color({"color": None}, Terminal())
    assert _wants_color({"color": "always"}, Terminal())


def test_choices_are_the_records() -> None:
    options = {parameter.name: parameter for parameter in derive.params}
    choices = {name: tuple(options[name].type.choices) for name in ("notation", "naming", "index", "layout")}  # type: ignore[attr-defined]
    assert choices["notation"] == tuple(NOTATIONS)
    assert choices["layout"] == (*LAYOUTS, "both")
    assert set(choices["naming"]) == set(NAMINGS)
    assert set(choices["index"]) == set(INDEX_POSITIONS)
    assert options["max_factors"].default == MAX_FACTORS


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_standard_output_that_fails() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-m", "jacobian_chain", "derive", SEED], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert b"cannot write to standard output" in done.stderr
    assert b"Traceback" not in done.stderr


def test_ascii_terminals() -> None:
    plain = run("derive", SEED, "--format", "unicode", PYTHONIOENCODING="ascii")
    assert plain.returncode == 0
    assert plain.stdout.isascii()
    assert b"J_theta f = ( J_x3 L3 * J_x2 L2 * J_theta1 L1  |  J_x3 L3 * J_theta2 L2  |  J_theta3 L3 )" in plain.stdout
    assert run("derive", SEED, "--format", "unicode", "--ascii").stdout == plain.stdout
    for form in ("latex", "unicode"):
        assert run("derive", SEED, "--format", form, "--ascii", "--shapes").stdout.isascii()
    assert run("derive", "f(θ", PYTHONIOENCODING="ascii").stderr.isascii()


def test_completion_offers_the_names_of_the_composition() -> None:
    words = "jacobian-chain derive 'g(f(x,a1),a2)' --wrt a"
    script = Path(sys.executable).with_name("jacobian-chain")
    variables = {**os.environ, "_JACOBIAN_CHAIN_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "4"}
    done = subprocess.run([script], capture_output=True, env=variables, check=True)
    assert {line.split(",")[1] for line in done.stdout.decode().splitlines() if "," in line} == {"a1", "a2"}


def test_json() -> None:
    document = json.loads(run("derive", LOSS, "--format", "json", "--layout", "mixed").stdout)
    assert document["layout"] == "mixed"
    assert document["wrt"] == ["θ1", "θ2", "θ3"]
    block = document["blocks"][0]
    kinds = [document["expressions"][k] for k in block["factors"]]
    assert [(node["layer"], node["by"], node["transposed"]) for node in kinds] == [
        ("f1", "θ1", True),
        ("f2", "x1", True),
        ("f3", "x2", True),
        ("ℓ", "x3", True),
    ]
    assert kinds[0]["shape"] == ["n_θ1", "n_x1"]
    assert document["points"][str(kinds[0]["step"])] == ["x", "θ1"]
    assert len(json.loads(run("derive", LOSS, "--format", "json", "--layout", "both").stdout)) == 2


def test_shapes_and_notices() -> None:
    lines = output(LOSS, "--wrt", "θ1", "--shapes")
    assert "% θ₁: n_θ1 (assumed)" in lines
    done = run("derive", "y = f(x); z = 0*g(a) + h(b)", "--of", "z", "--wrt", "a,b")
    assert "z does not depend on a: its block is 0" in done.stderr.decode()
    assert r"\left( 0 \,\middle\vert\, \frac{\partial h}{\partial b} \right)" in done.stdout.decode()


def test_too_many_factors_are_shared() -> None:
    done = run("derive", SEED, "--max-factors", "4")
    assert done.returncode == 0
    assert b"shared adjoints got names" in done.stderr
    assert rb"J_{\theta_{2}} f &= J_{x_{3}} f \cdot J_{\theta_{2}} L_{2}" in done.stdout


# --- check and grade ---

QUESTION = "f(x, θ) = L^3(L^2(L^1(x,\\theta^1),\\theta^2),\\theta^3)"
ANSWER = (
    r"J_\theta f=( J_{x^3}L^3\cdot J_{x^2}L^2\cdot J_{\theta^1}L^1 \middle | J_{x^3}L^3 \cdot J_{\theta^2}L^2 \middle | J_{\theta^3}L^3)"
)


def say(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    done = run(*arguments, stdin=stdin.encode())
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def test_check_tells_right_from_wrong() -> None:
    done = say("check", QUESTION, ANSWER, "--wrt", "θ", "--layout", "numerator")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "right in numerator layout"
    done = say("check", QUESTION, ANSWER.replace(r"J_{x^2}L^2\cdot", ""), "--wrt", "θ", "--layout", "numerator")
    assert done.returncode == 1
    assert "a factor is missing: J_x² L²" in done.stdout
    assert r"block 1 (θ¹): after J_{x^3}L^3" in done.stdout
    assert "a right answer" not in done.stdout
    assert any(line.strip("^ ") == "" and "^" in line for line in done.stdout.splitlines())
    done = say("check", QUESTION, ANSWER.replace(r"J_{x^2}L^2\cdot", ""), "--wrt", "θ", "--reveal")
    assert r"\left( J_{x^{3}} L^{3} \cdot J_{x^{2}} L^{2}" in done.stdout.partition("a right answer:")[2]
    reverse = r"J_{\theta^1}L^1 J_{x^2}L^2 J_{x^3}L^3 | J_{\theta^2}L^2 J_{x^3}L^3 | J_{\theta^3}L^3"
    done = say("check", QUESTION, reverse, "--wrt", "θ", "--layout", "numerator")
    assert done.returncode == 1
    assert done.stdout.startswith("right in denominator layout, not in numerator layout")
    assert say("check", QUESTION, reverse, "--wrt", "θ", "--layout", "denominator").returncode == 0


def test_check_as_json(tmp_path: Path) -> None:
    (tmp_path / "answer.tex").write_text(ANSWER, encoding="utf-8")
    done = say("check", QUESTION, f"@{tmp_path / 'answer.tex'}", "--wrt", "θ", "--format", "json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["verdict"] == "correct"
    done = say("check", QUESTION, "J_{x^3}L^4", "--wrt", "θ", "--format", "json")
    assert done.returncode == 3
    error = json.loads(done.stdout)["error"]
    assert list(error) == ["message", "line", "column", "hint"]
    assert error["column"] == 8
    done = say("check", QUESTION, "-", "--format", "json", stdin="I+" * 600_000)
    assert done.returncode == 4
    assert "limit" in json.loads(done.stdout)["error"]["message"]


def test_an_answer_may_begin_with_a_minus_sign() -> None:
    done = say("check", "y = -f(x)", "-J_{x}f", "--wrt", "x", "--layout=numerator")
    assert done.returncode == 0, done.stderr
    assert say("check", "y = -f(x)", "--wrt", "x", "--layout", "numerator", "--", "-J_{x}h").returncode == 3
    done = say("check", "y = -f(x)", "-J_{x}f", "--revael")
    assert done.returncode == 2
    assert "--reveal" in done.stderr


def test_check_with_where_and_in_ascii() -> None:
    done = say("check", "h = f(x); L = l(h)", "δ ∂h/∂x", "--wrt", "x", "--layout", "numerator", "--where", "δ = dL/dh", "--ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    done = say("check", "h = f(x); L = l(h)", "δ ∂h/∂x", "--wrt", "x")
    assert done.returncode == 3
    assert "--where" in done.stderr
    done = say("--ascii", "check", "h1 = f(x, θ1); L = l(h1)", "∂h1/∂θ1", "--wrt", "θ1")
    assert done.returncode == 1
    assert done.stdout.isascii()


def test_grade_keeps_order_and_never_stops(tmp_path: Path) -> None:
    lines = [
        {"id": "a", "composition": QUESTION, "wrt": "θ", "layout": "numerator", "answer": ANSWER},
        "oops",
        {"composition": QUESTION, "wrt": "θ1", "answer": "J_{x^3}L^9"},
        {"id": "d", "composition": QUESTION, "wrt": ["θ3"], "answer": "2 J_{θ^3}L^3"},
    ]
    file = tmp_path / "answers.jsonl"
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), encoding="utf-8")
    done = say("grade", str(file))
    assert done.returncode == 3
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["id"] for result in results] == ["a", 2, 3, "d"]
    assert [result.get("verdict", "error") for result in results] == ["correct", "error", "error", "wrong"]
    assert results[3]["findings"][0]["kind"] == "constant-factor"
    assert "constant-factor" in done.stderr
    table = tmp_path / "graded.csv"
    assert say("grade", str(file), "-o", str(table), "--jobs", "2").returncode == 3
    assert table.read_text(encoding="utf-8").splitlines()[4].startswith("d,wrong,mixed")


def test_grading_right_and_wrong_answers_is_no_failure(tmp_path: Path) -> None:
    file = tmp_path / "answers.csv"
    file.write_text("id,composition,wrt,answer\n1,y = f(x),x,J_x f\n2,y = f(x),x,2 J_x f\n", encoding="utf-8")
    done = say("grade", str(file))
    assert done.returncode == 0
    assert [line.split(",")[1] for line in done.stdout.splitlines()] == ["verdict", "correct", "wrong"]


MLP = "z1 = W1 x + b1; h = tanh(z1); ŷ = W2 h + b2; L = 1/2 ||ŷ - y||^2"


def test_verify_prints_each_block_and_layout() -> None:
    done = run("verify", MLP, "--wrt", "W1, x")
    assert done.returncode == 0
    lines = done.stdout.decode().splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        f"{name}, {layout} layout" for name in ("W1", "x") for layout in ("numerator", "denominator", "mixed")
    ]
    assert all("agrees, relative error" in line for line in lines)


def test_verify_finds_a_wrong_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    right = ELEMENTWISE["tanh"]
    monkeypatch.setitem(ELEMENTWISE, "tanh", right._replace(slope=lambda arrays, _, a: arrays.power(a, Fraction(2))))
    for words in (["verify", MLP, "--wrt", "W1"], ["derive", MLP, "--wrt", "W1", "--verify"]):
        done = CliRunner().invoke(cli, words)
        assert done.exit_code == 1
        assert "DIFFERS" in done.output


def test_layers_lists_every_record() -> None:
    text = run("layers").stdout.decode()
    assert all(f"  {name}  " in text for name, operation in OPERATIONS.items() if operation.example)
    assert all(f"  {name}  " in text for name in ELEMENTWISE)
    assert run("--ascii", "layers").stdout.isascii()


def test_second_derivatives() -> None:
    assert output("f = x^T A x", "--second", "x,x") == [
        "% the same in every layout",
        r"\frac{\partial^{2} f}{\partial x \partial x^{\top}} = A + A^{\top}",
    ]
    assert output("f = x^T A x", "--wrt", "x", "--hvp", "v", "--format", "unicode")[1] == "∇²_x f v = (A + Aᵀ) v"
    assert run("derive", "f = x^T A x", "--second", "x").returncode == 2
    assert run("derive", "f = x^T A x", "--hvp", "v").returncode == 2
    assert run("derive", "f = x^T A x", "--second", "x,x", "--vec").returncode == 2
    assert run("derive", "f = x^T A x", "--second", "x,x", "--format", "json").returncode == 2


def test_index_notation() -> None:
    lines = output("a = tanh(W x + b)", "--wrt", "W", "--index-notation")
    assert lines[-1] == r"\frac{\partial a_{i}}{\partial W_{jk}} = (1 - a_{i}^{2}) \, \delta_{ij} \, x_{k}"
    assert run("derive", "a = tanh(W x)", "--index-notation", "--vec").returncode == 2
