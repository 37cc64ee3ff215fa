"""A pytest plugin: an embedded PostHog for the suites of others. It is found by pytest itself (entry point ``pytest11``).

The sandbox runs in a thread of its own, so that it serves tests with and without an event loop, whatever runs them.
"""

import asyncio
import inspect
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from aioposthog_env.environments import AsyncEnvironments
    from aioposthog_env.sandbox import Sandbox

_async_fixture: Any = pytest.fixture  # anyio runs asynchronous fixtures without a word of their own
if find_spec("pytest_asyncio") is not None:
    _async_fixture = import_module("pytest_asyncio").fixture

_LONGEST_START = 30.0


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        "posthog(environments=25, era='current', faults=[(name, endpoint), …], …): the embedded PostHog of this test; takes "
        "what aioposthog_env.Sandbox takes",
    )


@contextmanager
def sandbox_in_a_thread(sandbox: "Sandbox") -> Generator["Sandbox", None, None]:
    """A running sandbox, in an event loop of its own."""
    running, stop = threading.Event(), asyncio.Event()
    failure: list[BaseException] = []
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with sandbox:
            running.set()
            await stop.wait()

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(serve())
        except BaseException as error:
            failure.append(error)
        finally:
            running.set()

    thread = threading.Thread(target=run, name="aioposthog-env sandbox", daemon=True)
    thread.start()
    try:
        if not running.wait(_LONGEST_START) or failure:
            raise RuntimeError("The sandbox did not start.") from (failure[0] if failure else None)
        yield sandbox
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        thread.join(_LONGEST_START)


@pytest.fixture
def posthog_sandbox(request: pytest.FixtureRequest) -> Generator["Sandbox", None, None]:
    """A running embedded PostHog, new for each test. The marker ``posthog`` says what it is like."""
    from aioposthog_env.sandbox import Sandbox

    marker = request.node.get_closest_marker("posthog")
    options: dict[str, Any] = {} if marker is None else dict(marker.kwargs)
    known = [*inspect.signature(Sandbox).parameters, "faults"]
    if marker is not None and (marker.args or not options.keys() <= set(known)):
        wrong = ", ".join([*map(repr, marker.args), *(name for name in options if name not in known)])
        raise pytest.UsageError(f"The marker posthog takes {', '.join(known)}, all by name; it does not take {wrong}.")
    faults = options.pop("faults", ())
    sandbox = Sandbox(**options)
    for name, endpoint in faults:
        sandbox.fault(name, endpoint)
    with sandbox_in_a_thread(sandbox):
        yield sandbox


@_async_fixture  # type: ignore[untyped-decorator]
async def environments(posthog_sandbox: "Sandbox") -> AsyncGenerator["AsyncEnvironments", None]:
    """A client of the test's sandbox with a key that may do everything. Waits between repeats are short."""
    from aioposthog_env import AsyncEnvironments, PersonalAPIKey, RetryPolicy

    quick = RetryPolicy(first_wait=0.01, longest_wait=0.1)
    async with AsyncEnvironments(posthog_sandbox.url, auth=PersonalAPIKey(posthog_sandbox.key()), retry=quick) as client:
        yield client
