"""The shared limiter on a real server: several limiters stand for several processes, and some are processes."""

import asyncio
import contextlib
import logging
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from aioposthog_env import (
    AsyncEnvironments,
    ClientStateError,
    ConfigurationError,
    PersonalAPIKey,
    RateLimit,
    RateLimiterUnavailableError,
    RateLimitWaitTooLong,
    RedisRateLimiter,
    Sandbox,
)
from aioposthog_env.sandbox import Throttle
from aioposthog_env.shared_limit.script import Timing
from tests.redis.server import ValkeyProcess
from tests.sweep import with_locals

WINDOW = 1.0
TEN = (RateLimit(10, WINDOW),)
ONE = (RateLimit(1, WINDOW),)
TWO_WINDOWS = (RateLimit(12, 0.6), RateLimit(30, 3.0))


def limiter(valkey: ValkeyProcess, limits: Any = TEN, **options: Any) -> RedisRateLimiter:
    options.setdefault("timing", Timing(lease=0.6))
    options.setdefault("command_timeout", 0.3)
    return RedisRateLimiter(valkey.url, limits=limits, **options)


async def take(shared: RedisRateLimiter, seconds: float = 0.0, **options: Any) -> float:
    """Send one request that takes some seconds. Gives the time at which it left."""
    slot = await shared.acquire(**options)
    left = time.monotonic()
    try:
        await asyncio.sleep(seconds)
    finally:
        shared.answered(slot)
    return left


