"""From an answer to a model or to an error that says what to do."""

import json
from typing import Any

import pytest

from aioposthog_env import errors
from aioposthog_env.api import calls, endpoints
from aioposthog_env.api.calls import sensitive_texts
from aioposthog_env.api.replies import absorbed, decode_success, envelope_of, error_of, posthog_error
from aioposthog_env.models.settings import TeamSettings

HOST = "https://us.posthog.com"


def body(type: str, code: str, detail: str, attr: str | None = None) -> bytes:
    return json.dumps({"type": type, "code": code, "detail": detail, "attr": attr}).encode()


@pytest.mark.parametrize(
    ("status", "sent", "kind", "says"),
    [
        (400, body("validation_error", "invalid_input", "Bad.", "timezone"), errors.ValidationError, "timezone: Bad."),
        (401, body("authentication_error", "authentication_failed", "No."), errors.AuthenticationError, "another region"),
        (402, body("server_error", "payment_required", "Pay."), errors.ApiError, "402"),
        (
            403,
            body("authentication_error", "permission_denied", "This action does not support Personal API Key access"),
            errors.CredentialNotAcceptedError,
            "Use a session",
        ),
        (
            403,
            body("authentication_error", "permission_denied", "This action does not support personal API key access"),
            errors.CredentialNotAcceptedError,
            "Use a session",
        ),
        (
            403,
            body("authentication_error", "permission_denied", "API key missing required scope 'project:write'"),
            errors.PermissionDeniedError,
            "Add the scope",
        ),
        (
            403,
            body("authentication_error", "permission_denied", "CSRF Failed: CSRF token missing."),
            errors.PermissionDeniedError,
            "log in again",
        ),
        (
            403,
            body(
                "authentication_error", "permission_denied", "API key does not have access to the requested organization: ID x."
            ),
            errors.PermissionDeniedError,
            "last opened in a browser",
        ),
        (
            403,
            body(
                "authentication_error",
                "permission_denied",
                "API keys with scoped projects are only supported on project-based endpoints.",
            ),
            errors.PermissionDeniedError,
            "name the environments",
        ),
        (
            403,
            body(
                "authentication_error",
                "permission_denied",
                "Multiple environments per project are no longer available. Please contact support if you need assistance.",
            ),
            errors.PermissionDeniedError,
            "routes='auto'",
        ),
        (404, body("invalid_request", "not_found", "Not found."), errors.NotFoundError, "another region"),
        (404, body("invalid_request", "not_found", "Endpoint not found."), errors.NotFoundError, "older or newer"),
        (404, b"<html><h1>Nothing\x1b[31m here</h1></html>", errors.NotFoundError, "right host"),
        (409, body("server_error", "conflict", "Taken."), errors.ConflictError, "another name"),
        (408, b"", errors.ServerError, "no explanation"),
        (429, body("throttled_error", "throttled", "Wait."), errors.ThrottledError, "Wait."),
        (500, body("server_error", "error", "A server error occurred."), errors.ServerError, "500 error"),
        (502, b"<html>Bad gateway</html>", errors.ServerError, "Bad gateway"),
        (400, b'{"error": "product_type is required"}', errors.ValidationError, "product_type is required"),
        (400, b"{" * 100_000, errors.ValidationError, "right host"),
        (400, b"\xff\xfe", errors.ValidationError, "right host"),
    ],
)
def test_every_status_becomes_its_error(status: int, sent: bytes, kind: type[Exception], says: str) -> None:
    error = error_of(status, {}, sent, host=HOST)
    assert type(error) is kind
    assert says in str(error)
    assert error.status == status
    assert "\x1b" not in str(error)


def test_the_parts_of_the_envelope_are_kept() -> None:
    error = error_of(400, {}, body("validation_error", "max_value", "Too much.", "a__b"), host=HOST)
    assert (error.type, error.code, error.detail, error.attr) == ("validation_error", "max_value", "Too much.", "a__b")


def test_a_503_with_a_wait_is_a_throttled_answer_and_another_is_not() -> None:
    sent = body("server_error", "database_unavailable", "Later.")
    throttled = error_of(503, {"Retry-After": "1"}, sent, host=HOST, retry_after=1.0)
    assert isinstance(throttled, errors.ThrottledError)
    assert throttled.retry_after == 1.0
    assert type(error_of(503, {}, b"", host=HOST)) is errors.ServerError


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("https://user:password@evil.example/api/", "redirects to https://evil.example,"),
        ("/elsewhere/", f"redirects to another path of {HOST},"),
        ("https://[half/", "redirects to an unreadable address,"),
    ],
)
def test_a_redirect_that_was_not_followed(location: str, says: str) -> None:
    error = error_of(302, {"Location": location}, b"", host=HOST)
    assert says in str(error)
    assert "password" not in str(error)


def test_an_error_that_is_no_text_is_not_taken_for_one() -> None:
    assert envelope_of(b'{"error": {"a": 1}, "type": 5, "detail": "d"}').detail == "d"
    assert envelope_of(b'{"error": {"a": 1}, "type": 5, "detail": "d"}').type == ""


