"""Leases: one environment is worked on by one worker at a time, and what a worker that died has sent is known.

A queue delivers a job at least once, so two workers may have it at the same moment, and a worker may be stopped anywhere for
any time and go on. Three things together keep an effect from happening twice:

* **The lease** in Redis belongs to one worker and is renewed while it works. The others wait until it is given back or runs
  out. Whoever gets it looks first whether the job has its outcome already.
* **The fence**: right before each request of the write, when the wait for the rate limit is over, one script asks whether the
  lease is still ours, extends it beyond the longest time that the request may take, and writes down that it is about to be
  sent, with the digests of what it replaces. The answer holds for ``seconds``; the request looks at the clock once more as it
  is written to its connection. So a worker that was stopped for longer, wherever that was, does not send.
  The same script refuses a job that was withdrawn because its run was stopped.
* **The comparison**: every write that can be compared is preceded by a read under the same lease. A worker that takes over
  from one that had passed the fence does not trust the comparison alone, since the server may still be at work on the
  request: what was sent is *in doubt*, and ``recovery`` decides it, as it does for what a journal holds.

What is left: between the last look at the clock and the system call that writes lie a few dozen microseconds. A process
that is stopped exactly there, for longer than the lease and the request's deadline, sends when it goes on, and nothing on its
side can know. The request is then on a connection that the server has mostly closed by then. PostHog has no idempotency key and
no conditional write, so nobody can close that gap from outside.

The lease lives by the clock of Redis, and the fence by the monotonic clock of the worker, which goes on while a process is
stopped. Where Redis cannot be asked, nothing is sent. Where Redis has lost its data, leases are gone with it, and two workers
may hold one each for as long as one request takes; with ``appendonly yes`` a restart loses nothing.
"""

import asyncio
import hashlib
import uuid
from collections.abc import Collection
from types import TracebackType
from typing import Any, Final, Self

import anyio
import anyio.abc
import attrs
import msgspec

from aioposthog_env.bulk.outcome import Outcome
from aioposthog_env.errors import ConfigurationError
from aioposthog_env.models.environment import Environment, EnvironmentRef
from aioposthog_env.recovery import Doubt, Marks
from aioposthog_env.redacted import redacted
from aioposthog_env.workers import answers
from aioposthog_env.workers.connection import KEEP, checked_url, connect
from aioposthog_env.workers.item import WorkItem

DEFAULT_LEASE: Final = 15.0
_LONGEST_PAUSE: Final = 0.25
"""Seconds between two looks at a lease that another worker holds, or at a Redis that does not answer."""

_TAKE: Final = """
local outcome = redis.call('HGET', KEYS[1], 'outcome')
if outcome then return {'done', outcome} end
if ARGV[4] == '1' and redis.call('HEXISTS', KEYS[1], 'item') == 0 then return {'gone'} end
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] then return {'held', redis.call('PTTL', KEYS[2])} end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
local begun = redis.call('HINCRBY', KEYS[1], 'begun', holder and 0 or 1)
redis.call('EXPIRE', KEYS[1], ARGV[3])
local sent, age, now = redis.call('HGET', KEYS[1], 'sent'), '', redis.call('TIME')
if sent then age = tostring(now[1] - sent) end
return {'taken', begun, age, redis.call('HGET', KEYS[1], 'marks') or '', redis.call('HGET', KEYS[1], 'sender') or ''}
"""
_FENCE: Final = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
if ARGV[4] == '1' and redis.call('HEXISTS', KEYS[1], 'item') == 0 then return 0 end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
redis.call('HSET', KEYS[1], 'sent', redis.call('TIME')[1], 'marks', ARGV[3], 'sender', ARGV[1])
return 1
"""
_RENEW: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1
"""
_FINISH: Final = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'outcome', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
if redis.call('HEXISTS', KEYS[1], 'item') == 1 then
    redis.call('XADD', KEYS[3], '*', 'outcome', ARGV[2])
    redis.call('EXPIRE', KEYS[3], ARGV[3])