@contextlib.contextmanager
def taking(valkey: ValkeyProcess, limit: RateLimit, calls: int, hold: str = "give") -> "Iterator[subprocess.Popen[str]]":
    """A process that takes slots."""
    arguments = [valkey.url, str(limit.count), str(limit.window), str(calls), hold]
    process = subprocess.Popen([sys.executable, "-m", "tests.redis.taking", *arguments], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def tasks() -> set[Any]:
    return asyncio.all_tasks() - {asyncio.current_task()}


@pytest.fixture
async def shared(valkey: ValkeyProcess) -> AsyncIterator[RedisRateLimiter]:
    async with limiter(valkey) as one:
        yield one


def most_in_a_window(times: list[float], window: float) -> int:
    times = sorted(times)
    return max(sum(1 for other in times if at <= other < at + window) for at in times)


async def test_several_processes_keep_both_windows_together_and_share_them_equally(valkey: ValkeyProcess) -> None:
    left: dict[int, list[float]] = {0: [], 1: [], 2: []}
    work = iter(range(48))

    async def call(shared: RedisRateLimiter, number: int) -> None:
        for _ in work:
            left[number].append(await take(shared, 0.01))

    async with contextlib.AsyncExitStack() as stack:
        ours = [await stack.enter_async_context(limiter(valkey, TWO_WINDOWS)) for _ in left]
        await asyncio.gather(*(call(one, number) for number, one in enumerate(ours) for _ in range(6)))
    times = [at for one in left.values() for at in one]
    assert len(times) == 48
    for limit in TWO_WINDOWS:
        assert most_in_a_window(times, limit.window) == limit.count
    assert max(times) - min(times) < 4.0  # 3.6 s at least
    assert all(0.75 * 16 <= len(one) <= 1.25 * 16 for one in left.values())


async def test_the_sandboxes_own_throttle_refuses_nothing(valkey: ValkeyProcess) -> None:
    minute, hour = TWO_WINDOWS
    throttle = Throttle(minute=(minute.count, minute.window), hour=(hour.count, hour.window))
    async with Sandbox(40, throttle=throttle) as sandbox:
        auth = PersonalAPIKey(key := sandbox.key(), scopes=["*"])

        def client() -> AsyncEnvironments:
            return AsyncEnvironments(sandbox.url, auth=auth, limiter=limiter(valkey, TWO_WINDOWS), routes="root")

        async with client() as one, client() as two:
            reports = await asyncio.gather(one.each(range(1, 21)).retrieve(), two.each(range(21, 41)).retrieve())
            await one.retrieve(1)
            assert [len(report.succeeded) for report in reports] == [20, 20]
            assert one.limiter is not None
            assert one.limiter.statistics().refusals == 0
            with valkey.ask() as server:
                names = b" ".join(server.keys())
                assert b"aioposthog_env:{" in names
                assert key.encode() not in names
                assert len({name.split(b"}")[0] for name in names.split()}) == 1  # both clients have the same state


async def test_a_refusal_holds_all_processes_back(valkey: ValkeyProcess, shared: RedisRateLimiter) -> None:
    async with limiter(valkey) as other:
        shared.refused(await shared.acquire(), 0.6)
        await asyncio.sleep(0.05)
        began = time.monotonic()
        left = await take(other)
        assert left - began == pytest.approx(0.55, abs=0.1)
        assert other.statistics().refusals == 1
        assert other.statistics().pace == pytest.approx(1 / WINDOW)


async def test_a_request_that_never_left_costs_nothing(valkey: ValkeyProcess) -> None:
    async with limiter(valkey, ONE) as shared:
        shared.not_sent(await shared.acquire())
        began = time.monotonic()
        assert await take(shared) - began < 0.3


async def test_answers_are_told_soon_without_a_further_call_and_then_no_task_is_left(
    valkey: ValkeyProcess, shared: RedisRateLimiter
) -> None:
    await asyncio.gather(*(take(shared) for _ in range(5)))
    await asyncio.sleep(0.15)
    with valkey.ask() as server:
        assert server.zcard("aioposthog_env:{none}:flying") == 0
        assert server.zcard("aioposthog_env:{none}:log1") == 5
    assert not tasks()


async def test_leaving_tells_what_is_left_and_closes(valkey: ValkeyProcess) -> None:
    async with limiter(valkey) as shared:
        slots = [await shared.acquire() for _ in range(3)]
        for slot in slots:
            shared.answered(slot)
    with valkey.ask() as server:
        assert server.zcard("aioposthog_env:{none}:flying") == 0
        assert server.zcard("aioposthog_env:{none}:log1") == 3
        assert [one["name"] for one in server.client_list() if one["name"]] == []
    assert not tasks()
    with pytest.raises(ClientStateError, match="async with"):
        await shared.acquire()
    shared.answered(slots[0])  # too late for anybody, and no error
    assert not tasks()
    async with shared:  # and again
        await take(shared)


async def test_leaving_ends_the_waits(valkey: ValkeyProcess) -> None:
    async with limiter(valkey, ONE) as shared:
        await shared.acquire()
        waiting = asyncio.create_task(shared.acquire())
        await asyncio.sleep(0.05)
    with pytest.raises(ClientStateError):
        await waiting
    with valkey.ask() as server:
        assert server.zcard("aioposthog_env:{none}:queue") == 0
    assert not tasks()


async def test_few_commands_serve_many_calls(valkey: ValkeyProcess, shared: RedisRateLimiter) -> None:
    async with limiter(valkey, (RateLimit(1_000, 60.0),)) as wide:
        work = iter(range(400))

        async def worker() -> None:
            for _ in work:
                await take(wide, 0.01)

        await asyncio.gather(*(worker() for _ in range(32)))
        with valkey.ask() as server:
            assert server.info("commandstats")["cmdstat_evalsha"]["calls"] < 200


async def test_cancelled_waiters_leave_no_trace(valkey: ValkeyProcess) -> None:
    async with limiter(valkey, ONE) as shared, limiter(valkey, ONE) as other:
        await take(shared)
        began = time.monotonic()
        waiting = [asyncio.create_task(take(shared)) for _ in range(20)]
        await asyncio.sleep(0.1)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert await take(other) - began < WINDOW + 0.2
        with valkey.ask() as server:
            assert server.zcard("aioposthog_env:{none}:queue") == 0


async def test_cancelling_at_every_instant_of_a_command_loses_no_slot(valkey: ValkeyProcess) -> None:
    async with limiter(valkey, (RateLimit(100, 30.0),)) as shared:
        for number in range(60):
            task = asyncio.create_task(take(shared))
            for _ in range(number % 12):
                await asyncio.sleep(0)
            await asyncio.sleep(0.0001 * (number % 7))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0.1)
        await take(shared)
        assert shared.statistics().in_flight == 1
        with valkey.ask() as server:
            assert server.zcard("aioposthog_env:{none}:queue") == 0


async def test_slots_of_a_killed_process_come_back_after_lease_and_window(valkey: ValkeyProcess) -> None:
    with taking(valkey, ONE[0], 1, "hold") as process:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "took\n"
        await asyncio.sleep(0.8)  # longer than a lease, which the process renews
        process.kill()
        killed = time.monotonic()
        async with limiter(valkey, ONE) as shared:
            assert WINDOW < await take(shared) - killed < WINDOW + 0.6 + 0.3


async def test_a_process_that_stands_still_in_the_queue_blocks_nobody(valkey: ValkeyProcess) -> None:
    async with limiter(valkey, ONE) as shared:
        await take(shared)
        with taking(valkey, ONE[0], 2) as process:
            assert process.stdout is not None
            assert await asyncio.to_thread(process.stdout.readline) == "took\n"  # it is in the queue for another
            process.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            times = [await take(shared) for _ in range(2)]
            assert times[-1] - began < 2 * WINDOW + 1.2  # its slot counts until its lease ends
            process.send_signal(signal.SIGCONT)
            assert await asyncio.to_thread(process.stdout.readline) == "took\n"
            assert process.wait() == 0


