"""Reading the body of a request as Django REST framework does."""

import json
from typing import Any
from urllib.parse import parse_qsl

import attrs
import msgspec

from aioposthog_env.sandbox.errors import Problem, crash


@attrs.frozen
class Unreadable:
    """A body that cannot be read. It is refused when an action wants it, not before."""

    problem: Problem


def read_body(raw: bytes, content_type: str) -> Any:
    """The value of a body: JSON, a form, ``{}`` for none, or ``Unreadable``."""
    if not raw:
        return {}
    if "x-www-form-urlencoded" in content_type:
        return dict(parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True))
    if content_type and "json" not in content_type:
        detail = f'Unsupported media type "{content_type}" in request.'
        return Unreadable(Problem(415, "invalid_request", "unsupported_media_type", detail))
    try:
        return msgspec.json.decode(raw)
    except RecursionError:
        return Unreadable(crash())
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Unreadable(Problem(400, "invalid_request", "parse_error", f"JSON parse error - {_why(raw)}"))


def _why(raw: bytes) -> str:
    """The sentence of the standard library, which is what the real server quotes."""
    try:
        json.loads(raw)
    except (ValueError, RecursionError) as error:
        return str(error) or type(error).__name__
    return "not JSON"
