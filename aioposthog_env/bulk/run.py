"""The worker pool: one call to each of any number of environments.

A fixed number of workers draw from one iterator, so memory does not grow with the number of environments (but for the ids
seen, which keep a duplicate from being run twice). An error of one environment becomes its outcome and disturbs no other.
Some things stop the rest: a credential that the server refuses, since every further call would be refused too; a journal or a
sink that fails; ``stop_after_failures``; a failed canary. What is then left is reported as skipped, so that every environment
has an outcome. Where the source of the environments fails, nobody knows the rest: no more is drawn from it, what is in flight
is finished, and then its error is raised.

Outcomes come back through an outbox of bounded size: a deque and one waiting consumer. Where the consumer is slow, the
workers wait. Leaving the ``async with`` early cancels the workers; calls in flight are cancelled where they are.
"""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator, Sequence, Sized
from itertools import islice
from types import TracebackType
from typing import Any, Generic, Self, TypeAlias, TypeVar

import anyio
import anyio.abc

from aioposthog_env.bulk.cancelled import is_cancelled
from aioposthog_env.bulk.outcome import BulkReport, Collected, Keep, Outcome, Reason, Status, as_value, failure, in_words
from aioposthog_env.bulk.queued import QueuedRun
from aioposthog_env.bulk.record import RunRecord
from aioposthog_env.bulk.sink import Sink
from aioposthog_env.errors import (
    AuthenticationError,
    ConfigurationError,
    JournalError,
    PostHogEnvError,
    QueueError,
    SinkError,
)
from aioposthog_env.models.environment import AnyRef, EnvironmentRef, as_ref
from aioposthog_env.session import Result
from aioposthog_env.stop import Stop, StoppedError
from aioposthog_env.telemetry import Hook, ItemFinished, tell

T = TypeVar("T")

Refs: TypeAlias = Iterable[AnyRef] | AsyncIterable[AnyRef]
"""Which environments: any iterable, also an asynchronous one such as ``environments.list()``."""
Work: TypeAlias = Callable[[EnvironmentRef], Awaitable[Result[T]]]

AnyIterator: TypeAlias = Iterator[EnvironmentRef] | AsyncIterator[EnvironmentRef]

_OUTBOX = 64
_PAUSE_EVERY = 64
"""Outcomes after which the event loop has its turn."""
_STOPPING = (AuthenticationError, JournalError, QueueError, SinkError)
"""Errors that every further environment would meet too."""


class Skip(Exception):  # noqa: N818  a way out, no error
    """Raised by the work on an environment that is left as it is.

    Args:
        reason: Why, in a word or two.
        error: Why, for the person who reads it.
        attempts: Requests sent.
        waited: Seconds spent waiting.
    """

    def __init__(self, reason: Reason, error: PostHogEnvError | None, attempts: int = 0, waited: float = 0.0) -> None:
        super().__init__(reason)
        self.reason: Reason = reason
        self.error = error
        self.took: dict[str, Any] = {"attempts": attempts, "waited": waited}


class _Outbox(Generic[T]):
    """Outcomes on their way from many workers to one consumer.

    One event each way, kept for the whole run: making one for every wait would cost more than all the rest. Workers that wait
    for room are woken when half of it is free, since waking all of them for each place would cost as much again.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: deque[Outcome[T]] = deque()
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self._closed = False
        self._error: Exception | None = None

    async def put(self, item: Outcome[T]) -> None:
        while len(self._items) >= self._size:
            self._drained.clear()
            await self._drained.wait()
        self._items.append(item)
        self._filled.set()

    def close(self, error: Exception | None = None) -> None:
        self._closed, self._error = True, error
        self._filled.set()

    def raise_error(self) -> None:
        """Raise the error that it was closed with, once."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    async def get(self) -> Outcome[T]:
        while not self._items:
            if self._closed:
                self.raise_error()
                raise StopAsyncIteration
            self._filled.clear()
            await self._filled.wait()
        item = self._items.popleft()
        if 2 * len(self._items) <= self._size:
            self._drained.set()
        return item


