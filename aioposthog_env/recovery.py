"""What became of a write whose answer was lost, and which must not be repeated.

PostHog has no idempotency keys, so a lost answer can only be resolved by looking at the environment. Three calls leave a mark
that tells. Before such a call is sent, the state that it changes is read; after a lost answer it is read again:

* ``rotate_secret_token`` happened once, where the backup is the old secret and the secret is a new one. (The first rotation of
  all: there was no secret, there is one now, and still no backup.)
* ``reset_token`` and ``generate_conversations_public_token`` happened, where the token is no longer the old one.

That proves that exactly one rotation took effect since the read, not whose it was; either way the environment that was read is
the result. The same is done where the answer came and does not show what was changed, as up to 2025 through the project path.
Where nothing has changed, it matters how the answer was lost:

* **after a 500** the handler is over. Unchanged for a short settle time means that it did not happen: it is sent once more;
* **after anything else**, a timeout, a disconnect, a broken body, a 502, the handler may still be running. Unchanged for a
  long settle time is no proof, so the outcome is unknown, unless the caller has said that it may be sent again then.

So "never twice" holds for handlers that end within the settle time. Anything else that is seen, such as a secret that
rotated twice, and calls that leave no mark, end as unknown, with the observations. After a lost ``create`` these name the
environments of that name which were created since, by the server's clock.

**Compare before acting.** A call can also be told what it is to replace. Then the environment is read first: it is as planned,
and the call acts; it is as the call would leave it, and nothing is left to do; or it is neither, and nothing is sent. The same
look resolves what a killed process has left behind, from the marks that its journal holds; and there a call that is known to
have happened is never sent again, whatever is seen.
"""

import enum
import math
from collections.abc import Awaitable, Callable, Container, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias, cast

import anyio
import attrs
import msgspec

from aioposthog_env.api.endpoints import (
    DELETE_SECRET_TOKEN_BACKUP,
    GENERATE_CONVERSATIONS_PUBLIC_TOKEN,
    RESET_TOKEN,
    ROTATE_SECRET_TOKEN,
    Endpoint,
)
from aioposthog_env.auth import Secret
from aioposthog_env.errors import OutcomeUnknownError
from aioposthog_env.models.comparing import Digests, differing, digests
from aioposthog_env.models.environment import Environment
from aioposthog_env.models.settings import TeamSettings
from aioposthog_env.policy.delivery import Failed, Lost, Refused, Throttled

UnclearDelivery: TypeAlias = Lost | Failed | Refused | Throttled
"""What does not tell whether a call that must run only once took effect. Refusals are here if PostHog did not write them."""

FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_LATE_LOOKS: Final = 3
"""How often a look after the settle time is tried again where it fails."""

_WHERE_TO_LOOK: Final = {
    "create": "list the environments and look for the name",
    "rotate_secret_token": "retrieve the environment: after one rotation the backup is the old secret",
    "reset_token": "retrieve the environment and compare its project token",
    "generate_conversations_public_token": "retrieve the environment and compare the token among its conversations settings",
    "add_product_intent": "retrieve the environment and look at its product intents",
    "complete_product_onboarding": "retrieve the environment and look at its product intents",
}

MOST_CANDIDATES: Final = 10_000
"""How many environments are looked through after a lost create."""

MOST_NAMESAKES: Final = 10
"""How many of them are read, to see when they were created."""

LEAVES_MARKS: Final = (ROTATE_SECRET_TOKEN, RESET_TOKEN, GENERATE_CONVERSATIONS_PUBLIC_TOKEN)
"""The calls whose effect can be seen."""

Marks: TypeAlias = dict[str, str | None]
"""What a call changes, as digests."""


class Verdict(enum.Enum):
    """What an environment tells about a call."""

    HAPPENED = "happened"
    UNCHANGED = "unchanged"
    UNCLEAR = "unclear"


def marks(endpoint: Endpoint, environment: Environment) -> Marks | None:
    """The digests of what a call would change; None where it leaves no mark, or the answer does not show it."""
    if endpoint is ROTATE_SECRET_TOKEN:
        shown: tuple[tuple[str, object], ...] = (
            ("secret", environment.secret_api_token),
            ("backup", environment.secret_api_token_backup),
        )
    elif endpoint is RESET_TOKEN:
        shown = (("token", environment.api_token),)
    elif endpoint is GENERATE_CONVERSATIONS_PUBLIC_TOKEN:
        shown = (("token", _widget_token(environment)),)
    else:
        return None
    if any(value is msgspec.UNSET for _, value in shown):
        return None
    return {name: value.digest() if isinstance(value, Secret) else None for name, value in shown}