async def test_interactive_calls_go_before_the_bulk_calls_of_all_processes(valkey: ValkeyProcess) -> None:
    async with limiter(valkey, ONE) as shared, limiter(valkey, ONE) as service:
        await take(shared)
        bulk = [asyncio.create_task(take(shared)) for _ in range(3)]
        await asyncio.sleep(0.1)
        single = await take(service, priority="interactive")
        for task in bulk:
            assert not task.done()
        assert await bulk[0] > single
        for task in bulk:
            task.cancel()


async def test_bulk_calls_leave_slots_free(valkey: ValkeyProcess) -> None:
    async with limiter(valkey, TEN, kept_free=0.2) as shared, limiter(valkey) as service:
        bulk = [asyncio.create_task(take(shared)) for _ in range(12)]
        await asyncio.sleep(0.2)
        began = time.monotonic()
        assert [await take(service, priority="interactive") - began < 0.2 for _ in range(2)] == [True, True]
        assert sum(task.done() for task in bulk) == 8
        for task in bulk:
            task.cancel()


async def test_a_wait_beyond_the_ceiling_is_an_error(valkey: ValkeyProcess) -> None:
    async with limiter(valkey, ONE) as shared:
        await take(shared)
        waiting = [asyncio.create_task(shared.acquire()) for _ in range(20)]
        await asyncio.sleep(0.05)
        for ceiling in (0.5, 3.0):  # the second stands behind those that were asked for
            with pytest.raises(RateLimitWaitTooLong) as caught:
                await shared.acquire(ceiling=ceiling)
            assert caught.value.ceiling == ceiling
        for task in waiting:
            task.cancel()


async def test_without_redis_calls_wait_as_long_as_stated_and_then_fail(valkey: ValkeyProcess) -> None:
    valkey.kill()
    async with limiter(valkey, unavailable_after=0.5) as shared:
        began = time.monotonic()
        with pytest.raises(RateLimiterUnavailableError, match="Nothing was sent"):
            await shared.acquire()
        assert 0.5 <= time.monotonic() - began < 1.0
        waiting = asyncio.create_task(take(shared))
        await asyncio.sleep(0.2)
        valkey.start()
        await waiting


async def test_a_redis_that_hangs_is_as_good_as_none(valkey: ValkeyProcess, shared: RedisRateLimiter) -> None:
    async with limiter(valkey, unavailable_after=0.5) as other:
        slot = await other.acquire()
        valkey.pause()
        began = time.monotonic()
        with pytest.raises(RateLimiterUnavailableError):
            await other.acquire()
        assert time.monotonic() - began < 1.5
        other.answered(slot)
        valkey.go_on()
        await take(other)
        await asyncio.sleep(0.1)
        await take(other)
        assert other.statistics().in_flight == 1


async def test_leaving_while_redis_hangs_takes_no_longer_than_two_seconds(valkey: ValkeyProcess) -> None:
    async with limiter(valkey) as shared:
        slot = await shared.acquire()
        valkey.pause()
        shared.answered(slot)
        began = time.monotonic()
    assert time.monotonic() - began < 2.5
    assert not tasks()


