"""Many answers graded: CSV or JSON Lines in and out, in the order of the input, in memory that does not grow with the number of lines.

A line that cannot be read, or whose answer cannot, gets an error in its place and the rest goes on. JSON Lines holds one object a line:
the ``id`` of the record, or the number of its line, and what the judge gave. CSV has one column for each field of that, :data:`COLUMNS`:
``holds_in`` is joined by ``;`` and ``notes`` by ``; ``, ``kind`` and ``message`` are those of the first finding, ``error`` is the message
of an error and then stands alone beside the ``id``; what is null is empty.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import multiprocessing
import os
import re
import signal
import stat
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import partial
from itertools import chain
from multiprocessing.connection import Connection, wait
from typing import Any, BinaryIO, NamedTuple

from jacobian_chain.errors import ChainError, OptionError, Place, ReadingError, Source

Judge = Callable[[Mapping[str, Any]], Mapping[str, Any]]
Encode = Callable[[Mapping[str, Any]], bytes]
Progress = Callable[[int, int, int | None], object]

COLUMNS = (
    "id", "verdict", "layout_asked", "holds_in", "read_as", "notes", "decided_by", "error_bound", "expected", "kind", "message", "error",
)  # fmt: skip
FORMATS = {".csv": "csv", ".jsonl": "json", ".ndjson": "json", ".json": "json"}
LONGEST = 50_000_000
"""Most bytes of a line, and of a CSV record."""
RECORD_LINES = 1000
"""Most lines of a CSV record: a quote that nothing closes swallows no more."""
CHUNK = 32
"""Most answers that go to a process at once."""
AHEAD = 4
"""Most chunks for each process that are read before the first of them is written."""
BUG = "internal error"


class Item(NamedTuple):
    """A record to judge, or what is wrong with it; ``end`` is how much of the input was read so far."""

    id: str | int | float
    record: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    end: int


class Outcome(NamedTuple):
    """What is counted: a verdict, ``error`` or ``internal error``, and the kind of the first finding."""

    verdict: str
    kind: str = ""


class Graded(NamedTuple):
    """A line of output, what is counted of it, and how much of the input was read so far."""

    data: bytes
    outcome: Outcome
    end: int


class Summary(NamedTuple):
    """How many lines had each outcome; ``kept`` of them were there before, the others took ``seconds``."""

    outcomes: Mapping[Outcome, int]
    kept: int
    seconds: float

    @property
    def lines(self) -> int:
        return sum(self.outcomes.values())

    @property
    def rate(self) -> float:
        """Lines a second."""
        return (self.lines - self.kept) / max(self.seconds, 1e-9)

    @property
    def status(self) -> int:
        """The exit status: 0 once every line was read, whatever the verdicts, else 3."""
        return 3 if any(outcome.verdict in ("error", BUG) for outcome in self.outcomes) else 0

    def __str__(self) -> str:
        """Verdicts by kind.

        >>> print(Summary({Outcome("correct"): 7, Outcome("wrong", "sign"): 1, Outcome("wrong", "transpose"): 2}, 0, 2.0))
        10 lines in 2.0 s, 5 a second
          correct  7
          wrong    3  (transpose 2, sign 1)
        """
        kept = f", {self.kept:,} of them kept" if self.kept else ""
        text = f"{self.lines:,} lines{kept} in {self.seconds:.1f} s, {self.rate:,.0f} a second"
        verdicts = sorted({outcome.verdict for outcome in self.outcomes})
        width = max(map(len, verdicts), default=0)
        for verdict in verdicts:
            kinds = Counter({kind: count for (other, kind), count in self.outcomes.items() if other == verdict})
            named = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common() if kind)
            text += f"\n  {verdict:{width}}  {kinds.total()}" + (f"  ({named})" if named else "")
        return text


def grade(
    source: str,
    judge: Judge,
    output: str | None = None,
    jobs: int = 1,
    resume: bool = False,
    progress: Progress | None = None,
    ascii: bool = False,
) -> Summary:
    """Grade every line of a file and write each as soon as its turn has come.

    Args:
        source: a file, or ``-`` for standard input; what is neither .csv nor .jsonl, .ndjson or .json is known by how it begins.
        judge: gives the verdict on a record as plain data, or raises ``ChainError``. The record has ``id``, ``composition`` and ``answer``,
            ``of`` and ``layout``, which may be None, and the lists ``wrt`` and ``where``. For several ``jobs`` a function of a module.
        output: a file, in the format that its name tells; None or ``-`` for standard output.
        jobs: how many processes judge.
        resume: keep the lines that the output has, and go on after them.
        progress: told now and then how many lines are done, how many bytes of the input, and of how many, if that is known.
        ascii: write nothing outside of ASCII.

    Raises:
        OptionError: a file cannot be read or written, or they do not fit each other.
        ReadingError: the header of a CSV file lacks a column.
        ChainError: a process died.
    """
    begun = shown = time.monotonic()
    path = None if output == "-" else output
    exists = path is not None and os.path.exists(path)
    if resume and path is None:
        raise OptionError("there is no file to resume", hint="name it with -o FILE")
    if path is not None and exists and os.path.exists(source) and os.path.samefile(source, path):
        raise OptionError(f"{path} would be both input and output", hint="write to another file")
    with _naming(f"read {source}"):
        stream = open(0, "rb", closefd=False) if source == "-" else open(source, "rb")  # noqa: SIM115  (closed below)
    with stream:
        known = os.fstat(stream.fileno())
        total = known.st_size if stat.S_ISREG(known.st_mode) else None
        form, items = read_items(stream, _format_of(source))
        written = _format_of(path or "") or form
        outcomes: Counter[Outcome] = Counter()
        size = end = 0
        if resume and path is not None and exists:
            for row, size in _read_rows(path, written):  # noqa: B007  (the last one counts)
                item = next(items, None)
                if item is None or str(item.id) != row["id"]:
                    other = "nothing" if item is None else item.id
                    raise OptionError(f"{path} has the id {row['id']} where {source} has {other}", hint="resume with the same input")
                outcomes[_outcome(row)] += 1
                end = item.end
        kept = outcomes.total()
        encode = partial(encode_csv if written == "csv" else encode_json, ascii=ascii)
        with (
            _open_output(path, size) as sink,
            closing(judge_items(items, judge, encode, jobs)) as graded,
            suppress(BrokenPipeError),  # the reader has seen enough
        ):
            if written == "csv" and not size:
                _put(sink, ",".join(COLUMNS).encode() + b"\r\n")
            for data, outcome, end in graded:
                _put(sink, data)
                outcomes[outcome] += 1
                if progress is not None and time.monotonic() > shown + 0.1:
                    progress(outcomes.total(), end, total)
                    shown = time.monotonic()
        if progress is not None:
            progress(outcomes.total(), end, total)
    return Summary(outcomes, kept, time.monotonic() - begun)


# Reading


class _Line(NamedTuple):
    """A line of a file or a record of CSV, the number of its first line, and where the next one begins."""

    number: int
    data: bytes
    end: int


def read_items(stream: BinaryIO, form: str | None = None) -> tuple[str, Iterator[Item]]:
    r"""The format of a stream, ``csv`` or ``json``, and its records one by one; blank lines are none.

    >>> form, items = read_items(io.BytesIO(b'{"id": 7, "composition": "f(x)", "answer": "df/dx"}\n{"id": 8}\n'))
    >>> form, next(items).record["answer"], next(items).error["message"]
    ('json', 'df/dx', 'the composition is missing')
    """
    lines = _read_lines(stream)
    first = next((line for line in lines if line.data.strip()), None)
    if first is None:
        return form or "json", iter(())
    form = form or ("json" if first.data.lstrip()[:1] in b"{[" else "csv")
    every = chain((first,), lines)
    if form == "json":
        return form, (_make_item(line, *_read_object(line)) for line in every if line.data.strip())
    records = _read_records(every)
    _, cells, problem = next(records)
    names = [cell.strip().lower() for cell in cells]
    lacking = [name for name in ("composition", "answer") if names.count(name) != 1]
    if problem is not None or lacking:
        message = f"there must be one column {lacking[0]}" if problem is None else problem.message
        raise ReadingError(message, hint=f"the first line names the columns, between commas: id, {', '.join(FIELDS)}")
    return form, (_make_item(line, *_name_cells(names, cells, problem)) for line, cells, problem in records)


def _read_lines(stream: BinaryIO) -> Iterator[_Line]:
    """The lines of a stream; of one that is too long no more than shows that."""
    number = end = 0
    with _naming("read the input"):
        while data := stream.readline(LONGEST + 1):
            number += 1
            end += len(data)
            rest = data
            while not rest.endswith(b"\n") and (rest := stream.readline(LONGEST)):
                end += len(rest)
            yield _Line(number, data.removeprefix(codecs.BOM_UTF8) if number == 1 else data, end)


def _decode(data: bytes) -> tuple[str, ReadingError | None]:
    """The text of some bytes, and what is wrong with them."""
    try:
        return data.decode(), None
    except UnicodeDecodeError as error:
        text = data.decode(errors="replace")
        start = len(data[: error.start].decode(errors="replace"))
        return text, ReadingError("the text is not valid UTF-8", Place(Source(text), start, start + 1), "save the file as UTF-8")


def _read_object(line: _Line) -> tuple[Mapping[str, Any], ReadingError | None]:
    """The fields of a line of JSON Lines as far as they can be told, and what is wrong with it."""
    if len(line.data) > LONGEST:
        return {}, ReadingError(f"the line takes more than {LONGEST:,} bytes")
    text, problem = _decode(line.data)
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        place = Place(Source(text), error.pos, error.pos + 1) if isinstance(error, json.JSONDecodeError) else None
        message = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        return {}, problem or ReadingError(f"this is not JSON: {message}", place, "write one object on each line")
    if not isinstance(fields, dict):
        return {}, problem or ReadingError("this is not a JSON object", hint="write one object on each line, and no list around them")
    return fields, problem


def _read_records(lines: Iterator[_Line]) -> Iterator[tuple[_Line, list[str], ReadingError | None]]:
    """The records of CSV; what a quote swallowed that nothing closes is read again without the line of the quote."""
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST))
    again: deque[_Line] = deque()
    while True:
        taken: list[_Line] = []
        try:
            cells = next(csv.reader(_feed(again, lines, taken), strict=True), None)
            if cells is None:
                return
            problem = None
        except csv.Error as error:
            problem = ReadingError(f"this is not CSV: {error}", hint='put "" for a quote inside of quotes')
            cells = []
            again.extendleft(reversed(taken[1:]))
            del taken[1:]
        line = taken[0]._replace(data=b"".join(line.data for line in taken), end=taken[-1].end)
        if problem is not None or any(cell.strip() for cell in cells):
            yield line, cells, problem or _decode(line.data)[1]


def _feed(again: deque[_Line], lines: Iterator[_Line], taken: list[_Line]) -> Iterator[str]:
    """The lines of one record as text, as far as it reaches; they are added to ``taken``."""
    size = 0
    while line := again.popleft() if again else next(lines, None):
        taken.append(line)
        size += len(line.data)
        if size > LONGEST or len(taken) > RECORD_LINES:
            raise csv.Error(f"a record takes more than {LONGEST:,} bytes or {RECORD_LINES:,} lines")
        yield line.data.decode(errors="replace")


def _name_cells(names: list[str], cells: list[str], problem: ReadingError | None) -> tuple[Mapping[str, Any], ReadingError | None]:
    if problem is None and len(cells) > len(names):
        problem = ReadingError(f"{len(cells)} cells, but {len(names)} columns", hint="put quotes around a cell with commas")
    return dict(zip(names, cells, strict=False)), problem


def _make_item(line: _Line, fields: Mapping[str, Any], problem: ReadingError | None) -> Item:
    """The record of some fields, under its own name or the number of its line."""
    id = fields.get("id")
    named = type(id) in (str, int) or (isinstance(id, float) and math.isfinite(id))
    name: Any = id if named and id != "" else line.number
    try:
        if problem is not None:
            raise problem
        if not named and id is not None:
            raise ReadingError("the id must be text or a number")
        return Item(name, {"id": name, **{field: read(field, fields.get(field)) for field, read in FIELDS.items()}}, None, line.end)
    except ReadingError as error:
        number = line.number + (error.place.line - 1 if error.place is not None else 0)
        return Item(name, None, {**describe_error(error), "line": number}, line.end)


def _read_text(field: str, value: Any) -> str:
    text = _read_option(field, value)
    if text is None or not text.strip():
        raise ReadingError(f"the {field} is missing")
    return text


def _read_option(field: str, value: Any) -> str | None:
    if not isinstance(value, str | None):
        raise ReadingError(f"{field} must be text")
    return value or None


def _read_list(field: str, value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else value or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ReadingError(f"{field} must be text or a list of texts")
    return [text for text in texts if text.strip()]


def _split_list(field: str, value: Any) -> list[str]:
    """A list, or text that is split at ends of lines and semicolons, but not at those that stand in square brackets."""
    return _read_list(field, re.findall(r"(?:\[[^]]*+\]?|[^;\n\[]++)++", value) if isinstance(value, str) else value)


FIELDS: Mapping[str, Callable[[str, Any], Any]] = {
    "composition": _read_text, "of": _read_option, "wrt": _read_list, "layout": _read_option, "where": _split_list, "answer": _read_text,
}  # fmt: skip


# Judging


def judge_items(items: Iterable[Item], judge: Judge, encode: Encode, jobs: int = 1) -> Generator[Graded, None, None]:
    """Judge records in order, in this process or in several others; to close the generator ends those."""
    if jobs == 1:
        for item in items:
            yield _judge_item(item, judge, encode)
    else:
        yield from _judge_apart(enumerate(_chunks(items, jobs)), judge, encode, jobs)


def describe_error(error: ChainError) -> dict[str, Any]:
    """An error as plain data.

    >>> describe_error(ReadingError("the text is empty"))
    {'message': 'the text is empty', 'line': None, 'column': None, 'hint': None}
    """
    line, column = (error.place.line, error.place.column) if error.place is not None else (None, None)
    return {"message": error.message, "line": line, "column": column, "hint": error.hint}


def _judge_item(item: Item, judge: Judge, encode: Encode) -> Graded:
    try:
        return _finish(item, {"error": item.error} if item.record is None else judge(item.record), encode)
    except ChainError as error:
        problem = error
    except Exception as error:
        problem = ChainError(f"{BUG}: {type(error).__name__}: {error}", hint="this is a bug: please report it")
    return _finish(item, {"error": describe_error(problem)}, encode)


def _finish(item: Item, found: Mapping[str, Any], encode: Encode) -> Graded:
    document = {"id": item.id, **found}
    return Graded(encode(document), _outcome(_flatten(document)), item.end)


def _chunks(items: Iterable[Item], jobs: int) -> Iterator[list[Item]]:
    """Items in lists that grow, so that few are shared out too, but not beyond a megabyte."""
    chunk: list[Item] = []
    begin = 0
    for count, item in enumerate(items):
        chunk.append(item)
        if len(chunk) >= min(CHUNK, 1 + count // (8 * jobs)) or item.end - begin > 1_000_000:
            yield chunk
            chunk, begin = [], item.end
    if chunk:
        yield chunk


def _judge_apart(turns: Iterator[tuple[int, list[Item]]], judge: Judge, encode: Encode, jobs: int) -> Iterator[Graded]:
    """Judge chunks in processes; each ends when its pipe closes, so none is left behind, whatever becomes of this one."""
    context = multiprocessing.get_context("spawn")  # a fork would copy threads halfway
    processes = []
    idle: list[Connection] = []
    running: dict[Connection, int] = {}
    ready: dict[int, list[Graded]] = {}
    turn = 0
    try:
        with _no_interrupts():
            for _ in range(jobs):
                ours, theirs = context.Pipe()
                idle.append(ours)
                process = context.Process(target=_work, args=(theirs, judge, encode), daemon=True)
                process.start()
                processes.append(process)
                theirs.close()
        while True:
            while idle and len(running) + len(ready) < AHEAD * jobs and (following := next(turns, None)):
                pipe = idle.pop()
                running[pipe], chunk = following
                pipe.send(chunk)
            if not running:
                return
            done = wait(list(running))
            for pipe in [pipe for pipe in running if pipe in done]:
                ready[running[pipe]] = pipe.recv()
                del running[pipe]
                idle.append(pipe)
            while turn in ready:
                yield from ready.pop(turn)
                turn += 1
    except (EOFError, OSError):
        raise ChainError("a process that judges answers died", hint="was memory short? use fewer --jobs, and --resume") from None
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
            process.close()
        for pipe in [*idle, *running]:
            pipe.close()


def _work(pipe: Connection, judge: Judge, encode: Encode) -> None:
    """What a process does: judge chunks until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
    with suppress(EOFError, OSError):
        while True:
            pipe.send([_judge_item(item, judge, encode) for item in pipe.recv()])


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Processes that are started meanwhile are deaf to Ctrl-C from their first moment."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if threading.current_thread() is threading.main_thread() else None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


