"""An answer written out again as it was understood: the same factors in the same order, in the names that were typed."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from jacobian_chain.answer import Answer, Atom
from jacobian_chain.evaluate import Setting
from jacobian_chain.problem import Part
from jacobian_chain.render import write_value
from jacobian_chain.tokens import Spelling
from jacobian_chain.writers import LatexWriter, TextWriter, Writer

MAX_WRITTEN = 2_000
"""After how many pieces definitions are no longer written out, but called by their names."""

MAX_VALUES = 200
"""Most values in one evaluation point that are written out."""

_TIGHT = frozenset({"letter", "value", "zero", "identity", "ones", "grid"})
"""What needs no brackets under a transpose."""


class Transcriber:
    """Writes parts of an answer under one reading, in one language."""

    def __init__(self, answer: Answer, setting: Setting, writer: Writer) -> None:
        self.answer = answer
        self.problem = answer.problem
        self.setting = setting
        self.writer = writer
        self.labels = answer.vocabulary.labels
        self.spellings = {name.key: name for name in answer.program.names.spellings.values()}

    def write(self, root: int) -> str:
        """A part with everything below it."""
        parts, signs = self.answer.parts, self.writer.signs
        written: list[str] = []
        stack: list[int | str] = [root]
        while stack:
            item = stack.pop()
            if isinstance(item, str):
                written.append(item)
                continue
            part = parts[item]
            if part.kind == "name" and len(written) < MAX_WRITTEN:
                stack.extend(reversed(self.bracketed(part.args[0], ("sum", "negate", "hadamard"))))
            elif part.kind in ("derivative", "name", "value", "letter", "zero", "identity", "known"):
                written.append(self.leaf(part))
            elif part.kind == "number":
                written.append(self.number(part))
            elif part.kind == "transpose":
                stack.extend(reversed(self.transposed(part.args[0])))
            elif part.kind == "negate":
                stack.extend(reversed(["-", *self.bracketed(part.args[0], ("sum", "negate"))]))
            elif part.kind in ("product", "hadamard"):
                sign = signs.dot if part.kind == "product" else (r" \odot " if isinstance(self.writer, LatexWriter) else " ⊙ ")
                pieces: list[int | str] = []
                for arg in part.args:
                    pieces += [sign] if pieces else []
                    inside = ("sum", "negate", "hadamard") if part.kind == "product" else ("sum", "negate")
                    pieces += self.bracketed(arg, inside)
                stack.extend(reversed(pieces))
            elif part.kind == "sum":
                terms: list[int | str] = []
                for arg in part.args:
                    negative = parts[arg].kind == "negate"
                    terms += [(" - " if negative else " + ") if terms else ("-" if negative else "")]
                    terms += self.bracketed(parts[arg].args[0] if negative else arg, ("sum", "negate"))
                stack.extend(reversed(terms))
            else:
                stack.extend(reversed(self.grid(part)))
        return "".join(written)

    def bracketed(self, index: int, kinds: Sequence[str]) -> list[int | str]:
        """A part, in brackets if it is of certain kinds."""
        if self.answer.parts[index].kind in kinds:
            return [self.writer.signs.open, index, self.writer.signs.close]
        return [index]

    def transposed(self, index: int) -> list[int | str]:
        """A part under a transpose."""
        part, signs = self.answer.parts[index], self.writer.signs
        if part.kind in _TIGHT:
            return [index, signs.transpose]
        return [signs.open, index, signs.close, signs.transpose]

    def grid(self, part: Part) -> list[int | str]:
        """Blocks: one row between bars, several as a matrix."""
        assert isinstance(part.value, tuple)
        lengths: tuple[int, ...] = part.value
        latex = isinstance(self.writer, LatexWriter)
        if len(lengths) == 1:
            pieces: list[int | str] = [self.writer.signs.open]
            for k, arg in enumerate(part.args):
                pieces += [self.writer.signs.bar, arg] if k else [arg]
            return [*pieces, self.writer.signs.close]
        pieces = [r"\begin{pmatrix} " if latex else "[ "]
        start = 0
        for row, length in enumerate(lengths):
            pieces += [r" \\ " if latex else "; "] if row else []
            for k in range(length):
                pieces += [" & " if latex else ", "] if k else []
                pieces.append(part.args[start + k])
            start += length
        return [*pieces, r" \end{pmatrix}" if latex else " ]"]

    def number(self, part: Part) -> str:
        value = Fraction(str(part.value)) if isinstance(part.value, int | Fraction) else Fraction(0)
        return ("-" if value < 0 else "") + self.writer.number(abs(value))

    def leaf(self, part: Part) -> str:
        """What is written without a look at anything below."""
        signs = self.writer.signs
        if part.kind == "derivative":
            assert isinstance(part.value, int)
            return self.atom(self.answer.atoms[part.value])
        if part.kind == "value":
            assert isinstance(part.value, int)
            return self.value(part.value)
        if part.kind == "name":
            assert isinstance(part.value, Spelling)
            return self.writer.name(part.value)
        if part.kind == "zero":
            return signs.zero
        if part.kind == "identity":
            return signs.identity
        if part.kind == "letter":
            assert isinstance(part.value, int)
            letter = self.problem.alphabet.letters[part.value >> 1]
            return self.value(letter.slot) if letter.kind == "value" else letter.name
        return "…"

    def atom(self, atom: Atom) -> str:
        """A derivative in its own notation; a ∂ that is read as total is written d."""
        signs = self.writer.signs
        chosen = self.setting.choices.get(atom.symbol, 0) % max(1, len(atom.meanings))
        meaning = atom.meanings[chosen] if atom.meanings else ""
        by = ", ".join(self.writer.name(name) for name in atom.by or ())
        at = "" if atom.at is None else f"({', '.join(self.value(value) for value in atom.at)})"
        composite = False
        if isinstance(atom.of, Spelling):
            of = self.writer.name(atom.of)
        elif isinstance(atom.of, int):
            made = self.application(atom.of)
            on_tape = atom.of < len(self.problem.tape.names)
            composite = made is None or meaning == "the Jacobian of the composite" or (on_tape and not meaning and atom.at is None)
            if made is not None and (not composite or atom.sign == "slot"):
                composite = False
                of, at = self.layer(made[0]), f"({', '.join(self.value(value) for value in made[1])})"
            else:
                of = self.value(atom.of)
        else:
            of, composite = ", ".join(self.value(value) for value in atom.of), True
        if atom.sign in ("∂", "d"):
            sign = signs.upright if atom.sign == "d" or meaning == "the total derivative" else signs.partial
            of = self.writer.transposed(of) if atom.turned is True else of
            by = self.writer.transposed(by) if atom.turned is False else by
            top = f"{sign}({of})" if composite and ("(" in of or "," in of) else sign + of
            text = self.writer.fraction(top, sign + (f"({by})" if len(atom.by or ()) > 1 else by))
            return text + at if not at or self.writer.stacks_fractions else f"({text}){at}"
        if atom.sign == "'":
            return f"{of}'{at}"
        if atom.sign == "slot":
            head = self.writer.below_operator(signs.partial.strip(), str(atom.slot))
        else:
            head = "J" if atom.sign == "J" else signs.nabla
            head = self.writer.below_operator(head, by) if by else head
        if composite:
            return f"{head} [{of}]" if "(" in of or "," in of else f"{head} {of}"
        return f"({head} {of}){at}" if at else f"{head} {of}"

    def application(self, value: int) -> tuple[str, tuple[int, ...]] | None:
        """The layer and the arguments that a value is."""
        made = self.problem.made.get(value)
        if made is not None:
            return made
        step = self.problem.tape.step(value) if value < len(self.problem.tape.names) else None
        return (step.name, step.inputs) if step is not None and step.operation == "layer" else None

    def layer(self, key: str) -> str:
        return self.writer.name(self.spellings.get(key) or self.labels.name(key))

    def value(self, value: int) -> str:
        """A value by its name, or written out; what is very long is cut short."""
        pieces: list[str] = []
        stack: list[int | str] = [value]
        while stack:
            item = stack.pop()
            if isinstance(item, str):
                pieces.append(item)
            elif item in self.problem.made and len(pieces) < MAX_VALUES:
                layer, arguments = self.problem.made[item]
                inner: list[int | str] = [f"{self.layer(layer)}("]
                for k, argument in enumerate(arguments):
                    inner += [", ", argument] if k else [argument]
                stack.extend(reversed([*inner, ")"]))
            elif item in self.problem.sums and len(pieces) < MAX_VALUES:
                terms: list[int | str] = []
                for term, number in self.problem.sums[item]:
                    sign = ("-" if number < 0 else "") if not terms else (" - " if number < 0 else " + ")
                    terms += [sign, "" if abs(number) == 1 else f"{self.writer.number(abs(number))} ", term]
                stack.extend(reversed(terms))
            else:
                pieces.append(self.plain_value(item))
        return "".join(pieces)

    def plain_value(self, value: int) -> str:
        """A value of the tape."""
        tape = self.problem.tape
        if value >= len(tape.names):
            return "…"
        if tape.names[value]:
            return self.writer.name(self.spellings.get(tape.names[value]) or self.labels.name(tape.names[value]))
        return write_value(tape, value, self.writer, self.labels)


def write_latex(answer: Answer, root: int, setting: Setting) -> str:
    """A part as LaTeX."""
    return Transcriber(answer, setting, LatexWriter()).write(root)


def write_text(answer: Answer, root: int, setting: Setting, ascii: bool = False) -> str:
    """A part as text for a terminal."""
    return Transcriber(answer, setting, TextWriter(ascii=ascii)).write(root)
