"""What replaces tokens."""

from typing import Any

from aioposthog_env.sandbox.asked import Asked
from aioposthog_env.sandbox.errors import invalid
from aioposthog_env.sandbox.state import masked


def reset_token(asked: Asked) -> dict[str, Any]:
    """A new project token; the old one is dead at once. The log shows it in clear, since it is public."""
    asked.must_be_admin()
    environment = asked.target
    before, environment.api_token = environment.api_token, asked.state.secret("phc_")
    _log_token(asked, "reset_token", "api_token", before, environment.api_token)
    return asked.full()


def rotate_secret_token(asked: Asked) -> dict[str, Any]:
    """The secret becomes the backup, whatever the backup was; a new secret is made."""
    asked.must_be_admin()
    environment, rules = asked.target, asked.state.rules
    before = environment.secret_api_token
    nothing_yet = before is None and environment.secret_api_token_backup is None
    if nothing_yet and not rules.mints_secret and not environment.settings.get("conversations_enabled"):
        raise invalid("Legacy secret tokens can no longer be created.")
    if before is not None:
        environment.secret_api_token_backup = before
    environment.secret_api_token = asked.state.secret("phs_")
    _log_token(asked, "rotate_secret_token", "secret_api_token", masked(before), masked(environment.secret_api_token))
    return asked.full()


def delete_secret_token_backup(asked: Asked) -> dict[str, Any]:
    """Nothing happens where there is no backup."""
    asked.must_be_admin()
    environment = asked.target
    before, environment.secret_api_token_backup = environment.secret_api_token_backup, None
    if before is not None:
        _log_token(asked, "delete_secret_token_backup", "secret_api_token_backup", masked(before), None)
    return asked.full()


def generate_conversations_public_token(asked: Asked) -> dict[str, Any]:
    """A new token for the widget; the old one is dead at once."""
    asked.must_be_admin()
    settings = asked.target.settings
    settings["conversations_settings"] = dict(settings["conversations_settings"] or {}) | {
        "widget_public_token": asked.state.secret("phc_")
    }
    asked.state.effects["generate_conversations_public_token", asked.target.id] += 1
    return asked.full()


def _log_token(asked: Asked, effect: str, field: str, before: str | None, after: str | None) -> None:
    asked.state.effects[effect, asked.target.id] += 1
    asked.target.updated_at = asked.state.now()
    action = "created" if before is None else "deleted" if after is None else "changed"
    change = {"type": "Team", "action": action, "field": field, "before": before, "after": after}
    asked.state.log(asked.target, asked.user, "updated", [change])