def _widget_token(environment: Environment) -> object:
    settings: Any = environment.settings.conversations_settings
    if settings is msgspec.UNSET:
        return settings
    token = cast("dict[str, object]", settings).get("widget_public_token") if isinstance(settings, dict) else None
    return Secret(token) if isinstance(token, str) else None


def judge(before: Marks, now: Marks) -> Verdict:
    """What became of a call, from its marks before and now."""
    if now == before:
        return Verdict.UNCHANGED
    if "token" in now:
        return Verdict.HAPPENED
    renewed = now["secret"] is not None and now["secret"] != before["secret"]
    # The backup is the old secret; of a first rotation there is none, and so no backup.
    return Verdict.HAPPENED if renewed and now["backup"] == before["secret"] else Verdict.UNCLEAR


SHOWS_EFFECT: Final = (*LEAVES_MARKS, DELETE_SECRET_TOKEN_BACKUP)
"""The calls whose response shows whether they took effect."""


def current(shown: Marks) -> str | None:
    """Return the digest of the token that is in use; None if there is none."""
    return shown["token"] if "token" in shown else shown["secret"]


def shows_effect(endpoint: Endpoint, before: Marks | None, environment: Environment, replaced: Container[str]) -> bool | None:
    """Return whether a successful response shows that the call took effect; None if it does not show what was changed.

    A cache, a replica or a crossed response shows what the call was to replace, or what an earlier call has replaced.

    Args:
        endpoint: The call.
        before: Its marks before it was sent; None if they were not read.
        environment: What the response shows.
        replaced: The digests of tokens that this client has replaced.
    """
    if endpoint is DELETE_SECRET_TOKEN_BACKUP:
        return not isinstance(environment.secret_api_token_backup, Secret)
    now = marks(endpoint, environment)
    if now is None:
        return None
    shown = current(now)
    if shown is None or shown in replaced:
        return False
    return before is None or judge(before, now) is Verdict.HAPPENED


class Comparison(enum.Enum):
    """What a digest that was planned with says about the environment as it is."""

    ACT = "as planned"
    DONE = "already done"
    CHANGED = "changed"


@attrs.frozen
class Doubt:
    """A call that a process which is gone may have sent.

    Attributes:
        before: The marks before it was sent; None for a call that leaves none.
        age: Seconds since it was about to be sent the first time, for the reader. A wait before the last time, or a clock that
            was set, can make it too long, so nothing follows from it.
        happened: It is known to have taken effect; what follows it is left to do.
        unsent: As far as is known it was not sent, so an environment that shows no change tells that it did not happen.
        another_login: The credential may be another one than that process had.
    """

    before: Marks | None
    age: float
    happened: bool = False
    unsent: bool = False
    another_login: bool = False


@attrs.frozen
class BeforeWrite:
    """What has to be done before a write leaves.

    Attributes:
        record: Writes down what is about to be sent. It gets the environment as it was read, None where it was not, and the
            marks of the call.
        read: Whether the environment is to be read first.
        doubt: What an earlier process has left open.
        check: Holds the environment, as it was read, and the server's clock against what the caller wants, while nobody else
            of this client writes to it. Raises where nothing may be sent.
        fence: Asked right before each request of the write. Gives the time of the event loop until which it may leave; raises
            where it may not leave at all.
        fresh_until: Until this time of the event loop what the call is to replace is taken to be there, without a look.
    """

    record: Callable[[Environment | None, Marks | None], Awaitable[None]] | None = None
    read: bool = False
    doubt: Doubt | None = None
    check: Callable[[Environment, datetime | None], Comparison] | None = None
    fence: Callable[[], Awaitable[float]] | None = None
    fresh_until: float = -math.inf


def compare_settings(wanted: TeamSettings, expected: Digests | None, now: TeamSettings, era: str) -> Comparison:
    """Hold settings against an environment.

    Args:
        wanted: What the call would set.
        expected: The digests of what it is to replace; None for whatever is there.
        now: The settings of the environment.
        era: The letter of the server's generation.
    """
    left = differing(wanted, now, era)
    if not left:
        return Comparison.DONE
    if expected is None:
        return Comparison.ACT
    seen = digests(now, left)
    # A setting that is as desired by now needs no comparison; every other one must be as it was.
    return Comparison.ACT if all(seen.get(name) == expected.get(name) for name in left) else Comparison.CHANGED


