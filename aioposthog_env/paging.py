"""What spans several requests: the list of environments, and an activity log.

PostHog's list has no defined order: while it is paged through, a write elsewhere can move an environment from
a page not yet read to one already read, and it would be missed. So the list is asked for in one large page, the distinct
ids are held against the server's ``count``, and where they differ it is read again.

The activity log is newest first and grows while it is read, which repeats entries; they are dropped. A page past the end is
a 500 on some servers, so the number of pages is computed and the page past the end is never asked for.
"""

from collections.abc import AsyncIterator
from typing import Final

from msgspec import UNSET

from aioposthog_env.api import calls
from aioposthog_env.api.endpoints import LIST
from aioposthog_env.api.routes import Place
from aioposthog_env.errors import TransportError
from aioposthog_env.models.activity import ActivityEntry
from aioposthog_env.models.environment import EnvironmentSummary
from aioposthog_env.session import PostHogSession, Result
from aioposthog_env.stop import Stop

LIST_PAGE: Final = 10_000
_LIST_READS: Final = 5
ACTIVITY_PAGE: Final = 100

MOST_LIST_PAGES: Final = 1_000
MOST_ACTIVITY_PAGES: Final = 10_000
"""How many pages are read before a server that names ever more of them is not believed."""
_MOST_WITHOUT_NEWS: Final = 5
"""How many pages of a log in a row may hold nothing but what came before, as they do while a log grows fast."""


async def list_all(session: PostHogSession, place: Place, search: str | None) -> list[EnvironmentSummary]:
    """Every environment that the credential can see, each once.

    Raises:
        TransportError: The list kept changing while it was read; none is returned rather than some left out.
    """
    found: dict[int, EnvironmentSummary] = {}
    count = 0
    for _ in range(_LIST_READS):
        found, count = await _read_list(session, place, search)
        if len(found) == count:
            break
    else:
        raise TransportError(
            f"The list kept changing: {len(found)} distinct environments of {count} after {_LIST_READS} readings. Read it "
            "again when less is going on, or name the environments.",
            endpoint="list",
        )
    environments = list(found.values())
    if place.project_id is not None and session.routes.style_for(LIST, place) != "nested":
        # Root and project style list every environment. Where the project is not shown, it is the environment itself.
        projects = {one.id: one.id if one.project_id is UNSET else one.project_id for one in environments}
        environments = [one for one in environments if projects[one.id] == place.project_id]
    if place.organization_id is not None:
        environments = [one for one in environments if one.organization == place.organization_id]
    if search:
        # Older servers ignore the parameter; newer ones search the name, ignoring case.
        environments = [one for one in environments if search.casefold() in one.name.casefold()]
    return environments


async def _read_list(session: PostHogSession, place: Place, search: str | None) -> tuple[dict[int, EnvironmentSummary], int]:
    found: dict[int, EnvironmentSummary] = {}
    offset = 0
    for _ in range(MOST_LIST_PAGES):
        known = len(found)
        page = (await session.call(calls.list_page(limit=LIST_PAGE, offset=offset, search=search), place)).value
        found |= {one.id: one for one in page.results}
        offset += len(page.results)
        # A page with nothing new in it leads nowhere, whatever it names as the next.
        if len(found) == known or page.next is None or offset >= page.count:
            return found, page.count
    raise _endless("list", "environments")


async def activity_pages(
    session: PostHogSession, place: Place, *, page_size: int = ACTIVITY_PAGE, stop: Stop | None = None
) -> AsyncIterator[Result[list[ActivityEntry]]]:
    """The entries page by page, newest first, each entry once."""
    seen: set[str] = set()
    without_news = 0
    for number in range(1, MOST_ACTIVITY_PAGES + 1):
        result = await session.call(calls.activity_page(page=number, limit=page_size), place, stop=stop)
        page = result.value
        fresh = {_identity(entry): entry for entry in page.results if _identity(entry) not in seen}
        seen.update(fresh)
        without_news = 0 if fresh else without_news + 1
        yield Result(list(fresh.values()), result.attempts, result.waited)
        if page.next is None or number * page_size >= page.total_count:
            return
        if not page.results or without_news == _MOST_WITHOUT_NEWS:
            break
    raise _endless("activity", "entries")


def _endless(endpoint: str, what: str) -> TransportError:
    return TransportError(
        f"The server names one page after the other and there is no end to the {what}, so they are not read further. Is it "
        "PostHog that answers?",
        endpoint=endpoint,
    )


def _identity(entry: ActivityEntry) -> str:
    # The server of October 2024 sends no ids; two entries that are alike in everything are one.
    return entry.id if isinstance(entry.id, str) else repr(entry)
