"""An outcome on its way back through the queue: JSON without values, so that reading it runs no code and shows no secret."""

from typing import Any, Final

import msgspec

from aioposthog_env import errors
from aioposthog_env.bulk.outcome import Outcome
from aioposthog_env.errors import PostHogEnvError
from aioposthog_env.models.environment import EnvironmentRef

_LEFT_OUT: Final = {"environment", "report"}
"""Attributes of errors that hold what a server has sent."""


def to_json(outcome: Outcome[None]) -> str:
    """The outcome as a text."""
    plain = {
        "environment": outcome.ref.id,
        "project": outcome.ref.project_id,
        "status": outcome.status,
        "reason": outcome.reason,
        "not_applied": outcome.not_applied,
        "attempts": outcome.attempts,
        "waited": outcome.waited,
        "digests": outcome.digests,
        "error": None if outcome.error is None else _error_to_json(outcome.error),
    }
    return msgspec.json.encode(plain).decode()


def from_json(text: str | bytes) -> Outcome[None]:
    """The outcome of a text.

    Raises:
        ValueError: It holds none; also other errors of wrong data.
    """
    value: dict[str, Any] = msgspec.json.decode(text)
    return Outcome(
        ref=EnvironmentRef(value["environment"], value["project"]),
        status=value["status"],
        reason=value["reason"],
        error=None if value["error"] is None else _error_from_json(value["error"]),
        not_applied=tuple(value["not_applied"]),
        attempts=value["attempts"],
        waited=value["waited"],
        digests=value["digests"],
    )


def _error_to_json(error: PostHogEnvError) -> dict[str, Any]:
    state = {name: value for name, value in vars(error).items() if name not in _LEFT_OUT}
    return {"type": type(error).__name__, "state": msgspec.to_builtins(state, enc_hook=str)}


def _error_from_json(value: dict[str, Any]) -> PostHogEnvError:
    """An error of ours by its name; any other name is one that a newer worker has, and becomes the common one."""
    name, state = value["type"], value["state"]
    kind = getattr(errors, name) if name in errors.__all__ else PostHogEnvError
    error: PostHogEnvError = kind.__new__(kind, state["message"])
    error.args = (state["message"],)
    vars(error).update({key: _frozen(key, item) for key, item in state.items()})
    if kind is errors.SettingsNotAppliedError:
        vars(error)["environment"] = None
    return error


def _frozen(key: str, item: Any) -> Any:
    if not isinstance(item, list):
        return item
    return frozenset(item) if key == "missing" else tuple(_frozen("", part) for part in item)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
