"""Which regular expressions RE2 refuses, without RE2.

ClickHouse matches with RE2, which has no look-around, back-references, atomic groups, conditionals, recursion or possessive
quantifiers. One pass over the pattern finds those, and what no engine takes: unbalanced brackets and a quantifier with
nothing to repeat. It does not know every rule: what it lets through may still be refused.
"""

import re
from typing import Final

_ESCAPES: Final = frozenset("AzbBdDsSwWpPxQCafnrtv")
"""Letters that mean something after a backslash; any other letter is refused, any punctuation matches itself."""
_QUANTIFIER: Final = re.compile(r"[*+?]|\{(\d+)(,(\d*))?\}")
_GROUP: Final = re.compile(r"\?(?:P?<[A-Za-z_]\w*>|[imsU]*(?:-[imsU]+)?:)")
_FLAGS: Final = re.compile(r"\(\?[imsU]*(?:-[imsU]+)?\)")
_MOST_REPEATS: Final = 1000


def groups_of(pattern: str) -> int:
    """The number of capturing groups.

    Raises:
        ValueError: RE2 does not compile the pattern.
    """
    place, depth, groups = 0, 0, 0
    repeatable = False
    while place < len(pattern):
        char = pattern[place]
        if match := _FLAGS.match(pattern, place):
            place, repeatable = match.end(), False
        elif char == "(":
            match = _GROUP.match(pattern, place + 1)
            if match is None and pattern.startswith("?", place + 1):
                raise ValueError(f"invalid perl operator: {pattern[place : place + 4]}")
            groups += match is None or "<" in match[0]
            depth += 1
            place, repeatable = match.end() if match else place + 1, False
        elif char == ")":
            depth -= 1
            if depth < 0:
                raise ValueError("unexpected )")
            place, repeatable = place + 1, True
        elif char == "|":
            place, repeatable = place + 1, False
        elif match := _QUANTIFIER.match(pattern, place):
            if not repeatable:
                raise ValueError(f"bad repetition operator: {match[0]}")
            _check_repeats(match)
            place = match.end() + pattern.startswith("?", match.end())  # a lazy one
            repeatable = False
        else:
            place, repeatable = _after_one(pattern, place), True
    if depth:
        raise ValueError("missing )")
    return groups


def references_in(replacement: str) -> list[int]:
    """The numbers of the groups that a replacement refers to."""
    return [int(number) for number in re.findall(r"\\(\d)", replacement)]


def _check_repeats(match: re.Match[str]) -> None:
    least, most = match[1], match[3]
    if least and (int(least) > _MOST_REPEATS or (most and not int(least) <= int(most) <= _MOST_REPEATS)):
        raise ValueError(f"bad repetition operator: {match[0]}")


def _after_one(pattern: str, place: int) -> int:
    """The place after one character, escape or class."""
    if pattern[place] == "\\":
        return _after_escape(pattern, place)
    return _after_class(pattern, place) if pattern[place] == "[" else place + 1


def _after_escape(pattern: str, place: int) -> int:
    letter = pattern[place + 1 : place + 2]
    if not letter:
        raise ValueError("trailing \\")
    if letter == "Q":
        end = pattern.find("\\E", place)
        return len(pattern) if end < 0 else end + 2
    octal = letter == "0" or (letter in "1234567" and pattern[place + 2 : place + 3] in tuple("01234567"))
    if letter.isalnum() and letter not in _ESCAPES and not octal:
        raise ValueError(f"invalid escape sequence: \\{letter}")
    return place + 2


def _after_class(pattern: str, place: int) -> int:
    opened = place
    place += 2 if pattern.startswith("^", place + 1) else 1
    first = place
    while place < len(pattern):
        if pattern[place] == "]" and place > first:
            return place + 1
        if pattern.startswith("[:", place) and (end := pattern.find(":]", place)) > 0:
            place = end + 2
        else:
            place = _after_escape(pattern, place) if pattern[place] == "\\" else place + 1
    raise ValueError(f"missing ]: {pattern[opened:]}")