end
redis.call('DEL', KEYS[2])
return 1
"""
_REFUSE: Final = """
if redis.call('HEXISTS', KEYS[1], 'outcome') == 1 then return 0 end
if tonumber(redis.call('HGET', KEYS[1], 'begun') or 0) > 0 then return 0 end
redis.call('HSET', KEYS[1], 'outcome', ARGV[1])
redis.call('XADD', KEYS[2], '*', 'outcome', ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[2])
return 1
"""
WITHDRAW: Final = """
if redis.call('HEXISTS', KEYS[1], 'sent') == 1 or redis.call('HEXISTS', KEYS[1], 'outcome') == 1 then return 0 end
redis.call('HDEL', KEYS[1], 'item')
return 1
"""
"""Take back a job of which no request has passed the fence; where a worker holds it, the fence refuses from now on."""
_GIVE_BACK: Final = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('HINCRBY', KEYS[1], 'begun', -1)
redis.call('DEL', KEYS[2])
return 1
"""


class LeaseLostError(Exception):
    """The lease is another's by now, or cannot be looked at: nothing may be sent. Look again, from the beginning."""


@attrs.frozen
class Keys:
    """Where things stand in Redis.

    Attributes:
        name: The beginning of all keys.
    """

    name: str

    def job(self, run: str, environment: int) -> str:
        """A hash: the item, who began it how often, what was sent, its outcome."""
        return f"{self.name}:job:{run}:{environment}"

    def outcomes(self, run: str) -> str:
        """A stream: the outcomes of a run that its coordinator has not fetched."""
        return f"{self.name}:outcomes:{run}"

    def lease(self, host: str, environment: int) -> str:
        """Who works on an environment."""
        return f"{self.name}:lease:{hashlib.sha256(host.encode()).hexdigest()[:16]}:{environment}"


