"""The names that users import: a change here is a change of the contract with them."""

import inspect
import subprocess
import sys

import pytest

import aioposthog_env

NAMES = """
    SERVER_LIMITS UNSET AccessReport ActivityEntry ApiError AsyncEnvironments AuthenticationError BulkError BulkReport BulkRun
    EnvironmentPlan FieldChange Journal Plan Selected Selection SettingsFile SinkError WaitTimeoutError Where
    ClientStateError ConfigurationError ConflictError Credential CredentialNotAcceptedError DecodeError EndpointAccess
    Environment EnvironmentAccess EnvironmentRef EnvironmentSummary Era IngestionRestriction InvalidSettingsError JournalError
    KeyInfo NotFoundError NotSentError OAuthToken Outcome OutcomeUnknownError PermissionDeniedError PersonalAPIKey
    PostHogEnvError PostHogSession ProductIntent RateLimit RateLimitWaitTooLong RateLimiter RateLimiterStatistics RetryPolicy
    Sandbox ScopeError Secret ServerError SessionCookie SettingsNotAppliedError StateChangedError TeamSettings ThrottledError
    QueueError WorkItem Workers run_item
    Timeout TransportError UnsetType ValidationError __version__ log_in
""".split()  # noqa: SIM905


def test_the_names() -> None:
    assert sorted(aioposthog_env.__all__) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there_and_listed(name: str) -> None:
    assert getattr(aioposthog_env, name) is not None
    assert name in dir(aioposthog_env)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Environments'"):
        _ = aioposthog_env.Environments


def test_importing_the_package_imports_none_of_its_dependencies() -> None:
    code = "import sys, aioposthog_env; print(sorted({'aiohttp', 'attrs', 'cattrs', 'anyio', 'msgspec'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_arguments_of_the_client() -> None:
    parameters = inspect.signature(aioposthog_env.AsyncEnvironments).parameters
    assert {name: parameter.default for name, parameter in parameters.items()} == {
        "host": None,
        "auth": None,
        "routes": "auto",
        "retry": None,
        "timeout": None,
        "limiter": "shared",
        "enforce_scopes": True,
        "max_connections": 32,
        "max_body": 16 * 2**20,
        "ssl": None,
        "proxy": None,
        "trust_env": False,
        "allow_insecure_http": False,
        "hooks": (),
    }


@pytest.mark.parametrize("name", [name for name in NAMES if inspect.isclass(getattr(aioposthog_env, name))])
def test_every_class_and_its_public_methods_are_described(name: str) -> None:
    described = getattr(aioposthog_env, name)
    assert described.__doc__
    if described.__module__.startswith("aioposthog_env"):
        for method, value in vars(described).items():
            if inspect.isfunction(value) and not method.startswith("_"):
                assert value.__doc__, f"{name}.{method}"
