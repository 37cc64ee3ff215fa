"""Texts from outside, without the secrets in them.

A server, or a gateway before it, may repeat in an error what it was sent: a header, a body, a key. Three things are hidden:
what the caller knows to be secret, whole; each longer part of it, since texts are cut off; and whatever looks like one of
PostHog's tokens, whoever it belongs to.
"""

import html
import re
from collections.abc import Collection, Iterable
from typing import Final
from urllib.parse import quote

import msgspec

HIDDEN: Final = "[hidden]"
_PART: Final = 12
"""Characters of a secret that are too many to show."""
_SHORTEST: Final = 4
"""Characters of a secret that is searched for. A shorter one would blot out parts of every word."""
_TOKEN: Final = re.compile(r"ph(?!c_)[a-z]_[A-Za-z0-9_-]{10,}")
"""A token by its prefix. ``phc_`` is a project's own, which is public."""


def without_secrets(text: str, hidden: Collection[str] = ()) -> str:
    """A text that repeats no secret: not as it is, nor escaped for a page, an address, JSON or Python.

    Args:
        text: The text, which should be short: the work grows with its length.
        hidden: What is not to be repeated. Of texts of 12 and more characters, no part of 12 is, either. Texts of fewer than
            four characters are not searched for.
    """
    forms = {form for secret in hidden if len(secret) >= _SHORTEST for form in _forms(str(secret))}
    spans = [(found.start(), found.end()) for found in _TOKEN.finditer(text)]
    spans += _parts(text, [form for form in forms if len(form) >= _PART])
    for form in forms:
        if len(form) < _PART:
            spans += [(found.start(), found.end()) for found in re.finditer(re.escape(form), text)]
    return _blotted(text, spans)


def _forms(secret: str) -> tuple[str, ...]:
    as_json = msgspec.json.encode(secret).decode()[1:-1]
    return secret, html.escape(secret), as_json, repr(secret)[1:-1], quote(secret, safe="")


def _parts(text: str, forms: Iterable[str]) -> list[tuple[int, int]]:
    """Where parts of the forms stand in a text."""
    parts = {form[at : at + _PART] for form in forms for at in range(len(form) - _PART + 1)}
    return [(at, at + _PART) for at in range(len(text) - _PART + 1) if text[at : at + _PART] in parts]


def _blotted(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """The text with the spans hidden; those that touch as one."""
    pieces: list[str] = []
    shown_from = 0
    for start, end in sorted(spans):
        if start > shown_from or not pieces:
            pieces += [text[shown_from:start], HIDDEN]
        shown_from = max(shown_from, end)
    return "".join([*pieces, text[shown_from:]])
