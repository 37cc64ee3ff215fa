"""What many tests share: a client for a sandbox, and retries that do not wait."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
from blockbuster import blockbuster_ctx

from aioposthog_env import AsyncEnvironments, OAuthToken, PersonalAPIKey, RetryPolicy, Sandbox, SessionCookie
from aioposthog_env.sandbox import SandboxUser
from tests.figures import add, count, pytest_terminal_summary
from tests.sweep import Sweep

__all__ = ["count", "pytest_terminal_summary"]

# Before 3.14 a plugin that asks a synchronous test for its loop makes one that nobody closes, unless one was set.
asyncio.set_event_loop(None)

QUICK = RetryPolicy(first_wait=0.001, longest_wait=0.002, read_back=False)
"""The usual number of attempts, without real waits and without looking what became of a lost token call."""

_OPEN_FILES: Final = {
    "test_journal.py",
    "test_journal_files.py",
    "test_journal_resume.py",
    "test_journal_torn.py",
    "test_plan_apply_undo.py",
    "test_killed.py",
    "test_hostile.py",  # measures memory, and serves floods
    "test_cancelled.py",
    "test_cancelled_loops.py",
    "test_a_certificate_that_is_not_trusted_is_raised_at_once",  # authorities are read when a client is made
    "test_authorities_in_a_folder",
    "test_a_file_of_json_lines_that_only_its_owner_can_read",
    "test_a_saved_plan_does_the_same_and_holds_no_secret",
    "test_another_secret_is_another_plan",
    "test_secrets_of_each_environment",
    "test_a_plan_that_was_edited_or_is_of_another_format_is_refused",
    "test_saving_is_all_or_nothing_and_for_its_owner",
}

Connect: TypeAlias = Callable[..., AbstractAsyncContextManager[AsyncEnvironments]]


@asynccontextmanager
async def connect(sandbox: Sandbox, *scopes: str, **options: Any) -> AsyncGenerator[AsyncEnvironments, None]:
    """A client with a personal API key."""
    user = options.pop("user", None)
    options.setdefault("auth", PersonalAPIKey(sandbox.key(*scopes, user=user)))
    options.setdefault("retry", QUICK)
    async with AsyncEnvironments(sandbox.url, **options) as environments:
        yield environments


@asynccontextmanager
async def logged_in(sandbox: Sandbox, **options: Any) -> AsyncGenerator[AsyncEnvironments, None]:
    """A client with the session of the organization's owner, or of another ``user``."""
    async with connect(sandbox, auth=session_of(sandbox, options.pop("user", None)), **options) as environments:
        yield environments


def session_of(sandbox: Sandbox, user: SandboxUser | None = None) -> SessionCookie:
    """A session of the organization's owner, or of somebody else."""
    session = sandbox.session(user)
    return SessionCookie(session.session_id, session.csrf_token)


def oauth_of(sandbox: Sandbox, *scopes: str) -> OAuthToken:
    """An OAuth token."""
    return OAuthToken(sandbox.oauth_token(*scopes))


@pytest.fixture(scope="session")
def sweep() -> Generator[Sweep, None, None]:
    """Looks for the secrets that the sandboxes of the whole run have issued."""
    sweep = Sweep()
    with sweep.watching():
        yield sweep


@pytest.fixture(autouse=True)
def _no_secret_left_behind(sweep: Sweep, request: pytest.FixtureRequest) -> Generator[None, None, None]:
    folder: Path | None = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    assert sweep.look(folder) == []
    add(request.node, "secrets", **sweep.searched, found=0)


@pytest.fixture(autouse=True)
def _no_blocking_call_in_the_loop(request: pytest.FixtureRequest) -> Generator[None, None, None]:
    """A call of ours that holds the event loop raises BlockingError, except where a test itself opens files through us."""
    watched = request.path.parent.name in {"engine", "wire", "safety"} and request.path.name not in _OPEN_FILES
    if not watched or request.function.__name__ in _OPEN_FILES:
        yield
        return
    with blockbuster_ctx(scanned_modules=["aioposthog_env"]):
        yield


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POSTHOG_HOST", "POSTHOG_PERSONAL_API_KEY", "POSTHOG_API_KEY", "POSTHOG_CLI_API_KEY", "POSTHOG_LIMITER"):
        monkeypatch.delenv(name, raising=False)
