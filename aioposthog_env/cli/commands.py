"""What ``show`` and ``set`` do."""

import difflib
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import msgspec

from aioposthog_env.auth import Credential, PersonalAPIKey, SessionCookie, credential_from_environment, resolve_host
from aioposthog_env.bulk.outcome import BulkReport, Outcome
from aioposthog_env.cli import DONE, ERROR, INTERRUPTED, PARTLY
from aioposthog_env.cli.app import Connection
from aioposthog_env.cli.choice import Choice, chosen
from aioposthog_env.cli.output import Output
from aioposthog_env.cli.profiles import find_profile, load_profiles
from aioposthog_env.cli.running import interruptible
from aioposthog_env.environments import AsyncEnvironments
from aioposthog_env.errors import ConfigurationError, DecodeError
from aioposthog_env.models.converter import structure, unstructure
from aioposthog_env.models.differences import SENSITIVE
from aioposthog_env.models.environment import Environment
from aioposthog_env.models.settings import FACTS, JSONValue, TeamSettings
from aioposthog_env.models.validation import check
from aioposthog_env.sending import Limiter
from aioposthog_env.settings_file import unknown_keys
from aioposthog_env.telemetry import Hook

SANDBOX_ENVIRONMENTS = 25


@asynccontextmanager
async def connect(
    connection: Connection, *, session: bool = False, hooks: Sequence[Hook] = ()
) -> AsyncGenerator[AsyncEnvironments, None]:
    """A client for the host that was asked for, or for an embedded PostHog.

    Args:
        connection: Which host.
        session: Use a person's session, where the variables hold one: what is to be called takes no key.
        hooks: Told what the client does.
    """
    if connection.profile is not None:
        if connection.sandbox or connection.host is not None:
            raise ConfigurationError("A profile names its own host: give --profile without --host and --sandbox.")
        if len(connection.profiles) > 1:
            raise ConfigurationError("This command works at one host at a time: give one profile.")
        profile = find_profile(connection.profile)
        auth = await profile.credential(session=session)
        async with AsyncEnvironments(
            profile.host,
            auth=auth,
            limiter=_limiter(connection, auth),
            allow_insecure_http=profile.allow_insecure_http,
            hooks=hooks,
        ) as environments:
            yield environments
        return
    if not connection.sandbox:
        resolve_host(connection.host)  # told first: a key is of no use where the host is none
        auth = (_session_from_environment() if session else None) or _key_from_environment()
        limiter = _limiter(connection, auth)
        async with AsyncEnvironments(connection.host, auth=auth, limiter=limiter, hooks=hooks) as environments:
            yield environments
        return
    if connection.host is not None:
        raise ConfigurationError("Give --host or --sandbox, not both.")
    from aioposthog_env.sandbox import Sandbox

    async with Sandbox(SANDBOX_ENVIRONMENTS, era=connection.era) as sandbox:
        person = sandbox.session()
        cookie, key = SessionCookie(person.session_id, person.csrf_token), PersonalAPIKey(sandbox.key())
        auth = cookie if session else key
        async with AsyncEnvironments(sandbox.url, auth=auth, limiter=_limiter(connection, auth), hooks=hooks) as environments:
            yield environments


def _limiter(connection: Connection, auth: Credential) -> Limiter:
    """The limiter that was asked for. PostHog limits personal API keys only."""
    if connection.limiter is not None and ("@" in connection.limiter or "password=" in connection.limiter):
        raise ConfigurationError(
            "Others on this machine can see arguments: give an address with a password in the variable POSTHOG_LIMITER."
        )
    url = connection.limiter or os.environ.get("POSTHOG_LIMITER", "").strip()
    if not url or not isinstance(auth, PersonalAPIKey):
        return "shared"
    from aioposthog_env.shared_limit.limiter import RedisRateLimiter

    return RedisRateLimiter(url)


def has_session(connection: Connection) -> bool:
    """Whether a person's session is at hand, beside a key or instead of one."""
    if connection.profile is not None:
        return find_profile(connection.profile).has_session
    return not connection.sandbox and _session_from_environment() is not None


def has_key(connection: Connection) -> bool:
    """Whether a key is at hand."""
    if connection.profile is not None:
        return find_profile(connection.profile).has_key
    if connection.sandbox:
        return True
    try:
        credential_from_environment()
    except ConfigurationError:
        return False
    return True


def _key_from_environment() -> PersonalAPIKey:
    """The key of the variables.

    Raises:
        ConfigurationError: There is none, or it is none; names the profiles that could be meant.
    """
    try:
        return credential_from_environment()
    except ConfigurationError:
        if os.environ.get("POSTHOG_PERSONAL_API_KEY", "").strip() or not (names := load_profiles()):
            raise
    raise ConfigurationError(f"There is no key in POSTHOG_PERSONAL_API_KEY. Set it, or give --profile {' or '.join(names)}.")


def _session_from_environment() -> SessionCookie | None:
    """The cookies of a browser's session; None where the variables are not set."""
    cookie, csrf = os.environ.get("POSTHOG_SESSION_ID"), os.environ.get("POSTHOG_CSRF_TOKEN")
    if bool(cookie) != bool(csrf):
        raise ConfigurationError("A session needs both variables, POSTHOG_SESSION_ID and POSTHOG_CSRF_TOKEN.")
    return SessionCookie(cookie, csrf) if cookie and csrf else None


