"""What is not done, in few words: environments that share a reason share a line, so that a dead key does not fill a screen."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

from aioposthog_env.api.endpoints import DELETE
from aioposthog_env.bulk.outcome import Outcome
from aioposthog_env.errors import ValidationError

_SHOWN: Final = 12
"""How many ids are named of those that certainly failed. Of those in doubt all are, since somebody has to look at each."""


def what_failed(outcomes: Iterable[Outcome[Any]]) -> list[str]:
    """A line for each reason why something failed, is in doubt, was skipped or was not taken; by the lowest id."""
    alike: defaultdict[tuple[str, str], list[Outcome[Any]]] = defaultdict(list)
    not_begun = 0
    for one in sorted(outcomes, key=lambda one: one.ref.id):
        if one.reason == "stopped":
            not_begun += 1
        elif one.status in {"failed", "unknown", "skipped"}:
            alike[f" {one.status}", _why(one)].append(one)
        elif one.not_applied:
            alike["", f"the server did not take {', '.join(one.not_applied)}"].append(one)
    lines = [_line(status, why, some) for (status, why), some in alike.items()]
    return [*lines, *([f"{not_begun} {'was' if not_begun == 1 else 'were'} not begun."] if not_begun else [])]


def helped_by_going_on(outcome: Outcome[Any]) -> bool:
    """Whether the same command once more may bring to an end what this one has not."""
    if outcome.status == "failed":
        # What PostHog is deleting already it refuses to delete; a request without a body is wrong for no other reason.
        return not (isinstance(outcome.error, ValidationError) and outcome.error.endpoint == DELETE.name)
    return outcome.status == "unknown" or (outcome.status == "skipped" and outcome.reason in {"stopped", "canary", "too young"})


def _why(outcome: Outcome[Any]) -> str:
    if outcome.reason == "canary":
        return "left alone, since one of the first failed"
    return outcome.error.message if outcome.error is not None else str(outcome.reason)


def _line(status: str, why: str, some: list[Outcome[Any]]) -> str:
    first = some[0]
    if first.error is not None and first.reason != "canary":
        why = str(first.error) if len(some) == 1 else f"{first.error.endpoint}: {why}" if first.error.endpoint else why
    named = some if first.status == "unknown" else some[:_SHOWN]
    ids = ", ".join(str(one.ref.id) for one in named)
    more = f" and {len(some) - len(named)} more" if len(some) > len(named) else ""
    return f"{ids}{more}{status}: {why}"
