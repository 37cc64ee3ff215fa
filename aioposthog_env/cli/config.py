"""What ``config`` does: the profiles, and whether their keys can be had."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

import anyio

from aioposthog_env.cli import DONE, PARTLY
from aioposthog_env.cli.output import Output
from aioposthog_env.cli.profiles import Profile, config_path, load_profiles
from aioposthog_env.errors import ConfigurationError, PostHogEnvError

_TEMPLATE: Final = """\
# Hosts with the place of their keys; no key stands in this file. Take the # off what you need.

# [profiles.eu]
# host = "eu"                                # us, eu, or a URL
# key_env = "POSTHOG_EU_KEY"                 # a variable,
# key_keyring = "posthog/eu"                 # or service/user of the system's keyring,
# key_command = "op read op://team/eu/key"   # or a command that prints the key

# For what takes no key (rotate-secrets, reset-tokens), the two cookies of a browser,
# session_id_env = "POSTHOG_EU_SESSION_ID"
# csrf_token_env = "POSTHOG_EU_CSRF_TOKEN"

# or a login for each command.
# email = "alice@example.com"
# password_command = "pass posthog/eu"
"""


async def config(what: Literal["show", "check", "path", "init"], *, json: bool) -> int:
    """Show the profiles, print the path of their file, or begin one. Keys are never shown."""
    output, path = Output(json=json), config_path()
    if what == "init":
        _begin(path)
        output.say(f"Begun: {path}")
    if what in {"path", "init"}:
        if json:
            output.data({"path": str(path)})
        else:
            output.text(str(path))
        return DONE
    profiles = load_profiles()
    if not json:
        output.say(
            str(path) if await anyio.Path(path).exists() else f"{path}, which is not there; see: aioposthog-env config init"
        )
    return await _show(output, path, profiles.values(), check=what == "check")


def _begin(path: Path) -> None:
    """Write a file to fill in, for its owner only.

    Raises:
        ConfigurationError: There is one, or it cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(_TEMPLATE)
    except FileExistsError:
        raise ConfigurationError(f"{path} is there already, and was left as it is.") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}.") from None


async def _show(output: Output, path: Path, profiles: Iterable[Profile], *, check: bool) -> int:
    rows: list[dict[str, object]] = []
    for profile in profiles:
        row: dict[str, object] = {"profile": profile.name, "host": profile.host, "key": profile.source}
        if check:
            try:
                row["check"] = f"a {(await profile.credential(session=False)).kind}"
            except PostHogEnvError as error:
                row["check"] = f"problem: {error}"
        rows.append(row)
    if output.json:
        output.data({"path": str(path), "profiles": rows})
    else:
        output.table(("profile", "host", "key", *(("check",) if check else ())), [tuple(row.values()) for row in rows])
    return PARTLY if any(str(row.get("check", "")).startswith("problem") for row in rows) else DONE
