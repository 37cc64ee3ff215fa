"""The scene that a sandbox begins with: environments of one organization, some of them in need of a change."""

from typing import Any, Final

from aioposthog_env.sandbox.state import State

_RESTRICTION: Final[dict[str, Any]] = {
    "restriction_type": "skip_person_processing",
    "distinct_ids": ["bot-1", "bot-2"],
    "session_ids": [],
    "event_names": [],
    "event_uuids": [],
    "pipelines": ["analytics"],
}


def populate(state: State, organization: str, number: int, *, lacking: int, per_project: int) -> None:
    """Add environments to an organization.

    Args:
        state: The scene.
        organization: The organization.
        number: How many environments.
        lacking: How many of them have ``anonymize_ips`` off.
        per_project: How many share a project, where the generation allows more than one.
    """
    order = list(range(number))
    state.rng.shuffle(order)
    without = set(order[:lacking])
    project: int | None = None
    for index in range(number):
        if state.rules.ties_project_to_environment or index % per_project == 0:
            project = None
        environment = state.add_environment(
            organization, name=f"Environment {index + 1:04}", project_id=project, anonymize_ips=index not in without
        )
        project = environment.project_id
        if index % 10 == 3:
            environment.restrictions.append(dict(_RESTRICTION))
    for user in state.users:
        user.current = next(iter(state.environments), None)
