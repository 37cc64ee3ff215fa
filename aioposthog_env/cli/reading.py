"""What ``list``, ``show``, ``activity``, ``restrictions``, ``demo-data`` and ``intent`` do."""

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import msgspec

from aioposthog_env.bulk.each import Each
from aioposthog_env.bulk.outcome import BulkReport, Outcome
from aioposthog_env.bulk.run import BulkRun
from aioposthog_env.cli import DONE, ERROR, PARTLY
from aioposthog_env.cli.arguments import UNCHOSEN, Choice, Connection
from aioposthog_env.cli.choice import chosen, names_ids
from aioposthog_env.cli.connect import check_kind
from aioposthog_env.cli.failures import what_failed
from aioposthog_env.cli.hosts import Answers, ask_each, chosen_at_each, connect_each
from aioposthog_env.cli.output import Output
from aioposthog_env.cli.reporting import Reporting
from aioposthog_env.cli.running import Part, finish, show_outcomes, watch
from aioposthog_env.environments import AsyncEnvironments
from aioposthog_env.errors import ConfigurationError
from aioposthog_env.models.comparing import SENSITIVE
from aioposthog_env.models.converter import unstructure
from aioposthog_env.models.environment import Environment, EnvironmentSummary
from aioposthog_env.models.fields import JSONValue
from aioposthog_env.plural import counted


@attrs.frozen(kw_only=True)
class Reading:
    """One of these commands.

    Attributes:
        start: The bulk run.
        columns: The columns of its table.
        rows: The rows that one environment gives, without its id.
        session: Whether the call takes a session only.
    """

    start: Callable[[Each], BulkRun[Any]]
    columns: Sequence[str]
    rows: Callable[[Any], list[Sequence[object]]]
    session: bool = False


async def read(connection: Connection, ids: Sequence[int], choice: Choice, reading: Reading) -> int:
    """Ask each environment, and print what it answers: a table by id, or a line of JSON for each row."""
    output = Output(json=connection.json)

    async def ask(environments: AsyncEnvironments) -> BulkReport[Any]:
        check_kind(environments, reading.start)
        selected = await chosen(environments, output, ids, choice)
        return await reading.start(environments.each([one.ref for one in selected], concurrency=connection.concurrency))

    answers = await ask_each(connection, output, ask, by_id=names_ids(ids, choice), session=reading.session)
    by_profile: dict[str, list[Outcome[Any]]] = {
        profile: sorted(report.succeeded, key=lambda one: one.ref.id) for profile, report in answers.by_profile.items()
    }
    rows = [
        (*((profile,) if answers.several else ()), one.ref.id, *row)
        for profile, done in by_profile.items()
        for one in done
        for row in reading.rows(one.value)
    ]
    names = (*(("profile",) if answers.several else ()), "id", *reading.columns)
    if connection.json:
        for row in rows:
            output.line(dict(zip(names, row, strict=True)))
    else:
        output.table(names, [tuple("" if cell is None else cell for cell in row) for row in rows])
    return _told(output, answers, done=any(by_profile.values()))


def activity(most: int) -> Reading:
    """The newest entries of each log."""

    def rows(entries: list[Any]) -> list[Sequence[object]]:
        found: list[Sequence[object]] = []
        for entry in entries:
            wire = unstructure(entry)
            user, detail = wire.get("user"), wire.get("detail")
            who = user.get("email") or user.get("first_name") if isinstance(user, dict) else None
            changes = detail.get("changes") if isinstance(detail, dict) else None
            fields = [one.get("field") for one in changes if isinstance(one, dict)] if isinstance(changes, list) else []
            found.append((wire.get("created_at"), who, wire.get("activity"), ", ".join(str(one) for one in fields if one)))
        return found

    return Reading(
        start=lambda each: each.activity(limit=most), columns=("at", "who", "what", "settings"), rows=rows, session=True
    )


def restrictions() -> Reading:
    """What the ingestion holds back."""

    def rows(found: list[Any]) -> list[Sequence[object]]:
        wires = [unstructure(one) for one in found]
        return [
            (one.pop("restriction_type"), "; ".join(f"{name}: {value}" for name, value in one.items() if value))
            for one in wires
        ]

    return Reading(start=lambda each: each.event_ingestion_restrictions(), columns=("restriction", "of"), rows=rows)


def demo_data() -> Reading:
    """Whether demo data is being made."""
    return Reading(
        start=lambda each: each.is_generating_demo_data(), columns=("generating",), rows=lambda value: [(value,)], session=True
    )


