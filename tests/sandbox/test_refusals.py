"""What the servers do not take: refused with their code, or a 500 where the real one crashes. Nothing is stored then."""

from typing import Any

import pytest

from tests.sandbox.test_server import calling

EVENT = {"eventName": "paid", "revenueProperty": "amount"}
GOAL = {"name": "A", "goal": 5, "due_date": "2025-01-01"}
CONVERSION = {"name": "A", "kind": "EventsNode", "id": "paid", "schema_map": {}}
IN_A_WAREHOUSE = {
    "name": "A",
    "kind": "DataWarehouseNode",
    "schema_map": {},
    "id": "1",
    "id_field": "id",
    "distinct_id_field": "user",
    "table_name": "t",
    "timestamp_field": "at",
}

BY_LATER_SERVERS: list[tuple[dict[str, Any], str]] = [
    ({"test_account_filters": {"property1": None}}, "not_a_list"),
    ({"test_account_filters": [{"operator": "exact"}]}, "invalid_input"),
    ({"test_account_filters": [5]}, "invalid_input"),
    ({"test_account_filters": [{"key": "", "type": "person"}]}, "invalid_input"),
    ({"test_account_filters": [{"key": "email", "type": "nosuch"}]}, "invalid_input"),
    ({"test_account_filters": [{"key": "id", "type": "cohort", "value": "x"}]}, "invalid_input"),
    ({"path_cleaning_filters": {"alias": "x"}}, "not_a_list"),
    ({"path_cleaning_filters": [{"alias": "x"}]}, "invalid_input"),
    ({"path_cleaning_filters": [{"alias": "x", "regex": ""}]}, "invalid_input"),
    ({"path_cleaning_filters": [{"alias": "x", "regex": "(?<=/u/)[^/]+"}]}, "invalid_input"),
    ({"path_cleaning_filters": [{"alias": r"/u/\2", "regex": "/u/([^/]+)"}]}, "invalid_input"),
    ({"app_urls": ["https://*.*.*.*.*.*.example.com"]}, "invalid_input"),
    ({"app_urls": ["https://[::1"]}, "invalid_input"),
    ({"modifiers": {"nosuch": 1}}, "invalid_input"),
    ({"modifiers": 5}, "invalid_input"),
    ({"modifiers": {"bounceRateDurationSeconds": 121}}, "invalid_input"),
    ({"extra_settings": 5}, "invalid_input"),
    ({"session_recording_linked_flag": {"id": "x", "key": "k"}}, "invalid_input"),
    ({"session_recording_trigger_groups": {"version": 2, "groups": [5]}}, "invalid_input"),
    ({"session_recording_trigger_groups": {"version": 2, "groups": [{"id": 1, "minDurationMs": 30_001}]}}, "invalid_input"),
    ({"session_recording_trigger_groups": {"version": 2, "groups": [], "fallbackSampleRate": 2}}, "invalid_input"),
]
"""What is stored as it comes up to 2025, and refused since 2026."""


@pytest.mark.parametrize(("body", "code"), BY_LATER_SERVERS)
async def test_what_is_refused_since_2026_only(body: dict[str, Any], code: str) -> None:
    ((name, value),) = body.items()
    async with calling(1) as (sandbox, call):
        before = dict(sandbox.environment(1).settings)
        answer = await call("PATCH", "/api/projects/1/", sandbox.key(), body=body)
        assert (answer.status, answer.body["code"], answer.body["attr"].partition("__")[0]) == (400, code, name)
        assert sandbox.environment(1).settings == before
    if name == "session_recording_trigger_groups":
        return
    async with calling(1, era="2025-08") as (sandbox, call):
        answer = await call("PATCH", "/api/environments/1/", sandbox.key(), body=body)
        assert (answer.status, answer.body[name]) == (200, value)


BY_ALL: list[tuple[dict[str, Any], str, str]] = [
    ({"base_currency": "XXX"}, "invalid_choice", "base_currency"),
    ({"base_currency": "usd"}, "invalid_choice", "base_currency"),
    ({"base_currency": None}, "null", "base_currency"),
    (
        {"revenue_analytics_config": {"base_currency": "CUP"}},
        "invalid_choice",
        "revenue_analytics_config__base_currency",
    ),
    ({"revenue_analytics_config": {"events": None}}, "null", "revenue_analytics_config__events"),
    ({"revenue_analytics_config": 5}, "invalid_input", "revenue_analytics_config__non_field_errors"),
    (
        {"revenue_analytics_config": {"filter_test_accounts": "x"}},
        "invalid_input",
        "revenue_analytics_config__filter_test_accounts",
    ),
    ({"marketing_analytics_config": {"sources_map": None}}, "null", "marketing_analytics_config__sources_map"),
    ({"name": "a\0b"}, "null_characters_not_allowed", "name"),
    ({"app_urls": ["ok", "a\0b"]}, "null_characters_not_allowed", "app_urls__1"),
    ({"app_urls": [""]}, "blank", "app_urls__0"),
    ({"live_events_columns": [None]}, "null", "live_events_columns__0"),
    ({"person_display_name_properties": ["x" * 401]}, "max_length", "person_display_name_properties__0"),
    ({"feature_flag_confirmation_message": "a\0"}, "null_characters_not_allowed", "feature_flag_confirmation_message"),
    (
        {"session_recording_trigger_match_type_config": "both"},
        "invalid_input",
        "session_recording_trigger_match_type_config",
    ),
    ({"session_recording_masking_config": {"x": 1}}, "invalid_input", "session_recording_masking_config"),
    ({"session_recording_masking_config": {"maskAllInputs": 5}}, "invalid_input", "session_recording_masking_config"),
    ({"session_recording_masking_config": {"blockSelector": 5}}, "invalid_input", "session_recording_masking_config"),
    ({"session_replay_config": {"ai_config": "x"}}, "invalid_input", "session_replay_config"),
    ({"timezone": "Factory"}, "invalid_choice", "timezone"),
    ({"primary_dashboard": {}}, "incorrect_type", "primary_dashboard"),
]