async def test_a_redis_restarted_with_its_data_goes_on_where_it_was(tmp_path: Path) -> None:
    with ValkeyProcess(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as valkey:
        async with limiter(valkey, (RateLimit(3, 2.0),)) as shared:
            began = time.monotonic()
            await take(shared)
            await take(shared)
            await asyncio.sleep(0.1)
            valkey.kill()
            valkey.start()
            assert await take(shared) - began < 1.0
            assert await take(shared) - began >= 2.0


async def test_a_redis_that_lost_its_data_is_noticed_and_a_window_waited(
    valkey: ValkeyProcess, shared: RedisRateLimiter, caplog: pytest.LogCaptureFixture
) -> None:
    await asyncio.gather(*(take(shared) for _ in range(10)))
    await asyncio.sleep(0.1)
    valkey.kill()
    valkey.start()
    began = time.monotonic()
    left = await take(shared)
    assert WINDOW <= left - began < WINDOW + 0.5
    assert "has lost its data" in caplog.text


async def test_the_longer_window_holds_what_was_seen_before_the_loss(valkey: ValkeyProcess) -> None:
    limits = (RateLimit(5, 0.3), RateLimit(8, 60.0))
    async with limiter(valkey, limits) as shared:
        await asyncio.gather(*(take(shared) for _ in range(7)))
        await asyncio.sleep(0.1)
        await take(shared)
        with valkey.ask() as server:
            server.flushall()
        with pytest.raises(RateLimitWaitTooLong) as caught:
            await shared.acquire(ceiling=5.0)
        assert caught.value.retry_after > 50


async def test_with_a_local_share_calls_go_on_without_redis_which_learns_of_them_later(valkey: ValkeyProcess) -> None:
    options = {"unavailable_after": 0.2, "fallback": "local_share", "local_share": 0.5}
    async with limiter(valkey, (RateLimit(10, 1.5),), **options) as shared:
        await asyncio.gather(*(take(shared) for _ in range(2)))
        await asyncio.sleep(0.1)
        valkey.kill()
        began = time.monotonic()
        waiting = [asyncio.create_task(take(shared)) for _ in range(6)]
        await asyncio.sleep(1.0)
        # Half of ten are five; half of the two that were used are one.
        assert sum(task.done() for task in waiting) == 4
        assert max(task.result() for task in waiting if task.done()) - began < 0.9
        assert shared.statistics().used == ((RateLimit(5, 1.5), 5),)
        for task in waiting:
            task.cancel()
        valkey.start()
        await asyncio.sleep(1.3)
        assert shared.statistics().used[0][1] >= 4
        assert await take(shared) > 0  # from Redis again, after the window that the loss of data costs


async def test_refusals_without_redis_close_the_gate_here_and_there(valkey: ValkeyProcess) -> None:
    valkey.kill()
    async with limiter(valkey, unavailable_after=0.0, fallback="local_share") as shared:
        slot = await shared.acquire()
        shared.refused(slot, 3.0)
        shared.not_sent(slot)
        with pytest.raises(RateLimitWaitTooLong):
            await shared.acquire(ceiling=0.1)
        valkey.start()
        await asyncio.sleep(1.2)
        async with limiter(valkey) as other:
            with pytest.raises(RateLimitWaitTooLong):
                await other.acquire(ceiling=0.1)


async def test_the_password_is_shown_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with ValkeyProcess(tmp_path, password="grandmother") as valkey:
        async with limiter(valkey) as shared:
            await take(shared)
            assert repr(shared) == f"RedisRateLimiter('redis://127.0.0.1:{valkey.port}/0')"
        wrong = RedisRateLimiter(valkey.url.replace("grandmother", "stepmother"))
        async with wrong:
            began = time.monotonic()
            with pytest.raises(RateLimiterUnavailableError, match="password") as caught:
                await wrong.acquire()
            assert time.monotonic() - began < 1.0  # waiting would not help
    assert "mother" not in f"{caught.value!s} {caught.value!r} {wrong!r} {caplog.text}"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://redis.internal:6379/0", "asks for no password"),
        ("redis://:@redis.internal/0", "asks for no password"),
        ("redis://:pw@redis.internal/0", "would send the password unencrypted"),
        ("rediss://:pw@redis.internal/0?ssl_cert_reqs=none", "ssl_cert_reqs"),
        ("rediss://:pw@redis.internal/0?ssl_check_hostname=false", "ssl_check_hostname"),
        ("rediss://:pw@redis.internal/0?ssl_check_hostname=0", "ssl_check_hostname"),
        ("redis://x.localhost", "asks for no password"),
        ("sesame", "not a Redis URL"),
        ("sesame@127.0.0.1", "not a Redis URL"),
        ("redis://:se/sesame@127.0.0.1", "not a Redis URL|cannot be parsed"),
        ("redis://:se?sesame@127.0.0.1", "not a Redis URL|cannot be parsed"),
        ("redis://:se#sesame@127.0.0.1", "not a Redis URL|cannot be parsed"),
        ("redis://me:1/sesame@127.0.0.1", "not a Redis URL"),
        ("http://127.0.0.1", "not a Redis URL"),
        ("127.0.0.1:6379", "not a Redis URL"),
        ("redis://:sesame@[", "cannot be parsed"),
        ("redis://:sesame@127.0.0.1:many", "cannot be parsed"),
    ],
)
def test_addresses_that_are_refused(url: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        RedisRateLimiter(url)
    shown = with_locals(caught.value)
    assert "sesame" not in shown
    assert ":pw" not in shown


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("redis://localhost", False),
        ("unix:///run/redis.sock", False),
        ("rediss://:pw@redis.internal/0", False),
        ("redis://redis.internal", True),
        ("redis://:pw@redis.internal", True),
        ("rediss://:pw@redis.internal?ssl_check_hostname=false", True),
    ],
)
def test_addresses_that_are_taken(url: str, allowed: bool) -> None:
    assert "pw" not in repr(RedisRateLimiter(url, allow_insecure=allowed))