async def show(connection: Connection, ids: Sequence[int], choice: Choice) -> int:
    """Show settings, in the order of the ids that were given."""
    output = Output(json=connection.json)
    async with connect(connection) as environments:
        selected = await chosen(environments, output, ids, choice)
        report = await environments.each([one.ref for one in selected], concurrency=connection.concurrency).retrieve()
    place = {id: number for number, id in enumerate(ids)}
    read = (one.value for one in report.succeeded if one.value is not None)
    shown = sorted(read, key=lambda one: (place.get(one.id, len(place)), one.id))
    if connection.json:
        output.data([_described(environment) for environment in shown])
    else:
        for environment in shown:
            rows = [(name, _encoded(value)) for name, value in _settings(environment).items()]
            output.table(("setting", "value"), rows, title=f"{environment.id} · {environment.name}")
    return _finish(output, report)


async def set_settings(connection: Connection, what: Sequence[str], *, concurrency: int) -> int:
    """Change settings."""
    ids, settings = parse_assignments(what)
    output = Output(json=connection.json)
    async with connect(connection) as environments:
        run = environments.each(ids, concurrency=concurrency).update(settings)
        outcomes: list[Outcome[Environment]] = []
        with interruptible(output, run) as interrupts, output.progress("changing", len(set(ids))) as step:
            async with run as coming:
                async for outcome in coming:
                    outcomes.append(outcome)
                    step()
    report = BulkReport(tuple(outcomes))
    if connection.json:
        output.data(
            [{"id": one.ref.id, "status": one.status, "error": None if one.error is None else str(one.error)} for one in report]
        )
    else:
        output.table(("id", "outcome"), [(one.ref.id, one.status) for one in sorted(report, key=lambda one: one.ref.id)])
    code = _finish(output, report)
    return INTERRUPTED if interrupts else code


def parse_assignments(what: Sequence[str]) -> tuple[list[int], TeamSettings]:
    """Ids and NAME=VALUE, in any order.

    Raises:
        ConfigurationError: No id, no setting, an unknown setting, or a value that no PostHog takes.
    """
    ids: list[int] = []
    assignments: list[str] = []
    for item in what:
        if "=" in item:
            assignments.append(item)
        elif item.isascii() and item.isdigit() and int(item) > 0:
            ids.append(int(item))
        else:
            raise ConfigurationError(f"{item!r} is neither the id of an environment nor NAME=VALUE.")
    _must_name(ids)
    return ids, assigned(assignments)


def assigned(assignments: Sequence[str]) -> TeamSettings:
    """Settings from NAME=VALUE.

    Raises:
        ConfigurationError: No setting, an unknown one, or a value that no PostHog takes.
    """
    wire: dict[str, JSONValue] = {}
    for item in assignments:
        name, equals, text = item.partition("=")
        if not equals:
            raise ConfigurationError(f"{item!r} is not NAME=VALUE.")
        _must_be_known(name)
        wire[name] = _value(name, text)
        if name in SENSITIVE and wire[name] is not None:
            raise ConfigurationError(
                f"{name} is a secret, and arguments can be seen by others. Take it from a variable: a file with "
                f"`settings: {{{name}: {{env: NAME}}}}`, given as --settings FILE."
            )
    if not wire:
        raise ConfigurationError("No setting was given; add NAME=VALUE, for example anonymize_ips=true.")
    settings = structure(wire, TeamSettings)
    check(settings)
    for name, value in settings.set_fields():
        for place, what in unknown_keys(value, name):
            raise ConfigurationError(f"{place} {what}")
    return settings


def _must_name(ids: Sequence[int]) -> None:
    if not ids:
        raise ConfigurationError("No environment was named; give at least one id.")


def _must_be_known(name: str) -> None:
    if name in FACTS:
        return
    near = difflib.get_close_matches(name, FACTS, n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    raise ConfigurationError(f"There is no setting {name!r}{hint}")


def _value(name: str, text: str) -> JSONValue:
    """JSON where that fits the setting, else the text itself: name=5 means the text 5."""
    problem = "not a value"
    try:
        candidates: list[JSONValue] = [msgspec.json.decode(text), text]
    except (msgspec.DecodeError, RecursionError):
        candidates = [text]
    for candidate in candidates:
        try:
            structure({name: candidate}, TeamSettings)
        except (DecodeError, ConfigurationError) as error:
            problem = error.message
        else:
            return candidate
    raise ConfigurationError(f"{name} cannot be {text!r}: {problem}")


def _finish(output: Output, report: BulkReport[Environment]) -> int:
    bad = [*report.failed, *report.unknown, *report.skipped]
    for outcome in bad:
        if outcome.reason != "stopped":
            output.say(f"{outcome.ref.id}: {outcome.error or outcome.reason}")
    if stopped := sum(outcome.reason == "stopped" for outcome in bad):
        output.say(f"{stopped} were not begun.")
    if not bad:
        return DONE
    return PARTLY if report.succeeded else ERROR


def _settings(environment: Environment) -> dict[str, JSONValue]:
    """The settings without what must not be seen."""
    wire = unstructure(environment.settings)
    for name in ("slack_incoming_webhook", "conversations_settings"):
        if wire.get(name) is not None:
            wire[name] = "(secret)"
    return dict(sorted(wire.items()))


def _described(environment: Environment) -> dict[str, JSONValue]:
    return {"id": environment.id, **identity(environment), "settings": _settings(environment)}


def identity(one: object) -> dict[str, JSONValue]:
    """What tells an environment from others, beside its id and name."""
    wanted = ("project_id", "organization", "uuid")
    return {name: value for name in wanted if isinstance(value := getattr(one, name), int | str)}


def _encoded(value: JSONValue) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
