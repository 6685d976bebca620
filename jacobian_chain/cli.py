"""The command line: ``jacobian-chain``.

Results go to standard output, everything else to standard error. Exit status: 0 done, or right in the layout asked for, 1 the answer
is not, 2 usage, 3 the text could not be read, 4 a limit was reached, 130 interrupted. Modules that a command does not need are not
imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click
from click.core import ParameterSource

from jacobian_chain import __version__
from jacobian_chain.errors import ChainError, OptionError, Place, ReadingError, Source

if TYPE_CHECKING:
    from jacobian_chain.interface import Composition
    from jacobian_chain.jacobian import Jacobian
    from jacobian_chain.tape import Tape
    from jacobian_chain.verdict import Verdict
    from jacobian_chain.witness import Verification

LAYOUT_NAMES = ("numerator", "denominator", "mixed", "both")
NOTATION_NAMES = ("jacobian", "partial", "total", "nabla", "slots")
FORMATS = ("latex", "unicode", "html", "typst", "markdown", "document", "json", "sympy")
ARTICLES = ("html", "typst", "markdown", "document")
STEPS = ("recursive", "blocks", "backprop")
PICTURES = ("tree", "svg", "cd", "tikzcd", "mermaid", "dot")

EXAMPLES = """\b
Examples:
  jacobian-chain derive 'L3(L2(L1(x,θ1),θ2),θ3)'
  jacobian-chain derive 'x1 = f1(x, θ1); x2 = x1 + f2(x1, θ2); L = ℓ(x2)' \\
      --wrt θ1 --layout denominator --format unicode
  jacobian-chain derive @network.txt --shared --notation total
"""

_F = TypeVar("_F", bound=Callable[..., Any])


def _appearance(command: _F) -> _F:
    """The options on how things look; they may stand before or after the command's name."""
    command = click.option("--ascii", is_flag=True, help="Write nothing outside of ASCII.")(command)
    return click.option("--color", type=click.Choice(["auto", "always", "never"]), default=None, help="Colour: auto, always or never.")(
        command
    )


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXAMPLES)
@click.version_option(__version__, prog_name="jacobian-chain")
@_appearance
@click.pass_context
def cli(context: click.Context, ascii: bool, color: str | None) -> None:
    """Derive the block Jacobian of a composition of layers, and judge a hand-derived one, in your layout and notation."""
    context.obj = {"ascii": ascii, "color": color}


