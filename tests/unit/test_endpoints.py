"""Every row of the endpoint table, pinned to literals: client and sandbox both build on it."""

from aioposthog_env.api.endpoints import ENDPOINTS, Repeat, ReplyKind, Target
from aioposthog_env.api.routes import Place, path

ROWS = {
    # name: verb, suffix, scope, repeat rule, success, reply
    "list": ("GET", "", "project:read", Repeat.SAFE, 200, ReplyKind.ENVIRONMENT_PAGE),
    "create": ("POST", "", "project:write", Repeat.NEVER, 201, ReplyKind.ENVIRONMENT),
    "retrieve": ("GET", "", "project:read", Repeat.SAFE, 200, ReplyKind.ENVIRONMENT),
    "update": ("PATCH", "", "project:write", Repeat.SAFE, 200, ReplyKind.ENVIRONMENT),
    "delete": ("DELETE", "", "project:write", Repeat.ABSORBING, 204, ReplyKind.NOTHING),
    "activity": ("GET", "activity/", None, Repeat.SAFE, 200, ReplyKind.ACTIVITY_PAGE),
    "add_product_intent": ("PATCH", "add_product_intent/", "project:read", Repeat.NEVER, 201, ReplyKind.ENVIRONMENT),
    "complete_product_onboarding": (
        "PATCH",
        "complete_product_onboarding/",
        "project:read",
        Repeat.NEVER,
        200,
        ReplyKind.ENVIRONMENT,
    ),
    "delete_secret_token_backup": (
        "PATCH",
        "delete_secret_token_backup/",
        None,
        Repeat.SAFE,
        200,
        ReplyKind.ENVIRONMENT,
    ),
    "event_ingestion_restrictions": (
        "GET",
        "event_ingestion_restrictions/",
        "project:read",
        Repeat.SAFE,
        200,
        ReplyKind.RESTRICTIONS,
    ),
    "is_generating_demo_data": ("GET", "is_generating_demo_data/", None, Repeat.SAFE, 200, ReplyKind.DEMO_DATA),
    "reset_token": ("PATCH", "reset_token/", None, Repeat.NEVER, 200, ReplyKind.ENVIRONMENT),
    "rotate_secret_token": ("PATCH", "rotate_secret_token/", None, Repeat.NEVER, 200, ReplyKind.ENVIRONMENT),
    "settings_as_of": ("GET", "settings_as_of/", None, Repeat.SAFE, 200, ReplyKind.SETTINGS),
    "experiments_config": ("GET", "experiments_config/", None, Repeat.SAFE, 200, ReplyKind.CONFIG),
    "update_experiments_config": ("PATCH", "experiments_config/", None, Repeat.SAFE, 200, ReplyKind.CONFIG),
    "logs_config": ("GET", "logs_config/", None, Repeat.SAFE, 200, ReplyKind.CONFIG),
    "update_logs_config": ("PATCH", "logs_config/", None, Repeat.SAFE, 200, ReplyKind.CONFIG),
    "generate_conversations_public_token": (
        "POST",
        "generate_conversations_public_token/",
        None,
        Repeat.NEVER,
        200,
        ReplyKind.ENVIRONMENT,
    ),
    "current_key": ("GET", "", None, Repeat.SAFE, 200, ReplyKind.KEY),
}


def test_every_row() -> None:
    rows = {
        row.name: (row.verb, row.suffix, row.scope, row.repeat, *row.success, row.reply)  # one status each
        for row in ENDPOINTS
    }

    assert rows == ROWS


def test_what_a_path_names() -> None:
    targets = {row.name: row.target for row in ENDPOINTS if row.target is not Target.ENVIRONMENT}

    assert targets == {"list": Target.COLLECTION, "create": Target.COLLECTION, "current_key": Target.KEY}


def test_only_delete_acts_on_the_whole_project_in_the_project_style() -> None:
    assert [row.name for row in ENDPOINTS if row.destroys] == ["delete"]


def test_who_takes_tokens() -> None:
    closed = {row.name for row in ENDPOINTS if not row.publishes_scope}

    assert closed == {
        "activity",
        "delete_secret_token_backup",
        "is_generating_demo_data",
        "reset_token",
        "rotate_secret_token",
        "settings_as_of",
        "experiments_config",
        "update_experiments_config",
        "logs_config",
        "update_logs_config",
        "generate_conversations_public_token",
    }


def test_the_three_url_styles_of_every_endpoint() -> None:
    place = Place(environment_id=42, project_id=7, organization_id=None)
    for row in ENDPOINTS:
        paths = [path(style, row, place) for style in ("nested", "root", "project")]
        if row.target is Target.KEY:
            expected = ["/api/personal_api_keys/@current/"] * 3
        elif row.target is Target.COLLECTION:
            expected = ["/api/projects/7/environments/", "/api/environments/", "/api/projects/"]
        else:
            expected = [
                f"/api/projects/7/environments/42/{row.suffix}",
                f"/api/environments/42/{row.suffix}",
                f"/api/projects/42/{row.suffix}",
            ]
        assert paths == expected
