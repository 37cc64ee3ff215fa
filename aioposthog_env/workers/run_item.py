"""What a worker does with a job, whatever engine has delivered it, and however often."""

from typing import Any, cast

from aioposthog_env.api.calls import Call
from aioposthog_env.api.routes import place_of
from aioposthog_env.auth import credential_digest
from aioposthog_env.bulk.outcome import Outcome, failure
from aioposthog_env.environments import AsyncEnvironments
from aioposthog_env.errors import (
    ConfigurationError,
    NotSentError,
    OutcomeUnknownError,
    PostHogEnvError,
    SettingsNotAppliedError,
)
from aioposthog_env.models.comparing import digests
from aioposthog_env.models.environment import Environment
from aioposthog_env.recovery import BeforeWrite, marks
from aioposthog_env.session import PostHogSession, Result
from aioposthog_env.telemetry import log
from aioposthog_env.workers.item import WorkItem
from aioposthog_env.workers.lease import Lease, LeaseLostError, Leases


async def run_item(
    item: WorkItem, environments: AsyncEnvironments, *, leases: Leases | None = None, any_credential: bool = False
) -> Outcome[None]:
    """Make the call of a job, once, however often the job is delivered.

    The environment is read first and compared with the digests in the job: it is as planned, and the call is made; it is as the
    call would leave it, and nothing is; or it is neither, and the job has failed. Calls that leave no mark (deleting is
    repeatable; product intents are not) cannot be compared.

    Comparing is enough where one delivery is over before the next begins. With ``leases`` it is also safe where two workers
    have the job at the same moment, where a worker is stopped for a while and goes on, and where one dies in the middle.

    Errors do not raise: the engine need not deliver the job again, and the outcome says what happened. It holds digests and no
    value, so it may be stored.

    Args:
        item: The job.
        environments: A client of this worker, with its own credential.
        leases: Keeps workers apart; see ``Leases``.
        any_credential: Take jobs of another credential, too: this worker's is of the same owner, and may do the same.

    Returns:
        What became of it. One that another delivery has made is told again, with leases.
    """
    session = environments.each(()).session
    if leases is None:
        return await _made(item, session, None, any_credential=any_credential)
    timeout, unsent = session.options.timeout, set[str]()
    while True:
        lease = await leases.take(item, timeout.total, unsent)
        if lease is None:
            gone = PostHogEnvError("The run is over, or was taken out of the queue. Nothing was sent.")
            return Outcome(ref=item.ref, status="skipped", reason="stopped", error=gone.about(item.endpoint, item.environment))
        if isinstance(lease, Outcome):
            return lease
        try:
            async with lease:
                outcome = await _made_at_any_rate(item, session, lease, any_credential=any_credential)
                if await lease.finish(outcome):
                    return outcome
        except LeaseLostError:
            if not lease.passed:
                unsent.add(lease.token)


async def _made_at_any_rate(item: WorkItem, session: PostHogSession, lease: Lease, *, any_credential: bool) -> Outcome[None]:
    """An outcome also where this program is at fault, since delivering the job again would only repeat that."""
    try:
        return await _made(item, session, lease, any_credential=any_credential)
    except LeaseLostError:
        raise
    except Exception as error:
        log.error("%s of environment %s failed with %s", item.endpoint, item.environment, type(error).__name__)
        words = f"The worker failed with {type(error).__name__}, so it may or may not have happened. Look at the environment."
        return _failed(item, OutcomeUnknownError(words, observations=[words]), None)


async def _made(item: WorkItem, session: PostHogSession, lease: Lease | None, *, any_credential: bool) -> Outcome[None]:
    try:
        _must_be_ours(item, session, any_credential=any_credential)
        if lease is not None and lease.begun > item.max_deliveries:
            raise _given_up(item, lease)
        call = item.call()
        before = BeforeWrite(lease.record, doubt=lease.doubt, fence=lease.fence) if lease is not None else None
        try:
            result = await session.call(call, place_of(item.ref), before)
        except SettingsNotAppliedError as error:
            changed = _digests(call, error.environment)
            error.environment = None
            if not error.action_done:
                return _failed(item, error, changed)
            result = Result(None, error.attempts, error.waited, not_applied=error.fields)
        else:
            changed = _digests(call, result.value)
    except PostHogEnvError as error:
        return _failed(item, error, None)
    # What an earlier delivery has sent was done by this job.
    before_us = result.already_done and (lease is None or lease.doubt is None)
    return Outcome(
        ref=item.ref,
        status="unchanged" if before_us else "succeeded",
        reason="already done" if before_us else None,
        not_applied=result.not_applied,
        attempts=result.attempts,
        waited=result.waited,
        digests=changed,
    )


def _failed(item: WorkItem, error: PostHogEnvError, changed: dict[str, str | None] | None) -> Outcome[None]:
    outcome = failure(item.ref, error.about(item.endpoint, item.environment))
    return Outcome(
        ref=item.ref, status=outcome.status, error=error, attempts=outcome.attempts, waited=outcome.waited, digests=changed
    )


def _digests(call: Call[Any], value: object) -> dict[str, str | None]:
    """What the server has returned of what was changed."""
    if not isinstance(value, Environment):
        return {}
    if (found := marks(call.endpoint, value)) is not None:
        return found
    return cast("dict[str, str | None]", digests(value.settings, call.fields))


def _must_be_ours(item: WorkItem, session: PostHogSession, *, any_credential: bool) -> None:
    if item.host != session.origin:
        raise ConfigurationError(
            f"The worker calls {session.origin}, and the job is for {item.host}. Nothing was sent. Give each host a queue of "
            "its own (name=…), or start the worker for the right host."
        )
    if not any_credential and item.owner != credential_digest(session.credential):
        raise ConfigurationError(
            "The worker has another credential than the run was begun with, which may be somebody else's. Nothing was sent. "
            "Start the worker with the same one (--session, where the run has a session), or, where both are of one owner, "
            "with any_credential=True (--any-credential)."
        )


def _given_up(item: WorkItem, lease: Lease) -> PostHogEnvError:
    died = f"{item.max_deliveries} workers died over this job, so it is not tried again"
    if lease.doubt is None:
        return NotSentError(f"{died}. None of them had sent anything. Look at the workers' logs.")
    return OutcomeUnknownError(
        f"It may or may not have happened: {died}, and one of them may have sent it {lease.doubt.age:.0f} s ago. Look at the "
        "environment, and at the workers' logs.",
        observations=[f"{died}; it may have been sent"],
    )
