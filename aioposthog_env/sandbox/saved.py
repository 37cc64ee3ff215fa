"""A scene as plain JSON, so that a team can keep its own."""

import random
from datetime import datetime
from typing import Any, Final

import attrs

from aioposthog_env.sandbox.eras import ERAS
from aioposthog_env.sandbox.state import SandboxEnvironment, SandboxUser, State, Token

VERSION: Final = 1


def dump(state: State) -> dict[str, Any]:
    """Everything that a scene holds."""
    people = {id(user): number for number, user in enumerate(state.users)}
    return {
        "version": VERSION,
        "era": next(name for name, rules in ERAS.items() if rules is state.rules),
        "users": [attrs.asdict(user) for user in state.users],
        "environments": [_as_json(attrs.asdict(one)) for one in state.environments.values()],
        "tokens": [
            attrs.asdict(token, filter=attrs.filters.exclude("user")) | {"user": people[id(token.user)]}
            for token in state.tokens.values()
        ],
        "sessions": [[id_, csrf, people[id(user)]] for id_, (csrf, user) in state.sessions.items()],
        "secrets": sorted(state.secrets),
        "effects": [[what, number, count] for (what, number), count in state.effects.items()],
        "next_id": state.next_id,
        "clock": state.clock.isoformat(),
    }


def _as_json(stored: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in stored.items()}


def restored(saved: dict[str, Any], rng: random.Random) -> State:
    """The scene that was saved.

    Raises:
        ValueError: It was saved by a version that is not known, or is no scene.
    """
    if saved.get("version") != VERSION or saved.get("era") not in ERAS:
        raise ValueError("This is no scene that this version can read.")
    state = State(ERAS[saved["era"]], rng)
    state.users = [SandboxUser(**(user | {"levels": dict(user["levels"])})) for user in saved["users"]]
    for one in saved["environments"]:
        times = {name: datetime.fromisoformat(one[name]) for name in ("created_at", "updated_at")}
        state.environments[one["id"]] = SandboxEnvironment(**(one | times))
    for token in saved["tokens"]:
        limits = {name: tuple(token[name]) for name in ("scopes", "projects", "organizations")}
        state.tokens[token["value"]] = Token(**(token | limits | {"user": state.users[token["user"]]}))
    state.sessions = {id_: (csrf, state.users[user]) for id_, csrf, user in saved["sessions"]}
    state.secrets = set(saved["secrets"])
    state.effects.update({(what, number): count for what, number, count in saved["effects"]})
    state.next_id = saved["next_id"]
    state.clock = datetime.fromisoformat(saved["clock"])
    return state