class Leases:
    """Leases in one Redis or Valkey. Enter it with ``async with``; it may serve any number of tasks.

    Args:
        url: The server; see ``Workers``.
        name: The beginning of all keys, the same for all workers.
        seconds: How long a lease lasts that is not renewed; the longest stop that a worker may go on after.
        allow_insecure: Take a server beyond this machine that asks for no password or speaks no TLS.
        queued: The items lie in Redis, put there by ``Workers``: one that is gone from there is not to be run.

    Raises:
        ConfigurationError: The address cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str = "aioposthog-env",
        seconds: float = DEFAULT_LEASE,
        allow_insecure: bool = False,
        queued: bool = False,
    ) -> None:
        self._url = checked_url(redacted(url), allow_insecure=allow_insecure)
        self.keys: Keys = Keys(name)
        self.seconds = seconds
        self._queued = queued
        self.redis: Any = None

    async def __aenter__(self) -> Self:
        self.redis = connect(self._url)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        redis, self.redis = self.redis, None
        with anyio.CancelScope(shield=True):
            await redis.aclose()

    async def take(
        self, item: WorkItem, longest_request: float, unsent: Collection[str] = ()
    ) -> "Lease | Outcome[None] | None":
        """Wait for the lease of an environment, for as long as others work on it and as Redis cannot be asked.

        Args:
            item: The job.
            longest_request: The longest time that one request may take, in seconds.
            unsent: Tokens of leases under which the caller itself has sent nothing, whatever the fence has written down.

        Returns:
            The lease; the outcome, where the job has one; or None where the job is gone.
        """
        token = uuid.uuid4().hex
        keys = self.keys.job(item.run, item.environment), self.keys.lease(item.host, item.environment)
        while True:
            found = await self.patiently(_TAKE, keys, token, _ms(self.seconds), KEEP, int(self._queued))
            if found[0] == "done":
                return answers.from_json(found[1])
            if found[0] == "gone":
                return None
            if found[0] == "taken":
                in_doubt = found[2] and found[4] not in unsent
                doubt = Doubt(_marks(found[3]), max(0.0, float(found[2]))) if in_doubt else None
                return Lease(self, (*keys, self.keys.outcomes(item.run)), token, found[1], doubt, longest_request)
            await anyio.sleep(min(_LONGEST_PAUSE, max(0.01, int(found[1]) / 1000)))

    async def item(self, run: str, environment: int) -> WorkItem | None:
        """The item of a job that ``Workers`` has put into Redis; None where it is gone from there.

        Raises:
            ConfigurationError: It holds nothing that this version can read.
        """
        text = await self.patiently("return redis.call('HGET', KEYS[1], 'item')", (self.keys.job(run, environment),))
        return None if text is None else WorkItem.from_json(text)

    async def fence(self, keys: tuple[str, ...], token: str, lasts: int, marks: str) -> bool:
        """Whether a request may leave: the lease is still held, and the job was not withdrawn."""
        return bool(await self.ask(_FENCE, keys, token, lasts, marks, int(self._queued)))

    async def refuse(self, run: str, environment: int, error: ConfigurationError) -> None:
        """Write down that a job cannot be read, unless a worker that can read it has begun it."""
        outcome: Outcome[None] = Outcome(ref=EnvironmentRef(environment), status="failed", error=error)
        keys = self.keys.job(run, environment), self.keys.outcomes(run)
        await self.patiently(_REFUSE, keys, answers.to_json(outcome), KEEP)

    async def ask(self, script: str, keys: tuple[str, ...], *arguments: object) -> Any:
        """Run a script once."""
        return await self.redis.eval(script, len(keys), *keys, *arguments)

    async def patiently(self, script: str, keys: tuple[str, ...], *arguments: object) -> Any:
        """Run a script, again and again while Redis does not answer. It must be one that may run twice."""
        from redis.exceptions import RedisError

        while True:
            try:
                return await self.ask(script, keys, *arguments)
            except (RedisError, OSError):
                await anyio.sleep(_LONGEST_PAUSE)


class Lease:
    """The right to work on an environment. Inside ``async with`` it is renewed; what is not finished is given back.

    Attributes:
        begun: How often a worker has begun the job, this one included, and not ended it in order.
        doubt: What a worker that is gone may have sent; None where none has.
        token: The lease's own name.
        passed: Whether the fence has let a request leave.
    """

    def __init__(
        self, leases: Leases, keys: tuple[str, str, str], token: str, begun: int, doubt: Doubt | None, longest_request: float
    ) -> None:
        self._leases = leases
        self._keys = keys
        self.token = token
        self.passed: bool = False
        self._longest_request = longest_request
        self._marks: Marks | None = None
        self._tasks: anyio.abc.TaskGroup | None = None
        self._over = False
        self.begun = begun
        self.doubt = doubt

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._renew)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()
            await self._tasks.__aexit__(None, None, None)
        if not self._over:
            from redis.exceptions import RedisError

            with anyio.move_on_after(1, shield=True):
                try:
                    await self._leases.ask(_GIVE_BACK, self._keys[:2], self.token)
                except (RedisError, OSError):
                    return  # it runs out by itself

    async def _renew(self) -> None:
        from redis.exceptions import RedisError

        while True:
            await anyio.sleep(self._leases.seconds / 3)
            try:
                await self._leases.ask(_RENEW, self._keys[1:2], self.token, _ms(self._leases.seconds))
            except (RedisError, OSError):
                continue  # the fence will tell

    async def record(self, seen: Environment | None, marks: Marks | None) -> None:
        """Keep the marks of what is about to be replaced, for the fence to write down."""
        self._marks = marks

    async def fence(self) -> float:
        """See that a request may leave, and until when, by the clock of the event loop.

        Raises:
            LeaseLostError: It may not.
        """
        from redis.exceptions import RedisError

        asked = asyncio.get_running_loop().time()
        lasts = self._leases.seconds + self._longest_request
        marks = "" if self._marks is None else msgspec.json.encode(self._marks).decode()
        try:
            mine = await self._leases.fence(self._keys[:2], self.token, _ms(lasts), marks)
        except (RedisError, OSError):
            mine = False
        if not mine:
            raise LeaseLostError
        self.passed = True
        return asked + self._leases.seconds

    async def finish(self, outcome: Outcome[None]) -> bool:
        """Write down what became of the job, and give the lease back.

        Returns:
            Whether the lease was still ours; else the outcome is another's to tell.
        """
        done = await self._leases.patiently(_FINISH, self._keys, self.token, answers.to_json(outcome), KEEP)
        self._over = bool(done)
        return self._over


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _marks(text: str) -> Marks | None:
    return msgspec.json.decode(text, type=dict[str, str | None]) if text else None
