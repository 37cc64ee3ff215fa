"""Waiting for what PostHog does in the background, on a virtual clock."""

from typing import Any

import anyio
import attrs
import pytest

from aioposthog_env import (
    ConfigurationError,
    NotFoundError,
    RateLimitWaitTooLong,
    RetryPolicy,
    ServerError,
    StateChangedError,
    Timeout,
    TransportError,
    WaitTimeoutError,
)
from aioposthog_env.api.endpoints import Endpoint
from aioposthog_env.api.routes import RouteMemory
from aioposthog_env.errors import PostHogEnvError
from aioposthog_env.models.environment import Environment, EnvironmentRef
from aioposthog_env.sending import Options
from aioposthog_env.session import Result
from aioposthog_env.telemetry import Event, Polled
from aioposthog_env.waiting import until_deleted, until_demo_data_ready

pytestmark = [pytest.mark.looptime]


class Answers:
    """Stands for the session: gives one answer after the other, the last for ever."""

    def __init__(self, *answers: Any, takes: float = 0.0, retry: RetryPolicy | None = None) -> None:
        self._answers = list(answers)
        self._takes = takes
        self.events: list[Event] = []
        self.asked: list[Endpoint] = []
        self.routes = RouteMemory()
        self.options = Options(
            retry=retry or RetryPolicy(), timeout=Timeout(), enforce_scopes=False, hooks=(self.events.append,)
        )

    def with_options(self, options: Options) -> "Answers":
        other = object.__new__(Answers)
        other.__dict__ = self.__dict__ | {"options": options}
        return other

    async def call(self, call: Any, place: Any, *, style: Any = None) -> Result[Any]:
        self.asked.append(call.endpoint)
        deadline = self.options.retry.deadline
        assert deadline is not None
        with anyio.move_on_after(deadline) as scope:
            await anyio.sleep(self._takes)
        if scope.cancelled_caught:
            raise TransportError("the answer took too long")
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, PostHogEnvError):
            raise answer
        return Result(answer, 1, 0.0)


def pending(value: bool) -> Environment:
    return Environment(id=7, name="x", is_pending_deletion=value)


REF = EnvironmentRef(7)
GONE = NotFoundError("gone", status=404, type="invalid_request", code="not_found")


async def test_until_it_is_gone_with_growing_pauses(looptime: Any) -> None:
    session: Any = Answers(*[pending(True)] * 12, GONE)
    await until_deleted(session, REF, 3600.0)
    waits = [event.wait for event in session.events if isinstance(event, Polled)]
    assert waits[:3] == [1.0, 1.5, 2.25]
    assert waits == sorted(waits)
    assert max(waits) == 30.0
    assert [event.poll for event in session.events] == list(range(1, 13))
    assert session.events[0].environment_id == 7
    assert looptime == round(sum(waits), 5)


async def test_a_server_that_does_not_say_is_waited_for_too() -> None:
    session: Any = Answers(Environment(id=7, name="x"), GONE)
    await until_deleted(session, REF, 60.0)
    assert [event.poll for event in session.events] == [1]  # it was looked at again, and taken as gone only then


async def test_what_is_not_being_deleted_is_not_waited_for() -> None:
    with pytest.raises(StateChangedError, match="environment 7: It is not being deleted"):
        await until_deleted(Answers(pending(False)), REF, 60.0)  # type: ignore[arg-type]


async def test_the_deadline(looptime: Any) -> None:
    with pytest.raises(WaitTimeoutError, match=r"the deletion may still come\. Waited 60 s") as caught:
        await until_deleted(Answers(pending(True)), REF, 60.0)  # type: ignore[arg-type]
    assert isinstance(caught.value, TimeoutError)
    assert looptime == pytest.approx(60)
    with pytest.raises(ConfigurationError, match="above 0"):
        await until_deleted(Answers(pending(True)), REF, 0.0)  # type: ignore[arg-type]


async def test_until_the_demo_data_is_there() -> None:
    session: Any = Answers(True, True, False)
    await until_demo_data_ready(session, REF, 60.0)
    assert [endpoint.name for endpoint in session.asked] == ["is_generating_demo_data"] * 3
    with pytest.raises(WaitTimeoutError, match="still being made"):
        await until_demo_data_ready(Answers(True), REF, 5.0)  # type: ignore[arg-type]


async def test_a_slow_poll_ends_with_the_deadline(looptime: Any) -> None:
    session: Any = Answers(pending(True), takes=4.0)
    with pytest.raises(WaitTimeoutError, match="could not be asked: the answer took too long"):
        await until_deleted(session, REF, 1.0)
    assert looptime == pytest.approx(1.0)
    with pytest.raises(WaitTimeoutError, match="can still be read"):
        await until_deleted(session, REF, 7.0)
    assert looptime == pytest.approx(8.0)


async def test_a_deadline_of_the_policy_holds_for_each_poll(looptime: Any) -> None:
    session: Any = Answers(pending(True), takes=4.0, retry=RetryPolicy(deadline=2.0))
    with pytest.raises(WaitTimeoutError):
        await until_deleted(session, REF, 30.0)
    assert len(session.asked) > 3
    assert looptime == pytest.approx(30.1)


@pytest.mark.parametrize("trouble", [ServerError("502", status=502), TransportError("the connection was lost")])
async def test_a_server_in_trouble_does_not_end_the_wait(trouble: PostHogEnvError) -> None:
    session: Any = Answers(pending(True), *[trouble] * 5, pending(True), GONE)
    await until_deleted(session, REF, 3600.0)
    assert len(session.asked) == 8
    with pytest.raises(WaitTimeoutError, match="could not be asked"):
        await until_deleted(Answers(trouble), REF, 60.0)  # type: ignore[arg-type]


async def test_the_rate_limit_ends_the_wait_only_where_the_policy_does_not_allow_its_own() -> None:
    long = RateLimitWaitTooLong(retry_after=90.0, ceiling=10.0)
    with pytest.raises(WaitTimeoutError, match="allows this call in 90 s"):
        await until_deleted(Answers(long), REF, 20.0)  # type: ignore[arg-type]
    endless: Any = Answers(long, retry=RetryPolicy(wait_ceiling=None))
    with pytest.raises(WaitTimeoutError):
        await until_deleted(endless, REF, 20.0)
    impatient: Any = Answers(long, retry=attrs.evolve(RetryPolicy(), wait_ceiling=60.0))
    with pytest.raises(RateLimitWaitTooLong):
        await until_deleted(impatient, REF, 3600.0)
