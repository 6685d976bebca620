"""Grading many answers: order, bad lines, both formats, resuming, processes, memory."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jacobian_chain import grading
from jacobian_chain.errors import ChainError, OptionError, Place, ReadingError, Source
from jacobian_chain.grading import COLUMNS, Item, Outcome, Summary, _chunks, encode_csv, encode_json, grade, judge_items, read_items

SLIP = {"kind": "sign", "where": "block x", "span": [0, 1], "message": "the sign, is\nwrong", "suggestion": None}


def judge(record: Mapping[str, Any]) -> dict[str, Any]:
    """A verdict that depends on the answer only, and says what was asked."""
    answer = record["answer"]
    if answer == "f(x":
        raise ReadingError("expected )", Place(Source("y\nf(x", "answer"), 5, 6), "close it")
    if answer == "bug":
        raise ZeroDivisionError("none")
    if answer == "die":
        os._exit(7)
    if answer == "unwritable":
        return {"verdict": "correct", "error_bound": float("nan")}
    if answer == "interrupt" and multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGINT)
    if answer in ("nap", "slow"):
        time.sleep(60 if answer == "slow" else 0.2)
    if len(answer) % 7 == 1:
        time.sleep(0.002)  # overtaken by others
    wrong = answer.startswith("-")
    return {
        "verdict": "wrong" if wrong else "correct",
        "layout_asked": record["layout"] or "mixed",
        "holds_in": [] if wrong else ["denominator", "mixed"],
        "read_as": answer,
        "notes": [f"wrt {record['wrt']}", f"where {record['where']}"],
        "decided_by": "normal-form",
        "error_bound": None,
        "expected": None,
        "findings": [SLIP] if wrong else [],
    }


def line(answer: str = "1", **fields: Any) -> str:
    return json.dumps({"composition": "f(x)", "answer": answer, **fields}, ensure_ascii=False)


def graded(tmp_path: Path, text: str | bytes, name: str = "in.jsonl", **options: Any) -> list[dict[str, Any]]:
    """What comes out as JSON Lines."""
    source, target = tmp_path / name, tmp_path / "graded.jsonl"
    source.write_bytes(text.encode() if isinstance(text, str) else text)
    grade(str(source), judge, str(target), **options)
    return [json.loads(text) for text in target.read_text(encoding="utf-8").splitlines()]


def errors(documents: list[dict[str, Any]]) -> list[tuple[Any, int | None, int | None]]:
    return [(document["id"], document["error"]["line"], document["error"]["column"]) for document in documents if "error" in document]


def test_one_object_for_each_line(tmp_path: Path) -> None:
    documents = graded(tmp_path, "\n".join([line("dθ", id="a", secret=1), line("-1", id=7), line()]))
    assert [next(iter(document)) for document in documents] == ["id"] * 3
    assert [document["id"] for document in documents] == ["a", 7, 3]
    assert [document["verdict"] for document in documents] == ["correct", "wrong", "correct"]
    assert documents[0]["read_as"] == "dθ"
    assert documents[1]["findings"] == [SLIP]
    assert not any("secret" in document or "composition" in document for document in documents)


def test_optional_fields(tmp_path: Path) -> None:
    bare = graded(tmp_path, "\n".join([line(), line(wrt=None, where=None, layout=None, of=None), line(wrt="", where=[], layout="", of="")]))
    assert [document["notes"] for document in bare] == [["wrt []", "where []"]] * 3
    many = line(wrt=["x", "y"], where=["a = [b; c]", "d = e"], layout="numerator")
    one = line(wrt="x, y", where="a = [b; c]; d = e\n\ng = h;", layout="numerator")
    documents = graded(tmp_path, f"{many}\n{one}")
    assert documents[0]["notes"] == ["wrt ['x', 'y']", "where ['a = [b; c]', 'd = e']"]
    assert documents[1]["notes"] == ["wrt ['x, y']", "where ['a = [b; c]', ' d = e', 'g = h']"]
    assert documents[0]["layout_asked"] == "numerator"


def test_bad_lines_do_not_stop_the_rest(tmp_path: Path) -> None:
    bad: list[str | bytes] = [
        '{"composition": "f(x)", "answer": }',
        "[1, 2]",
        line("", id="empty"),
        '{"id": "none", "composition": "f(x)"}',
        '{"id": "null", "composition": null, "answer": "1"}',
        line(id="type", wrt=3),
        line(id="type", wrt=["x", 3]),
        line(id="type", of=["x"]),
        '{"id": "type", "composition": "f(x)", "answer": 1}',
        line(id=["no"]),
        line(id=True),
        '{"id": 1e999, "composition": "f(x)", "answer": "1"}',
        '{"id": NaN, "composition": "f(x)", "answer": "1"}',
        f'{{"id": {"1" * 5000}}}',
        "[" * 100_000,
        line("é", id="utf").encode("latin-1"),
        line("f(x", id="unread"),
        line("bug", id="bug"),
        line("unwritable", id="nan"),
    ]
    text = b"\n".join(part.encode() if isinstance(part, str) else part for part in bad)
    documents = graded(tmp_path, text + b"\n" + line("1", id="last").encode())
    assert documents.pop()["verdict"] == "correct"
    assert all(list(document) == ["id", "error"] for document in documents)
    assert all(list(document["error"]) == ["message", "line", "column", "hint"] for document in documents)
    assert errors(documents) == [
        (1, 1, 35), (2, 2, None), ("empty", 3, None), ("none", 4, None), ("null", 5, None), ("type", 6, None), ("type", 7, None),
        ("type", 8, None), ("type", 9, None), (10, 10, None), (11, 11, None), (12, 12, None), (13, 13, None), (14, 14, None),
        (15, 15, None), ("utf", 16, 36), ("unread", 2, 4), ("bug", None, None), ("nan", None, None),
    ]  # fmt: skip
    assert documents[3]["error"]["message"] == "the answer is missing"
    assert documents[-3]["error"] == {"message": "expected )", "line": 2, "column": 4, "hint": "close it"}
    assert documents[-2]["error"]["message"] == "internal error: ZeroDivisionError: none"
    assert documents[-1]["error"]["message"].startswith("internal error: ValueError")


def test_byte_order_mark_line_ends_and_blank_lines(tmp_path: Path) -> None:
    text = f"\ufeff\r\n{line(id='a')}\r\n\r\n   \n{line()}\r\n"
    assert [document["id"] for document in graded(tmp_path, text)] == ["a", 5]
    table = "\ufeffid,Composition, answer\r\n\r\n1,f(x),1\r\n,,\r\n,f(x),-1"
    assert [document["id"] for document in graded(tmp_path, table, "in.csv")] == ["1", 5]


def test_csv(tmp_path: Path) -> None:
    table = 'id,composition,answer,where,wrt,remark\na,"x = f(y)\r\nz = g(x)","-d ""1"",\n2",u = 1; v = 2,x,so\n,f(x),1\n'
    documents = graded(tmp_path, table, "in.csv")
    assert [document["id"] for document in documents] == ["a", 5]
    assert documents[0]["read_as"] == '-d "1",\n2'
    assert documents[0]["notes"] == ["wrt ['x']", "where ['u = 1', ' v = 2']"]
    target = tmp_path / "out.csv"
    grade(str(tmp_path / "in.csv"), judge, str(target))
    with open(target, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert list(rows[0].values()) == [
        "a", "wrong", "mixed", "", '-d "1",\n2', "wrt ['x']; where ['u = 1', ' v = 2']", "normal-form", "", "", "sign",
        "the sign, is\nwrong", "",
    ]  # fmt: skip
    assert rows[1]["id"] == "5"
    assert rows[1]["holds_in"] == "denominator;mixed"


def test_bad_csv_records_do_not_stop_the_rest(tmp_path: Path) -> None:
    table = b'id,composition,answer\nopen,f(x),"1\na,f(x),"2"\nmany,f(x),1,2\nutf,"f\n(x)",\xff\nfew,f(x)\nb,f(x),-1\nend,f(x),"1\n'
    documents = graded(tmp_path, table, "in.csv")
    assert [document["id"] for document in documents] == [2, "a", "many", "utf", "few", "b", 9]
    assert errors(documents) == [(2, 2, None), ("many", 4, None), ("utf", 6, 6), ("few", 7, None), (9, 9, None)]
    ends = [item.end for item in read_items(io.BytesIO(table))[1]]
    assert ends == sorted(set(ends))
    assert ends[-1] == len(table)


@pytest.mark.parametrize("header", ["id,composition", "composition;answer", "answer,composition,answer", '"answer,composition', "[answer]"])
def test_bad_headers(tmp_path: Path, header: str) -> None:
    with pytest.raises(ReadingError) as caught:
        graded(tmp_path, f"{header}\n1,2,3\n", "in.csv")
    assert "the first line names the columns" in str(caught.value.hint)
    assert not (tmp_path / "graded.jsonl").exists()


def test_lines_beyond_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grading, "LONGEST", 100)
    monkeypatch.setattr(grading, "RECORD_LINES", 5)
    documents = graded(tmp_path, f"{line('1' * 500, id='long')}\n{line(id='a')}\n")
    assert errors(documents) == [(1, 1, None)]
    assert documents[1]["id"] == "a"
    rows = "".join(f"{k},f(x),1\n" for k in range(10))
    documents = graded(tmp_path, f'id,composition,answer\nlong,{"x" * 500},1\nopen,f(x),"1\n{rows}', "in.csv")
    assert errors(documents) == [(2, 2, None), (3, 3, None)]
    assert [document["id"] for document in documents[2:]] == [str(k) for k in range(10)]


def test_cells_may_be_long(tmp_path: Path) -> None:
    assert len(graded(tmp_path, f"composition,answer\nf(x),{'1' * 200_000}\n", "in.csv")[0]["read_as"]) == 200_000


def test_the_format_is_known_by_its_beginning(tmp_path: Path) -> None:
    assert graded(tmp_path, "\n  " + line("-1"), "in.txt")[0]["verdict"] == "wrong"
    assert graded(tmp_path, "answer,composition\n-1,f(x)\n", "in.txt")[0]["verdict"] == "wrong"
    assert graded(tmp_path, "", "in.txt") == []
    grade(str(tmp_path / "in.txt"), judge, str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == b""
    assert graded(tmp_path, "", "in.csv") == []


def test_summary(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("\n".join([line(), line("-1"), line("-2"), line("f(x"), line("bug"), "{"]), encoding="utf-8")
    shown: list[tuple[int, int, int | None]] = []
    summary = grade(str(source), judge, str(tmp_path / "out.csv"), progress=lambda *numbers: shown.append(numbers))
    assert summary.outcomes == {
        Outcome("correct"): 1,
        Outcome("wrong", "sign"): 2,
        Outcome("error"): 2,
        Outcome("internal error"): 1,
    }
    assert (summary.lines, summary.kept, summary.status) == (6, 0, 3)
    assert str(summary).splitlines()[1:] == [
        "  correct         1",
        "  error           2",
        "  internal error  1",
        "  wrong           2  (sign 2)",
    ]
    size = source.stat().st_size
    assert shown[-1] == (6, size, size)
    source.write_text(line("f(x"), encoding="utf-8")
    assert grade(str(source), judge, str(tmp_path / "out.csv")).status == 3
    source.write_text(line("-1"), encoding="utf-8")
    assert grade(str(source), judge, str(tmp_path / "out.csv")).status == 0
    assert str(Summary({}, 0, 0.0)) == "0 lines in 0.0 s, 0 a second"


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_resume_after_any_cut(tmp_path: Path, suffix: str) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / f"out.{suffix}"
    answers = ["1", "-1", "f(x", "dθ", "bug", "-2"]
    source.write_text("\n".join(line(answer, id=f"é{k}\n") for k, answer in enumerate(answers)), encoding="utf-8")
    whole = grade(str(source), judge, str(target))
    expected = target.read_bytes()
    kept = set()
    for cut in {*range(0, len(expected), 7), len(expected)}:
        target.write_bytes(expected[:cut])
        summary = grade(str(source), judge, str(target), resume=True)
        assert target.read_bytes() == expected, cut
        assert summary.outcomes == whole.outcomes
        kept.add(summary.kept)
    assert kept == set(range(7))


def test_resume_does_not_judge_again(tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(f"{line()}\n{line('-1')}\n", encoding="utf-8")
    target.write_text('{"id": 1, "verdict": "undecided"}\n{"id": 2, "verd' + "x" * 1000, encoding="utf-8")
    summary = grade(str(source), judge, str(target), resume=True)
    assert len(target.read_text(encoding="utf-8").splitlines()) == 2
    assert summary.outcomes == {Outcome("undecided"): 1, Outcome("wrong", "sign"): 1}
    assert "1 of them kept" in str(summary)
    assert target.read_text(encoding="utf-8").startswith('{"id": 1, "verdict": "undecided"}\n{"id": 2, "verdict": "wrong"')
    assert target.read_bytes().endswith(b"}\n")
    shown: list[tuple[int, int, int | None]] = []
    assert grade(str(source), judge, str(target), resume=True, progress=lambda *numbers: shown.append(numbers)).kept == 2
    assert shown == [(2, source.stat().st_size, source.stat().st_size)]
    assert grade(str(source), judge, str(tmp_path / "new.jsonl"), resume=True).kept == 0


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("out.jsonl", '{"id": 2, "verdict": "correct"}\n'),
        ("out.jsonl", '{"id": 1, "verdict": "correct"}\n{"id": 2, "verdict": "correct"}\n'),
        ("out.jsonl", "my notes\nare here\n"),
        ("out.jsonl", line(id=1) + "\n"),
        ("out.jsonl", '{"id": 1, "error": "text"}\n'),
        ("out.csv", "id,composition,answer\n1,f(x),1\n"),
        ("out.csv", ",".join(COLUMNS) + "\r\n2,correct,,,,,,,,,,\r\n"),
        ("out.csv", "1,correct,,,,,,,,,,\r\n"),
        ("out.csv", "a b\n"),
    ],
)
def test_resume_leaves_other_files_alone(tmp_path: Path, name: str, written: str) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / name
    source.write_text(line(), encoding="utf-8")
    target.write_text(written, encoding="utf-8", newline="")
    with pytest.raises(OptionError):
        grade(str(source), judge, str(target), resume=True)
    assert target.read_text(encoding="utf-8") == written.replace("\r\n", "\n")


def test_files_that_do_not_work(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(line(), encoding="utf-8")
    for arguments in [("/nowhere/at/all", None), (str(tmp_path), None), (str(source), str(source)), (str(source), "/nowhere/at/all")]:
        with pytest.raises(OptionError):
            grade(arguments[0], judge, arguments[1])
    with pytest.raises(OptionError, match="no file to resume"):
        grade(str(source), judge, resume=True)
    assert source.read_text(encoding="utf-8") == line()
    if os.path.exists("/dev/full"):
        with pytest.raises(OptionError, match="No space"):
            grade(str(source), judge, "/dev/full")


def test_ascii_and_halves_of_pairs(tmp_path: Path) -> None:
    answer = '{"id": "\\ud800", "composition": "f(x)", "answer": "θ\\ud800"}'
    assert graded(tmp_path, answer)[0] == {**graded(tmp_path, answer, ascii=True)[0], "id": "\ud800", "read_as": "θ\ud800"}
    assert (tmp_path / "graded.jsonl").read_bytes().isascii()
    grade(str(tmp_path / "in.jsonl"), judge, str(tmp_path / "out.csv"), ascii=True)
    assert (tmp_path / "out.csv").read_bytes().isascii()


def test_processes_keep_the_order(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    answers = ["f(x" if k % 50 == 0 else "-" * (k % 2) + "1" * (k % 7 + 1) for k in range(150)] + ["interrupt"]
    source.write_text("\n".join(line(answer, id=k) for k, answer in enumerate(answers)), encoding="utf-8")
    alone = grade(str(source), judge, str(tmp_path / "alone.jsonl"))
    shared = grade(str(source), judge, str(tmp_path / "shared.jsonl"), jobs=2)
    assert (tmp_path / "shared.jsonl").read_bytes() == (tmp_path / "alone.jsonl").read_bytes()
    assert shared.outcomes == alone.outcomes
    source.write_text("\n".join([line(), line("die"), line()]), encoding="utf-8")
    with pytest.raises(ChainError, match="a process that judges answers died"):
        grade(str(source), judge, str(tmp_path / "out.jsonl"), jobs=2)


def child(call: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    program = (
        f"import sys\nfrom jacobian_chain.grading import grade\nfrom tests.test_grading import judge\nif __name__ == '__main__': {call}"
    )
    folder = Path(__file__).parent.parent
    return subprocess.Popen([sys.executable, "-c", program, *arguments], cwd=folder, stderr=subprocess.PIPE, **options)


@pytest.mark.skipif(sys.platform == "win32", reason="needs groups of processes")
def test_an_interrupt_ends_every_process(tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n".join([line("1"), line("slow"), line("slow")]), encoding="utf-8")
    with child("grade(sys.argv[1], judge, sys.argv[2], jobs=2)", str(source), str(target), start_new_session=True) as process:
        until = time.monotonic() + 20
        while not (target.exists() and target.stat().st_size) and time.monotonic() < until:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=10)  # no earlier than every process has closed it
    assert told.decode().count("Traceback") == 1  # of this program, none of the processes that it started
    assert told.decode().rstrip().endswith("KeyboardInterrupt")
    assert target.read_bytes().count(b"\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs pipes")
def test_standard_streams_and_a_reader_that_leaves() -> None:
    text = "\n".join([line("1"), line("-1")]).encode()
    with child("grade('-', judge)", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        written, told = process.communicate(text)
    assert [json.loads(row)["id"] for row in written.splitlines()] == [1, 2]
    assert (told, process.returncode) == (b"", 0)
    read, write = os.pipe()
    os.close(read)
    with child("grade('-', judge)", stdin=subprocess.PIPE, stdout=write) as process:
        os.close(write)
        _, told = process.communicate(text)
    assert (told, process.returncode) == (b"", 0)


class Repeated(io.RawIOBase):
    """A stream that has one line many times, without holding it."""

    def __init__(self, head: bytes, line: bytes, count: int) -> None:
        self.held, self.line, self.count = head, line, count

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while len(self.held) < len(buffer) and self.count:
            self.held += self.line
            self.count -= 1
        size = min(len(buffer), len(self.held))
        buffer[:size], self.held = self.held[:size], self.held[size:]
        return size


@pytest.mark.parametrize(
    ("head", "text", "encode"),
    [
        (b"", line("1" * 200).encode() + b"\n", encode_json),
        (b"composition,answer\n", b'"x = f(y)\nz = g(x)",' + b"1" * 200 + b"\n", encode_csv),
        (b'composition,answer\nf(x),"1\n', b"f(x)," + b"1" * 200 + b"\n", partial(encode_json, ascii=True)),
    ],
    ids=["json", "csv", "open quote"],
)
def test_memory_is_flat(head: bytes, text: bytes, encode: Callable[[Mapping[str, Any]], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grading, "RECORD_LINES", 100)

    def peak(count: int) -> int:
        tracemalloc.start()
        try:
            _, items = read_items(io.BufferedReader(Repeated(head, text, count)))
            assert sum(1 for _ in judge_items(items, lambda record: {"verdict": "correct", "read_as": record["answer"]}, encode)) >= count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = peak(300), peak(1000)
    assert many < few + 50_000


def test_processes_do_not_read_far_ahead() -> None:
    stream = Repeated(line("nap").encode() + b"\n", line("1" * 200).encode() + b"\n", 20_000)
    form, items = read_items(io.BufferedReader(stream))
    results = judge_items(items, judge, encode_json, jobs=2)
    assert form == "json"
    assert json.loads(next(results).data)["id"] == 1
    assert stream.count > 19_000
    results.close()
    sizes = [len(chunk) for chunk in _chunks((Item(k, None, None, 400_000 * k) for k in range(1, 1001)), jobs=1)]
    assert (sizes[0], max(sizes), sum(sizes)) == (1, 3, 1000)