# Writing


def encode_json(document: Mapping[str, Any], ascii: bool = False) -> bytes:
    r"""A line of JSON; half a surrogate pair, which is not text, stays an escape.

    >>> print(encode_json({"id": 1, "read_as": "θ"}, ascii=True).decode(), end="")
    {"id": 1, "read_as": "\u03b8"}
    """
    return json.dumps(document, ensure_ascii=ascii, allow_nan=False).encode(errors="backslashreplace") + b"\n"


def encode_csv(document: Mapping[str, Any], ascii: bool = False) -> bytes:
    """A line of CSV.

    >>> encode_csv({"id": 1, "verdict": "wrong", "findings": [{"kind": "sign", "message": "flip it"}]}).strip()
    b'1,wrong,,,,,,,,sign,flip it,'
    """
    line = io.StringIO()
    csv.writer(line).writerow(_flatten(document).values())
    return line.getvalue().encode("ascii" if ascii else "utf-8", "backslashreplace")


def _flatten(document: Mapping[str, Any]) -> dict[str, str]:
    """The cells of a document by column."""
    first: Mapping[str, Any] = next(iter(document.get("findings") or ()), {})
    cells = {
        **document,
        "holds_in": ";".join(document.get("holds_in") or ()),
        "notes": "; ".join(document.get("notes") or ()),
        "kind": first.get("kind"),
        "message": first.get("message"),
        "error": (document.get("error") or {}).get("message"),
    }
    return {name: "" if cells.get(name) is None else str(cells[name]) for name in COLUMNS}


