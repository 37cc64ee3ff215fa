"""Answers that a real PostHog server gave: a sample kept here, or all of them where ``POSTHOG_RECORDINGS`` names them."""

import json
import os
from pathlib import Path
from typing import Any, Final

import attrs

FIXTURE: Final = Path(__file__).with_name("fixture.jsonl")


@attrs.frozen
class Recorded:
    """One request and its answer.

    Attributes:
        case: Its name.
        credential: The kind of credential that was used, such as ``star`` for a key with scope ``*``.
        method: The verb.
        path: Path and query.
        headers_sent: The headers that were sent; credentials stand as ``<key:NAME>``.
        sent: The JSON that was sent; None for none.
        content: What was sent where it was no JSON.
        status: The status.
        headers: The headers that were kept, in lower case.
        json: The body, where it was JSON.
        text: The body, where it was not.
    """

    case: str
    credential: str
    method: str
    path: str
    headers_sent: dict[str, str]
    sent: Any
    content: str | None
    status: int
    headers: dict[str, str]
    json: Any
    text: str | None

    @property
    def body(self) -> bytes:
        """The body as it went over the wire."""
        return (self.text or "").encode() if self.json is None else json.dumps(self.json).encode()


def recordings() -> Path | None:
    """The file with all of them, where there is one."""
    given = os.environ.get("POSTHOG_RECORDINGS")
    if not given:
        return None
    path = Path(given)
    return next(iter(sorted(path.glob("*.jsonl")))) if path.is_dir() else path


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The lines of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def load(path: Path | None = None) -> list[Recorded]:
    """What a file holds; by default all recordings where they are at hand, else the sample."""
    return [_read(row) for row in rows_of(path or recordings() or FIXTURE)]


def _read(row: dict[str, Any]) -> Recorded:
    request, response = row["request"], row["response"]
    body: Any = response.get("json")
    text: str | None = response.get("text")
    if isinstance(body, dict) and "_text" in body:
        text = body["_text"]
        body = None
    return Recorded(
        case=row["case"],
        credential=row["credential"],
        method=request["method"],
        path=request["path"],
        headers_sent=request.get("headers") or {},
        sent=request.get("json"),
        content=request.get("content"),
        status=response["status"],
        headers={name.lower(): value for name, value in response.get("headers", {}).items()},
        json=body,
        text=text,
    )
