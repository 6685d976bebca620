r"""Compiles every Typst or LaTeX document below the given folders: python compile.py typst|document FOLDER...

Typst documents end in .typ, LaTeX documents in .latex. The exit status is 0 only if there are documents, all of them compile, and no row
of a LaTeX document runs out of its page. Documents known to be bad must be rejected first, or the check itself is broken.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

MOST_OVERFULL = 5.0
"""In points."""


def compile_typst(text: str) -> str | None:
    """What is wrong with a Typst document."""
    import typst

    try:
        pdf = typst.compile(text.encode())
    except typst.TypstError as error:
        return str(error)
    return None if pdf.startswith(b"%PDF") else "there is no PDF"


def compile_latex(text: str) -> str | None:
    """What is wrong with a LaTeX document, or with how its rows fit on the page."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "document.tex").write_text(text, encoding="utf-8")
        options = ["-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "document.tex"]
        run = subprocess.run(["pdflatex", *options], cwd=folder, capture_output=True, text=True, errors="replace", check=False)
        if run.returncode or not Path(folder, "document.pdf").exists():
            return "\n".join(line for line in run.stdout.split("\n") if line.startswith(("!", "l.")))[:1000] or run.stdout[-1000:]
        over = [float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt", run.stdout)]
        return f"a row runs {max(over)} pt out of the page" if over and max(over) > MOST_OVERFULL else None


def latex(body: str) -> str:
    """A small document."""
    return f"\\documentclass{{article}}\n\\usepackage{{amsmath}}\n\\begin{{document}}\n{body}\n\\end{{document}}\n"


KINDS: dict[str, tuple[str, Callable[[str], str | None], str, list[str]]] = {
    "typst": (".typ", compile_typst, "$ frac(a, b) $", ["$ frac(a $", "$ attach( $", "$ times.unknown $", "#foo(1)", "$ foo $"]),
    "document": (
        ".latex",
        compile_latex,
        latex("$x$"),
        [latex(r"\dv{f}{x}"), latex("$θ$"), latex("$x^a^b$"), latex(r"\["), latex("x" * 200)],
    ),
}


def main(kind: str, *folders: str) -> int:
    """Compile the documents of some folders; the exit status."""
    ending, run, good, bad = KINDS[kind]
    if run(good) is not None:
        raise SystemExit(f"{kind} rejects {good}: {run(good)}")
    for text in bad:
        if run(text) is None:
            raise SystemExit(f"{kind} accepts {text}: this check cannot fail")
    paths = sorted(path for folder in folders for path in Path(folder).rglob(f"*{ending}"))
    if not paths:
        raise SystemExit(f"no {ending} file below {folders}")
    problems = {path: problem for path in paths if (problem := run(path.read_text(encoding="utf-8"))) is not None}
    for path, problem in problems.items():
        sys.stderr.write(f"{kind}: {path}: {problem}\n")
    sys.stdout.write(f"{kind}: {len(paths)} documents, {len(problems)} failed; {len(bad)} bad ones were rejected\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
