"""What a bulk run asks of a task queue whose workers make its calls. ``aioposthog_env.workers`` has one."""

from types import TracebackType
from typing import Any, Protocol

from aioposthog_env.api.calls import Call
from aioposthog_env.bulk.record import RunRecord
from aioposthog_env.models.environment import EnvironmentRef
from aioposthog_env.recovery import BeforeWrite
from aioposthog_env.session import PostHogSession, Result
from aioposthog_env.stop import Stop


class QueuedRun(Protocol):
    """One bulk run on a task queue, open while it goes on."""

    async def __aenter__(self) -> object: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None: ...

    async def call(self, call: Call[Any], ref: EnvironmentRef, before: BeforeWrite | None, stop: Stop) -> Result[Any]:
        """Have a worker make a call, and wait for what becomes of it. A stop takes back what no worker has sent.

        Raises:
            PostHogEnvError: What the worker's call has raised.
        """
        ...

    async def forget(self, ref: EnvironmentRef) -> None:
        """What became of an environment is written down, so the queue need not hold it any longer."""
        ...


class TaskQueue(Protocol):
    """A task queue with workers."""

    @property
    def in_flight(self) -> int:
        """How many jobs of a run are in the queue at a time."""
        ...

    def check(self, call: Call[Any]) -> None:
        """Refuse up front what must not go through the queue.

        Raises:
            ConfigurationError: It holds a secret, or changes nothing.
        """
        ...

    def run(self, session: PostHogSession, record: RunRecord | None) -> QueuedRun:
        """A run whose calls the workers make.

        Args:
            session: Reads, and says what the host and the credential are.
            record: The run's journal; None where there is none.
        """
        ...