def _complete_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of the composition that was typed, for the shell."""
    from jacobian_chain.reading import read_composition

    # a dangling --wrt leaves the composition among the words that were not parsed
    words = [context.params.get("composition"), *context.args]
    text = next((word for word in words if word and (word == "-" or not word.startswith("-"))), None)
    if text is None or text == "-":
        return []
    try:
        tape = read_composition(_read_text(text, "composition")).tape
    except ChainError:
        return []
    names = [*tape.names, *(name for name, _ in tape.groups)]
    return [name for name in names if name and name.startswith(incomplete)]


@cli.command(epilog=EXAMPLES)
@click.argument("composition")
@click.option(
    "--wrt",
    multiple=True,
    metavar="NAME",
    shell_complete=_complete_names,
    help="Differentiate by NAME: a leaf, a value, a group, a prefix (θ), 'x, y', or all. Repeatable.",
)
@click.option(
    "--of", metavar="NAME", shell_complete=_complete_names, help="Differentiate the value NAME; by default the one that nothing uses."
)
@click.option(
    "--layout", type=click.Choice(LAYOUT_NAMES), default="numerator", show_default=True, help="Which side the output's entries stand on."
)
@click.option(
    "--notation",
    type=click.Choice(NOTATION_NAMES),
    help="How a factor is written; by default jacobian for nested text, partial for equations.",
)
@click.option(
    "--naming", type=click.Choice(["inputs", "outputs"]), help="Call unnamed values after the layer that takes them, or that gives them."
)
@click.option(
    "--index", type=click.Choice(["sub", "super", "as-typed"]), default="as-typed", show_default=True, help="Where an index stands."
)
@click.option("--points", is_flag=True, help="Show where each factor is evaluated.")
@click.option("--shared", is_flag=True, help="Give every adjoint a name, one line each, as backpropagation computes them.")
@click.option("--expand", is_flag=True, help="Distribute sums: one product for each path.")
@click.option("--vec", is_flag=True, help="Write a scalar's derivative by a matrix on vec too.")
@click.option("--second", metavar="NAME,NAME", help="The second derivatives of a scalar by two values instead, on vec of both.")
@click.option("--hvp", metavar="NAME", help="The Hessian by the one --wrt variable times a direction called NAME instead.")
@click.option("--index-notation", is_flag=True, help="Write derivatives by components.")
@click.option(
    "--steps",
    type=click.Choice(STEPS),
    help="Tell the derivation: from the outside in with block matrices, block by block, or forward and backward equations.",
)
@click.option(
    "--cost", is_flag=True, help="Estimate what computing it takes: block by block, by backpropagation, forwards, best bracketed."
)
@click.option("--size", "sizes", multiple=True, metavar="NAME=NUMBER", help="A size for --cost, of a dimension or a vector. Repeatable.")
@click.option("--verify", "verifies", is_flag=True, help="Compare with numerical differentiation, as verify does.")
@click.option("--shapes", is_flag=True, help="Show the shape of every value, and whether it was assumed.")
@click.option("--max-factors", type=click.IntRange(min=1), default=1_000_000, show_default=True, help="Most factors that are written out.")
@click.option("--format", "format_", type=click.Choice(FORMATS), default="latex", show_default=True, help="Output language.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, writable=True), metavar="FILE", help="Write to FILE.")
@_appearance
@click.pass_context
def derive(context: click.Context, /, composition: str, ascii: bool, color: str | None, **options: Any) -> None:
    """Derive the block Jacobian of COMPOSITION.

    COMPOSITION is nested calls or equations, in ASCII, Unicode or LaTeX; @FILE reads a file, - standard input.
    """
    from jacobian_chain.interface import Composition
    from jacobian_chain.interface import derive as derive_jacobian
    from jacobian_chain.reading import read_composition

    settings: dict[str, Any] = {"ascii": ascii or context.obj["ascii"], "color": color or context.obj["color"]}
    reading = read_composition(_read_text(composition, "composition"))
    for notice in reading.notices:
        _notify(str(notice), settings)
    layouts = ("numerator", "denominator") if options["layout"] == "both" else (options["layout"],)
    composed = Composition(reading)
    if options["second"] or options["hvp"]:
        typed = [name for name in ("layout", "max_factors", "wrt") if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
        idle = [name for name in typed if name != "wrt" or options["second"]]
        if idle:
            raise OptionError(f"--{idle[0].replace('_', '-')} has no effect on second derivatives", hint="leave it away")
        _write(_format_second(composed, options, settings), options["output"], settings)
        return
    jacobian = derive_jacobian(composed, options["wrt"], options["of"], layouts[0], options["max_factors"])
    pages = [jacobian if layout == jacobian.layout.name else jacobian.in_layout(layout) for layout in layouts]
    _write(_format(pages, options, settings, list(composed.notices)), options["output"], settings)
    if options["verifies"]:
        verification = jacobian.verify()
        for line in _verification_lines(verification):
            _notify(line, settings)
        context.exit(0 if verification else 1)


def _format_second(composed: Composition, options: dict[str, Any], settings: dict[str, Any]) -> str:
    """Second derivatives in the format that was asked for."""
    from jacobian_chain.tokens import split_names

    form = options["format_"]
    decisions = ("notation", "naming", "points", "shared", "expand", "vec", "shapes", "index_notation", "verifies", "steps", "cost")
    idle = [name for name in (*decisions, "sizes") if options[name]]
    if idle or (options["second"] and options["hvp"]):
        name = "hvp" if not idle else {"verifies": "verify", "sizes": "size"}.get(idle[0], idle[0].replace("_", "-"))
        raise OptionError(f"--{name} has no effect on second derivatives", hint="leave it away")
    if form not in ("latex", "unicode", *ARTICLES):
        raise OptionError(f"second derivatives have no format {form}", hint="choose another one")
    if options["second"]:
        names = split_names(options["second"])
        if len(names) != 2:
            raise OptionError("--second takes two names", hint="as in --second x,x or --second x,W")
        derivative = composed.second(names[0], names[1], options["of"])
    else:
        if len(options["wrt"]) != 1:
            raise OptionError("--hvp needs one variable", hint="as in --wrt x --hvp v")
        derivative = composed.hessian_along(options["hvp"], options["wrt"][0], options["of"])
    told = "the same in every layout" if options["second"] else "in the shape of the variable"
    if form in ARTICLES:
        from jacobian_chain.articles import compose_second
        from jacobian_chain.formats import write_article

        return write_article(compose_second(derivative, told, options["index"]), form, settings["ascii"])
    sheet = derivative.sheet(form, settings["ascii"] or not _can_encode(), options["index"])
    mark = "% " if form == "latex" else "# "
    parts = [f"{mark}{told}"]
    parts += [f"{mark}where {line}" for line in sheet.legend]
    return "\n".join([*parts, sheet.text])


def _verification_lines(verification: Verification) -> Iterable[str]:
    """One line for each comparison."""
    for comparison in verification.comparisons:
        verdict = "agrees" if comparison.holds else "DIFFERS"
        yield f"{comparison.variable}, {comparison.layout} layout: {verdict}, relative error {comparison.error:.1e}"


@cli.command()
@click.argument("composition")
@click.option("--wrt", multiple=True, metavar="NAME", shell_complete=_complete_names, help="Differentiate by NAME, as for derive.")
@click.option("--of", metavar="NAME", shell_complete=_complete_names, help="Differentiate the value NAME; by default the one unused.")
@click.option("--seed", type=int, default=0, show_default=True, help="Chooses the random points.")
@_appearance
@click.pass_context
def verify(context: click.Context, /, composition: str, ascii: bool, color: str | None, **options: Any) -> None:
    """Compare the derivation with numerical differentiation of COMPOSITION, for each block and layout.

    Shapes and points are random; unspecified layers become random smooth maps. The exit status is 1 if a relative error is above 1e-6.
    """
    from jacobian_chain.interface import Composition
    from jacobian_chain.interface import derive as derive_jacobian
    from jacobian_chain.reading import read_composition

    settings: dict[str, Any] = {"ascii": ascii or context.obj["ascii"], "color": color or context.obj["color"]}
    reading = read_composition(_read_text(composition, "composition"))
    for notice in reading.notices:
        _notify(str(notice), settings)
    verification = derive_jacobian(Composition(reading), options["wrt"], options["of"]).verify(options["seed"])
    lines = zip(_verification_lines(verification), verification.comparisons, strict=True)
    _print_styled([(line, "green" if comparison.holds else "bold red") for line, comparison in lines], settings)
    context.exit(0 if verification else 1)


@cli.command()
@_appearance
@click.pass_obj
def layers(settings: dict[str, Any], ascii: bool, color: str | None) -> None:
    """The operations and elementwise functions that are known: how they are typed, their differential, domain and source."""
    from jacobian_chain.operations import describe_operations

    settings = {"ascii": ascii or settings["ascii"], "color": color or settings["color"]}
    lines: list[tuple[str, str]] = []
    for title, rows in describe_operations():
        lines.append((title, "bold"))
        width = max(len(row[0]) for row in rows) + 2
        for name, *facts in rows:
            for k, fact in enumerate(fact for fact in facts if fact):
                lines.append((f"  {'' if k else name:{width}}{fact}", ""))
        lines.append(("", ""))
    _print_styled(lines[:-1], settings)


GRAPH_EXAMPLES = """\b
Examples:
  jacobian-chain graph 'x1 = f1(x, θ1); x2 = x1 + f2(x1, θ2); L = ℓ(x2)' --edges
  jacobian-chain graph 'L3(L2(L1(x,θ1),θ2),θ3)' --paths θ1 --format svg -o graph.svg
