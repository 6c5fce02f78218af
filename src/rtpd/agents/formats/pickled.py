"""Pickles taken apart instruction by instruction, with nothing in them run.

Python's unpickler calls whatever a pickle names. Here a `PickleReader` says which instructions it
follows and what becomes of a name and of a call; all others are refused.
"""

import pickletools
from abc import ABC, abstractmethod
from typing import Any, ClassVar

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_INTEGERS_AND_TEXT = frozenset("BININT BININT1 BININT2 BINUNICODE SHORT_BINUNICODE".split())


class PickleReader(ABC):
    """What a kind of pickle may hold, beside dicts, tuples, whole numbers, text and calls."""

    values: ClassVar[frozenset[str]] = frozenset()  # further instructions that give a value
    others: ClassVar[frozenset[str]] = frozenset()  # of lists, objects and persistent ids

    @abstractmethod
    def name(self, module: object, name: object) -> object:
        """What stands for a name."""

    @abstractmethod
    def call(self, called: Any, given: Any) -> object:  # noqa: ANN401
        """What stands for what calling it would give."""

    @abstractmethod
    def build(self, made: Any, state: object) -> None:  # noqa: ANN401
        """Give its state to what was made."""

    def persistent(self, key: object) -> object:
        """What a persistent id stands for."""
        raise LookupError(key)

    def refused(self, instruction: str) -> Exception:
        """What is raised at an instruction that is not followed."""
        return ValueError(f"pickle instruction {instruction}")


def follow(pickle: bytes, reader: PickleReader) -> object:
    """What a pickle makes, as its reader has it.

    Raises:
        LookupError, TypeError, ValueError, AttributeError, OverflowError: if it makes no sense.
        Exception: what the reader raises, also at an instruction that it does not follow.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[Any, Any] = {}

    def taken(start: int) -> list[Any]:
        items = stack[start:]
        del stack[start:]
        return items

    for opcode, arg, _ in pickletools.genops(pickle):
        match opcode.name:
            case "PROTO" | "FRAME":
                pass
            case name if name in _INTEGERS_AND_TEXT | reader.values:
                stack.append(arg)
            case name if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case "EMPTY_DICT":
                stack.append({})
            case "MARK":
                marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(taken(marks.pop())))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(taken(-int(opcode.name[-1]))))
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINPUT" | "LONG_BINPUT":
                memo[arg] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[arg])
            case "GLOBAL":
                stack.append(reader.name(*str(arg).split(" ", 1)))
            case "STACK_GLOBAL":
                stack.append(reader.name(*taken(-2)))
            case "REDUCE":
                stack.append(reader.call(*taken(-2)))
            case "SETITEM" | "SETITEMS":
                items = taken(-2 if opcode.name == "SETITEM" else marks.pop())
                _put(stack[-1], items)
            case "BUILD":
                state = stack.pop()
                reader.build(stack[-1], state)
            case "STOP":
                return stack.pop()
            case other if other not in reader.others:
                raise reader.refused(other)
            case "NEWOBJ":
                stack.append(reader.call(*taken(-2)))
            case "BINPERSID":
                stack.append(reader.persistent(stack.pop()))
            case "EMPTY_LIST":
                stack.append([])
            case "APPEND" | "APPENDS":
                items = taken(-1 if opcode.name == "APPEND" else marks.pop())
                stack[-1].extend(items)
    raise ValueError("it has no end")


def _put(target: object, items: list[Any]) -> None:
    """Add keys and values in turn; keys are text, since hashing deep tuples can end the process."""
    keys, values = items[::2], items[1::2]
    if not isinstance(target, dict) or not all(isinstance(key, str) for key in keys):
        raise TypeError("a dict is damaged")
    target.update(zip(keys, values, strict=True))
