"""Which value is differentiated and by which: the names of ``--of`` and ``--wrt``, and what they are by default."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jacobian_chain.errors import OptionError, Place, ReadingError, Source, list_names, suggest
from jacobian_chain.names import family, read_key
from jacobian_chain.tape import Tape
from jacobian_chain.tokens import GREEK, split_names

PARAMETERS = frozenset(["θ", "w", "W", "b", "β", "γ"])
"""Leaves of these names, with an index or alone, are what one differentiates by unless told otherwise."""


class Selection(NamedTuple):
    """Variables that were asked for, and the name that stands for all of them."""

    variables: tuple[int, ...]
    label: str


def find_output(tape: Tape, name: str | None) -> int:
    """The value to differentiate: the one of this name, else the only one that nothing uses.

    Raises:
        OptionError: several values are unused.
        ReadingError: there is no such name.
    """
    if name is not None:
        return _find(tape, name, "--of")
    outputs = tape.outputs()
    if len(outputs) != 1:
        names = list_names([tape.names[value] or "?" for value in outputs])
        raise OptionError(f"there are {len(outputs)} outputs: {names}", hint=f"choose one, as in --of {tape.names[outputs[0]]}")
    return outputs[0]


def select(tape: Tape, wrt: Iterable[str] = (), option: str = "--wrt") -> Selection:
    """The variables that names stand for: leaves, intermediates, groups, prefixes (θ for θ1, θ2, …), ``all``.

    Without names, every parameter: the groups, else the leaves named θ, w, W, b, β, γ with an index or alone, else every leaf.
    A text may hold several names, separated by commas. ``option`` is what errors call the names.

    Raises:
        ReadingError: a name that the composition does not have; the nearest are named.
    """
    names = [part for text in wrt for part in _names_in(text, option)]
    if not tape.leaves:
        raise OptionError("there is nothing to differentiate by: the composition has no variables")
    if not names:
        return _default(tape)
    variables: dict[int, None] = {}
    labels: list[str] = []
    groups = dict(tape.groups)
    for text in names:
        key = text if text in groups else key_of(text, tape, option)
        if key in groups:
            found: Sequence[int] = groups[key]
            labels.append(key)
        elif (value := tape.index(key)) is not None:
            found = [value]
        elif key == "all":
            found = range(tape.leaves)
        else:
            found = _indices(tape, family(key, tape.names[: tape.leaves], tape.spellings))
            labels.append(key)
        if not found:
            raise _unknown(tape, text, option)
        variables.update(dict.fromkeys(found))
    return Selection(tuple(variables), labels[0] if len(names) == len(labels) == 1 else "")


def _names_in(text: str, option: str) -> list[str]:
    """The names of an option's value: one, or a list, in brackets or not."""
    inner = text.strip()
    if inner.startswith("(") and inner.endswith(")"):
        inner = inner[1:-1]
    if not inner:
        raise OptionError(f"{option} needs a name")
    parts = split_names(inner)
    if "" in parts:
        raise ReadingError("expected a name", Place(Source(text or " ", option), 0, max(1, len(text))), "one comma too many?")
    return parts


def _default(tape: Tape) -> Selection:
    if tape.groups:
        label = tape.groups[0][0] if len(tape.groups) == 1 else ""
        members = dict.fromkeys(value for _, group in tape.groups for value in group)
        return Selection(tuple(members), label)
    leaves = tape.names[: tape.leaves]
    bases = {name: _base(name, tape) for name in leaves}
    parameters = [name for name in leaves if bases[name] in PARAMETERS]
    if not parameters:
        return Selection(tuple(range(tape.leaves)), "")
    kinds = {bases[name] for name in parameters}
    if len(kinds) == 1:
        prefix = kinds.pop()
        parameters = [name for name in parameters if name == prefix] + family(prefix, parameters, tape.spellings)
        label = prefix if len(parameters) > 1 and prefix not in tape.names else ""
    else:
        label = ""
    return Selection(_indices(tape, parameters), label)


def _indices(tape: Tape, names: Iterable[str]) -> tuple[int, ...]:
    """The values of names that are known to be there."""
    return tuple(value for name in names if (value := tape.index(name)) is not None)


def _base(name: str, tape: Tape) -> str:
    spelling = tape.spellings.get(name)
    return name if spelling is None else spelling.base + spelling.accent


def key_of(text: str, tape: Tape, option: str) -> str:
    """The key of a name that was typed as an option's value; a superscript is an index here."""
    if tape.index(text) is not None:
        return text
    key = read_key(text, option)
    if key is None:
        raise _unknown(tape, text, option)
    return key


def _find(tape: Tape, text: str, option: str) -> int:
    value = tape.index(key_of(text, tape, option))
    if value is None:
        raise _unknown(tape, text, option)
    return value


WORDS = str.maketrans({letter: word for word, letter in GREEK.items()})


def _unknown(tape: Tape, text: str, option: str) -> ReadingError:
    """The error for a name that the composition does not have."""
    known = [name for name in tape.names if name] + [name for name, _ in tape.groups]
    hint = suggest(text, known) or suggest(text, [name.translate(WORDS) for name in known]) or f"its names are {list_names(known)}"
    if any(c in text.strip() for c in " ;"):
        hint = "separate names by commas"
    place = Place(Source(text or " ", option), 0, max(1, len(text)))
    return ReadingError(f"the composition has no name {text!r}", place, hint)
