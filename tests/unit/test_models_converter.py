"""Reading and writing JSON: strict, lossless, open to newer servers, and silent about secrets."""

import copy
import json
import pickle
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioposthog_env.auth import Secret
from aioposthog_env.errors import ConfigurationError, DecodeError
from aioposthog_env.harmless import harmless_json
from aioposthog_env.models.activity import ActivityEntry, ActivityPage
from aioposthog_env.models.configs import TriggerGroup, TriggerGroups
from aioposthog_env.models.converter import MOST_VALUES, decode, decode_keys, decode_list, encode, structure, unstructure
from aioposthog_env.models.environment import Environment, EnvironmentPage, EnvironmentSummary
from aioposthog_env.models.fields import JSONValue
from aioposthog_env.models.keys import KeyInfo
from aioposthog_env.models.restrictions import IngestionRestriction
from aioposthog_env.models.settings import FACTS, UNSET, TeamSettings

SMALLEST: dict[str, Any] = {"id": 7, "name": "Shop"}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def environment(**keys: Any) -> Environment:
    return decode(json.dumps(SMALLEST | keys).encode(), Environment)


def error_of(**keys: Any) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        environment(**keys)
    return caught.value


def test_the_smallest_reply_leaves_everything_else_unset() -> None:
    read = environment()
    assert (read.id, read.name, read.settings, read.extra) == (7, "Shop", TeamSettings(name="Shop"), {})
    assert read.secret_api_token is UNSET
    assert read.ref.project_id is None
    assert environment(project_id=3).ref.project_id == 3


def test_values_become_their_python_types() -> None:
    read = environment(
        created_at="2024-10-01T12:00:00+02:00",
        updated_at="2024-10-01T10:00:00",
        secret_api_token="phs_1234567890123456",
        secret_api_token_backup=None,
        session_recording_sample_rate="0.40",
        product_intents=[{"product_type": "surveys", "created_at": None}],
    )
    assert read.created_at == read.updated_at == datetime(2024, 10, 1, 10, tzinfo=UTC)
    assert read.secret_api_token == Secret("phs_1234567890123456")
    assert read.secret_api_token_backup is None
    assert read.settings.session_recording_sample_rate == Decimal("0.4")
    assert environment(session_recording_sample_rate=0.4).settings.session_recording_sample_rate == Decimal("0.4")
    assert environment(session_recording_sample_rate=1).settings.session_recording_sample_rate == 1


@pytest.mark.parametrize(
    ("keys", "path", "message"),
    [
        ({"id": "7"}, "$.id", "expected a whole number, got a text"),
        ({"id": True}, "$.id", "expected a whole number, got true or false"),
        ({"id": 7.0}, "$.id", "expected a whole number, got a number"),
        ({"name": 5}, "$.name", "expected a text, got a whole number"),
        ({"name": None}, "$.name", "expected a text, got null"),
        ({"anonymize_ips": "false"}, "$.anonymize_ips", "expected true or false, got a text"),
        ({"anonymize_ips": 0}, "$.anonymize_ips", "expected true or false, got a whole number"),
        ({"surveys_opt_in": 0}, "$.surveys_opt_in", "expected true or false or null, got a whole number"),
        ({"app_urls": ["a", None, 3]}, "$.app_urls[2]", "expected a text or null, got a whole number"),
        ({"app_urls": {"a": 1}}, "$.app_urls", "expected a list, got an object"),
        ({"week_start_day": "1"}, "$.week_start_day", "expected a whole number or null, got a text"),
        ({"default_modifiers": []}, "$.default_modifiers", "expected an object, got a list"),
        ({"created_at": "yesterday"}, "$.created_at", "expected a time by ISO 8601, got another text"),
        ({"created_at": "0001-01-01T00:00:00+14:00"}, "$.created_at", "expected a time by ISO 8601, got another text"),
        ({"created_at": 5}, "$.created_at", "expected a time by ISO 8601, got a whole number"),
        ({"secret_api_token": 5}, "$.secret_api_token", "expected a text or null, got a whole number"),
        (
            {"session_recording_sample_rate": "x"},
            "$.session_recording_sample_rate",
            "expected a decimal number, got another text",
        ),
        (
            {"session_recording_sample_rate": "NaN"},
            "$.session_recording_sample_rate",
            "expected a decimal number or null, got a text",
        ),
        (
            {"session_recording_sample_rate": True},
            "$.session_recording_sample_rate",
            "expected a decimal number or null, got true or false",
        ),
        ({"session_replay_config": []}, "$.session_replay_config", "expected a SessionReplayConfig or null, got a list"),
        (
            {"session_replay_config": {"ai_config": {"preferred_events": ["a", 1]}}},
            "$.session_replay_config.ai_config.preferred_events[1]",
            "expected a text, got a whole number",
        ),
        (
            {"session_recording_trigger_groups": {"groups": [{"sampleRate": True}]}},
            "$.session_recording_trigger_groups.groups[0].sampleRate",
            "expected a number or null, got true or false",
        ),
        ({"product_intents": [{}]}, "$.product_intents[0]", "the key 'product_type' is missing"),
    ],
)
def test_a_wrong_type_is_an_error_with_its_path(keys: dict[str, Any], path: str, message: str) -> None:
    error = error_of(**keys)
    assert (error.path, error.message) == (path, message)


