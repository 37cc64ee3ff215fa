"""``Workers``: a bulk run whose calls are made by worker processes. This side reads, records, submits and collects.

For each environment, in the order that a journal relies on:

1. an outcome that has come already, or a job that is still in the queue, from an earlier session of the run: wait for it;
2. else look, as a run without workers does: scopes, what the journal has in doubt, whether anything is to be done at all;
3. the intent is on the disk, with the digests of what will be replaced;
4. the job is put into the queue: first its hash, which holds the item, then the engine's message, which holds two ids;
5. its outcome comes through one stream for the whole run, is on the disk too, and only then is it removed from Redis.

A job's key is made of the run and the environment, so submitting it again, which is done every few seconds for all that are
waited for, changes nothing where the queue has it, and mends what a crash between two of these steps has left. Where its hash
is gone, Redis has lost its data: then it is begun again at 2, in doubt, since a worker may have sent it. A coordinator that is
killed between 3 and 4 leaves an intent without a job. The hash is begun before the intent, so that this is seen: then an
environment without a change is proof enough that nothing was sent.

At most ``in_flight`` jobs are in the queue, so its size does not grow with the number of environments.
"""

import time
import uuid
from contextlib import AsyncExitStack
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Self, cast

import anyio
import anyio.abc
import attrs

from aioposthog_env.api.calls import Call
from aioposthog_env.api.endpoints import UPDATE
from aioposthog_env.api.routes import place_of
from aioposthog_env.bulk.outcome import Outcome
from aioposthog_env.bulk.record import RunRecord
from aioposthog_env.errors import ConfigurationError, PostHogEnvError, QueueError
from aioposthog_env.models.comparing import digests
from aioposthog_env.models.environment import Environment, EnvironmentRef
from aioposthog_env.recovery import BeforeWrite, Doubt, Marks
from aioposthog_env.redacted import printable_half_built, redacted
from aioposthog_env.redis_address import shown
from aioposthog_env.session import PostHogSession, Result
from aioposthog_env.stop import Stop, StoppedError
from aioposthog_env.telemetry import log
from aioposthog_env.workers import answers
from aioposthog_env.workers.connection import KEEP, connect, for_engine, queue_url
from aioposthog_env.workers.item import MAX_DELIVERIES, WorkItem, current, must_be_fit
from aioposthog_env.workers.lease import WITHDRAW, Keys

JOB: Final = "aioposthog_env_job"
"""The name of the task on docket."""

_BLOCK: Final = 1.0
"""Seconds that one look at the stream waits for outcomes."""
_CHECK: Final = 5.0
"""Seconds between two looks whether the queue still has what is waited for."""
_PAUSE: Final = 0.25
_NEAR: Final = 5.0
"""Seconds that an intent may be written down after its job's hash was begun."""