class BulkRun(Generic[T]):
    """A bulk run that has not started yet.

    Await it for a ``BulkReport``, or enter it with ``async with`` and iterate over the outcomes as they come. It runs once.

    An error of the source of the environments is raised when all that was in flight is finished, and a note on it tells what
    was done. Who iterates gets the outcomes first.
    """

    def __init__(
        self,
        refs: Refs,
        work: Work[T],
        *,
        concurrency: int,
        stop_after_failures: int | None,
        canary: int = 0,
        record: RunRecord | None = None,
        sink: Sink | None = None,
        queued: QueuedRun | None = None,
        stop: Stop | None = None,
        keep: Keep = "values",
        endpoint: str = "",
        hooks: Sequence[Hook] = (),
    ) -> None:
        self._endpoint = endpoint
        self._hooks = hooks
        self._source = refs
        self._work = work
        self._concurrency = concurrency
        self._stop_after_failures = stop_after_failures
        self._canary = canary
        self._record = record
        self._sink = sink
        self._queued = queued
        self._keep: Keep = keep
        self._reason: Reason = "stopped"
        self._stop = stop or Stop()
        self._turn = anyio.Lock(fast_acquire=True)
        self._failures = 0
        self._canary_failed: PostHogEnvError | None = None
        self._stopped_by: PostHogEnvError | None = None
        self._started = False
        self._source_error: Exception | None = None
        self._counts: Counter[Status] = Counter()
        self._outbox: _Outbox[T] = _Outbox(_OUTBOX)
        self._tasks: anyio.abc.TaskGroup | None = None

    def __await__(self) -> Generator[Any, Any, BulkReport[T]]:
        return self._report().__await__()

    async def _report(self) -> BulkReport[T]:
        began = anyio.current_time()
        collected: Collected[T] = Collected(self._keep)

        async def keep(outcome: Outcome[T]) -> None:
            collected.add(outcome)

        await self._run(keep)
        return collected.report(anyio.current_time() - began, self._stopped_by)

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._fill_outbox)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        tasks, self._tasks = self._tasks, None
        if tasks is None:
            return None
        tasks.cancel_scope.cancel()
        try:
            handled = await tasks.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            # One body, one error: what the caller raised, or what a worker raised, is not wrapped.
            if error is not None and group.exceptions == (error,):
                return False
            if len(group.exceptions) == 1:
                raise group.exceptions[0] from group.exceptions[0].__cause__
            raise
        if error is None:
            self._outbox.raise_error()
        return handled

    @property
    def stopped_by(self) -> PostHogEnvError | None:
        """The error that ended the run before all environments were tried; None where none did."""
        return self._stopped_by

    def stop(self) -> None:
        """Send nothing to a further environment: what is in flight is finished, the rest is skipped as ``stopped``.

        In flight is what may have taken effect. A call that only waits for the rate limit, or to be sent again after it was
        refused, ends at once, and so does one whose environment was read and not changed so far.

        May be called at any time, for example when a person interrupts a run that somebody iterates over or awaits.
        """
        words = "The run was stopped before the turn of this environment came. Nothing was sent to it."
        self._stop_by(PostHogEnvError(words))

    def _stop_by(self, error: PostHogEnvError) -> None:
        """Stop, unless something else has stopped the run before."""
        if self._stopped_by is None:
            self._stopped_by = as_value(error)
            self._stop.set()

    def __aiter__(self) -> AsyncIterator[Outcome[T]]:
        return self

    async def __anext__(self) -> Outcome[T]:
        if self._tasks is None:
            raise ConfigurationError("Enter the run first: `async with environments.each(refs).retrieve() as outcomes:`.")
        return await self._outbox.get()

    async def _fill_outbox(self) -> None:
        try:
            await self._run(self._outbox.put)
        except Exception as error:
            self._outbox.close(error)
        else:
            self._outbox.close()

    async def _run(self, keep: Callable[[Outcome[T]], Awaitable[None]]) -> None:
        if self._started:
            raise ConfigurationError("A bulk run runs once; call each(…) again for another.")
        self._started = True
        refs = _distinct(self._source)
        async with contextlib.AsyncExitStack() as stack:
            for resource in (self._record, self._sink, self._queued):
                if resource is not None:
                    await stack.enter_async_context(resource)
            if self._canary and isinstance(refs, Iterator):

                async def watched(outcome: Outcome[T]) -> None:
                    # Also one that was skipped, for example as stale, is no success to go on with.
                    self._canary_failed = self._canary_failed or outcome.error
                    await keep(outcome)

                await self._work_off(islice(refs, self._canary), watched)
                if self._canary_failed is not None and self._stopped_by is None:
                    self._reason = "canary"
                    self._stop_by(self._canary_failed)
            await self._work_off(refs, keep)
            if self._source_error is not None:
                tried = in_words(self._counts) or "none"
                self._source_error.add_note(f"The source of the environments failed. What was tried until then: {tried}.")
                raise self._source_error

    async def _work_off(self, refs: AnyIterator, keep: Callable[[Outcome[T]], Awaitable[None]]) -> None:
        at_work = self._workers()

        async def work() -> None:
            nonlocal at_work
            try:
                await self._worker(refs, keep)
            except asyncio.CancelledError as error:
                if is_cancelled():
                    return  # anyio would take an error for a reason to cancel the others
                raise _nobody_asked(error) from error
            at_work -= 1

        try:
            async with anyio.create_task_group() as workers:
                for _ in range(at_work):
                    workers.start_soon(work)
        except BaseExceptionGroup as group:
            if len(group.exceptions) == 1:
                raise group.exceptions[0] from group.exceptions[0].__cause__
            raise
        if at_work:
            raise RuntimeError(
                f"{at_work} of the run's tasks were cancelled, and the run was not, so outcomes are missing. Resume the run "
                "with its journal; without one, look at the environments that have none."
            )

    def _workers(self) -> int:
        return min(self._concurrency, len(self._source)) if isinstance(self._source, Sized) else self._concurrency

    async def _worker(self, refs: AnyIterator, keep: Callable[[Outcome[T]], Awaitable[None]]) -> None:
        while (ref := await self._next(refs)) is not None:
            outcome = await self._one(ref)
            if self._record is not None:
                outcome = self._record.undecided(outcome)
            written = self._record is None or await self._conclude(self._record, outcome)
            if written and self._queued is not None:
                await self._queued.forget(ref)
            if self._hooks:
                tell(self._hooks, _finished(self._endpoint, outcome))
            self._counts[outcome.status] += 1
            await keep(outcome)
            # An environment that is done already waits for nothing, so a cancel would come only after all of them.
            if self._counts.total() % _PAUSE_EVERY == 0:
                await asyncio.sleep(0)

    async def _conclude(self, record: RunRecord, outcome: Outcome[T]) -> bool:
        """Write down what became of an environment. Whether that is on the disk."""
        if not record.changes_with(outcome):
            return True
        try:
            # What is known is written down, even where the run is cancelled just now.
            with anyio.CancelScope(shield=True):
                await record.conclude(outcome)
        except JournalError as error:
            self._stop_by(error)
            return False
        return True

    async def _next(self, refs: AnyIterator) -> EnvironmentRef | None:
        """The next environment; None where there is none, also because the source has failed, which ends ``refs``."""
        try:
            if isinstance(refs, Iterator):
                return next(refs, None)
            async with self._turn:  # an asynchronous generator takes one caller at a time
                return await anext(refs, None)
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            self._source_error = _nobody_asked(error)
        except Exception as error:
            self._source_error = error
        return None

    async def _one(self, ref: EnvironmentRef) -> Outcome[T]:
        if self._record is not None and (earlier := self._record.done_as(ref)) is not None:
            return Outcome(ref=ref, status=earlier, reason="done earlier" if earlier == "succeeded" else "already done")
        if self._stopped_by is not None:
            return Outcome(ref=ref, status="skipped", reason=self._reason, error=self._stopped_by)
        try:
            result = await self._work(ref)
        except Skip as skip:
            error = None if skip.error is None else as_value(skip.error)
            return Outcome(ref=ref, status="skipped", reason=skip.reason, error=error, **skip.took)
        except StoppedError as stopped:
            took: dict[str, Any] = {"attempts": stopped.attempts, "waited": stopped.waited}
            return Outcome(ref=ref, status="skipped", reason=self._reason, error=as_value(stopped), **took)
        except PostHogEnvError as error:
            return self._failed(ref, error)
        as_desired = result.already_done and result.reason != "done earlier"
        return Outcome(
            ref=ref,
            status="unchanged" if as_desired else "succeeded",
            reason="already done" if as_desired else result.reason,
            value=result.value,
            not_applied=result.not_applied,
            attempts=result.attempts,
            waited=result.waited,
            digests=result.digests,
        )

    def _failed(self, ref: EnvironmentRef, error: PostHogEnvError) -> Outcome[Any]:
        self._failures += 1
        enough = self._stop_after_failures is not None and self._failures >= self._stop_after_failures
        if enough or isinstance(error, _STOPPING):
            self._stop_by(error)
        return failure(ref, error)