@pytest.mark.parametrize("keys", [{}, {"id": 7}, {"name": "Shop"}])
def test_id_and_name_are_required(keys: dict[str, Any]) -> None:
    with pytest.raises(DecodeError, match="is missing") as caught:
        structure(keys, Environment)
    assert caught.value.path == "$"


def test_a_whole_number_is_a_number() -> None:
    read = environment(session_recording_trigger_groups={"version": 2, "groups": [{"id": "a", "sampleRate": 1}]})
    assert read.settings.session_recording_trigger_groups == TriggerGroups(
        version=2, groups=[TriggerGroup(id="a", sample_rate=1)]
    )


def test_keys_that_no_field_knows_are_kept_on_every_level() -> None:
    read = environment(
        extra={"a": 1},
        settings=[2],
        record_headers=3,
        session_recording_network_payload_capture_config={"recordHeaders": True, "record_body": 4, "extra": 5},
    )
    assert read.extra == {"extra": {"a": 1}, "settings": [2], "record_headers": 3}
    config = read.settings.session_recording_network_payload_capture_config
    assert config is not UNSET
    assert config is not None
    assert (config.record_headers, config.record_body, config.extra) == (True, UNSET, {"record_body": 4, "extra": 5})
    assert unstructure(config) == {"recordHeaders": True}


def test_settings_alone_take_no_unknown_key() -> None:
    with pytest.raises(DecodeError, match="not known") as caught:
        structure({"no_such_setting": 1}, TeamSettings)
    assert caught.value.path == "$.no_such_setting"


def test_newer_choices_are_read() -> None:
    read = environment(session_recording_retention_period="10y", week_start_day=6, business_model="b2x")
    assert read.settings.session_recording_retention_period == "10y"
    assert (read.settings.week_start_day, read.settings.business_model) == (6, "b2x")
    restrictions = decode_list(b'[{"restriction_type": "new", "distinct_ids": null, "pipelines": ["x"]}]', IngestionRestriction)
    assert restrictions == [IngestionRestriction(restriction_type="new", distinct_ids=None, pipelines=["x"])]


def test_integers_beyond_64_bits_survive() -> None:
    number = 123456789012345678901234567890
    assert environment(extra_settings={"n": number}).settings.extra_settings == {"n": number}
    assert json.loads(encode({"n": number})) == {"n": number}


@pytest.mark.parametrize("body", [b"<!DOCTYPE html><html>", b"\n<HTML lang=en>", b"<!-- \xff --> <html>", b"<body>"])
def test_an_html_page_is_said_to_be_one(body: bytes) -> None:
    with pytest.raises(DecodeError, match="HTML page, probably of a login or of a proxy"):
        decode(body, Environment)


@pytest.mark.parametrize("error", [b"", b"{", b"{}x", b"NaN", b"<html>", b'"\\ud800"', b"1" * 5000, b"1e999"])
def test_what_is_no_json_is_an_error(error: bytes) -> None:
    with pytest.raises(DecodeError, match="not JSON"):
        decode(error, Environment)


BAD_UTF8 = [
    b'{"name": "\xff"}',
    b'{"\xff": 1}',
    b"\xff",
    b'"\xed\xa0\x80"',
    b'"\xc3"',
    b'"abc\xe9',
    b"[1,\xff",
    "é".encode("latin-1"),
]


@pytest.mark.parametrize("body", BAD_UTF8)
def test_what_is_not_utf8_is_an_error(body: bytes) -> None:
    with pytest.raises(DecodeError, match="not UTF-8"):
        decode(body, Environment)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_a_body_30_000_levels_deep_is_an_error(opening: bytes) -> None:
    with pytest.raises(DecodeError, match="too deep"):
        decode(opening * 30_000, Environment)


@pytest.mark.parametrize("body", [b"null", b"5", b"[]", b'"x"', b"true"])
def test_a_body_of_another_type_is_an_error(body: bytes) -> None:
    with pytest.raises(DecodeError, match="expected a Environment") as caught:
        decode(body, Environment)
    assert caught.value.path == "$"