"""


@cli.command(epilog=GRAPH_EXAMPLES)
@click.argument("composition")
@click.option("--format", "form", type=click.Choice(PICTURES), default="tree", show_default=True, help="Picture language.")
@click.option("--edges", is_flag=True, help="Write the derivative of each step in each argument on its edge.")
@click.option("--paths", multiple=True, metavar="NAME", shell_complete=_complete_names, help="Mark all paths from NAME, as for --wrt.")
@click.option("--of", metavar="NAME", shell_complete=_complete_names, help="Draw what the value NAME depends on; by default everything.")
@click.option("--layout", type=click.Choice(LAYOUT_NAMES[:3]), help="Of the derivatives; by default numerator.")
@click.option("--notation", type=click.Choice(NOTATION_NAMES), help="Of the derivatives, as for derive.")
@click.option("--naming", type=click.Choice(["inputs", "outputs"]), help="Call unnamed values after the layer that takes or gives them.")
@click.option(
    "--index", type=click.Choice(["sub", "super", "as-typed"]), default="as-typed", show_default=True, help="Where an index stands."
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, writable=True), metavar="FILE", help="Write to FILE.")
@_appearance
@click.pass_context
def graph(
    context: click.Context, /, composition: str, ascii: bool, color: str | None, output: str | None, form: str, **options: Any
) -> None:
    """Draw the computation graph of COMPOSITION: parameters below their layers, skips as curves.

    What is marked by --paths is thick, boxed or starred as the language has it.
    """
    from jacobian_chain.interface import Composition
    from jacobian_chain.reading import read_composition

    settings: dict[str, Any] = {"ascii": ascii or context.obj["ascii"], "color": color or context.obj["color"]}
    reading = read_composition(_read_text(composition, "composition"))
    plain = settings["ascii"] or (output is None and not _can_encode())
    picture = Composition(reading).graph(form, ascii=plain, **options)
    for notice in (*map(str, reading.notices), *picture.notices):
        _notify(notice, settings)
    _write(picture, output, {**settings, "color": "never"})  # no line of it is a comment


CHECK_EXAMPLES = """\b
Examples:
  jacobian-chain check 'L2(L1(x,θ1),θ2)' 'J_{x^2}L^2 J_{θ^1}L^1' --wrt θ1
  jacobian-chain check @network.txt @answer.tex --layout denominator --reveal
  jacobian-chain check 'h = f(x); L = l(h)' 'δ \\frac{\\partial h}{\\partial x}' \\
      --wrt x --layout numerator --where 'δ = dL/dh'
