"""Problems at a level, as text of the language: random, and the same for a seed on every machine.

Only :meth:`random.Random.random` is asked, whose sequence Python keeps for a seed in every version.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

_T = TypeVar("_T")

MOST_LAYERS = 8
"""Most layers of a problem: more is no exercise."""

ACTIVATIONS = ("tanh", "sigmoid", "relu", "σ")
SIZES = "nmkpqrsdo"


class Level(NamedTuple):
    """What a problem is about.

    Attributes:
        layers: how many follow each other.
        skip: whether a value goes around a layer, so that the chain rule has a sum.
        concrete: whether layers have definitions, and the end is a loss.
        shared: whether all layers have the same parameters.
        scalar: whether the end is a single number; concrete layers always end in one.
    """

    layers: int = 3
    skip: bool = False
    concrete: bool = False
    shared: bool = False
    scalar: bool = False


class Task(NamedTuple):
    """A composition and what to differentiate by: names, or a prefix that stands for all that bear it."""

    composition: str
    wrt: tuple[str, ...]


class Draws:
    """Random choices.

    >>> draws = Draws("7-1")
    >>> [draws.pick("abcdef") for _ in range(4)], draws.order([1, 2, 3, 4])
    (['d', 'd', 'f', 'b'], [4, 1, 2, 3])
    """

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed).random

    def pick(self, options: Sequence[_T]) -> _T:
        """One of several."""
        return options[int(self._random() * len(options))]

    def chance(self, probability: float) -> bool:
        """Whether something happens."""
        return self._random() < probability

    def order(self, options: Sequence[_T]) -> list[_T]:
        """All of them in any order."""
        rest = list(options)
        return [rest.pop(int(self._random() * len(rest))) for _ in options]


def set_task(seed: str, level: Level) -> Task:
    """The problem of a seed at a level.

    >>> set_task("7-1", Level(2))
    Task(composition='a1 = G1(x, θ1); a2 = G2(a1, θ2); C = ℓ(a2)', wrt=('θ',))
    >>> set_task("7-1", Level(2)) == set_task("7-1", Level(2)) != set_task("7-2", Level(2))
    True
    """
    draws = Draws(f"{seed}:{level.layers}{level.skip:d}{level.concrete:d}{level.shared:d}")
    if level.concrete:
        return _set_recurrent(draws, level) if level.shared else _set_network(draws, level)
    if level.shared or level.scalar or level.layers == 1 or draws.chance(0.7):
        return _set_equations(draws, level)
    return _set_nested(draws, level)


def _skips(draws: Draws, level: Level) -> frozenset[int]:
    """The layers that something goes around; at least one where there are skips, and not the first one if there are others."""
    if not level.skip:
        return frozenset()
    among = range(min(2, level.layers), level.layers + 1)
    first = draws.pick(among)
    if level.shared:  # each layer is a path of its own already
        return frozenset({first})
    return frozenset({first, *(layer for layer in among if draws.chance(0.4))})


# --- layers without a definition ---


def _set_nested(draws: Draws, level: Level) -> Task:
    """A nested text; what goes around a layer is the input, as a second argument."""
    layer, parameter, form = draws.pick("Lfg"), draws.pick("θθwβ"), draws.pick(("{}{}", "{}^{}"))
    skips = _skips(draws, level)
    text = "x"
    for k in range(1, level.layers + 1):
        around = ", x" if k in skips and k > 1 else ""
        text = f"{form.format(layer, k)}({text}{around}, {form.format(parameter, k)})"
    by_input = level.skip or draws.chance(0.2)  # the input's block has the sum
    return Task(text, (parameter, "x") if by_input and draws.chance(0.5) else ("x",) if by_input else (parameter,))


def _set_equations(draws: Draws, level: Level) -> Task:
    """Equations, one for each layer, and perhaps a loss."""
    value, layer, parameter = draws.pick("xhzau"), draws.pick("fgFG"), draws.pick("θθwWβ")
    form = draws.pick(("{}{}", "{}_{}", "{}_{{{}}}"))
    first = form.format(value, 0) if value != "x" and draws.chance(0.4) else "x"
    skips = _skips(draws, level)
    values, lines = [first], []
    for k in range(1, level.layers + 1):
        name = form.format(value, k)
        weights = parameter if level.shared else form.format(parameter, k)
        # ∂f/∂θ of one f at several points beside a sum would say too little
        function = layer if level.shared and not level.skip else form.format(layer, k)
        way = draws.pick(("residual", "residual", "beside", "far")) if k in skips and not level.shared else "residual"
        before, older = values[-1], values[-2] if k > 1 else ""
        if k not in skips:
            right = f"{function}({before}, {weights})"
        elif way == "residual" or k < 3:  # around the first two layers nothing that they have goes
            right = f"{before} + {draws.pick(('', '', '1/2 '))}{function}({before}, {weights})"
        elif way == "beside":
            right = f"{function}({before}, {older}, {weights})"
        else:
            right = f"{older} + {function}({before}, {weights})"
        lines.append(f"{name} = {right}")
        values.append(name)
    if level.layers == 1 or level.scalar or draws.chance(0.6):
        target = ", y" if draws.chance(0.3) else ""
        lines.append(f"{draws.pick('LLC')} = {draws.pick(('ℓ', 'ℓ', 'loss'))}({values[-1]}{target})")
    names = [parameter] if level.shared else [form.format(parameter, k) for k in range(1, level.layers + 1)]
    if level.skip and level.layers == 1:
        wrt = (first, *names)
    elif draws.chance(0.75):
        wrt = (parameter,) if len(names) > 1 else tuple(names)
    else:
        wrt = (draws.pick((names[0], first)),)
    return Task("; ".join(lines), wrt)


# --- layers with a definition ---


class _Names(NamedTuple):
    """The letters of a network and how an index stands at them."""

    weights: str
    bias: str
    sum: str
    value: str
    target: str
    form: str

    def at(self, letter: str, k: int) -> str:
        return self.form.format(letter, k)


def _name(draws: Draws) -> _Names:
    weights, bias = draws.pick((("W", "b"), ("W", "b"), ("A", "c"), ("V", "β")))
    return _Names(weights, bias, draws.pick("zzus"), draws.pick("hha"), draws.pick("yyt"), draws.pick(("{}{}", "{}_{}", "{}_{{{}}}")))


def _set_network(draws: Draws, level: Level) -> Task:
    """Affine maps with an activation between them, and a loss."""
    names, skips, bias = _name(draws), _skips(draws, level), draws.chance(0.75)
    activations = ("σ",) if draws.chance(0.25) else (draws.pick(ACTIVATIONS[:3]),) if draws.chance(0.6) else ACTIVATIONS[:3]
    sizes, lines, declared = draws.order(SIZES), list[str](), list[str]()
    before, size, parameters = "x", sizes.pop(), list[str]()
    loss = draws.pick(("half", "half", "square", "CE", "CE", "unspecified"))
    declared.append(f"x: {size}")
    for k in range(1, level.layers + 1):
        after = size if k in skips else sizes.pop()
        weights, shift = names.at(names.weights, k), names.at(names.bias, k)
        parameters += [weights, shift] if bias else [weights]
        declared += [f"{weights}: {after} x {size}", *([f"{shift}: {after}"] if bias else [])]
        affine = f"{weights} {before}" + (f" + {shift}" if bias else "")
        around = f"{before} + " if k in skips else ""
        if k == level.layers:
            last = names.at(names.sum, k) if loss == "CE" or draws.chance(0.5) else "ŷ"
            lines.append(f"{last} = {around}{affine}")
            before, size = last, after
            continue
        value, activation = names.at(names.value, k), draws.pick(activations)
        if draws.chance(0.75):
            lines.append(f"{names.at(names.sum, k)} = {affine}")
            affine = names.at(names.sum, k)
        lines.append(f"{value} = {around}{activation}({affine})")
        before, size = value, after
    lines += _lose(draws, names, loss, before, parameters[0], declared, size)
    if not level.skip and draws.chance(0.6):  # around a layer equal sizes have to be said: a sum may be of a number and an array
        declared = [line for line in declared if line.endswith("scalar")]
    return Task("; ".join([*lines, *declared]), _choose(draws, parameters, level))


def _lose(draws: Draws, names: _Names, loss: str, output: str, weights: str, declared: list[str], size: str) -> list[str]:
    """The lines of a loss; what it brings in is declared."""
    target = names.target
    penalty = ""
    if draws.chance(0.2):
        penalty = f" + λ/2 ||{weights}||^2"
        declared.append("λ: scalar")
    if loss == "unspecified":
        declared.append("L: scalar")
        return [f"L = ℓ({output}){penalty}"]
    declared.append(f"{target}: {size}")
    if loss != "CE":
        factor = "1/2 " if loss == "half" else ""
        return [f"L = {factor}||{output} - {target}||^2{penalty}"]
    if draws.chance(0.7):
        return [f"p = softmax({output})", f"L = CE(p, {target}){penalty}"]
    return [f"L = CE(softmax({output}), {target}){penalty}"]


def _choose(draws: Draws, parameters: Sequence[str], level: Level) -> tuple[str, ...]:
    """One to three variables in their order, among them one from which the way is longest."""
    first = "x" if level.skip and level.layers == 1 else parameters[0]
    others = [name for name in ("x", *parameters) if name != first]
    chosen = {first, *draws.order(others)[: draws.pick((0, 1, 1, 2))]}
    return tuple(name for name in ("x", *parameters) if name in chosen)


def _set_recurrent(draws: Draws, level: Level) -> Task:
    """The same weights at each step, with an input each."""
    names, skips, bias = _name(draws), _skips(draws, level), draws.chance(0.6)
    activation = draws.pick(ACTIVATIONS)
    weights, inputs, shift = names.weights, "U", names.bias
    old, size, width = names.at(names.value, 0), "n", "d"
    declared = [f"{weights}: {size} x {size}", f"{inputs}: {size} x {width}", f"{old}: {size}"]
    declared += [f"{shift}: {size}"] if bias else []
    lines = []
    for k in range(1, level.layers + 1):
        declared.append(f"{names.at('x', k)}: {width}")
        lines.append(f"{names.at(names.sum, k)} = {weights} {old} + {inputs} {names.at('x', k)}" + (f" + {shift}" if bias else ""))
        around = f"{old} + " if k in skips else ""
        old = names.at(names.value, k)
        lines.append(f"{old} = {around}{activation}({names.at(names.sum, k)})")
    lines += _lose(draws, names, draws.pick(("half", "square", "unspecified")), old, weights, declared, size)
    parameters = [weights, inputs, *([shift] if bias else [])]
    first = names.at(names.value, 0) if level.skip and level.layers == 1 else weights
    chosen = {first, *draws.order(parameters)[: draws.pick((0, 1, 1))]}
    return Task("; ".join([*lines, *declared]), tuple(name for name in (names.at(names.value, 0), *parameters) if name in chosen))
