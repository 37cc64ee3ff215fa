"""Answers of real PostHog servers: samples kept here, and all of them where ``POSTHOG_RECORDINGS`` names their folder."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

FIXTURE: Final = Path(__file__).with_name("fixture.jsonl")
FIXTURES: Final[Mapping[str, Path]] = {"2024-10": FIXTURE, "2025-08": FIXTURE.with_name("fixture-2025-08.jsonl")}
"""The sample of each server, by the era that it belongs to."""


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


def recordings(era: str) -> Path | None:
    """The file with all answers of a server, where it is at hand."""
    given = os.environ.get("POSTHOG_RECORDINGS")
    return Path(given) / f"posthog-{era}.jsonl" if given else None


def recordings_or_skip(era: str) -> Path:
    """The same, for a test that needs it."""
    source = recordings(era)
    if source is None:
        pytest.skip("POSTHOG_RECORDINGS does not name the recordings; only the samples were used")
    return source


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The lines of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def load(path: Path) -> list[Recorded]:
    """What a file holds."""
    return [_read(row) for row in rows_of(path)]


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
