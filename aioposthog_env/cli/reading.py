"""What ``list``, ``activity``, ``restrictions``, ``demo-data`` and ``intent`` do."""

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from aioposthog_env.bulk.each import Each
from aioposthog_env.bulk.outcome import BulkReport, Outcome
from aioposthog_env.bulk.run import BulkRun
from aioposthog_env.cli import DONE, ERROR, PARTLY
from aioposthog_env.cli.app import Connection
from aioposthog_env.cli.choice import Choice, chosen, names_ids
from aioposthog_env.cli.commands import connect, identity
from aioposthog_env.cli.failures import what_failed
from aioposthog_env.cli.hosts import ask_each
from aioposthog_env.cli.output import Output
from aioposthog_env.cli.progress import Told
from aioposthog_env.cli.running import finish, watch
from aioposthog_env.environments import AsyncEnvironments
from aioposthog_env.models.converter import unstructure
from aioposthog_env.models.environment import EnvironmentSummary


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
    bad = False
    for profile, report in answers.by_profile.items():
        for line in what_failed((*report.failed, *report.skipped, *report.unknown)):
            output.say(f"{profile} {line}" if answers.several else line)
            bad = True
    if not bad:
        return answers.code
    return PARTLY if any(by_profile.values()) else ERROR


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


async def list_environments(connection: Connection, search: str | None) -> int:
    """List environments."""
    output = Output(json=connection.json)

    async def read(environments: AsyncEnvironments) -> list[EnvironmentSummary]:
        return sorted([one async for one in environments.list(search=search)], key=lambda one: one.id)

    answers = await ask_each(connection, output, read)
    found = [(profile, one) for profile, some in answers.by_profile.items() for one in some]
    if connection.json:
        whose = ({"profile": profile} if answers.several else {} for profile, _ in found)
        output.data(
            [{**of, "id": one.id, "name": one.name, **identity(one)} for of, (_, one) in zip(whose, found, strict=True)]
        )
        return answers.code
    output.table(
        (*(("profile",) if answers.several else ()), "id", "name", "project", "time zone"),
        [
            (*((profile,) if answers.several else ()), one.id, one.name, _text(one.project_id), _text(one.timezone))
            for profile, one in found
        ],
    )
    output.say(f"{len(found)} environments")
    return answers.code


async def intent(
    connection: Connection, ids: Sequence[int], choice: Choice, product: str, *, context: str | None, complete: bool
) -> int:
    """Say that a product is of interest, or that its onboarding is complete.

    It is counted by the server and so never repeated: Ctrl-C finishes what is in flight, and what may or may not have been
    counted is named.
    """
    output, told = Output(json=connection.json), Told(0, 1)
    async with connect(connection, hooks=[told.hook]) as environments:
        selected = await chosen(environments, output, ids, choice)
        if not selected:
            return DONE
        told.total = len(selected)
        each = environments.each([one.ref for one in selected], concurrency=connection.concurrency, keep="outcomes")
        run = (
            each.complete_product_onboarding(product) if complete else each.add_product_intent(product, intent_context=context)
        )
        watched = await watch(output, run, "completing" if complete else "adding", told, environments.limiter)
    if not connection.json:
        output.table(
            ("id", "outcome"), [(one.ref.id, one.status) for one in sorted(watched.report, key=lambda one: one.ref.id)]
        )
    return finish(output, watched)


def _text(value: object) -> str:
    return "" if value is None or value is attrs.NOTHING or type(value).__name__ == "UnsetType" else str(value)
