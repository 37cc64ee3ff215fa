"""Whatever a server answers: a value of the right type, or an error of our tree that can be printed."""

import json
from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aioposthog_env import ApiError, DecodeError
from aioposthog_env.api import replies
from aioposthog_env.api.endpoints import ENDPOINTS, Endpoint
from aioposthog_env.api.era import era_of_payload
from aioposthog_env.api.routes import Place, RouteMemory, Style, judge, successor_of
from aioposthog_env.models.converter import decode
from aioposthog_env.policy.delivery import Reply, classify
from aioposthog_env.policy.retry_after import LONGEST, http_date, parse_retry_after
from tests.contract.kinds import kind_of
from tests.contract.recorded import FIXTURE, load

bounded = settings(max_examples=80, deadline=None)
RECORDED: Final = [(kind, answer.body) for answer in load(FIXTURE) if (kind := kind_of(answer)) is not None]

texts = st.text(max_size=12) | st.sampled_from(["\x1b[2J", "\r\n", "\u202e", "\x00", "9" * 400, "2026-01-01", "1e999", "NaN"])
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
KEYS: Final = (
    *(
        "id",
        "name",
        "uuid",
        "organization",
        "project_id",
        "api_token",
        "secret_api_token",
        "secret_api_token_backup",
        "created_at",
    ),
    *(
        "updated_at",
        "results",
        "next",
        "previous",
        "count",
        "total_count",
        "timezone",
        "app_urls",
        "session_recording_sample_rate",
    ),
    *("session_replay_config", "conversations_settings", "access_control", "detail", "changes", "activity", "user"),
    *("is_generating_demo_data", "restriction_type", "pipelines", "scopes", "scoped_teams", "label", "type", "code", "attr"),
)
keys = st.sampled_from(KEYS) | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6), max_leaves=20
)
bodies = (
    st.binary(max_size=200)
    | values.map(lambda value: json.dumps(value).encode())
    | st.builds(
        lambda base, changed: json.dumps(base | changed).encode(),
        st.fixed_dictionaries({"id": st.integers(), "name": texts}),
        st.dictionaries(st.sampled_from(KEYS), values, max_size=8),
    )
)


def decoded(endpoint: Endpoint, body: bytes) -> object:
    """The value, or the error."""
    try:
        return replies.decode_success(endpoint, body)
    except DecodeError as error:
        assert str(error).isprintable()
        return error


@bounded
@given(bodies)
def test_a_success_with_any_body(body: bytes) -> None:
    for endpoint in ENDPOINTS:
        value = decoded(endpoint, body)
        assert repr(value).isprintable()


@bounded
@given(st.data())
def test_a_recorded_body_of_which_a_part_is_changed(data: st.DataObject) -> None:
    kind, body = data.draw(st.sampled_from(RECORDED))
    at = data.draw(st.integers(0, len(body)))
    upto = data.draw(st.integers(at, min(len(body), at + 40)))
    put = data.draw(st.binary(max_size=6) | values.map(lambda value: json.dumps(value).encode()))
    try:
        decode(body[:at] + put + body[upto:], kind)
    except DecodeError as error:
        assert str(error).isprintable()


@pytest.mark.parametrize("depth", [400, 900, 5_000, 100_000])
@pytest.mark.parametrize(
    ("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('{"id":1,"name":"x","settings":', "}"), ('{"results":[', "]}")]
)
def test_bodies_nested_deep(opening: str, closing: str, depth: int) -> None:
    body = (opening * depth + "1" + closing * depth).encode()
    for endpoint in ENDPOINTS:
        decoded(endpoint, body)
        decoded(endpoint, b'{"id":1,"name":"x","results":[],"count":1,"total_count":1,"zzz":' + body + b"}")
    assert isinstance(replies.error_of(400, {}, body, host="https://example.com"), ApiError)


@bounded
@given(
    st.integers(100, 999), st.dictionaries(st.sampled_from(["Location", "Retry-After", "Date"]), texts), bodies, st.lists(texts)
)
def test_an_error_with_any_body(status: int, headers: dict[str, str], body: bytes, hidden: list[str]) -> None:
    classify(Reply(status, headers, body))
    error = replies.error_of(status, headers, body, host="https://us.posthog.com", hidden=[one for one in hidden if one])
    assert isinstance(error, ApiError)
    assert str(error).isprintable()
    for endpoint in ENDPOINTS:
        for style in STYLES:
            replies.absorbed(endpoint, style, status, body)


DATE: Final = "Tue, 24 Nov 2026 10:00:00 GMT"
dates = st.builds(
    lambda at, upto, new: DATE[:at] + new + DATE[max(at, upto) :],
    st.integers(0, len(DATE)),
    st.integers(0, len(DATE)),
    texts | st.text("0123456789:+-, ", max_size=30),
)


@bounded
@given(dates | texts, dates | texts | st.none())
@example("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", DATE)
@example(DATE, "Mon, 01 Jan 2026 00:00:00 +99999999999999999999")
def test_retry_after_and_dates(value: str, date: str | None) -> None:
    seconds = parse_retry_after(value, date=date)
    assert seconds is None or 0.0 <= seconds <= LONGEST
    moment = http_date(date)
    assert moment is None or moment.tzinfo is not None


links = st.text('<>;,="\\/ relsuccessor-version:api12', max_size=60) | st.builds(
    lambda target, relation: f'<{target}>; rel="{relation}"',
    texts | st.sampled_from(["//evil.example", "/api/projects/1/"]),
    texts,
)


@bounded
@given(links)
@example('<//evil.example/>; rel="successor-version"')
@example('<https://evil.example/>; rel="successor-version"')
def test_a_link_never_leads_to_another_host(link: str) -> None:
    successor = successor_of(link)
    if successor is None:
        return
    assert successor.startswith("/")
    assert not successor.startswith("//")
    for endpoint in ENDPOINTS:
        memory = RouteMemory()
        if memory.succeed(endpoint, Place(environment_id=1), successor):
            assert set(memory.found.values()) == {"project"}


STYLES: Final[tuple[Style, ...]] = ("nested", "root", "project")


@bounded
@given(st.integers(100, 999), st.binary(max_size=60), values)
def test_what_an_answer_tells_about_the_server(status: int, opening: bytes, payload: object) -> None:
    for style in STYLES:
        judge(style, status=status, opening=opening)
    if isinstance(payload, dict):
        era_of_payload(payload, whole=True)