"""


class _FormulaCommand(click.Command):
    """A command whose arguments may begin with a minus sign: what is no option is a formula."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        takes_value = {name: not getattr(option, "is_flag", False) for option in self.get_params(ctx) for name in option.opts}
        options: list[str] = []
        formulas: list[str] = []
        waiting = iter(args)
        for argument in waiting:
            name, sign, _ = argument.partition("=")
            if argument == "--":
                formulas += waiting
            elif name.startswith("-") and takes_value.get(name) is not None:
                options.append(argument)
                if takes_value[name] and not sign:
                    options += [value for value in [next(waiting, None)] if value is not None]
            elif name.startswith("--") and name[2:].replace("-", "").isalpha():
                options.append(argument)  # a slip in an option's name, which click explains
            else:
                formulas.append(argument)
        return super().parse_args(ctx, [*options, "--", *formulas])


@cli.command(epilog=CHECK_EXAMPLES, cls=_FormulaCommand)
@click.argument("composition")
@click.argument("answer")
@click.option(
    "--wrt", multiple=True, metavar="NAME", shell_complete=_complete_names, help="What the answer differentiates by, as for derive."
)
@click.option("--of", metavar="NAME", shell_complete=_complete_names, help="The value that is differentiated; by default the one unused.")
@click.option("--layout", type=click.Choice(LAYOUT_NAMES[:3]), default="mixed", show_default=True, help="The layout asked for.")
@click.option("--where", multiple=True, metavar="TEXT", help="What a name in the answer means, such as 'δ = dL/dz'. Repeatable, in order.")
@click.option("--reveal", is_flag=True, help="Show the right answer.")
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output language.")
@_appearance
@click.pass_context
def check(context: click.Context, /, composition: str, answer: str, ascii: bool, color: str | None, **options: Any) -> None:
    """Judge ANSWER, a hand-derived derivative of COMPOSITION: right, right in another layout, or wrong, where and why.

    Both are text, @FILE or - for standard input. The answer is one formula, a chain of equalities, or lines of them.
    The exit status is 0 if it is right in the layout asked for, else 1.
    """
    from jacobian_chain.interface import Composition
    from jacobian_chain.interface import check as check_answer
    from jacobian_chain.reading import read_composition

    settings: dict[str, Any] = {"ascii": ascii or context.obj["ascii"], "color": color or context.obj["color"]}
    try:
        reading = read_composition(_read_text(composition, "composition"))
        given = _read_text(answer, "answer")
        lines = [line for text in options["where"] for line in text.replace(";", "\n").splitlines()]
        verdict = check_answer(Composition(reading), given.text, options["wrt"], options["of"], options["layout"], lines, options["reveal"])
    except ChainError as error:
        if options["format_"] != "json":
            raise
        from jacobian_chain.grading import describe_error, encode_json

        _write(encode_json({"error": describe_error(error)}, settings["ascii"]).decode().rstrip("\n"), None, settings)
        context.exit(error.status)
    if options["format_"] == "json":
        from jacobian_chain.grading import encode_json

        _write(encode_json(verdict.to_json(), settings["ascii"]).decode().rstrip("\n"), None, settings)
    else:
        for notice in reading.notices:
            _notify(str(notice), settings)
        _print_styled(list(_verdict_lines(verdict)), settings)
    context.exit(0 if verdict else 1)


