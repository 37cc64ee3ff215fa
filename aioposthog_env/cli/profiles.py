"""Profiles: hosts with the place of their key, in a file of this user's. A key is never in the file, nor an argument.

    [profiles.eu]
    host = "eu"
    key_command = "op read op://team/posthog-eu/key"

    [profiles.internal]
    host = "https://posthog.internal"
    key_keyring = "posthog/internal"          # service/user, extra `keyring`
    session_id_env = "INTERNAL_SESSION_ID"    # for what takes no key
    csrf_token_env = "INTERNAL_CSRF_TOKEN"

    [profiles.staging]
    host = "https://posthog.staging"
    email = "alice@example.com"               # logs in for each command, where two cookies are too short-lived
    password_command = "pass posthog/staging"

A profile names host and key together, so that a key never goes to another host than the one it was meant for. Since the file
can name commands, nobody but its owner may be able to write it.
"""

import difflib
import os
import shlex
import stat
import sys
import tomllib
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, cast, get_args

import anyio
import anyio.to_thread
import attrs
from anyio.abc import ByteReceiveStream
from platformdirs import user_config_path

from aioposthog_env.api.routes import Routes
from aioposthog_env.auth import Credential, OAuthToken, PersonalAPIKey, SessionCookie, resolve_host
from aioposthog_env.errors import ConfigurationError
from aioposthog_env.login import log_in
from aioposthog_env.redacted import RedactedText

_SECONDS: Final = 30.0
"""How long a command may take to give a key; a person may have to confirm it."""
_LARGEST: Final = 2**20


@attrs.frozen(kw_only=True)
class Profile:
    """One host, and where its credential comes from.

    Attributes:
        name: The profile's name.
        host: ``us``, ``eu``, or a URL.
        key_env: An environment variable that holds the key.
        key_keyring: Service and user in the system's keyring, with a slash between.
        key_command: A command that prints the key. It is run without a shell.
        session_id_env: An environment variable that holds the cookie ``sessionid``.
        csrf_token_env: An environment variable that holds the cookie ``posthog_csrftoken``.
        email: The person who is logged in for a session.
        password_command: A command that prints that person's password. It is run without a shell.
        allow_insecure_http: Allow plain http to a host other than this machine.
        routes: The URL style of its calls: ``auto``, ``root``, ``project`` or ``nested``.
    """

    name: str
    host: str
    key_env: str | None = None
    key_keyring: str | None = None
    key_command: str | None = None
    session_id_env: str | None = None
    csrf_token_env: str | None = None
    email: str | None = None
    password_command: str | None = None
    allow_insecure_http: bool = False
    routes: str = "auto"

    @property
    def source(self) -> str:
        """Where the key comes from, in words."""
        if self.key_env:
            return f"variable {self.key_env}"
        if self.key_keyring:
            return f"keyring {self.key_keyring}"
        return f"command {shlex.split(self.key_command)[0]}" if self.key_command else "session only"

    @property
    def has_key(self) -> bool:
        """Whether it names the place of a key."""
        return self.source != "session only"

    @property
    def has_session(self) -> bool:
        """Whether it names what makes a session."""
        return bool(self.session_id_env and self.csrf_token_env) or bool(self.email and self.password_command)

    async def credential(self, *, session: bool) -> Credential:
        """The key; or the person's session, where that is asked for and the profile has one.

        Raises:
            ConfigurationError: It cannot be had; says why, and never what was found.
            AuthenticationError: The login was refused.
        """
        if self.has_session and (session or not self.has_key):
            return await self._session()
        if self.key_env:
            key = self._variable(self.key_env)
        elif self.key_keyring:
            key = await self._from_keyring(self.key_keyring)
        elif self.key_command:
            key = await self._from_command(self.key_command, "key")
        else:
            raise ConfigurationError(f"The profile {self.name!r} names no key: add key_env, key_keyring or key_command.")
        return OAuthToken(key) if key.startswith("pha_") else PersonalAPIKey(key)

    async def _session(self) -> SessionCookie:
        if self.session_id_env and self.csrf_token_env:
            return SessionCookie(self._variable(self.session_id_env), self._variable(self.csrf_token_env))
        password = await self._from_command(str(self.password_command), "password")
        return await log_in(self.host, str(self.email), password, allow_insecure_http=self.allow_insecure_http)

    def _variable(self, name: str) -> str:
        value = RedactedText(os.environ.get(name, "").strip())
        if not value:
            raise ConfigurationError(f"The profile {self.name!r} takes a secret from the variable {name}, which is not set.")
        return value

    async def _from_keyring(self, place: str) -> str:
        try:
            keyring: Any = import_module("keyring")
        except ModuleNotFoundError:
            words = f"The profile {self.name!r} takes its key from the keyring: pip install 'aioposthog-env[keyring]'."
            raise ConfigurationError(words) from None
        service, _, user = place.partition("/")
        try:
            # It may ask the person to unlock it, so it must not hold the loop, nor Ctrl-C.
            key = await anyio.to_thread.run_sync(keyring.get_password, service, user, abandon_on_cancel=True)
        except Exception as error:  # every store has errors of its own
            words = f"The keyring gave no key for the profile {self.name!r}: {type(error).__name__}."
            raise ConfigurationError(words) from None
        if not isinstance(key, str) or not key:
            raise ConfigurationError(f"The keyring holds nothing for {place!r}, which the profile {self.name!r} names.")
        return RedactedText(key.strip())

    async def _from_command(self, command: str, what: str) -> str:
        words = shlex.split(command)
        told = f"The command {words[0]!r} of the profile {self.name!r} gave no {what}:"
        try:
            with anyio.fail_after(_SECONDS):
                code, output = await _run(words)
            printed = output.decode().strip()
        except TimeoutError:
            raise ConfigurationError(f"{told} it took longer than {_SECONDS:.0f} s.") from None
        except OSError as error:
            raise ConfigurationError(f"{told} {error.strerror}.") from None
        except UnicodeDecodeError:
            raise ConfigurationError(f"{told} it printed something that is no text.") from None
        if code or not printed:
            ended = f"it ended with {code}" if code else "it printed nothing"
            raise ConfigurationError(f"{told} {ended}.")
        return RedactedText(printed)


