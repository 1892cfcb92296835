"""Boolean functions as Liberty files write them."""

import itertools
import re
from collections.abc import Sequence

from penstock.errors import PenstockError


def truth_table(text: str, names: Sequence[str]) -> list[bool]:
    """Values of a function for all values of its inputs, the last one changing fastest.

    ``!a`` and ``a'`` invert; ``&``, ``*`` and a blank are AND, ``^`` XOR, ``+`` and ``|`` OR, in
    this order. Raises PenstockError for anything else.

    >>> truth_table("(!A) | (!B)", ["A", "B"])
    [True, True, True, False]
    """
    tokens = re.findall(r"[\w\[\]]+|\S", text)
    rows = itertools.product((False, True), repeat=len(names))
    return [_Reader(text, tokens, dict(zip(names, row, strict=True))).value() for row in rows]


class _Reader:
    """Evaluates a function's tokens for given values of its inputs."""

    def __init__(self, text: str, tokens: list[str], inputs: dict[str, bool]):
        self.text, self.tokens, self.position = text, tokens, 0
        self.values = {"0": False, "1": True} | inputs

    def value(self) -> bool:
        result = self._or()
        if self.position < len(self.tokens):
            raise self._error()
        return result

    def _next(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def _take(self) -> str:
        self.position += 1
        return self.tokens[self.position - 1]

    def _error(self) -> PenstockError:
        return PenstockError(f"function must be of input pins and operators, not {self.text!r}")

    def _or(self) -> bool:
        result = self._xor()
        while self._next() in ("+", "|"):
            self._take()
            result |= self._xor()
        return result

    def _xor(self) -> bool:
        result = self._and()
        while self._next() == "^":
            self._take()
            result ^= self._and()
        return result

    def _and(self) -> bool:
        result = self._not()
        while self._next() not in ("", ")", "+", "|", "^"):
            if self._next() in ("&", "*"):
                self._take()
            result &= self._not()
        return result

    def _not(self) -> bool:
        token = self._next()
        if token == "!":
            self._take()
            return not self._not()
        if token == "(":
            self._take()
            result = self._or()
            if self._next() != ")":
                raise self._error()
        elif token in self.values:
            result = self.values[token]
        else:
            raise self._error()
        self._take()
        while self._next() == "'":
            self._take()
            result = not result
        return result