async def list_environments(connection: Connection, ids: Sequence[int], choice: Choice, search: str | None) -> int:
    """List environments: all, or those that are chosen."""
    output = Output(json=connection.json)
    given = bool(ids) or choice != UNCHOSEN
    if given and search is not None:
        raise ConfigurationError("--search goes alone: choose by --name '*text*' beside other arguments.")

    async def read(environments: AsyncEnvironments) -> list[Environment | EnvironmentSummary]:
        if given:
            selected = await chosen(environments, output, ids, choice, with_names=True)
            return [shown for one in selected if (shown := one.environment or one.summary) is not None]
        return sorted([one async for one in environments.list(search=search)], key=lambda one: one.id)

    answers = await ask_each(connection, output, read, by_id=names_ids(ids, choice))
    found = [
        {**({"profile": profile} if answers.several else {}), "id": one.id, "name": one.name, **_identity(one)}
        for profile, some in answers.by_profile.items()
        for one in some
    ]
    if connection.json:
        for row in found:
            output.line(row)
    else:
        names = (*(("profile",) if answers.several else ()), "id", "name", "project_id", "timezone")
        output.table(names, [tuple(row.get(name, "") for name in names) for row in found])
        output.say(counted(len(found), "environment"))
    return answers.code


def _identity(one: Environment | EnvironmentSummary) -> dict[str, JSONValue]:
    """What tells an environment from others, beside its id and name, as far as the server shows it."""
    zone = one.settings.timezone if isinstance(one, Environment) else one.timezone
    shown = {"project_id": one.project_id, "organization": one.organization, "uuid": one.uuid, "timezone": zone}
    return {name: value for name, value in shown.items() if isinstance(value, int | str)}


async def show(connection: Connection, ids: Sequence[int], choice: Choice) -> int:
    """Show settings, in the order of the ids that were given."""
    output = Output(json=connection.json)

    async def ask(environments: AsyncEnvironments) -> BulkReport[Environment]:
        selected = await chosen(environments, output, ids, choice)
        return await environments.each([one.ref for one in selected], concurrency=connection.concurrency).retrieve()

    answers = await ask_each(connection, output, ask, by_id=names_ids(ids, choice))
    place = {id: number for number, id in enumerate(ids)}
    read = [
        (profile, one.value)
        for profile, report in answers.by_profile.items()
        for one in sorted(report.succeeded, key=lambda one: (place.get(one.ref.id, len(place)), one.ref.id))
        if one.value is not None
    ]
    if connection.json:
        whose = ({"profile": profile} if answers.several else {} for profile, _ in read)
        output.data([{**of, **_described(environment)} for of, (_, environment) in zip(whose, read, strict=True)])
    else:
        for profile, environment in read:
            rows = [(name, _encoded(value)) for name, value in _settings(environment).items()]
            title = [profile] if answers.several else []
            output.table(("setting", "value"), rows, title=" · ".join([*title, str(environment.id), environment.name]))
    return _told(output, answers, done=bool(read))


def _told(output: Output, answers: Answers[BulkReport[Any]], *, done: bool) -> int:
    """Say what could not be read; the exit code."""
    complete = True
    for profile, report in answers.by_profile.items():
        for line in what_failed(report):
            output.say(f"{profile} {line}" if answers.several else line)
            complete = False
    return answers.code if complete else PARTLY if done else ERROR


async def intent(
    connection: Connection, ids: Sequence[int], choice: Choice, product: str, *, context: str | None, complete: bool
) -> int:
    """Say that a product is of interest, or that its onboarding is complete.

    It is counted by the server and so never repeated: Ctrl-C finishes what is in flight, and what may or may not have been
    counted is named.
    """
    output = Output(json=connection.json)

    def start(each: Each) -> BulkRun[Environment]:
        if complete:
            return each.complete_product_onboarding(product)
        return each.add_product_intent(product, intent_context=context)

    async with connect_each(connection, Reporting(None, ""), calls_each=1, by_id=names_ids(ids, choice)) as sites:
        selected = await chosen_at_each(sites, output, ids, choice, once=True)
        if not any(selected):
            return DONE
        doing = "completing" if complete else "adding"
        parts: list[Part[Environment]] = []
        for site, some in zip(sites, selected, strict=True):
            refs = [one.ref for one in some]
            each = site.environments.each(refs, concurrency=connection.concurrency, keep="outcomes")
            parts.append(site.part(start(each), doing, len(refs)))
        watched = await watch(output, parts)
    show_outcomes(output, watched)
    return finish(output, watched)


def _described(environment: Environment) -> dict[str, JSONValue]:
    identity = _identity(environment)
    identity.pop("timezone", None)
    return {"id": environment.id, **identity, "settings": _settings(environment)}


def _settings(environment: Environment) -> dict[str, JSONValue]:
    """The settings without what must not be seen."""
    wire = unstructure(environment.settings)
    hidden = {name: "(secret)" for name in SENSITIVE if wire.get(name) is not None}
    return dict(sorted({**wire, **hidden}.items()))


def _encoded(value: JSONValue) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
