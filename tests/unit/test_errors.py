"""What all errors have in common: they say where, they pickle, and they hold no secret."""

import pickle
from typing import Any

import pytest

from aioposthog_env import errors
from aioposthog_env.bulk.outcome import BulkReport, Outcome
from aioposthog_env.models.environment import Environment, EnvironmentRef

ENVIRONMENT = Environment(id=42, name="Mine")
SAMPLES: list[errors.PostHogEnvError] = [
    errors.PostHogEnvError("what"),
    errors.ConfigurationError("what"),
    errors.InvalidSettingsError([("timezone", "null is not taken")]),
    errors.ClientStateError("what"),
    errors.ScopeError("what", missing=frozenset({"project:write"}), credential="personal API key"),
    errors.NotSentError("what"),
    errors.OutcomeUnknownError("what", observations=("the answer was lost",)),
    errors.TransportError("what"),
    errors.ApiError("what", status=418),
    errors.AuthenticationError("what", status=401, code="authentication_failed"),
    errors.PermissionDeniedError("what", status=403),
    errors.CredentialNotAcceptedError("what", status=403),
    errors.NotFoundError("what", status=404),
    errors.ConflictError("what", status=409),
    errors.ValidationError("what", status=400, attr="timezone"),
    errors.ThrottledError("what", status=429, retry_after=3.0),
    errors.ServerError("what", status=500),
    errors.RateLimitWaitTooLong(retry_after=300, ceiling=120),
    errors.RateLimiterUnavailableError("what"),
    errors.QueueError("what"),
    errors.DecodeError("what", path="$.id"),
    errors.StateChangedError("what"),
    errors.SettingsNotAppliedError(fields=["timezone"], environment=ENVIRONMENT, action_done=True),
    errors.JournalError("what"),
    errors.QueueError("what"),
    errors.SinkError("what"),
    errors.WaitTimeoutError("what"),
    errors.BulkError("what", report=BulkReport((Outcome(ref=EnvironmentRef(1), status="failed"),))),
]


def attributes(error: errors.PostHogEnvError) -> dict[str, Any]:
    return dict(vars(error))


def test_every_error_has_a_sample() -> None:
    assert {type(error).__name__ for error in SAMPLES} == set(errors.__all__)


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_errors_pickle_whole(error: errors.PostHogEnvError) -> None:
    error.about("update", 42)
    error.attempts, error.waited = 3, 1.5
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert attributes(copy) == attributes(error)


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_every_error_is_one_of_ours_and_names_the_call(error: errors.PostHogEnvError) -> None:
    assert str(error.about("update", 42)).startswith("update of environment 42: ")


def test_a_call_without_an_environment_is_named_alone() -> None:
    assert str(errors.NotSentError("what").about("list", None)) == "list: what"


def test_an_error_that_knows_its_call_keeps_it() -> None:
    error = errors.NotSentError("what", endpoint="create").about("list", 3)
    assert (error.endpoint, error.environment_id) == ("create", None)


def test_a_wait_that_is_too_long_tells_both_times() -> None:
    assert "300 s" in str(errors.RateLimitWaitTooLong(retry_after=300, ceiling=120))
    assert "120 s" in str(errors.RateLimitWaitTooLong(retry_after=300, ceiling=120))