def _verdict_lines(verdict: Verdict) -> Iterable[tuple[str, str]]:
    """A verdict for people: lines with a style each."""
    styles = {"correct": "bold green", "correct-other-layout": "bold yellow", "wrong": "bold red", "undecided": "bold yellow"}
    yield verdict.headline, styles[verdict.verdict]
    yield f"read as: {verdict.shown}", ""
    source = Source(verdict.answer, "answer")
    for finding in verdict.findings:
        yield "", ""
        place = "" if finding.message.startswith(finding.where) else f"{finding.where}: "
        yield f"{place}{finding.message} ({finding.kind})", "red" if verdict.verdict == "wrong" else "yellow"
        if finding.span is not None:
            line, caret = Place(source, *finding.span).excerpt().rsplit("\n", 1)
            yield line, ""
            yield caret, "red"
    notes = list(verdict.notes)
    if verdict.error_bound is not None:
        notes.append(f"compared at random places; wrong with a chance below {max(verdict.error_bound, 1e-30):.0e}")
    elif verdict.decided_by == "numeric" and verdict.verdict != "undecided":
        notes.append("compared in many digits at random places, not proved")
    if notes:
        yield "", ""
    for note in notes:
        yield f"note: {note}", "dim"
    if verdict.expected is not None:
        yield "", ""
        yield "a right answer:", "bold"
        yield verdict.expected, ""


def _print_styled(lines: Sequence[tuple[str, str]], settings: dict[str, Any]) -> None:
    """Lines on standard output, in colour where that is wanted."""
    plain = settings["ascii"] or not _can_encode()
    if plain:
        from jacobian_chain.writers import to_ascii

        lines = [(to_ascii(line), style) for line, style in lines]
    if not _wants_color(settings, sys.stdout):
        _write("\n".join(line for line, _ in lines), None, settings)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(force_terminal=True, highlight=False, soft_wrap=True)
    for line, style in lines:
        console.print(Text(line, style=style))


