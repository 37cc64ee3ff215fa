"""Conditions on environments: what they mean, what they refuse, and that nothing else comes out of them."""

import contextlib
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioposthog_env import ConfigurationError, Environment, EnvironmentSummary, Secret, TeamSettings, Where
from aioposthog_env.models.configs import NetworkPayloadCaptureConfig, SessionReplayConfig

ENVIRONMENT = Environment(
    id=42,
    name="Prod Berlin",
    organization="o-1",
    created_at=datetime(2026, 1, 5, tzinfo=UTC),
    secret_api_token=Secret("phs_" + "s" * 40),
    settings=TeamSettings(
        name="Prod Berlin",
        timezone="UTC",
        anonymize_ips=False,
        session_recording_sample_rate=Decimal("0.40"),
        app_urls=["https://a.example.com", "https://b.example.com"],
        surveys_opt_in=None,
        week_start_day=1,
        session_replay_config=SessionReplayConfig(record_canvas=True),
        session_recording_network_payload_capture_config=NetworkPayloadCaptureConfig(record_body=True),
        survey_config={"appearance": {"colour": "#fff"}},
        slack_incoming_webhook="https://hooks.example.com/x",
    ),
)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ('timezone == "UTC" and not anonymize_ips', True),
        ('timezone != "UTC" or anonymize_ips', False),
        ("anonymize_ips == false", True),
        ('extra_settings == "a"', False),  # any JSON may be in it
        ("extra_settings[0] < 5", False),
        ("project_id == 42", True),  # not shown by the server
        ("week_start_day == 1", True),
        ("session_recording_sample_rate == 0.4", True),
        ("0.3 < session_recording_sample_rate <= 0.4", True),
        ("session_recording_sample_rate > 0.4", False),
        ("id in [41, 42]", True),
        ("id not in (41, 42)", False),
        ("id > -1", True),
        ('"Berlin" in name', True),
        ('"https://a.example.com" in app_urls', True),
        ("surveys_opt_in is null", True),
        ("surveys_opt_in is not None", False),
        ("heatmaps_opt_in == null", True),  # not shown by the server
        ("primary_dashboard < 1", False),
        ('"x" in recording_domains', False),
        ('created_at >= "2026-01-01"', True),
        ('"2026-02-01" <= created_at', False),
        ("session_replay_config.record_canvas", True),
        ("session_replay_config.ai_config.opt_in", False),
        ("session_recording_network_payload_capture_config.record_body", True),
        ("session_recording_network_payload_capture_config.recordBody", True),
        ("(week_start_day == 1 )", True),
        ('survey_config["appearance"]["colour"] == "#fff"', True),
        ('survey_config.appearance.colour == "#000"', False),
        ("app_urls[0] == null", False),
        ("app_urls[7] == null", True),
        ("slack_incoming_webhook is not null", True),
        ("secret_api_token == null", False),
        ("  id == 42  ", True),
    ],
)
def test_what_a_condition_means(text: str, holds: bool) -> None:
    assert Where.parse(text).holds(ENVIRONMENT) is holds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "one line"),
        ("a\nb", "one line"),
        ("anonymise_ips", "column 1: there is no setting 'anonymise_ips'; did you mean anonymize_ips?"),
        ('timezone == "UTC" and zzz', "column 23: there is no setting 'zzz'. A text stands in quotes: \"zzz\""),
        ("timezone == Berlin", 'quotes: "Berlin"'),
        ("timezone ==", "column"),
        ('slack_incoming_webhook == "https://x"', "holds a secret and can only be compared with null"),
        ('"phs_" < secret_api_token', "holds a secret"),
        ("conversations_settings.widget_public_token", "holds a secret"),
        ("[conversations_settings] == [survey_config]", "column 2: conversations_settings holds a secret"),
        ('null == slack_incoming_webhook == "x"', "holds a secret"),
        ("not secret_api_token", "holds a secret"),
        ("session_replay_config.record_kanvas", "did you mean record_canvas?"),
        ('timezone == "UTC" # and false', "column 19: this is not part of a condition"),
        ("name.upper()", "not part of a condition"),
        ("__import__('os').system('x')", "not part of a condition"),
        ("[x for x in app_urls]", "not part of a condition"),
        ("lambda: 1", "not part of a condition"),
        ("id + 1 == 43", "not part of a condition"),
        ('id != "42"', "column 7: this is a text, which is never the same as a number"),
        ("anonymize_ips == 0", "column 18: this is a number, which is never the same as true or false"),
        ("week_start_day == true", "never the same as"),
        ('id in [41, "42"]', "column 12: this is a text"),
        ("app_urls == name", "never the same as a list"),
        ("app_urls[0] == 1", "never the same as a text"),
        ("-1 < timezone", "never comparable in size with a number"),
        ("session_replay_config.record_canvas == 1", "never the same as true or false"),
        ("session_replay_config.ai_config.opt_inn", "did you mean opt_in?"),
        ("timezone.foo is null", "timezone has nothing inside that is called 'foo'"),
        ("app_urls.foo is null", "app_urls has nothing inside that is called 'foo'"),
        ("5 in name", "only a text can be in a text"),
        ('updated_at < "x"', "column 14: this is no time by ISO 8601"),
        ("organization.name", "only settings have keys inside"),
        ("app_urls[id]", "a key is a text or a number"),
        ("1e999999 == b'x'", "not part of a condition"),
        ("not " * 60 + "id", "nested too deep"),
        ("(" * 300 + ")" * 299, ""),
        (" or ".join(["id == 1"] * 150), "too long"),
    ],
)
def test_what_a_condition_refuses(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Where.parse(text).holds(ENVIRONMENT)
    assert said in str(caught.value)


def test_the_place_is_shown_below_the_text() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Where.parse('name == "Zürich" and anonymise_ips')
    _, text, caret = str(caught.value).splitlines()
    assert text[caret.index("^") :] == "anonymise_ips"


@pytest.mark.parametrize(
    ("text", "said"), [("name < 5", "size"), ('"a" in id', "which holds nothing"), ('survey_config < "x"', "size")]
)
def test_what_cannot_be_compared_is_said(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Where.parse(text).holds(ENVIRONMENT)


@pytest.mark.parametrize(
    ("text", "needs"), [('timezone == "UTC" and id > 3', False), ("anonymize_ips", True), ("is_demo", False)]
)
def test_the_list_is_enough_where_it_shows_all_that_is_asked(text: str, needs: bool) -> None:
    assert Where.parse(text).needs_settings is needs


def test_settings_that_are_nested_too_deep_are_not_compared() -> None:
    one, other = list[Any](), list[Any]()
    for _ in range(100_000):
        one, other = [one], [other]
    deep = Environment(id=1, name="a", settings=TeamSettings(survey_config=one, modifiers=other))
    with pytest.raises(ConfigurationError, match="nested too deep"):
        Where.parse("survey_config == modifiers").holds(deep)


def test_a_list_item_is_judged_too() -> None:
    listed = EnvironmentSummary(id=1, name="a", timezone="UTC", is_demo=True)
    assert Where.parse('timezone == "UTC" and is_demo').holds(listed)
    with pytest.raises(ConfigurationError, match="retrieve it first"):
        Where.parse("not anonymize_ips").holds(listed)


_words = [
    "id",
    "name",
    "timezone",
    "anonymize_ips",
    "and",
    "or",
    "not",
    "(",
    ")",
    "[",
    "]",
    "==",
    "<",
    "in",
    "is",
    "null",
    "1",
    '"x"',
    ".",
    ",",
]


@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(_words), max_size=14).map(" ".join)))
def test_nothing_but_our_error_comes_out(text: str) -> None:
    with contextlib.suppress(ConfigurationError):
        Where.parse(text).holds(ENVIRONMENT)


_atoms = st.sampled_from(
    ["id == 42", 'timezone == "UTC"', "anonymize_ips", "true", "false", "week_start_day > 0", "id in [1, 2]"]
)


@given(
    st.recursive(
        _atoms,
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda three: f"({three[0]} {three[1]} {three[2]})"),
            inner.map(lambda one: f"(not {one})"),
        ),
        max_leaves=8,
    )
)
def test_and_or_not_are_those_of_python(text: str) -> None:
    names: dict[str, Any] = {
        "id": 42,
        "timezone": "UTC",
        "anonymize_ips": False,
        "week_start_day": 1,
        "true": True,
        "false": False,
    }
    assert Where.parse(text).holds(ENVIRONMENT) is bool(eval(text, {"__builtins__": {}}, names))