LISTED: dict[str, Any] = {
    "id": 1,
    "name": "Shop",
    "uuid": "0192f0a0-0000-0000-0000-00000000002a",
    "organization": "0192f0a0-0000-0000-0000-000000000001",
    "project_id": 1,
    "api_token": "phc_" + "a" * 40,
    "completed_snippet_onboarding": True,
    "has_completed_onboarding_for": {f"product {number}": True for number in range(10)},
    "ingested_event": True,
    "is_demo": False,
    "timezone": "UTC",
    "access_control": False,
    "tags": ["one", "two"],
}


def test_a_page_of_10_000_environments_is_read() -> None:
    page = msgspec.json.encode({"count": 10_000, "results": [LISTED] * 10_000})
    assert len(decode(page, EnvironmentPage).results) == 10_000


@pytest.mark.parametrize("item", [b"1", b"[]", b"{}", b'""', b'{"a":1}', b'{"a":{"b":[]}}', b'{"product_type":"a"}'])
@pytest.mark.parametrize("key", [b"product_intents", b"app_urls", b"nobody_knows_it"])
def test_a_body_of_too_many_values_is_refused_before_it_is_decoded(key: bytes, item: bytes) -> None:
    many = b'{"id": 1, "name": "Shop", "%s": [%s]}' % (key, b",".join([item] * (MOST_VALUES + 1)))
    with pytest.raises(DecodeError, match="too many values"):
        decode(many, Environment)
    with pytest.raises(DecodeError, match="too many values"):
        decode_keys(many)


def test_a_large_body_of_few_values_is_read() -> None:
    text = "a" * 2 * MOST_VALUES
    assert environment(feature_flag_confirmation_message=text).settings.feature_flag_confirmation_message == text


def test_the_keys_alone_are_read() -> None:
    assert set(decode_keys(b'{"id": 1, "more": {"inner": [1, 2]}}')) == {"id", "more"}
    for wrong in (b"[]", b"5", b"nonsense", b"\xff", b"[" * 100_000):
        with pytest.raises(DecodeError):
            decode_keys(wrong)


def test_a_thousand_unknown_keys_are_kept() -> None:
    unknown = {f"unknown {number}": number for number in range(1_000)}
    assert environment(timezone="UTC", **unknown).extra == unknown


def test_a_list_is_expected_where_the_endpoint_gives_one() -> None:
    with pytest.raises(DecodeError, match="expected a list, got an object"):
        decode_list(b"{}", IngestionRestriction)
    with pytest.raises(DecodeError) as caught:
        decode_list(b'[{"restriction_type": "a"}, {}]', IngestionRestriction)
    assert caught.value.path == "$[1]"


def test_no_message_quotes_a_value_and_long_keys_are_cut() -> None:
    token = "phs_verysecretverysecret"
    for keys in ({"id": token}, {"created_at": token}, {"session_recording_sample_rate": token}, {"group_types": token}):
        assert token not in str(error_of(**keys)) + repr(error_of(**keys))
    with pytest.raises(DecodeError) as caught:
        structure({"k" * 5000: 1}, TeamSettings)
    assert len(caught.value.path) < 100


def test_pages() -> None:
    page = decode(
        json.dumps({"count": 1, "next": None, "previous": None, "results": [SMALLEST], "new": 1}).encode(), EnvironmentPage
    )
    assert page == EnvironmentPage(count=1, results=[EnvironmentSummary(id=7, name="Shop")], extra={"new": 1})
    entry: dict[str, Any] = {
        "activity": "updated",
        "created_at": "2024-10-01T10:00:00Z",
        "user": {"first_name": "System", "is_system": True},
    }
    log = decode(json.dumps({"results": [entry], "total_count": 1}).encode(), ActivityPage)
    assert (log.total_count, log.next, log.results[0].id) == (1, None, UNSET)
    assert structure({**entry, "detail": None, "client": "web"}, ActivityEntry).extra == {"client": "web"}


def test_a_keys_own_record() -> None:
    info = decode(b'{"id": "a", "value": null, "scopes": ["*"], "scoped_teams": [1], "new": 1}', KeyInfo)
    assert (info.value, info.scopes, info.scoped_teams, info.extra) == (None, ["*"], [1], {"new": 1})
    shown = decode(b'{"value": "phx_12345678901234567890"}', KeyInfo)
    assert "phx_1234567890" not in repr(shown)