@cli.command()
@click.argument("file")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, writable=True),
    metavar="FILE",
    help="Write to FILE; its ending .csv or .jsonl says the format.",
)
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="How many processes judge.")
@click.option("--resume", is_flag=True, help="Keep what the output FILE holds already, and go on after it.")
@_appearance
@click.pass_context
def grade(context: click.Context, /, file: str, output: str | None, jobs: int, resume: bool, ascii: bool, color: str | None) -> None:
    """Judge many answers: FILE is CSV or JSON Lines, - is standard input.

    Each line has composition and answer, and where needed id, of, wrt, layout, where. Results have the same order and format; a line that
    cannot be read gives an error and never stops the rest. The summary goes to standard error.
    """
    from jacobian_chain.grading import grade as grade_file
    from jacobian_chain.interface import judge_record

    plain = ascii or context.obj["ascii"]
    settings = {"ascii": plain, "color": color or context.obj["color"]}
    if sys.stderr.isatty() and _wants_color(settings, sys.stderr):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        columns = TextColumn("{task.fields[lines]:,} answers"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=None, lines=0)

            def show(lines: int, done: int, total: int | None) -> None:
                bar.update(task, completed=done, total=total, lines=lines)

            summary = grade_file(file, judge_record, output, jobs, resume, show, plain)
    else:
        summary = grade_file(file, judge_record, output, jobs, resume, None, plain)
    sys.stderr.write(f"{summary}\n")
    context.exit(summary.status)


EXERCISE_EXAMPLES = """\b
Examples:
  jacobian-chain exercise --seed 7 --layers 3 --skip --concrete
  jacobian-chain exercise --count 5 --wrong 4 --format markdown -o sheet.md
  jacobian-chain exercise --count 50 --wrong 6 --format jsonl | jacobian-chain grade -
"""


@cli.command(epilog=EXERCISE_EXAMPLES)
@click.option("--seed", type=int, default=1, show_default=True, help="Another number, other problems.")
@click.option("--layers", type=click.IntRange(1, 8), default=3, show_default=True, help="How many layers follow each other.")
@click.option("--skip", is_flag=True, help="Something goes around a layer: the chain rule has a sum.")
@click.option("--concrete", is_flag=True, help="Layers have definitions, and a loss is differentiated.")
@click.option("--shared", is_flag=True, help="All layers have the same parameters.")
@click.option("--count", type=click.IntRange(1, 1000), default=1, show_default=True, help="How many problems.")
@click.option("--layout", type=click.Choice(LAYOUT_NAMES[:3]), default="mixed", show_default=True, help="The layout of the solution.")
@click.option("--notation", type=click.Choice(NOTATION_NAMES), help="How factors are written, where layers have no definition.")
@click.option("--wrong", type=click.IntRange(0, 20), default=0, show_default=True, help="How many wrong answers, with what is wrong.")
@click.option("--no-solutions", is_flag=True, help="Problems only, for the students.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["latex", "unicode", *ARTICLES, "jsonl"]),
    default="latex",
    show_default=True,
    help="Output language; jsonl is what grade reads.",
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, writable=True), metavar="FILE", help="Write to FILE.")
@_appearance
@click.pass_obj
def exercise(settings: dict[str, Any], /, ascii: bool, color: str | None, **options: Any) -> None:
    """Make problems at a level, with their solutions, and with wrong answers for a teacher.

    The same options give the same problems on every machine. What is wrong with an answer is what check says of it.
    """
    from jacobian_chain.exercises import Level
    from jacobian_chain.worksheet import make_assignment, write_worksheet

    settings = {"ascii": ascii or settings["ascii"], "color": color or settings["color"]}
    if options["no_solutions"] and (options["wrong"] or options["format_"] == "jsonl"):
        other = "--wrong" if options["wrong"] else "--format jsonl"
        raise OptionError(f"--no-solutions and {other} exclude each other", hint="leave one of them away")
    level = Level(options["layers"], options["skip"], options["concrete"], options["shared"])
    exercises = []
    for number in range(1, options["count"] + 1):
        made = make_assignment(f"{options['seed']}-{number}", level, options["layout"], options["notation"], options["wrong"])
        if len(made.wrong) < options["wrong"]:
            _notify(f"{made.name}: {len(made.wrong)} wrong answers were found, not {options['wrong']}", settings)
        exercises.append(made)
    plain = settings["ascii"] or not _can_encode()
    text = write_worksheet(exercises, options["format_"], plain, not options["no_solutions"])
    _write(text, options["output"], settings)