@printable_half_built
class Workers:
    """A task queue whose workers make the calls of a bulk run: ``each(refs, on=Workers(url))`` or ``apply(plan, on=…)``.

    Start workers with ``aioposthog-env workers run --redis URL``, on any number of machines. Give the run a journal: a
    coordinator that is killed and started again takes the run up where it is.

    Args:
        url: Redis or Valkey: ``redis://``, ``rediss://`` (TLS) or ``unix://``. Who can write to it can run code on the workers.
        name: The queue's name, and the beginning of all its keys. Give each host, and each credential, one of its own.
        in_flight: How many jobs of a run are in the queue at a time. Four times what all workers work on is plenty.
        patience: Seconds for which Redis may be away before the run is ended.
        max_deliveries: How many workers may die over a job before it has failed.
        allow_insecure: Take a server beyond this machine that asks for no password or speaks no TLS.
        allow_open_queue: Take a server of this machine that asks for no password, though each user of the machine can then run
            code as the worker.

    Raises:
        ConfigurationError: The address cannot be used, or a figure is not positive.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str = "aioposthog-env",
        in_flight: int = 500,
        patience: float = 60.0,
        max_deliveries: int = MAX_DELIVERIES,
        allow_insecure: bool = False,
        allow_open_queue: bool = False,
    ) -> None:
        self.url: str = queue_url(redacted(url), allow_insecure=allow_insecure, allow_open_queue=allow_open_queue)
        for what, value in (("in_flight", in_flight), ("patience", patience), ("max_deliveries", max_deliveries)):
            if isinstance(value, bool) or not value > 0:
                raise ConfigurationError(f"{what} must be a number above 0, not {value!r}.")
        self.name = name
        self.patience = patience
        self.max_deliveries = max_deliveries
        self._in_flight = in_flight

    def __repr__(self) -> str:
        return f"Workers({shown(self.url)!r}, name={self.name!r})"

    @property
    def in_flight(self) -> int:
        """How many jobs of a run are in the queue at a time."""
        return self._in_flight

    def check(self, call: Call[Any]) -> None:
        """Refuse a call that must not go through the queue.

        Raises:
            ConfigurationError: It holds a secret, or changes nothing.
        """
        must_be_fit(call)

    def run(self, session: PostHogSession, record: RunRecord | None) -> "WorkersRun":
        """A run whose calls the workers make; what ``each`` and ``apply`` ask for."""
        return WorkersRun(self, session, record)


class _HandedOverError(PostHogEnvError):
    """A way out: everything is ready for the call, and a worker is to make it."""

    def __init__(self, seen: Environment | None, marks: Marks | None) -> None:
        super().__init__("A worker makes the call.")
        self.seen = seen
        self.marks = marks


@attrs.define(eq=False)
class _Waiting:
    """What is waited for."""

    came: anyio.Event = attrs.field(factory=anyio.Event)
    entry: str | None = None
    outcome: Outcome[None] | None = None


class WorkersRun:
    """One bulk run on the queue, open while it goes on."""

    def __init__(self, workers: Workers, session: PostHogSession, record: RunRecord | None) -> None:
        self._workers = workers
        self._session = session
        self._record = record
        self._keys = Keys(workers.name)
        self._run = uuid.uuid4().hex
        self._stack = AsyncExitStack()
        self._tasks: anyio.abc.TaskGroup | None = None
        self._redis: Any = None
        self._docket: Any = None
        self._waiting: dict[int, _Waiting] = {}
        self._came: dict[int, _Waiting] = {}
        self._failed: QueueError | None = None
        self._away_since: float | None = None
        self._last = "0"

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def _open(self) -> None:
        docket = load_engine()
        from redis.exceptions import RedisError

        if self._record is not None:
            self._run = self._record.key
        self._redis = connect(self._workers.url)
        self._stack.push_async_callback(self._redis.aclose)
        try:
            await self._redis.ping()
            self._docket = await self._stack.enter_async_context(engine(docket, self._workers.name, self._workers.url))
        except (RedisError, OSError) as error:
            raise QueueError(
                f"The queue at {shown(self._workers.url)} cannot be used ({type(error).__name__}). Nothing was sent."
            ) from None
        self._docket.register(_placeholder, names=[JOB])
        while await self._collect(wait=False):
            pass  # what an earlier session has left
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._collecting)
        self._tasks.start_soon(self._mending)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        tasks, self._tasks = self._tasks, None
        try:
            if tasks is not None:
                tasks.cancel_scope.cancel()
                await tasks.__aexit__(None, None, None)
        finally:
            with anyio.CancelScope(shield=True):
                await self._stack.aclose()

    async def call(self, call: Call[Any], ref: EnvironmentRef, before: BeforeWrite | None, stop: Stop) -> Result[Any]:
        """Have a worker make a call, and wait for what becomes of it.

        A stop withdraws the job, unless a worker has passed the fence with it: then it is finished.

        Raises:
            PostHogEnvError: What looking at the environment, or the worker's call, has raised.
            StoppedError: The run was stopped, and no worker had sent anything.
        """
        must_be_fit(call)
        before, attempts, waited = before or BeforeWrite(), 0, 0.0
        waiting, unsent = await self._taken_up(ref)
        if before.doubt is not None and unsent:
            before = attrs.evolve(before, doubt=attrs.evolve(before.doubt, unsent=True))
        while True:
            began, marks = time.time(), None if before.doubt is None else before.doubt.before
            if waiting is None:
                try:
                    return await self._look(call, ref, before, stop)
                except _HandedOverError as ready:
                    attempts, waited, marks = attempts + ready.attempts, waited + ready.waited, ready.marks
                    item = self._item(call, ref, ready)
                waiting = await self._submit(item)
            try:
                await stop.unless_set(waiting.came.wait())
            except StoppedError as error:
                if await self._patiently(self._withdraw, ref.id):
                    self._waiting.pop(ref.id, None)
                    error.attempts, error.waited, error.no_effect = attempts, waited, True
                    raise error.about(call.endpoint.name, ref.id) from None
                await waiting.came.wait()
            if waiting.outcome is not None or self._failed is not None:
                return self._result(waiting, call, ref, attempts, waited)
            # Redis has lost it, and a worker may have sent it: no stop leaves that open.
            waiting, stop = None, Stop()
            before = attrs.evolve(before, doubt=Doubt(marks, max(0.0, time.time() - began)))

    async def _withdraw(self, environment: int) -> bool:
        """Take a job back, unless a request of its write may have left. Whether it is taken back."""
        return bool(await self._redis.eval(WITHDRAW, 1, self._keys.job(self._run, environment)))

    async def _look(self, call: Call[Any], ref: EnvironmentRef, before: BeforeWrite, stop: Stop) -> Result[Any]:
        """Everything that comes before a write but the write.

        Raises:
            _HandedOverError: The write is to be made.
        """
        if before.doubt is not None and before.doubt.happened:
            return await self._session.call(call, place_of(ref), before, stop=stop)

        async def hand_over(seen: Environment | None, marks: Marks | None) -> None:
            if before.record is not None:
                planned = f"{time.time()} {await self._server()}"
                await self._patiently(self._write, ref.id, "planned", planned)
                await before.record(seen, marks)
            raise _HandedOverError(seen, marks)

        # Settings are compared with what was planned by the worker, right before it sends.
        asked = attrs.evolve(call, expected_settings=None) if call.endpoint is UPDATE else call
        return await self._session.call(asked, place_of(ref), attrs.evolve(before, record=hand_over), stop=stop)

    def _result(self, waiting: _Waiting, call: Call[Any], ref: EnvironmentRef, attempts: int, waited: float) -> Result[Any]:
        outcome = waiting.outcome
        if outcome is None:
            raise cast("QueueError", self._failed).about(call.endpoint.name, ref.id)
        attempts, waited = attempts + outcome.attempts, waited + outcome.waited
        if outcome.error is not None:
            outcome.error.attempts, outcome.error.waited = attempts, waited
            raise outcome.error.about(call.endpoint.name, ref.id)
        return Result(
            None,
            attempts,
            waited,
            already_done=outcome.status == "unchanged",
            not_applied=outcome.not_applied,
            digests=outcome.digests or {},
        )

    async def forget(self, ref: EnvironmentRef) -> None:
        """Remove a job whose outcome is written down."""
        self._waiting.pop(ref.id, None)
        came = self._came.pop(ref.id, None)
        if came is None or came.entry is None:
            return
        from redis.exceptions import RedisError

        try:
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.delete(self._keys.job(self._run, ref.id))
                pipeline.xdel(self._keys.outcomes(self._run), came.entry)
                await pipeline.execute()
        except (RedisError, OSError):
            return  # it is gone by itself later; the journal has it

    async def _taken_up(self, ref: EnvironmentRef) -> tuple[_Waiting | None, bool]:
        """What an earlier session of the run has put into the queue and not written down.

        Returns:
            What is to be waited for; or None, and whether what the journal has in doubt was never submitted.
        """
        earlier = None if self._record is None else self._record.earlier(ref)
        if self._record is None or earlier is None or not earlier.in_doubt:
            await self.forget(ref)  # it was written down, and a crash has kept it here
            return None, False
        item, planned = await self._patiently(self._redis.hmget, self._keys.job(self._run, ref.id), ["item", "planned"])
        waiting = self._came.get(ref.id) or (self._expect(ref) if item is not None else None)
        if waiting is not None:
            self._record.takes_up(ref)
        if waiting is not None or planned is None or earlier.state != "intended":
            return waiting, False
        # It must be the same intent, since a session without workers may have sent another one; and the same start of Redis,
        # which may have lost a job that a worker has seen.
        at, _, server = planned.partition(" ")
        near = abs((earlier.intended or 0.0) - float(at)) < _NEAR
        return None, near and server == await self._server()

    async def _server(self) -> str:
        """Which start of Redis answers: another one may have lost the last moment."""
        return str((await self._patiently(self._redis.info, "server"))["run_id"])

    def _expect(self, ref: EnvironmentRef) -> _Waiting:
        waiting = self._waiting[ref.id] = _Waiting()
        if self._failed is not None:
            waiting.came.set()
        return waiting

    def _item(self, call: Call[Any], ref: EnvironmentRef, ready: _HandedOverError) -> WorkItem:
        expected, settings = None, call.expected_settings
        if ready.marks is not None and call.expected is None:
            expected = current(call.endpoint, ready.marks)
        if ready.seen is not None and settings is None and call.endpoint is UPDATE:
            settings = digests(ready.seen.settings, call.fields)
        return WorkItem.of_call(
            self._session,
            self._run,
            call,
            ref,
            expected=expected,
            expected_settings=settings,
            max_deliveries=self._workers.max_deliveries,
        )

    async def _submit(self, item: WorkItem) -> _Waiting:
        await self._patiently(self._write, item.environment, "item", item.to_json())
        waiting = self._expect(item.ref)
        await self._patiently(self._enqueue, item.environment)
        return waiting

    async def _write(self, environment: int, field: str, value: str | float) -> None:
        key = self._keys.job(self._run, environment)
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(key, field, value)
            pipeline.expire(key, KEEP)
            await pipeline.execute()

    async def _enqueue(self, environment: int) -> None:
        await self._docket.add(JOB, key=f"{self._run}:{environment}")(self._run, environment)

    async def _patiently(self, ask: Any, *arguments: object) -> Any:
        """Ask Redis, again while it does not answer, for as long as the run has patience.

        Raises:
            QueueError: It has none left.
        """
        from redis.exceptions import RedisError

        while self._failed is None:
            try:
                found = await ask(*arguments)
            except (RedisError, OSError) as error:
                self._lose_patience(error)
                await anyio.sleep(_PAUSE)
            else:
                self._away_since = None
                return found
        raise self._failed

    def _lose_patience(self, error: Exception) -> None:
        now = anyio.current_time()
        if self._away_since is None:
            log.warning("The queue at %s does not answer (%s)", shown(self._workers.url), type(error).__name__)
            self._away_since = now
        if now - self._away_since < self._workers.patience:
            return
        self._give_up(
            f"The queue at {shown(self._workers.url)} has not answered for {self._workers.patience:.0f} s, so it is not known "
            "what the workers have done. Resume the run with its journal when it is back: what they have done is taken up."
        )

    def _give_up(self, why: str) -> None:
        self._failed = self._failed or QueueError(why)
        for waiting in self._waiting.values():
            waiting.came.set()

    async def _collecting(self) -> None:
        """Take outcomes as they come."""
        while self._failed is None:
            try:
                await self._patiently(self._collect)
            except QueueError:
                return

    async def _collect(self, *, wait: bool = True) -> bool:
        """Take what has come since the last look. Whether there was anything."""
        block = round(_BLOCK * 1000) if wait else None
        found: list[Any] = await self._redis.xread({self._keys.outcomes(self._run): self._last}, count=100, block=block)
        entries: list[tuple[str, dict[str, str]]] = [entry for _, some in found for entry in some]
        for entry, fields in entries:
            self._last = entry
            try:
                outcome = answers.from_json(fields["outcome"])
            except (ValueError, LookupError, TypeError, ConfigurationError):
                self._give_up(f"{shown(self._workers.url)} holds an outcome that this version cannot read.")
                return False
            waiting = self._waiting.pop(outcome.ref.id, None) or self._came.get(outcome.ref.id) or _Waiting()
            waiting.entry, waiting.outcome = entry, outcome
            self._came[outcome.ref.id] = waiting
            waiting.came.set()
        return bool(entries)

    async def _mending(self) -> None:
        """See that the queue has what is waited for: put it there again, or find that Redis has lost it."""
        while self._failed is None:
            await anyio.sleep(_CHECK)
            try:
                for id, waiting in list(self._waiting.items()):
                    there = await self._patiently(self._redis.hexists, self._keys.job(self._run, id), "item")
                    if self._waiting.get(id) is not waiting:
                        continue  # its outcome has come meanwhile
                    if there:
                        await self._patiently(self._enqueue, id)
                    elif self._waiting.pop(id, None) is not None:
                        waiting.came.set()
            except QueueError:
                return


async def _placeholder(run: str, environment: int) -> None:
    """Stands for the workers' function, which this process does not have."""


def engine(docket: Any, name: str, url: str) -> Any:
    """The engine's queue. What has ended is kept by us, in plain JSON, and not by the engine."""
    return docket.Docket(name=f"{name}:queue", url=for_engine(url), execution_ttl=timedelta(0))


def load_engine() -> Any:
    """The engine, which takes a second to import.

    Raises:
        ConfigurationError: It is not installed.
    """
    try:
        import docket
    except ImportError:
        raise ConfigurationError("Workers need the extra `workers`: pip install 'aioposthog-env[workers]'.") from None
    return docket
