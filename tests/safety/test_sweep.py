"""The search for secrets finds the ones that are planted, whole or in part, wherever it looks."""

import logging
import pickle
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest

from aioposthog_env import BulkError, ConfigurationError, Environment, EnvironmentRef, Outcome, Sandbox, Secret, TransportError
from aioposthog_env.telemetry import StyleFound
from tests.sweep import PART, Sweep

LOG = logging.getLogger("aioposthog_env")


def issued() -> str:
    """A secret that a sandbox has just issued."""
    return Sandbox(0, seed=987).key()


def raised_from(cause: Exception) -> None:
    try:
        raise TransportError("harmless") from cause
    except TransportError:
        pass


PLACES: dict[str, Callable[[str], object]] = {
    "a log line": lambda secret: LOG.debug("sent %s", secret),
    "a log line's extra": lambda secret: LOG.debug("sent", extra={"header": secret}),
    "an aiohttp log line": lambda secret: logging.getLogger("aiohttp.client").debug("Bearer %s", secret),
    "an error": lambda secret: ConfigurationError(f"no key {secret}"),
    "an error's attribute": lambda secret: BulkError("failed", report={"key": secret}),
    "an environment": lambda secret: Environment(id=1, name=secret),
    "an outcome": lambda secret: Outcome(ref=EnvironmentRef(1), status="failed", value=secret),
    "a record for hooks": lambda secret: StyleFound(host=secret, style="root", era="current"),
    "a traceback": lambda secret: raised_from(ValueError(secret)),
}


@attrs.define
class Holder:
    """What a frame of ours might hold."""

    secret: str


@pytest.mark.parametrize("holding", [str, Holder, lambda secret: {"key": [secret]}], ids=["text", "object", "container"])
def test_a_secret_in_a_local_variable_is_found(holding: Callable[[str], object], sweep: Sweep) -> None:
    secret = issued()
    # In a frame that is not one of the tests': those hold what they plant.
    names: dict[str, Any] = {"ConfigurationError": ConfigurationError, "holding": holding}
    # Each with a constant of its own, since few errors of one way are looked at.
    first = f"def refuse(secret):\n    held, way = holding(secret), {uuid.uuid4().hex!r}\n"
    source = f"{first}    del secret\n    raise ConfigurationError('no')"
    exec(compile(source, "ours.py", "exec"), names)
    assert sweep.look(None) == []
    with pytest.raises(ConfigurationError):
        names["refuse"](secret)
    found = sweep.look(None)
    assert found
    assert not any(secret in text for text in found)
    for _ in range(5):  # the same way many times is looked at a few times
        with pytest.raises(ConfigurationError):
            names["refuse"](issued())
    sweep.look(None)


@pytest.mark.parametrize("place", PLACES)
def test_a_planted_secret_is_found(place: str, sweep: Sweep) -> None:
    secret = issued()
    for planted in (secret, secret[7 : 7 + PART], f"x{secret[-PART:]}y"):
        assert sweep.look(None) == []
        PLACES[place](planted)
        found = sweep.look(None)
        assert found, planted
        assert not any(planted in text for text in found)
        PLACES[place](planted[: PART - 1])
        assert sweep.look(None) == []


def test_a_planted_secret_is_found_in_files(tmp_path: Path, sweep: Sweep) -> None:
    secret = issued()
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "plan.json").write_text(f'{{"token": "{secret}"}}')
    (inner / "pickled").write_bytes(pickle.dumps({"token": secret}))
    with closing(sqlite3.connect(inner / "run.db")) as db:
        db.execute("CREATE TABLE items (token TEXT)")
        db.execute("INSERT INTO items VALUES (?)", (secret,))
        db.commit()
    (inner / "secrets.jsonl").write_text(secret)
    (inner / "clean").write_bytes(pickle.dumps(Secret(secret)))
    assert {Path(found).name for found in sweep.look(tmp_path)} == {"plan.json", "pickled", "run.db"}
    for file in inner.iterdir():
        file.unlink()