def _format(pages: Sequence[Jacobian], options: dict[str, Any], settings: dict[str, Any], notices: list[str]) -> str:
    """The whole output in the format that was asked for."""
    style = {key: options[key] for key in ("notation", "naming", "index", "points", "shared", "expand", "vec")}
    form = options["format_"]
    if options["index_notation"]:
        style["index_notation"] = True
    if options["sizes"] and not options["cost"]:
        raise OptionError("--size is for --cost", hint="add --cost")
    if form in ARTICLES or (form in ("latex", "unicode") and (options["steps"] or options["cost"])):
        return _format_article(pages, style, options, settings, notices)
    decisions = ("notation", "naming", "points", "shared", "expand", "vec", "shapes", "index_notation", "steps", "cost")
    idle = [name for name in decisions if form == "sympy" and options[name]]
    if form == "json":
        idle = [name for name in ("shapes", "steps", "cost", "index_notation") if options[name]]
    if idle:
        raise OptionError(f"--{idle[0].replace('_', '-')} has no effect on the format {form}", hint="leave it away")
    plain = settings["ascii"] or not _can_encode()
    if form == "json":
        import json

        documents = [page.to_json(**style) for page in pages]
        for document in documents:
            document["notices"] = notices + document["notices"]
        return json.dumps(documents[0] if len(documents) == 1 else documents, ensure_ascii=settings["ascii"])
    from jacobian_chain.jacobian import Sheet

    mark = "% " if form == "latex" else "# "
    parts = []
    told: set[str] = set()
    by_components = options["index_notation"]
    for page in pages[:1] if by_components else pages:
        parts.append(
            f"{mark}by components, the same in every layout"
            if by_components
            else f"{mark}{page.layout.name} layout: {page.layout.description}"
        )
        if form == "sympy":
            from sympy import srepr

            sheet = Sheet(srepr(page.to_sympy()), (), page.notices)
        else:
            sheet = page.sheet(form, plain, **style)
        for notice in sheet.notices:
            if notice not in told:
                _notify(notice, settings)
                told.add(notice)
        if sheet.legend:
            parts.append(f"{mark}where {', '.join(sheet.legend)}")
        if options["shapes"]:
            parts += [f"{mark}{line}" for line in _shape_lines(page.tape, plain)]
        parts.append(sheet.text)
    return "\n".join(parts)


def _format_article(
    pages: Sequence[Jacobian], style: dict[str, Any], options: dict[str, Any], settings: dict[str, Any], notices: Sequence[str]
) -> str:
    """The output as an article: steps, costs, and every format for whole pages."""
    from jacobian_chain.articles import compose
    from jacobian_chain.dimensions import read_size
    from jacobian_chain.formats import write_article

    form = options["format_"]
    plain = settings["ascii"] or (options["output"] in (None, "-") and not _can_encode())
    article = compose(
        pages,
        "unicode" if form == "unicode" else "latex",
        plain,
        options["steps"],
        [read_size(size) for size in options["sizes"]] if options["cost"] else None,
        options["shapes"],
        brief=form not in ARTICLES,
        pictured=form == "html",
        notices=notices if form in ARTICLES else (),
        **{key: value for key, value in style.items() if value},
    )
    return write_article(article, form, plain)