@pytest.mark.parametrize(
    "options",
    [{"fallback": "local"}, {"local_share": 0}, {"unavailable_after": -1}, {"command_timeout": 0}, {"kept_free": 0.9}],
)
def test_figures_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        RedisRateLimiter("redis://localhost", **options)


@contextlib.asynccontextmanager
async def through_tls(valkey: ValkeyProcess, certificate: trustme.LeafCert) -> AsyncIterator[str]:
    """The server behind an entrance that speaks TLS; the wheel's own cannot. Gives the address."""

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(65_536):
                writer.write(piece)
                await writer.drain()
        writer.close()

    async def enter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server, from_server = await asyncio.open_connection("127.0.0.1", valkey.port)
        await asyncio.gather(pipe(reader, from_server), pipe(to_server, writer))
        for one in (writer, from_server):
            with contextlib.suppress(OSError):
                await one.wait_closed()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    server = await asyncio.start_server(enter, "127.0.0.1", 0, ssl=context)
    try:
        yield f"rediss://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()
        await server.wait_closed()


async def test_tls_with_a_certificate_of_ones_own(valkey: ValkeyProcess, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(trusted := str(tmp_path / "ca.pem"))
    for name, told in (("127.0.0.1", None), ("redis.example", "certificate")):
        async with through_tls(valkey, authority.issue_cert(name)) as url:
            async with RedisRateLimiter(url, ca_file=trusted, unavailable_after=0.1) as shared:
                if told is None:
                    await take(shared)
                else:
                    with pytest.raises(RateLimiterUnavailableError, match=told):
                        await shared.acquire()
            async with RedisRateLimiter(url, unavailable_after=0.1) as distrustful:
                with pytest.raises(RateLimiterUnavailableError, match="certificate"):
                    await distrustful.acquire()


async def test_a_limiter_serves_one_key_at_one_host(valkey: ValkeyProcess) -> None:
    shared = limiter(valkey)
    one, other = PersonalAPIKey("phx_" + "a" * 40), PersonalAPIKey("phx_" + "b" * 40)
    async with AsyncEnvironments("http://127.0.0.1:1", auth=one, limiter=shared) as environments:
        assert environments.limiter is shared
        with pytest.raises(ConfigurationError, match="one key at one host"):
            await AsyncEnvironments("http://127.0.0.1:1", auth=other, limiter=shared).__aenter__()
        with pytest.raises(ConfigurationError, match="one key at one host"):
            await AsyncEnvironments("http://127.0.0.1:2", auth=one, limiter=shared).__aenter__()
        with pytest.raises(ClientStateError, match="one event loop"):
            await asyncio.to_thread(asyncio.run, shared.join("identity"))
    async with AsyncEnvironments("http://127.0.0.1:1", auth=other, limiter=shared) as environments:
        assert environments.limiter is shared


async def test_a_client_that_opens_while_the_last_one_closes_is_served(valkey: ValkeyProcess) -> None:
    shared = limiter(valkey, (RateLimit(1, 2.3),), command_timeout=3)
    await shared.join("")
    await take(shared)
    valkey.pause()
    leaving = asyncio.create_task(shared.leave())
    await asyncio.sleep(0.05)
    joining = asyncio.create_task(shared.join(""))
    await asyncio.sleep(0.05)
    valkey.go_on()
    async with asyncio.timeout(5):
        await joining
        await take(shared)
        await leaving
        await asyncio.sleep(0.1)
        with valkey.ask() as server:
            assert server.zcard("aioposthog_env:{none}:flying") == 0
        await shared.leave()
    assert not tasks()


async def test_what_was_known_of_one_key_is_not_told_of_another(valkey: ValkeyProcess) -> None:
    shared = limiter(valkey)
    await shared.join("one")
    await asyncio.gather(*(take(shared) for _ in range(5)))
    await shared.leave()
    async with limiter(valkey) as other:
        await other.leave()
        await other.join("two")
        await take(other)
        await shared.join("two")
        await shared.acquire(ceiling=0.1)
        await other.acquire(ceiling=0.1)
        assert other.statistics().used[0][1] == 3
        await shared.leave()


async def test_a_server_that_cannot_write_for_a_moment_is_waited_for(valkey: ValkeyProcess, shared: RedisRateLimiter) -> None:
    with valkey.ask() as server:
        server.config_set("min-replicas-to-write", 1)
        waiting = asyncio.create_task(take(shared))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        server.config_set("min-replicas-to-write", 0)
        await waiting
