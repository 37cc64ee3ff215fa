"""Is it the same value? Every equivalence of the server, and what is none: for requests, states and digests."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aioposthog_env import TeamSettings
from aioposthog_env.models.comparing import (
    SENSITIVE,
    canonical,
    differing,
    digest,
    digests,
    exact_digest,
    kept_keys,
    managed_keys,
    merges,
    not_applied,
    same,
    satisfies,
)
from aioposthog_env.models.configs import (
    MarketingAnalyticsConfig,
    MaskingConfig,
    RevenueAnalyticsConfig,
    SessionReplayAIConfig,
    SessionReplayConfig,
)
from aioposthog_env.models.configs import SessionRecordingLinkedFlag as LinkedFlag
from aioposthog_env.models.converter import decode, structure, unstructure
from aioposthog_env.models.environment import Environment
from aioposthog_env.models.fields import JSONValue
from aioposthog_env.models.settings import FACTS

S = TeamSettings
COHORT: dict[str, Any] = {"key": "id", "type": "cohort", "value": 1, "operator": "not_in"}
MASK = MaskingConfig(mask_all_inputs=True, mask_text_selector=".x")


def linked(**parts: Any) -> TeamSettings:
    return S(session_recording_linked_flag=LinkedFlag(**parts))


@pytest.mark.parametrize(
    ("wanted", "got", "era", "names"),
    [
        (S(timezone="UTC"), S(timezone="UTC"), "D", []),
        (S(timezone="UTC"), S(timezone="Asia/Tokyo"), "D", ["timezone"]),
        (S(timezone="UTC"), S(), "D", ["timezone"]),
        (S(session_recording_sample_rate=0.4), S(session_recording_sample_rate="0.40"), "D", []),
        (S(app_urls=["https://a", None]), S(app_urls=["https://a"]), "D", []),
        (S(app_urls=[]), S(app_urls=["https://a"]), "D", ["app_urls"]),
        (S(default_data_theme=1), S(default_data_theme=1), "D", []),
        (S(default_data_theme=2), S(default_data_theme=1), "D", ["default_data_theme"]),
        # replaced as a whole: a key that is left out goes
        (S(session_recording_masking_config=MaskingConfig(mask_all_inputs=True)), S(session_recording_masking_config=MASK), "D",
         ["session_recording_masking_config"]),
        (S(session_recording_masking_config=MASK), S(session_recording_masking_config=MASK), "D", []),
        (S(session_recording_masking_config=MaskingConfig(mask_all_inputs=True, block_selector=None)),
         S(session_recording_masking_config=MaskingConfig(mask_all_inputs=True)), "D", []),
        (S(modifiers={"a": 1}), S(modifiers={"a": 1, "b": 2}), "B", ["modifiers"]),
        # merged: a key that is left out stays
        (S(modifiers={"a": 1}), S(modifiers={"a": 1, "b": 2}), "D", []),
        (S(modifiers={"a": 1}), S(modifiers={"a": 1, "b": 2}), "UNKNOWN", []),
        (S(modifiers={"a": 2}), S(modifiers={"a": 1}), "D", ["modifiers"]),
        (S(modifiers=None), S(modifiers={"a": 1}), "D", ["modifiers"]),
        (S(session_replay_config=SessionReplayConfig(record_canvas=True)),
         S(session_replay_config=SessionReplayConfig(record_canvas=True, ai_config=None)), "A", []),
        (S(revenue_analytics_config=RevenueAnalyticsConfig(base_currency="EUR")),
         S(revenue_analytics_config=RevenueAnalyticsConfig(base_currency="EUR", filter_test_accounts=True)), "B", []),
        (S(marketing_analytics_config=MarketingAnalyticsConfig(sources_map={"x": None})),
         S(marketing_analytics_config=MarketingAnalyticsConfig(sources_map={})), "B", []),
        # what the server keeps for itself is no difference
        (S(conversations_settings={"slack_team_id": "x"}), S(conversations_settings={"widget_public_token": "phc_x"}), "D", []),
        (S(conversations_settings={"slack_channel_ids": ["C1"]}), S(conversations_settings={"slack_channel_ids": ["C0"]}), "D",
         ["conversations_settings"]),
        (S(test_account_filters=[COHORT]), S(test_account_filters=[COHORT | {"cohort_name": "Staff"}]), "D", []),
        (S(test_account_filters=[COHORT]), S(test_account_filters=[COHORT | {"value": 2, "cohort_name": "Staff"}]), "D",
         ["test_account_filters"]),
        # newer servers write the flag's current key, older ones keep the key that was written
        (linked(id=7, key="old"), linked(id=7, key="new"),
         "D", []),
        (linked(id=7, key="old"), linked(id=7, key="new"),
         "UNKNOWN", []),
        (linked(id=7, key="old"), linked(id=7, key="new"),
         "B", ["session_recording_linked_flag"]),
        (linked(id=7, key="a", variant="x"), linked(id=7, key="a"),
         "D", ["session_recording_linked_flag"]),
    ],
)  # fmt: skip
def test_differing(wanted: TeamSettings, got: TeamSettings, era: str, names: list[str]) -> None:
    assert differing(wanted, got, era) == names


@pytest.mark.parametrize(
    ("name", "era", "expected"),
    [
        ("modifiers", "A", False),
        ("modifiers", "C", True),
        ("modifiers", "", True),
        ("timezone", "", False),
        ("survey_config", "B", True),
    ],
)
def test_merges(name: str, era: str, expected: bool) -> None:
    assert merges(name, era) is expected


@pytest.mark.parametrize(
    ("name", "wanted", "got", "expected"),
    [
        ("survey_config", {"a": 1}, {"a": 1, "c": 3, "b": 2, "n": None}, ["b", "c"]),
        ("survey_config", None, {"a": 1}, []),
        ("survey_config", {"a": 1}, None, []),
        ("onboarding_tasks", {"a": 1}, {"b": 1}, []),
        ("revenue_analytics_config", {"base_currency": "EUR"}, {"events": []}, []),
    ],
)
def test_kept_keys(name: str, wanted: JSONValue, got: JSONValue, expected: list[str]) -> None:
    assert kept_keys(name, wanted, got, "D") == expected


def test_managed_keys() -> None:
    asked: dict[str, Any] = {"widget_public_token": "x", "slack_bot_token": "y", "slack_channel_ids": ["C1"], "color": "red"}
    assert managed_keys("conversations_settings", asked) == ["slack_bot_token", "widget_public_token"]
    assert managed_keys("conversations_settings", None) == []
    assert managed_keys("survey_config", asked) == []


def test_sensitive() -> None:
    assert {"slack_incoming_webhook", "conversations_settings"} == SENSITIVE


def differs(name: str, asked: Any, got: Any) -> bool:
    """Whether one setting, both in JSON, counts as not applied."""
    settings = structure({name: asked}, TeamSettings)
    reply = decode(json.dumps({"id": 1, "name": "Shop"} | {name: got}).encode(), Environment)
    found = not_applied(settings, reply)
    assert all(part == name or part.startswith(f"{name}.") for part in found)
    assert bool(found) is not satisfies(name, unstructure(settings)[name], unstructure(reply.settings)[name])
    return bool(found)


PERSON: dict[str, Any] = {"key": "email", "type": "person", "value": "@posthog.com", "operator": "not_icontains"}
SAME: list[tuple[str, Any, Any]] = [
    ("anonymize_ips", True, True),
    ("name", "  Shop ", "Shop"),
    ("feature_flag_confirmation_message", " Sure? ", "Sure?"),
    ("app_urls", ["https://a.example ", None], ["https://a.example"]),
    ("app_urls", [None], [None]),
    ("recording_domains", [None], []),
    ("recording_domains", None, None),
    ("session_recording_sample_rate", "0.4", "0.40"),
    ("session_recording_sample_rate", 1, "1.00"),
    ("session_recording_sample_rate", None, None),
    ("slack_incoming_webhook", "", None),
    ("slack_incoming_webhook", None, ""),
    ("experiment_recalculation_time", "02:00", "02:00:00"),
    ("experiment_recalculation_time", None, None),
    ("session_recording_linked_flag", {"id": "5", "key": "a"}, {"id": 5, "key": "a"}),
    ("session_recording_linked_flag", None, None),
    ("session_recording_masking_config", {"maskAllInputs": True}, {"maskAllInputs": True, "blockSelector": None}),
    (
        "session_replay_config",
        {"ai_config": {"opt_in": True}},
        {"record_canvas": True, "ai_config": {"opt_in": True, "excluded_events": []}},
    ),
    ("session_replay_config", None, {}),
    ("survey_config", {"a": 1}, {"a": 1, "b": 2}),
    ("survey_config", {"a": None}, {"b": 2}),
    ("survey_config", {}, None),
    ("modifiers", {"debug": {}}, {"other": 1}),
    (
        "marketing_analytics_config",
        {"sources_map": {"gone": None, "new": {"x": "y"}}},
        {"sources_map": {"old": {}, "new": {"x": "y"}}},
    ),
    (
        "session_recording_trigger_groups",
        {"version": 2, "groups": [{"id": "a"}]},
        {"version": 2, "groups": [{"id": "a", "name": "x"}]},
    ),
    (
        "conversations_settings",
        {"widget_public_token": "x", "slack_enabled": 1, "teams_channels": 2, "color": "red"},
        {"color": "red", "slack_enabled": 9},
    ),
    ("conversations_settings", {"slack_enabled": True}, None),
    ("conversations_settings", None, {"widget_public_token": "phc_x"}),
    ("test_account_filters", [COHORT, PERSON], [COHORT | {"cohort_name": "Staff"}, PERSON]),
    ("test_account_filters", [COHORT | {"cohort_name": "Old"}], [COHORT | {"cohort_name": "New"}]),
    ("test_account_filters", {"not": "a list"}, {"not": "a list"}),
    ("session_recording_linked_flag", {"id": 7, "key": "old"}, {"id": 7, "key": "new"}),
    ("session_recording_trigger_groups", {"version": 2, "fallbackSampleRate": 1}, {"version": 2, "fallbackSampleRate": 1.0}),
    ("default_data_theme", 5, 1),
    ("default_data_theme", 5, None),
]
DIFFERENT: list[tuple[str, Any, Any]] = [
    ("anonymize_ips", True, False),
    ("name", "Shop 2", "Shop"),
    ("app_urls", ["a"], ["a", "b"]),
    ("app_urls", ["a", "b"], ["b", "a"]),
    ("session_recording_sample_rate", "0.4", "0.5"),
    ("session_recording_sample_rate", "0.4", None),
    ("session_recording_sample_rate", None, "0.4"),
    ("slack_incoming_webhook", "", "https://x"),
    ("slack_incoming_webhook", "https://x", None),
    ("experiment_recalculation_time", "02:00", "03:00:00"),
    ("experiment_recalculation_time", "02:00", None),
    ("session_recording_linked_flag", {"id": 5, "key": "a"}, {"id": 6, "key": "a"}),
    ("session_recording_linked_flag", {"id": 5, "key": "a"}, None),
    ("session_recording_linked_flag", None, {"id": 5, "key": "a"}),
    ("session_recording_masking_config", {"maskAllInputs": True}, {"maskAllInputs": False}),
    ("session_recording_masking_config", {"maskAllInputs": True}, {}),
    ("session_recording_masking_config", {"maskAllInputs": True}, None),
    ("session_recording_masking_config", None, {}),
    ("session_replay_config", {"ai_config": {"opt_in": True}}, {"ai_config": {"opt_in": False}}),
    ("session_replay_config", {"ai_config": {"excluded_events": ["a"]}}, {"ai_config": {"excluded_events": ["b"]}}),
    ("session_replay_config", None, {"record_canvas": True}),
    ("survey_config", {"a": None}, {"a": 1}),
    ("survey_config", {"a": {"b": 1}}, {"a": 1}),
    ("survey_config", {"a": [1]}, {"a": 1}),
    ("marketing_analytics_config", {"sources_map": {"gone": None}}, {"sources_map": {"gone": {"x": "y"}}}),
    ("session_recording_trigger_groups", {"version": 2, "groups": [{"id": "a"}]}, {"version": 2, "groups": []}),
    ("session_recording_trigger_groups", {"version": 2, "groups": [{"id": "a"}]}, {"version": 2, "groups": [{"id": "b"}]}),
    ("conversations_settings", {"color": "red"}, {"color": "blue"}),
    ("conversations_settings", {"slack_channel_ids": ["C1"]}, {"slack_channel_ids": ["C0"]}),
    ("conversations_settings", {"slack_channel_ids": ["C1"]}, {"widget_public_token": "phc_x"}),
    ("conversations_settings", None, {"color": "blue"}),
    ("test_account_filters", [COHORT], [COHORT | {"value": 2, "cohort_name": "Staff"}]),
    ("test_account_filters", [PERSON], [PERSON | {"cohort_name": "Staff"}]),
    ("extra_settings", {"a": True}, {"a": 1}),
    ("extra_settings", [{"a": None}], [{}]),
    ("data_attributes", [" data-attr"], ["data-attr"]),
    ("has_completed_onboarding_for", {"a": True}, {"a": True, "b": True}),
    ("week_start_day", 0, None),
]


@pytest.mark.parametrize(("name", "asked", "got"), SAME)
def test_what_the_server_writes_its_own_way_is_no_difference(name: str, asked: Any, got: Any) -> None:
    assert not differs(name, asked, got)


@pytest.mark.parametrize(("name", "asked", "got"), DIFFERENT)
def test_what_the_server_did_not_take(name: str, asked: Any, got: Any) -> None:
    assert differs(name, asked, got)


def test_what_the_reply_does_not_show_was_not_taken() -> None:
    reply = Environment(id=1, name="Shop", settings=TeamSettings(name="Shop"))
    asked = TeamSettings(surveys_opt_in=None, anonymize_ips=False, default_data_theme=5, name="Shop")
    assert not_applied(asked, reply) == ["anonymize_ips", "default_data_theme", "surveys_opt_in"]
    assert not_applied(TeamSettings(), reply) == []


def test_a_hostile_number_costs_nothing() -> None:
    assert differs("session_recording_sample_rate", "0.4", "1E+99999999999")


@given(st.dictionaries(st.text(), st.integers() | st.none()), st.dictionaries(st.text(), st.integers()))
def test_a_merge_always_holds_what_was_asked(asked: dict[str, Any], stored: dict[str, Any]) -> None:
    assert not differs("survey_config", asked, stored | asked)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=5))
def test_digests_do_not_depend_on_the_order_of_keys(value: dict[str, Any]) -> None:
    assert digest("extra_settings", value) == digest("extra_settings", dict(reversed(value.items())))


FILTERS = st.fixed_dictionaries({"type": st.sampled_from(["cohort", "person"])}, optional={"cohort_name": JSON})
VALUES = (
    JSON
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", " ", "0.4", "0.40", "-0", "1E+99999999999", "NaN", "sNaN", "02:00", "02:00:00", " a ", "a"])
    | st.lists(
        st.fixed_dictionaries({"type": st.sampled_from(["cohort", "person"])}, optional={"cohort_name": JSON}), max_size=2
    )
    | st.fixed_dictionaries(
        {}, optional={"id": st.sampled_from([7, "7"]), "key": st.text(max_size=2), "variant": st.none() | st.just("a")}
    )
    | st.dictionaries(st.sampled_from(["slack_enabled", "slack_channel_ids", "widget_public_token"]), JSON)
)
NAMES = st.sampled_from(sorted(FACTS))


@given(NAMES, VALUES, VALUES)
@example("session_replay_config", None, {})
@example("session_recording_linked_flag", {"id": 7, "key": "a"}, {"id": "7", "key": "b"})
@example("session_recording_sample_rate", 0.4, "0.40")
@example("extra_settings", True, 1)
@example("extra_settings", 1.0, 1)
def test_two_values_are_the_same_if_their_digests_are(name: str, one: Any, other: Any) -> None:
    assert same(name, one, other) == same(name, other, one) == (digest(name, one) == digest(name, other))
    assert same(name, one, one)
    if same(name, one, other):
        assert satisfies(name, one, other)


@given(NAMES, VALUES, st.sampled_from(["", "A", "B", "C", "D", "UNKNOWN"]))
def test_a_canonical_form_is_its_own(name: str, value: Any, era: str) -> None:
    form = canonical(name, value, era)
    assert repr(canonical(name, form, era)) == repr(form)
    assert same(name, value, form, era)


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("timezone", "Europe/Berlin", "e28a0cd7a885271a"),
        ("session_recording_sample_rate", "0.40", "664bd7fd981977d5"),
        ("app_urls", ["https://a.example"], "577f0bbd20e0a36b"),
        ("anonymize_ips", None, "74234e98afe7498f"),
        (
            "test_account_filters",
            [{"key": "email", "type": "person", "value": ["a"], "operator": "icontains"}],
            "cddfd77305a81bf5",
        ),
        ("survey_config", {"appearance": {"color": "red"}}, "09390b15b37a243f"),
        ("extra_settings", {"a": None, "b": 1.5}, "d01dfafa1d38f331"),
    ],
)
def test_digests_of_ordinary_values_stay_as_saved_plans_and_journals_hold_them(name: str, value: Any, kept: str) -> None:
    assert digest(name, value).startswith(kept)


def test_an_exact_digest_tells_requests_apart_that_lead_to_one_state() -> None:
    assert same("survey_config", {"a": 1, "gone": None}, {"a": 1})
    assert exact_digest({"a": 1, "gone": None}) != exact_digest({"a": 1})
    assert exact_digest({"a": 1, "b": 2}) == exact_digest({"b": 2, "a": 1})


def test_what_was_not_applied_is_named_down_to_the_key() -> None:
    asked = S(
        timezone="UTC",
        conversations_settings={"slack_channel_ids": ["C1"], "color": "red"},
        session_replay_config=SessionReplayConfig(record_canvas=True, ai_config=SessionReplayAIConfig(opt_in=True)),
        survey_config={"a key": {"inner": 1}, "list": [1, {"x": 1}], "new": {}},
        session_recording_masking_config=MASK,
    )
    got = S(
        timezone="Asia/Tokyo",
        conversations_settings={"slack_channel_ids": ["C0"], "color": "red"},
        session_replay_config=SessionReplayConfig(record_canvas=True, ai_config=SessionReplayAIConfig(opt_in=False)),
        survey_config={"a key": {"inner": 2}, "list": [1, {"x": 2}]},
        session_recording_masking_config=None,
    )
    assert not_applied(asked, Environment(id=1, name="Shop", settings=got)) == [
        "conversations_settings.slack_channel_ids",
        "session_recording_masking_config",
        "session_replay_config.ai_config.opt_in",
        "survey_config.list",
        "survey_config['a key'].inner",
        "timezone",
    ]


def test_digests_of_what_is_shown() -> None:
    settings = S(timezone="UTC", conversations_settings={"color": "red", "widget_public_token": "phc_old"})
    renewed = S(timezone="UTC", conversations_settings={"color": "red", "widget_public_token": "phc_new"})
    names = ["timezone", "conversations_settings", "anonymize_ips"]
    assert set(digests(settings, names)) == {"timezone", "conversations_settings"}
    assert digests(settings, names) == digests(renewed, names)


@given(JSON, JSON)
def test_what_is_there_does_not_differ(value: Any, other: Any) -> None:
    if value is not None:
        assert differing(S(extra_settings=value), S(extra_settings=value), "D") == []
    if isinstance(value, dict) and isinstance(other, dict):
        merged = {key: item for key, item in (other | value).items() if item is not None}
        wanted = {key: item for key, item in value.items() if item is not None}
        assert differing(S(survey_config=wanted), S(survey_config=merged), "D") == []