def _nobody_asked(cancelled: asyncio.CancelledError) -> RuntimeError:
    """The error for a CancelledError out of a caller's code."""
    error = RuntimeError("Something that the run waited for was cancelled, and the run was not.")
    error.__cause__ = cancelled
    return error


def _finished(endpoint: str, outcome: Outcome[Any]) -> ItemFinished:
    return ItemFinished(
        endpoint=endpoint,
        environment_id=outcome.ref.id,
        status=outcome.status,
        reason=outcome.reason,
        error=None if outcome.error is None else type(outcome.error).__name__,
        attempts=outcome.attempts,
        waited=outcome.waited,
    )


def checked_refs(refs: Refs) -> Refs:
    """The environments of a run, refused before anything is sent where one of a collection is none.

    Raises:
        ConfigurationError: Not a collection of environments.
    """
    if isinstance(refs, str | bytes | int | EnvironmentRef):
        raise ConfigurationError("each(…) takes a collection of environments, such as [42, 43].")
    if isinstance(refs, Sized) and isinstance(refs, Iterable):
        for number, ref in enumerate(refs):
            try:
                as_ref(ref)
            except ConfigurationError as error:
                raise ConfigurationError(f"Nothing was sent. Item {number} of the environments: {error.message}") from None
    elif not isinstance(refs, Iterable | AsyncIterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"each(…) takes a collection of environments, not a {type(refs).__name__}.")
    return refs


def _distinct(refs: Refs) -> AnyIterator:
    return _distinct_of_iterable(refs) if isinstance(refs, Iterable) else _distinct_of_async(refs)


class _Seen:
    """The ids that have come so far, 64 to an entry.

    The ids of environments lie close together, and a set of them would be ten times larger.
    """

    def __init__(self) -> None:
        self._masks: dict[int, int] = {}

    def is_new(self, number: int) -> bool:
        """Take note of an id; False where it has come before."""
        entry, bit = number >> 6, 1 << (number & 63)
        mask = self._masks.get(entry, 0)
        self._masks[entry] = mask | bit
        return not mask & bit


def _distinct_of_iterable(refs: Iterable[AnyRef]) -> Iterator[EnvironmentRef]:
    seen = _Seen()
    for given in refs:
        ref = as_ref(given)
        if seen.is_new(ref.id):
            yield ref


async def _distinct_of_async(refs: AsyncIterable[AnyRef]) -> AsyncIterator[EnvironmentRef]:
    seen = _Seen()
    async for given in refs:
        ref = as_ref(given)
        if seen.is_new(ref.id):
            yield ref
