"""The README says what the program does: its tables are the records, its console examples are real."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from jacobian_chain import check, parse
from jacobian_chain.diagnosis import DIAGNOSES
from jacobian_chain.formats import FORMATS
from jacobian_chain.layout import LAYOUTS
from jacobian_chain.mistakes import MISTAKES
from jacobian_chain.notation import NOTATIONS
from jacobian_chain.operations import ELEMENTWISE, OPERATIONS

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```console\n\$ jacobian-chain (.*?)\n(.*?)```", README, re.DOTALL)


def rows(heading: str) -> dict[str, str]:
    """A table of the README: first column to second, without backquotes."""
    table = README.split(f"| {heading} |")[1].split("\n\n")[0]
    found = re.findall(r"^\| `([\w-]+)` \| (.*) \|$", table, re.MULTILINE)
    return {name: text.replace("`", "") for name, text in found}


def test_tables_are_the_records() -> None:
    assert rows("`--layout`") == {layout.name: layout.description for layout in LAYOUTS.values()}
    remedies = {diagnosis.kind: diagnosis.remedy for diagnosis in DIAGNOSES}
    assert rows("finding") == remedies | {mistake.kind: mistake.description for mistake in MISTAKES}
    operations = {
        operation.name: f"{operation.typed} | {operation.formula}".replace("|", r"\|").replace(r" \| ", " | ", 1)
        for operation in OPERATIONS.values()
        if operation.example
    }
    assert rows("operation") == operations
    listed = README.split("Elementwise: ")[1].split(", and any")[0]
    assert re.findall(r"`(\w+)`", listed) == list(ELEMENTWISE)
    formats = {name: form.summary for name, form in FORMATS.items()}
    assert rows("`derive --format`") == formats
    assert rows("`--notation`") == {notation.name: notation.description for notation in NOTATIONS.values()}


@pytest.mark.parametrize(("arguments", "expected"), EXAMPLES, ids=lambda text: text[:20])
def test_console_examples(arguments: str, expected: str) -> None:
    command = [sys.executable, "-m", "jacobian_chain", *shlex.split(arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", check=False)
    assert done.stdout == expected


def test_there_are_console_examples() -> None:
    assert len(EXAMPLES) == 9


def test_the_language_table_is_read() -> None:
    texts = re.findall(r"^\| `(.*?)` \| (?!left)", README.split("| text | means |")[1].split("\n\n")[0], re.MULTILINE)
    assert len(texts) == 10
    for text in (text.replace(r"\|", "|") for text in texts):
        if "(" in text.split("=")[-1] and not text.startswith("θ ="):
            assert parse(text).tape.steps
        else:
            assert parse(f"{text}; q = r(a, b, W, x, t, y)").tape.steps


def test_the_answers_of_the_table_are_right() -> None:
    texts = re.findall(r"^\| `(.*?)` \|", README.split("| an answer |")[1].split("\n\n")[0], re.MULTILINE)
    assert len(texts) == 10
    network = parse(next(shlex.split(arguments)[1] for arguments, _ in EXAMPLES if arguments.startswith("check 'z1 = ")))
    for text in texts:
        assert check(network, text, wrt="W1", where=["δ = dL/dz1"]), text
