"""Selections: what is meant, and what it takes to find out."""

from typing import Any

import pytest

from aioposthog_env import (
    AsyncEnvironments,
    BulkError,
    ConfigurationError,
    EnvironmentRef,
    NotFoundError,
    PersonalAPIKey,
    Sandbox,
    Selection,
    Where,
)
from tests.conftest import connect


async def chosen(environments: AsyncEnvironments, selection: Selection, **how: bool) -> list[int]:
    return [one.ref.id for one in await environments.select(selection, **how)]


async def test_ids_are_taken_as_they_are_without_a_call() -> None:
    async with Sandbox(5) as sandbox, connect(sandbox) as environments:
        assert await chosen(environments, Selection(ids=[3, 1, 3])) == [1, 3]
        assert sandbox.calls == []
        named = await environments.select(Selection(ids=[3]), with_names=True)
        assert [(one.ref, one.name) for one in named] == [(EnvironmentRef(3), sandbox.environment(3).settings["name"])]


async def test_names_conditions_and_ids_narrow_each_other() -> None:
    async with Sandbox(6) as sandbox, connect(sandbox) as environments:
        for id, name in enumerate(["Prod A", "prod b", "staging", "[x]", "Prod C", "test"], start=1):
            sandbox.environment(id).settings["name"] = name
        for id in (1, 3):
            sandbox.environment(id).settings["timezone"] = "Europe/Berlin"
        for id in range(1, 7):
            sandbox.environment(id).settings["anonymize_ips"] = id % 2 == 0
        assert await chosen(environments, Selection(names=["prod*"])) == [1, 2, 5]
        assert await chosen(environments, Selection(names=["prod*", "TEST"], ids=[5, 6, 3])) == [5, 6]
        assert await chosen(environments, Selection(where=Where.parse('timezone == "Europe/Berlin"'))) == [1, 3]
        before = len(sandbox.calls)
        assert await chosen(environments, Selection(names=["prod*"], where=Where.parse("not anonymize_ips"))) == [1, 5]
        assert len(sandbox.calls) - before == 1 + 3  # the list, and those whose names match
        assert await chosen(environments, Selection(everything=True)) == [1, 2, 3, 4, 5, 6]
        assert await chosen(environments, Selection(project_id=4)) == [4]
        organization = (await environments.retrieve(1)).organization
        assert isinstance(organization, str)
        assert len(await chosen(environments, Selection(organization_id=organization))) == 6


async def test_what_is_not_there_or_not_said_is_an_error() -> None:
    async with Sandbox(2) as sandbox, connect(sandbox) as environments:
        with pytest.raises(ConfigurationError, match="Nothing was selected"):
            await environments.select(Selection())
        for selection in (Selection(ids=[9]), Selection(ids=[1, 9], names=["*"])):
            with pytest.raises(BulkError) as caught:
                await environments.select(selection, with_names=True)
            assert isinstance(caught.value.report.failed[0].error, NotFoundError)
        assert await chosen(environments, Selection(names=["no such*"])) == []


@pytest.mark.parametrize(
    ("era", "routes"),
    [(era, routes) for era in ("2024-10", "2025-08", "2025-11", "current") for routes in ("auto", "root", "project")]
    + [("2025-11", "nested")],
)
async def test_a_project_is_found_in_every_generation_and_by_every_url_style(era: Any, routes: Any) -> None:
    async with (
        Sandbox(3, era=era, nested_only=routes == "nested") as sandbox,
        connect(sandbox, routes=routes) as environments,
    ):
        project = sandbox.environment(2).project_id
        assert await chosen(environments, Selection(project_id=project)) == [2]
        if routes != "nested":
            assert await chosen(environments, Selection(where=Where.parse(f"project_id == {project}"))) == [2]
            assert await chosen(environments, Selection(where=Where.parse(f"project_id != {project}"))) == [1, 3]


def test_a_selection_in_words() -> None:
    assert str(Selection(ids=[1, 2], names=["a*"], where=Where.parse("is_demo"))) == "ids 1, 2; names a*; where is_demo"
    assert str(Selection(everything=True)) == "all environments"
    assert str(Selection()) == "nothing"


async def test_a_key_that_is_limited_to_projects_selects_among_what_is_named() -> None:
    async with Sandbox(3) as sandbox:
        auth = PersonalAPIKey(sandbox.key("project:read", projects=[2]))
        async with AsyncEnvironments(sandbox.url, auth=auth) as environments:
            assert await chosen(environments, Selection(ids=[2], where=Where.parse("id > 1"))) == [2]