@pytest.mark.parametrize(
    ("endpoint", "status", "sent", "yes"),
    [
        (endpoints.DELETE, 404, body("invalid_request", "not_found", "Not found."), True),
        (endpoints.DELETE, 404, body("invalid_request", "not_found", "Endpoint not found."), False),
        (endpoints.DELETE, 404, b"<html>", False),
        (endpoints.DELETE, 400, body("validation_error", "invalid_input", "This project is already being deleted."), True),
        (endpoints.DELETE, 400, body("validation_error", "invalid_input", "Last project."), False),
        (endpoints.DELETE, 403, body("authentication_error", "permission_denied", "No."), False),
        (endpoints.UPDATE, 404, body("invalid_request", "not_found", "Not found."), False),
    ],
)
def test_which_errors_mean_that_a_lost_delete_did_its_work(endpoint: Any, status: int, sent: bytes, yes: bool) -> None:
    assert absorbed(endpoint, "root", status, sent) is yes
    assert absorbed(endpoint, "project", status, sent) is yes
    assert not absorbed(endpoint, "nested", status, sent)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (body("throttled_error", "throttled", "Request was throttled."), "throttled"),
        (b' {"type":"server_error","code":"conflict","detail":"No.","attr":null,"extra":{"a":1}}', "conflict"),
        (b'{"type":"authentication_error","code":"impersonation_read_only","detail":"No."}', "impersonation_read_only"),
        (b'{"error": "product_type is required"}', ""),
        (b'{"error": "Bad gateway"}', None),
        (b'{"detail": "Not Found"}', None),
        (b'{"type": "about:blank", "code": "x", "detail": "A problem of a gateway"}', None),
        (b'{"type": "server_error", "code": 502, "detail": "A gateway"}', None),
        (b'{"type": "server_error", "code": "error"}', None),
        (b'{"type": ["server_error"], "code": "error", "detail": "x"}', None),
        (b'{"type": "server_error", "code": "err', None),
        (b'{"type": "server_error", "code": "\xff", "detail": "x"}', None),
        (b'[{"type": "server_error", "code": "error", "detail": "x"}]', None),
        (b"<html>database_unavailable</html>", None),
        (b"", None),
        (b'{"type":"server_error","code":"error","detail":"' + b"x" * 70_000 + b'"}', None),
    ],
)
def test_only_posthogs_own_envelope_is_its_error(sent: bytes, code: str | None) -> None:
    found = posthog_error(sent)
    assert (None if found is None else found.code) == code


@pytest.mark.parametrize(
    ("endpoint", "sent", "value"),
    [
        (endpoints.DELETE, b"", None),
        (endpoints.IS_GENERATING_DEMO_DATA, b'{"is_generating_demo_data": true}', True),
        (endpoints.EVENT_INGESTION_RESTRICTIONS, b"[]", []),
        (endpoints.LOGS_CONFIG, b'{"a": 1}', {"a": 1}),
        (endpoints.SETTINGS_AS_OF, b'{"timezone": "UTC"}', TeamSettings(timezone="UTC")),
    ],
)
def test_what_small_answers_hold(endpoint: Any, sent: bytes, value: Any) -> None:
    assert decode_success(endpoint, sent) == value


@pytest.mark.parametrize("product_type", ["", "  ", "x" * 256])
@pytest.mark.parametrize("make", [calls.add_product_intent, calls.complete_product_onboarding])
def test_a_product_type_that_crashes_older_servers_is_refused(make: Any, product_type: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="1 to 255 characters"):
        make(product_type)


def test_a_config_that_is_no_object() -> None:
    with pytest.raises(errors.DecodeError, match="expected an object, got a list"):
        decode_success(endpoints.LOGS_CONFIG, b"[]")


@pytest.mark.parametrize("form", ["{}", "'{}'", "&lt;{}", "a{}b"])
def test_sensitive_texts_are_not_repeated(form: str) -> None:
    secret = 'https://a.example/?b=1&c="2"'
    for said in (secret, "https://a.example/?b=1&amp;c=&quot;2&quot;", 'https://a.example/?b=1&c=\\"2\\"'):
        error = error_of(400, {}, body("x", "y", form.format(said), said), host=HOST, hidden={secret, "a.example"})
        assert error.detail == form.format("[hidden]")
        assert error.attr == "[hidden]"
        assert "a.example" not in str(error)


def test_which_texts_are_sensitive() -> None:
    settings = TeamSettings(
        name="no secret",
        slack_incoming_webhook=" https://hooks.example/x ",
        conversations_settings={"a": ["bcdefg", 1, "short"]},
    )
    assert sensitive_texts(settings) == {"https://hooks.example/x", "bcdefg"}
    assert sensitive_texts(TeamSettings(slack_incoming_webhook=None)) == frozenset()
    assert sensitive_texts(None) == frozenset()