async def _run(words: Sequence[str]) -> tuple[int, bytes]:
    """Run a command without a shell: its exit code, and what it prints, which nobody else sees. Its errors go to the person."""
    async with await anyio.open_process(words, stdin=None, stderr=None) as process:
        try:
            output = b"".join([piece async for piece in cast("ByteReceiveStream", process.stdout)])
            return await process.wait(), output
        except BaseException:
            process.kill()  # Ctrl-C cancels once only, and leaving waits for the end of the process
            raise


def config_path() -> Path:
    """Where the profiles stand: ``AIOPOSTHOG_ENV_CONFIG``, or ``config.toml`` in this user's own folder of settings."""
    given = os.environ.get("AIOPOSTHOG_ENV_CONFIG")
    return Path(given) if given else user_config_path("aioposthog-env") / "config.toml"


def load_profiles() -> dict[str, Profile]:
    """All profiles, by name.

    Raises:
        ConfigurationError: The file cannot be read, others may write it or own it, or something in it is wrong.
    """
    path = config_path()
    try:
        with path.open(encoding="utf-8") as file:
            status, text = os.fstat(file.fileno()), file.read(_LARGEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}.") from None
    if len(text) > _LARGEST:
        raise ConfigurationError(f"{path} is larger than {_LARGEST >> 20} MiB, so it is not a file of profiles.")
    if sys.platform != "win32" and status.st_uid not in {0, os.geteuid()}:
        raise ConfigurationError(
            f"{path} belongs to another user, who can change it, and it names commands that are run. Take a file of your own, "
            f"or make this yours: chown {os.geteuid()} {path}"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigurationError(f"{path} can be changed by others, and it names commands that are run: chmod 600 {path}")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} cannot be read: {error}.") from None
    profiles = document.get("profiles", {})
    if set(document) - {"profiles"} or not isinstance(profiles, dict):
        raise ConfigurationError(f"{path} holds tables [profiles.NAME], and nothing else.")
    return {name: _profile(path, name, table) for name, table in cast("dict[str, Any]", profiles).items()}


def _profile(path: Path, name: str, table: Any) -> Profile:
    known = {field.name: field.type for field in attrs.fields(Profile) if field.name != "name"}
    if not isinstance(table, dict) or "host" not in table:
        raise ConfigurationError(f"{path}: [profiles.{name}] needs a host.")
    given = cast("dict[str, Any]", table)
    for key, value in given.items():
        if key in {"key", "token", "password"}:
            raise ConfigurationError(
                f"{path}: [profiles.{name}] holds a {key}. Say where it is instead: key_env, key_keyring, key_command."
            )
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise ConfigurationError(
                f"{path}: [profiles.{name}] has no {key!r}" + (f"; did you mean {near[0]!r}?" if near else ".")
            )
        if not isinstance(value, bool if key == "allow_insecure_http" else str):
            raise ConfigurationError(f"{path}: {key} of [profiles.{name}] has the wrong type.")
    profile = Profile(name=name, **given)
    if problem := _problem(profile):
        raise ConfigurationError(f"{path}: [profiles.{name}] {problem}.")
    resolve_host(profile.host, allow_insecure_http=profile.allow_insecure_http)
    return profile


def _problem(profile: Profile) -> str | None:
    """What does not go together in a profile."""
    if profile.routes not in get_args(Routes):
        return f"has routes = {profile.routes!r}; use one of {', '.join(get_args(Routes))}"
    if sum(map(bool, (profile.key_env, profile.key_keyring, profile.key_command))) > 1:
        return "names more than one place of its key"
    if profile.key_keyring and not all(profile.key_keyring.partition("/")):
        return "needs service and user in key_keyring, with a slash between: 'posthog/alice'"
    for name, command in (("key_command", profile.key_command), ("password_command", profile.password_command)):
        if command is not None and not _can_be_run(command):
            return f"has a {name} that is no command: it is empty, or a quote is not closed"
    for one, other in (("session_id_env", "csrf_token_env"), ("email", "password_command")):
        if bool(getattr(profile, one)) != bool(getattr(profile, other)):
            return f"needs both {one} and {other} for a session"
    return None


def _can_be_run(command: str) -> bool:
    try:
        return bool(shlex.split(command))
    except ValueError:
        return False


def find_profile(name: str) -> Profile:
    """One profile.

    Raises:
        ConfigurationError: There is none of that name; says which there are.
    """
    profiles = load_profiles()
    if name in profiles:
        return profiles[name]
    near = difflib.get_close_matches(name, profiles, n=1)
    there = f"; did you mean {near[0]!r}?" if near else f". There are: {', '.join(profiles) or 'none'}."
    raise ConfigurationError(f"There is no profile {name!r} in {config_path()}{there}")