def _outcome(row: Mapping[str, str]) -> Outcome:
    if row["error"]:
        return Outcome(BUG if row["error"].startswith(BUG) else "error")
    return Outcome(row["verdict"], row["kind"])


def _read_rows(path: str, form: str) -> Iterator[tuple[dict[str, str], int]]:
    """The lines that were written, by column, with where each ends, up to the first that is not whole."""
    with _naming(f"read {path}"), open(path, "rb") as file:
        lines = _read_lines(file)
        records: Iterator[tuple[_Line, Any, ReadingError | None]]
        records = _read_records(lines) if form == "csv" else ((line, *_read_object(line)) for line in lines)
        for number, (line, found, problem) in enumerate(records):
            row = _read_row(found) if problem is None else None
            header = form == "csv" and number == 0
            ended = line.data.endswith(b"\n")
            if number == 0 and ended and (row is None or (header and row["id"] != "id")):
                raise OptionError(f"{path} does not hold graded answers", hint="resume what grade wrote")
            if row is None or not ended:
                return
            if not header:
                yield row, line.end


def _read_row(found: list[str] | Mapping[str, Any]) -> dict[str, str] | None:
    """The cells of a line that was written, by column; None if it was not written here."""
    try:
        row = dict(zip(COLUMNS, found, strict=True)) if isinstance(found, list) else _flatten(found)
    except (AttributeError, TypeError, ValueError):
        return None
    return row if row["id"] and (row["verdict"] or row["error"]) else None


# Files


def _format_of(path: str) -> str | None:
    return FORMATS.get(os.path.splitext(path)[1].lower())


@contextmanager
def _naming(what: str) -> Iterator[None]:
    """Say what could not be done; a pipe that nobody reads any more is no failure."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OptionError(f"cannot {what}: {error.strerror}") from None


def _open_output(path: str | None, size: int) -> io.FileIO:
    """A file whose first ``size`` bytes are kept, to write after them; without a buffer, which could be lost."""
    if path is None:
        return io.FileIO(1, "wb", closefd=False)
    with _naming(f"write {path}"):
        file = io.FileIO(path, "r+b" if size else "wb")
        if size:
            file.truncate(size)
            file.seek(size)
        return file


def _put(sink: io.FileIO, data: bytes) -> None:
    view = memoryview(data)
    with _naming("write the output"):
        while view:
            view = view[sink.write(view) :]