def test_what_is_set_is_written_and_nothing_else() -> None:
    settings = TeamSettings(
        session_recording_sample_rate=0.4,
        slack_incoming_webhook="https://hooks.example/secret",
        surveys_opt_in=None,
        session_recording_trigger_groups=TriggerGroups(version=2, groups=[TriggerGroup(id="a", min_duration_ms=5)]),
        extra_settings={"a": [1, {"b": None}]},
    )
    assert unstructure(settings) == {
        "session_recording_sample_rate": "0.4",
        "slack_incoming_webhook": "https://hooks.example/secret",
        "surveys_opt_in": None,
        "session_recording_trigger_groups": {"version": 2, "groups": [{"id": "a", "minDurationMs": 5}]},
        "extra_settings": {"a": [1, {"b": None}]},
    }
    assert unstructure(TeamSettings()) == {}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"a": [1, float("nan")]}, r"\$\.a\[1\], is not a finite number"),
        ({"a b": float("-inf")}, r"\$\['a b'\], is not a finite number"),
        ({1: 2}, "has a key that is a whole number"),
        ({"\ud800": 2}, "has a key"),
        ("\udfff", "lone surrogate"),
        ({"a": {1, 2}}, "a set is no JSON"),
        (b"x", "a bytes is no JSON"),
        (Decimal(1), "a Decimal is no JSON"),
        ((1, 2), "a tuple is no JSON"),
        (UNSET, "a UnsetType is no JSON"),
    ],
)
def test_what_is_no_json_is_not_written(value: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        encode(value)


def test_a_value_without_end_is_not_written() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ConfigurationError, match="too deep"):
        encode(endless)


@given(json_values)
def test_json_goes_out_and_comes_back(value: JSONValue) -> None:
    assert json.loads(encode(value)) == value
    read = structure({**SMALLEST, "extra_settings": value, "unknown": value}, Environment)
    assert read.settings.extra_settings == value
    assert read.extra == {"unknown": value}
    assert unstructure(read.settings) == {"name": "Shop", "extra_settings": value}


@given(st.binary() | st.text().map(str.encode))
def test_junk_raises_nothing_but_a_decode_error(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(body, Environment)


@given(st.sampled_from(sorted(FACTS)), json_values)
def test_a_setting_is_read_as_it_is_or_refused(name: str, value: JSONValue) -> None:
    given_keys = {**SMALLEST, name: value}
    try:
        read = structure(copy.deepcopy(given_keys), Environment)
    except DecodeError as error:
        place = error.path
    else:
        place = f"$.{name}"
        wire = unstructure(read.settings)[name]
        if name == "session_recording_sample_rate" and value is not None:
            assert isinstance(value, str | int | float)
            assert not isinstance(value, bool)
            assert Decimal(str(wire)) == Decimal(str(value))
        elif isinstance(value, dict):
            assert isinstance(wire, dict)
            assert all(value[key] == part for key, part in wire.items())
        else:
            assert (type(wire), wire) == (type(value), value)
    assert place.startswith(f"$.{name}")


@given(st.dictionaries(st.text().map("new {}".format), json_values))
def test_any_unknown_keys_are_kept_as_they_are(keys: dict[str, JSONValue]) -> None:
    assert structure({**keys, **SMALLEST}, Environment).extra == keys


def test_models_pickle_without_their_secrets() -> None:
    token = "phs_verysecretverysecret"
    read = environment(
        api_token="phc_" + token,
        secret_api_token=token,
        live_events_token=token,
        slack_incoming_webhook=token,
        conversations_settings={"widget_public_token": token, "slack_bot_token": token, "widget_enabled": True},
    )
    dumped = pickle.dumps(read)
    assert token.encode() not in dumped
    again = pickle.loads(dumped)
    assert again.settings.conversations_settings == {"widget_enabled": True}
    assert (again.id, again.name, again.settings.name) == (7, "Shop", "Shop")
    assert token not in repr(read) + repr(again) + str(read.settings)
    plain = TeamSettings(name="a", app_urls=["b"], surveys_opt_in=None, conversations_settings=None)
    assert pickle.loads(pickle.dumps(plain)) == plain


def test_what_is_shown() -> None:
    read = environment(brand_new_secret="hidden", conversations_settings={"widget_public_token": "hidden"})
    assert "hidden" not in repr(read)
    assert "'brand_new_secret': …" in repr(read)
    assert repr(read.settings) == "TeamSettings(name='Shop', conversations_settings={'widget_public_token': …})"
    assert repr(TeamSettings(conversations_settings=None)) == "TeamSettings(conversations_settings=None)"
    assert repr(TeamSettings(conversations_settings="hidden")) == "TeamSettings(conversations_settings={})"


@given(st.text())
def test_json_that_commands_no_terminal_means_the_same(text: str) -> None:
    shown = harmless_json(msgspec.json.format(msgspec.json.encode({"name": text})))
    assert json.loads(shown) == {"name": text}
    assert shown.replace("\n", "").isprintable()