def compare(expected: str, now: Marks) -> Comparison:
    """Hold the digest of a plan against the environment.

    Args:
        expected: The digest of the secret, or token, that the plan wants to replace.
        now: The marks of the environment.
    """
    if expected in {now.get("secret"), now.get("token")}:
        return Comparison.ACT
    return Comparison.DONE if "token" in now or now["backup"] == expected else Comparison.CHANGED


@attrs.define
class Watch:
    """What was seen while looking after a lost answer.

    Attributes:
        verdict: What the last look told.
        environment: What the last look saw.
        observations: All of it in words, without a secret.
    """

    verdict: Verdict | None = None
    environment: Any = None
    observations: list[str] = attrs.field(factory=list[str])


async def watch(
    endpoint: Endpoint,
    before: Marks,
    read: Callable[[], Awaitable[tuple[Environment, Any] | None]],
    settle: float,
    replaced: Container[str] = (),
) -> Watch:
    """Look, with growing pauses, until something has changed or the settle time is over.

    Only a look after the settle time tells that nothing has changed, so it is tried a few times more where it fails.

    Args:
        endpoint: The call.
        before: Its marks before it was sent.
        read: Reads the environment: the environment and what to keep of the answer, or None where that failed.
        settle: How long to look, in seconds.
        replaced: The digests of tokens that this client had replaced before the call; what shows one is a late copy.
    """
    seen, began, pause, late = Watch(), anyio.current_time(), FIRST_PAUSE, 0
    while True:
        asked = anyio.current_time() - began
        found = await read()
        at = anyio.current_time() - began
        now = None if found is None else marks(endpoint, found[0])
        if found is None or now is None:
            seen.verdict = None
            seen.observations.append(f"after {at:.1f} s: the environment could not be read")
        elif now != before and (token := current(now)) is not None and token in replaced:
            seen.verdict = None
            seen.observations.append(f"after {at:.1f} s: a cache or a lagging replica showed an older state ({_digests(now)})")
        else:
            seen.verdict, seen.environment = judge(before, now), found[1]
            seen.observations.append(f"after {at:.1f} s: {seen.verdict.value} ({_digests(now)})")
        late += asked >= settle
        over = late > 0 and (seen.verdict is not None or late > _LATE_LOOKS)
        if over or seen.verdict in {Verdict.HAPPENED, Verdict.UNCLEAR}:
            return seen
        left = settle - (anyio.current_time() - began)
        # Never less: a timer may fire before its time by the clock's resolution, and then nothing would be left to wait for.
        await anyio.sleep(max(FIRST_PAUSE, min(pause, left)))
        pause = min(2 * pause, _LONGEST_PAUSE)


def _digests(now: Marks) -> str:
    return ", ".join(f"{name} {'none' if digest is None else digest[:8]}" for name, digest in now.items())


def how_lost(delivery: UnclearDelivery) -> str:
    """Return how a response was lost, in words."""
    if isinstance(delivery, Lost):
        return f"the response was lost: {delivery.reason}"
    status = delivery.reply.status
    if delivery.genuine:
        return f"PostHog answered {status}"
    return f"the response was lost: status {status} came with an answer that is not PostHog's"


def handler_is_over(delivery: UnclearDelivery) -> bool:
    """Return whether the server has certainly finished with the request.

    PostHog's own 500 proves it. A 502, or the 500 page of a proxy, proves nothing.
    """
    return isinstance(delivery, Failed) and delivery.genuine and delivery.reply.status == 500


def created_since(namesakes: Sequence[tuple[int, datetime | None]], sent: datetime | None) -> str:
    """Which environments a lost create may have made, in words.

    Args:
        namesakes: The environments that have the name: the id, and when it was created, None where that is not shown.
        sent: When the call was sent at the earliest, by the server's clock; None where that is not known.
    """
    if sent is None:
        ids = [str(id) for id, _ in namesakes]
        return f"environments of that name, perhaps older than the call: {', '.join(ids) or 'none'}"
    since = [str(id) for id, at in namesakes if at is not None and at >= sent]
    words = f"environments of that name created since: {', '.join(since) or 'none'}"
    undated = [str(id) for id, at in namesakes if at is None]
    return f"{words}; at a time that is not known: {', '.join(undated)}" if undated else words


def outcome_unknown(endpoint: str, observations: Sequence[str]) -> OutcomeUnknownError:
    """The error for a call that may have taken effect."""
    look = _WHERE_TO_LOOK.get(endpoint, "retrieve the environment")
    told = "; ".join(dict.fromkeys((observations[0], observations[-1])))
    return OutcomeUnknownError(
        f"It may or may not have happened ({told}). It was not sent again, because happening twice does harm. Before you "
        f"repeat it, {look}.",
        observations=observations,
    )
