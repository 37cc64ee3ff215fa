"""The names that users import: a change here is a change of the contract with them."""

import ast
import difflib
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import aioposthog_env
from tests.unit.public_api import PUBLIC, SNAPSHOT, names_of, snapshot

NAMES = """
    SERVER_LIMITS UNSET AccessReport ActivityEntry ApiError AsyncEnvironments AuthenticationError BulkError BulkReport BulkRun
    EnvironmentPlan FieldChange Journal Plan Selected Selection SettingsFile SinkError WaitTimeoutError Where
    ClientStateError ConfigurationError ConflictError Credential CredentialNotAcceptedError DecodeError EndpointAccess
    Environment EnvironmentAccess EnvironmentRef EnvironmentSummary Era IngestionRestriction InvalidSettingsError JournalError
    KeyInfo NotFoundError NotSentError OAuthToken Outcome OutcomeUnknownError PermissionDeniedError PersonalAPIKey
    PostHogEnvError PostHogSession ProductIntent RateLimit RateLimitWaitTooLong RateLimiter RateLimiterStatistics
    RateLimiterUnavailableError RedisRateLimiter RetryPolicy
    Sandbox ScopeError Secret ServerError SessionCookie SettingsNotAppliedError StateChangedError TeamSettings ThrottledError
    QueueError WorkItem Workers run_item
    Timeout TransportError UnsetType ValidationError __version__ log_in
""".split()  # noqa: SIM905


with_docstrings = pytest.mark.skipif(sys.flags.optimize > 1, reason="Python was told to drop docstrings")


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


@with_docstrings
@pytest.mark.parametrize("name", [name for name in NAMES if inspect.isclass(getattr(aioposthog_env, name))])
def test_every_class_and_its_public_methods_are_described(name: str) -> None:
    described = getattr(aioposthog_env, name)
    assert described.__doc__
    if described.__module__.startswith("aioposthog_env"):
        for method, value in vars(described).items():
            if inspect.isfunction(value) and not method.startswith("_"):
                assert value.__doc__, f"{name}.{method}"


def test_the_contract_is_as_it_was_committed() -> None:
    before, now = SNAPSHOT.read_text("utf-8").splitlines(), snapshot().splitlines()
    difference = "\n".join(difflib.unified_diff(before, now, "public_api.txt", "the source", lineterm="", n=1))
    assert not difference, f"The public names have changed. If that is meant: python -m tests.unit.public_api\n{difference}"


def test_the_snapshot_shows_signatures_attributes_and_what_private_classes_give() -> None:
    lines = SNAPSHOT.read_text("utf-8").splitlines()
    assert "    def with_options(self, *, retry: RetryPolicy | None=None, timeout: Timeout | None=None" in str(lines)
    assert "    self.observations: tuple[str, ...]" in lines
    assert "    def delete_secret_token_backup" in str(lines)


@pytest.mark.parametrize("module", PUBLIC)
def test_what_a_public_module_promises_is_there(module: str) -> None:
    room = import_module(module)
    assert [name for name in names_of(module) if not hasattr(room, name)] == []


@with_docstrings
@pytest.mark.parametrize("module", PUBLIC)
def test_what_a_public_module_promises_is_described(module: str) -> None:
    room = import_module(module)
    for name in names_of(module):
        value = getattr(room, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, f"{module}.{name}"


def test_everything_can_be_imported_at_once() -> None:
    names: dict[str, object] = {}
    exec("from aioposthog_env import *", names)
    assert set(NAMES) <= set(names)


@pytest.mark.parametrize("module", PUBLIC)
def test_the_type_checkers_see_every_name_used(module: str) -> None:
    tree = ast.parse(Path(__file__).parents[1].joinpath("typing", "api.py").read_text("utf-8"))
    imported = [one for one in tree.body if isinstance(one, ast.ImportFrom) and one.module == module]
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert set(names_of(module)) <= {alias.name for one in imported for alias in one.names} | used


def test_types_are_shipped() -> None:
    assert (import_module("importlib.resources").files("aioposthog_env") / "py.typed").is_file()