def _shape_lines(tape: Tape, ascii: bool) -> Iterable[str]:
    """The shape of every named value."""
    from jacobian_chain.notation import Labels
    from jacobian_chain.writers import TextWriter, to_ascii

    writer, labels = TextWriter(ascii=ascii), Labels(tape, 0, "outputs")
    for value, (shape, declared) in enumerate(zip(tape.shapes, tape.declared, strict=True)):
        if tape.names[value]:
            size = to_ascii(str(shape)) if ascii else str(shape)
            yield f"{writer.name(labels.value(value))}: {size}{'' if declared else ' (assumed)'}"


def _read_text(argument: str, name: str) -> Source:
    """The text that an argument is or names: as typed, ``@FILE`` or ``-``."""
    if argument == "-":
        if sys.stdin is None:
            raise OptionError("there is no standard input to read")
        data, name = sys.stdin.buffer.read(), "<stdin>"
    elif argument.startswith("@"):
        name = argument[1:]
        if not name:
            raise OptionError("expected the name of a file after @")
        try:
            with open(name, "rb") as file:
                data = file.read()
        except OSError as error:
            raise OptionError(f"cannot read {name}: {error.strerror}") from None
    else:
        data = os.fsencode(argument)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        readable = data.decode("utf-8", errors="replace")
        start = len(data[: error.start].decode("utf-8", errors="replace"))
        place = Place(Source(readable, name), start, start + 1)
        raise ReadingError("the text is not valid UTF-8", place, "save the file as UTF-8") from None
    return Source(text.replace("\r\n", "\n").replace("\r", "\n"), name)


def _write(text: str, path: str | None, settings: dict[str, Any]) -> None:
    if path is not None and path != "-":
        try:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text + "\n")
        except OSError as error:
            raise OptionError(f"cannot write {path}: {error.strerror}") from None
        return
    if _wants_color(settings, sys.stdout):
        text = "\n".join(click.style(line, dim=True) if line.startswith(("% ", "# ")) else line for line in text.split("\n"))
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OptionError(f"cannot write to standard output: {error.strerror}") from None


def _notify(text: str, settings: dict[str, Any]) -> None:
    """A notice, on standard error."""
    label = click.style("note:", fg="yellow") if _wants_color(settings, sys.stderr) else "note:"
    sys.stderr.write(f"{label} {text}\n")


def _wants_color(settings: dict[str, Any], stream: TextIO) -> bool:
    if settings.get("color") in ("always", "never"):
        return bool(settings["color"] == "always")
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _can_encode() -> bool:
    """Whether standard output can show what Unicode formulas are made of."""
    try:
        "θ∂ᵀ₁│".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def main() -> None:
    """Run the command line; no traceback ever reaches a user."""
    if sys.stdout is None or sys.stderr is None:
        sys.exit(2)  # nowhere to write to
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if "--ascii" in sys.argv and hasattr(sys.stderr, "reconfigure"):
        sys.stderr.reconfigure(encoding="ascii", errors="backslashreplace")
    try:
        status = cli.main(standalone_mode=False)
    except click.exceptions.Exit as error:
        status = error.exit_code
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except ChainError as error:
        label = click.style("error:", fg="red", bold=True) if _wants_color({"color": _asked_color()}, sys.stderr) else "error:"
        sys.stderr.write(f"{label} {error}\n")
        status = error.status
    except (click.Abort, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
        status = 130
    sys.exit(status if isinstance(status, int) else 0)


def _asked_color() -> str | None:
    """What --color says, where the options could not be parsed to the end."""
    words = [word.partition("=") for word in sys.argv]
    asked = [
        value or following
        for (option, _, value), (following, _, _) in zip(words, [*words[1:], ("", "", "")], strict=True)
        if option == "--color"
    ]
    return asked[-1] if asked else None
