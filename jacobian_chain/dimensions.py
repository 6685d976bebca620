"""Numbers for the sizes of a composition: those that are given, and defaults for the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jacobian_chain.errors import ChainError, OptionError, list_names, suggest
from jacobian_chain.names import base_of, read_key
from jacobian_chain.numeric import symbols_of
from jacobian_chain.select import PARAMETERS
from jacobian_chain.tape import Tape

USUAL = 100
"""A size that is not given."""

PARAMETER = 1000
"""The entries of a parameter of a layer without a definition, where they are not given: a layer has more weights than outputs."""

MAX_DIGITS = 12
"""Most digits of a size."""


def read_size(text: str) -> tuple[str, int]:
    """The name and the number of ``NAME=NUMBER``.

    Raises:
        OptionError: it is none, or the number is not a positive whole one.

    >>> read_size("n_x = 30")
    ('n_x', 30)
    """
    name, sign, number = (part.strip() for part in text.partition("="))
    if not sign or not name:
        raise OptionError(f"--size needs a name and a number, not {text!r}", hint="as in --size n_x=30")
    digits = number.replace(",", "").replace("_", "")
    if not (digits.isascii() and digits.isdecimal()) or not int(digits[: MAX_DIGITS + 1]):
        raise OptionError(f"the size of {name} is a positive whole number, not {number!r}", hint=f"as in --size {name}=30")
    if len(digits) > MAX_DIGITS:
        raise OptionError(f"the size of {name} has more than {MAX_DIGITS} digits")
    return name, int(digits)


def choose_sizes(tape: Tape, given: Mapping[str, int] | Iterable[tuple[str, int]] = ()) -> dict[str, int]:
    """The number of every symbol in the shapes of a tape.

    A name is that of a symbol, such as ``m`` or ``n_x``, or of a column, which means how many entries it has. What is not given is
    :data:`USUAL`, or :data:`PARAMETER` for the entries of a parameter of a layer without a definition that has no other use.

    Raises:
        OptionError: there is no such name, it has a size already, or two numbers are given for one size.

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.reading import read_composition
    >>> tape = read_composition(Source("y = f(x, θ); x: n")).tape
    >>> choose_sizes(tape, {"x": 30})
    {'n': 30, 'n_θ': 1000, 'n_y': 100}
    """
    sizes = given_sizes(tape, given)
    parameters = _parameter_sizes(tape)
    return {symbol: number or (PARAMETER if symbol in parameters else USUAL) for symbol, number in sizes.items()}


def given_sizes(tape: Tape, given: Mapping[str, int] | Iterable[tuple[str, int]]) -> dict[str, int]:
    """The number that is given for every symbol in the shapes of a tape, 0 where there is none; see :func:`choose_sizes`."""
    sizes = dict.fromkeys((symbol for shape in tape.shapes for size in shape for symbol in symbols_of(size)), 0)
    spelled = {_plain(symbol): symbol for symbol in sizes}
    for name, number in given.items() if isinstance(given, Mapping) else given:
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise OptionError(f"the size of {name} is a positive whole number, not {number!r}")
        symbol = name if name in sizes else spelled.get(_plain(name)) or _entries_of(tape, name, sizes)
        if sizes[symbol] not in (0, number):
            raise OptionError(f"two sizes are given for {symbol}: {sizes[symbol]:,} and {number:,}")
        sizes[symbol] = number
    return sizes


def _plain(text: str) -> str:
    """A name in one spelling."""
    try:
        return read_key(text, "--size") or text
    except ChainError:
        return text


def _entries_of(tape: Tape, name: str, sizes: Mapping[str, int]) -> str:
    """The symbol that is the size of a column."""
    value = tape.index(name)
    value = tape.index(_plain(name)) if value is None else value
    if value is None:
        known = [*sizes, *(each for each in tape.names if each)]
        hint = suggest(name, known) or (f"the sizes are {list_names(list(sizes))}" if sizes else "all its sizes are numbers")
        raise OptionError(f"the composition has no size {name}", hint=hint)
    shape = tape.shapes[value]
    if shape.is_scalar:
        raise OptionError(f"{name} is a scalar: it has one entry")
    if shape.is_matrix:
        raise OptionError(f"{name} is a matrix, {shape.rows} x {shape.columns}", hint=_ask_for([*shape]))
    if shape.rows not in sizes:
        raise OptionError(f"{name} has {shape.rows} entries already", hint=_ask_for([shape.rows]))
    return shape.rows


def _ask_for(texts: Iterable[str]) -> str | None:
    """A hint that names the symbols in some sizes."""
    symbols = dict.fromkeys(symbol for text in texts for symbol in symbols_of(text))
    return f"give {' and '.join(f'--size {symbol}=…' for symbol in symbols)}" if symbols else None


def _parameter_sizes(tape: Tape) -> set[str]:
    """The symbols that are nothing but the entries of a parameter, which only layers without a definition take."""
    owner: dict[str, set[int]] = {}
    for value, shape in enumerate(tape.shapes):
        for size in shape:
            for symbol in symbols_of(size):
                owner.setdefault(symbol, set()).add(value)
    grouped = {value for _, members in tape.groups for value in members}
    found = set()
    for value, (name, shape) in enumerate(zip(tape.names[: tape.leaves], tape.shapes[: tape.leaves], strict=True)):
        is_parameter = value in grouped or base_of(name, tape.spellings) in PARAMETERS
        if is_parameter and not shape.is_matrix and owner.get(shape.rows) == {value}:
            found.add(shape.rows)
    if not found:
        return found
    for step in tape.steps:
        if step.operation != "layer":
            found -= {tape.shapes[source].rows for source in step.inputs}
    return found