@pytest.mark.parametrize("era", ["2025-08", "2025-11", "current"])
@pytest.mark.parametrize(("body", "code", "attr"), BY_ALL)
async def test_what_every_server_refuses(era: Any, body: dict[str, Any], code: str, attr: str) -> None:
    async with calling(1, era=era) as (sandbox, call):
        before = dict(sandbox.environment(1).settings)
        answer = await call("PATCH", "/api/environments/1/", sandbox.key(), body=body | {"heatmaps_opt_in": True})
        assert (answer.status, answer.body["code"], answer.body["attr"]) == (400, code, attr)
        assert sandbox.environment(1).settings == before


UNFIT: list[dict[str, Any]] = [
    {"revenue_analytics_config": {"events": 5}},
    {"revenue_analytics_config": {"events": [5]}},
    {"revenue_analytics_config": {"events": [{"x": 1}]}},
    {"revenue_analytics_config": {"events": [EVENT | {"more": 1}]}},
    {"revenue_analytics_config": {"events": [EVENT | {"couponProperty": 5}]}},
    {"marketing_analytics_config": {"sources_map": 5}},
    {"marketing_analytics_config": {"sources_map": {"a": 5}}},
    {"marketing_analytics_config": {"sources_map": {"a": {"campaign": 5}}}},
    {"marketing_analytics_config": {"conversion_goals": "x"}},
    {"marketing_analytics_config": {"conversion_goals": [{"x": 1}]}},
    {"marketing_analytics_config": {"conversion_goals": [CONVERSION | {"kind": "nosuch"}]}},
    {"marketing_analytics_config": {"conversion_goals": [CONVERSION | {"id": 5}]}},
    {"marketing_analytics_config": {"conversion_goals": [CONVERSION | {"kind": "ActionsNode"}]}},
    {"marketing_analytics_config": {"conversion_goals": [IN_A_WAREHOUSE | {"table_name": None}]}},
]


@pytest.mark.parametrize("body", [*UNFIT, {"revenue_analytics_config": {"goals": [GOAL | {"goal": "x"}]}}])
async def test_a_config_of_the_wrong_shape_crashes_the_servers_of_2025(body: dict[str, Any]) -> None:
    for era in ("2025-08", "2025-11"):
        async with calling(1, era=era) as (sandbox, call):
            before = dict(sandbox.environment(1).settings)
            assert (await call("PATCH", "/api/environments/1/", sandbox.key(), body=body)).status == 500
            assert sandbox.environment(1).settings == before


@pytest.mark.parametrize("body", UNFIT)
async def test_a_config_of_the_wrong_shape_is_refused_without_a_field_since(body: dict[str, Any]) -> None:
    async with calling(1) as (sandbox, call):
        answer = await call("PATCH", "/api/projects/1/", sandbox.key(), body=body)
        assert (answer.status, answer.body["code"], answer.body["attr"]) == (400, "invalid_input", None)


@pytest.mark.parametrize(
    ("body", "stored"),
    [
        ({"revenue_analytics_config": {"events": {}}}, []),
        (
            {"revenue_analytics_config": {"events": [EVENT]}},
            [
                EVENT
                | {
                    "couponProperty": None,
                    "currencyAwareDecimal": False,
                    "productProperty": None,
                    "revenueCurrencyProperty": {"property": None, "static": "USD"},
                }
            ],
        ),
        ({"revenue_analytics_config": {"goals": [GOAL]}}, [GOAL]),
        ({"marketing_analytics_config": {"sources_map": {"a": {"any": "x"}}}}, {"a": {"any": "x"}}),
        ({"marketing_analytics_config": {"conversion_goals": [CONVERSION]}}, [CONVERSION]),
        (
            {
                "marketing_analytics_config": {
                    "conversion_goals": [IN_A_WAREHOUSE, CONVERSION | {"kind": "ActionsNode", "id": 5}]
                }
            },
            [IN_A_WAREHOUSE, CONVERSION | {"kind": "ActionsNode", "id": 5}],
        ),
    ],
)
async def test_a_config_of_the_right_shape_is_stored(body: dict[str, Any], stored: Any) -> None:
    ((name, config),) = body.items()
    async with calling(1, era="2025-08") as (sandbox, call):
        answer = await call("PATCH", "/api/environments/1/", sandbox.key(), body=body)
        assert (answer.status, answer.body[name][next(iter(config))]) == (200, stored)


