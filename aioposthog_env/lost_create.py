"""After a lost ``create``: which environments of the name that was asked for were created since.

PostHog's list shows names without times, so the few namesakes are read one by one. What is "since" goes by the server's clock:
the header ``Date`` of the list, less what has passed here since the call was sent, and less a margin, since the one that says
the date may be a gateway, and the one that notes the time a database. To take an older one for new makes a person look; to
overlook the new one makes a second.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import anyio
import attrs
from msgspec import UNSET

from aioposthog_env import recovery
from aioposthog_env.api import calls, replies
from aioposthog_env.api.endpoints import RETRIEVE
from aioposthog_env.api.routes import Place, Style, path
from aioposthog_env.errors import PostHogEnvError
from aioposthog_env.models.environment import Environment
from aioposthog_env.policy.delivery import Answered, Reply
from aioposthog_env.policy.retry_after import http_date
from aioposthog_env.sending import Request, Sender

CLOCKS_DIFFER: Final = timedelta(minutes=1)
"""How far the clocks behind one host may be apart."""
_HERE_DIFFERS: Final = timedelta(days=1)
"""How far the clock of this machine may be off."""


def created_another(name: object, place: Place, environment: Environment, since: datetime) -> str | None:
    """Return why an environment is not the one that a call has just created, as words after "a response that".

    None if it may be.

    Args:
        name: The name that was requested; anything but a text for none.
        place: The collection that the call was sent to.
        environment: What the response describes.
        since: The earliest time at which the call can have created it.
    """
    if isinstance(name, str) and environment.name != name.strip():
        return f"describes environment {environment.id} of another name"
    if place.project_id is not None and environment.project_id not in {place.project_id, UNSET}:
        return f"describes environment {environment.id} of project {environment.project_id}, not {place.project_id}"
    at = environment.created_at
    if isinstance(at, datetime) and at.tzinfo is not None and at < since:
        return (
            f"describes environment {environment.id}, which is older than the call ({at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC)"
        )
    return None


def earliest_creation(server: datetime | None, here: datetime, passed: float) -> datetime:
    """Return the earliest time at which a call can have created something, by the server's clock.

    Args:
        server: The header ``Date`` of the response; None if it has none. A cache may send an old one.
        here: The clock of this machine, which may be wrong by a day.
        passed: Seconds since the call was sent.
    """
    margins = [(server, CLOCKS_DIFFER), (here, _HERE_DIFFERS)]
    return max(clock - margin for clock, margin in margins if clock is not None) - timedelta(seconds=passed)


@attrs.frozen
class LostCreate:
    """A ``create`` whose answer was lost.

    Attributes:
        sender: Sends the reads.
        place: The collection that it was sent to.
        style: The URL style.
        name: The name that was asked for; anything else for none.
        sent_at: When it was sent, by the clock of the event loop.
    """

    sender: Sender
    place: Place
    style: Style
    name: object
    sent_at: float

    async def candidates(self) -> str:
        """The environments that it may have made, in words."""
        asking = calls.list_page(limit=recovery.MOST_CANDIDATES, offset=0, search=None)
        reply = await self._read(Request(asking.endpoint, path(self.style, asking.endpoint, self.place) + asking.query))
        if reply is None:
            return "the environments could not be read"
        if not isinstance(self.name, str):
            return "no name was asked for"
        now = http_date(reply.headers.get("Date"))
        # What has passed here is at least what has passed there, so this is no later than the call was sent.
        passed = timedelta(seconds=anyio.current_time() - self.sent_at)
        since = None if now is None else now - passed - CLOCKS_DIFFER
        page: Any = replies.decode_success(asking.endpoint, reply.body)
        ids: list[int] = [one.id for one in page.results if one.name == self.name.strip()]
        read, unread = ids[: recovery.MOST_NAMESAKES], ids[recovery.MOST_NAMESAKES :]
        namesakes = [(id, await self._created_at(id)) for id in read] + [(id, None) for id in unread]
        older = [f"{id} ({at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC)" for id, at in namesakes if at and since and at < since]
        words = recovery.created_since(namesakes, since)
        return f"{words}; created before: {', '.join(older)}" if older else words

    async def _created_at(self, id: int) -> datetime | None:
        """When an environment was created; None where that cannot be read."""
        reply = await self._read(Request(RETRIEVE, path(self.style, RETRIEVE, attrs.evolve(self.place, environment_id=id))))
        if reply is None:
            return None
        environment: Environment = replies.decode_success(RETRIEVE, reply.body)
        at = environment.created_at
        return at if isinstance(at, datetime) and at.tzinfo is not None else None

    async def _read(self, request: Request) -> Reply | None:
        """A whole answer that can be read; None for anything else, which must not hide that the call may have happened."""
        try:
            found = await self.sender.deliver(request)
            if not isinstance(found, Answered):
                return None
            replies.decode_success(request.endpoint, found.reply.body)
        except PostHogEnvError:
            return None
        return found.reply