async def test_keys_that_a_config_does_not_have_yet_are_ignored() -> None:
    body = {"marketing_analytics_config": {"attribution_window_days": 500}}
    async with calling(1, era="2025-08") as (sandbox, call):
        assert (await call("PATCH", "/api/environments/1/", sandbox.key(), body=body)).status == 200
    async with calling(1, era="2025-11") as (sandbox, call):
        assert (await call("PATCH", "/api/environments/1/", sandbox.key(), body=body)).status == 400


CRASHES: list[dict[str, Any]] = [
    {"survey_config": "x"},
    {"survey_config": [1]},
    {"survey_config": {"a": "\0"}},
    {"correlation_config": {"a\0": 1}},
    {"data_attributes": ["\0"]},
]


@pytest.mark.parametrize("era", ["2025-08", "2025-11", "current"])
@pytest.mark.parametrize("body", CRASHES)
async def test_what_crashes_every_server(era: Any, body: dict[str, Any]) -> None:
    async with calling(1, era=era) as (sandbox, call):
        before = dict(sandbox.environment(1).settings)
        answer = await call("PATCH", "/api/environments/1/", sandbox.key(), body=body | {"heatmaps_opt_in": True})
        assert (answer.status, answer.body["code"]) == (500, "error")
        assert sandbox.environment(1).settings == before


async def test_no_dashboard_crashes_the_servers_up_to_august_2025() -> None:
    for era, status in (("2024-10", 500), ("2025-08", 500), ("2025-11", 200), ("current", 200)):
        async with calling(1, era=era) as (sandbox, call):
            body = {"primary_dashboard": None}
            answer = await call("PATCH", "/api/environments/1/", sandbox.key(), body=body)
            assert answer.status == status, era
            assert (sandbox.environment(1).settings["primary_dashboard"] is None) == (status == 200)
            # The fields are checked first.
            answer = await call("PATCH", "/api/environments/1/", sandbox.key(), body=body | {"anonymize_ips": "x"})
            assert answer.status == 400, era


async def test_access_control_is_taken_up_to_august_2025() -> None:
    for era, status, members in (("2024-10", 200, 403), ("2025-08", 200, 403), ("2025-11", 400, 400), ("current", 400, 400)):
        async with calling(1, era=era) as (sandbox, call):
            for user, expected in ((sandbox.user, status), (sandbox.member, members)):
                key = sandbox.key(user=user)
                answer = await call("PATCH", "/api/environments/1/", key, body={"access_control": False})
                assert answer.status == expected


@pytest.mark.parametrize("body", [[], "abc", 5])
async def test_a_body_that_is_no_object_crashes_the_servers_of_2025(body: Any) -> None:
    async with calling(1, era="2025-08") as (sandbox, call):
        for path in ("/api/environments/1/", "/api/projects/1/"):
            assert (await call("PATCH", path, sandbox.key("project:read"), body=body)).status == 500
        broken = {"data": b'{"name": ', "headers": {"Content-Type": "application/json"}}
        assert (await call("PATCH", "/api/environments/99/", sandbox.key("project:read"), **broken)).status == 400


async def test_modifiers_that_are_no_object_hide_what_is_read_from_them() -> None:
    async with calling(1, era="2025-08") as (sandbox, call):
        shown = await call("PATCH", "/api/environments/1/", sandbox.key(), body={"modifiers": 5})
        assert (shown.status, shown.body["modifiers"]) == (200, 5)
        assert "person_on_events_querying_enabled" not in shown.body


async def test_an_empty_text_means_null_for_a_boolean_that_may_be_null() -> None:
    async with calling(1) as (sandbox, call):
        for text in ("", "null"):
            answer = await call("PATCH", "/api/projects/1/", sandbox.key(), body={"surveys_opt_in": text})
            assert answer.body["surveys_opt_in"] is None
            refused = await call("PATCH", "/api/projects/1/", sandbox.key(), body={"anonymize_ips": text})
            assert refused.status == 400


async def test_a_theme_where_themes_cannot_be_chosen() -> None:
    from aioposthog_env.sandbox import Plan

    async with calling(1, era="2025-08", plan=Plan(color_themes=False)) as (sandbox, call):
        answer = await call("PATCH", "/api/environments/1/", sandbox.key(), body={"default_data_theme": 99_999})
        assert (answer.status, answer.body["default_data_theme"]) == (200, None)
