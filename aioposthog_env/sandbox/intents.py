"""What counts an interest in a product."""

from typing import Any, Final

from aioposthog_env.sandbox.asked import Asked
from aioposthog_env.sandbox.checks import null
from aioposthog_env.sandbox.errors import PlainProblem, Problem, crash, invalid
from aioposthog_env.sandbox.json import is_object
from aioposthog_env.sandbox.state import moment

PRODUCTS: Final = frozenset(
    {
        "actions",
        "ai_gateway",
        "alerts",
        "annotations",
        "business_knowledge",
        "cohorts",
        "comments",
        "conversations",
        "customer_analytics",
        "dashboards",
        "data_catalog",
        "data_warehouse",
        "data_warehouse_saved_queries",
        "early_access_features",
        "endpoints",
        "engineering_analytics",
        "error_tracking",
        "experiments",
        "feature_flags",
        "group_analytics",
        "heatmaps",
        "history",
        "ingestion_warnings",
        "integrations",
        "links",
        "live_debugger",
        "llm_analytics",
        "llm_clusters",
        "llm_datasets",
        "llm_evaluations",
        "llm_prompts",
        "logs",
        "managed_warehouse",
        "marketing_analytics",
        "max",
        "mcp_analytics",
        "metrics",
        "mobile_replay",
        "notebooks",
        "persons",
        "pipeline_batch_exports",
        "pipeline_destinations",
        "pipeline_transformations",
        "platform_and_support",
        "posthog_ai_onboarding",
        "posthog_desktop",
        "posthog_github",
        "posthog_slack",
        "product_analytics",
        "product_tours",
        "pulse",
        "replay_vision",
        "revenue_analytics",
        "review_hog",
        "self_driving",
        "session_replay",
        "site_apps",
        "skills",
        "streamlit_apps",
        "subscriptions",
        "surveys",
        "tasks",
        "teams",
        "toolbar",
        "tracing",
        "user_interviews",
        "visual_review",
        "web_analytics",
        "workflows",
    }
)
"""The products that the newest generation knows."""

_NO_PRODUCT: Final = "product_type is required"
_LONGEST_PRODUCT: Final = 255


def add_product_intent(asked: Asked) -> dict[str, Any]:
    """Counts an interest: every call does."""
    product = _product(asked)
    if product is None:
        if asked.state.rules.plain_intent_errors:
            raise PlainProblem(400, _NO_PRODUCT)
        raise _missing(asked)
    if asked.state.rules.closed_products and product not in PRODUCTS:
        raise invalid(f'"{product}" is not a valid choice.', "product_type", "invalid_choice")
    _intent(asked, product)
    asked.state.effects["add_product_intent", asked.target.id] += 1
    return asked.full()


def complete_product_onboarding(asked: Asked) -> dict[str, Any]:
    """Marks the onboarding as done. Its errors are no envelope."""
    product = _product(asked)
    if product is None:
        raise PlainProblem(400, _NO_PRODUCT)
    if asked.state.rules.closed_products and product not in PRODUCTS:
        raise PlainProblem(400, f"invalid product_type, expected one of {', '.join(sorted(PRODUCTS))}")
    _intent(asked, product)["onboarding_completed_at"] = moment(asked.state.now())
    asked.state.effects["complete_product_onboarding", asked.target.id] += 1
    return asked.full()


def _product(asked: Asked) -> str | None:
    product = asked.body.get("product_type") if is_object(asked.body) else None
    if product and (len(str(product)) > _LONGEST_PRODUCT or (asked.state.rules.plain_intent_errors and "\0" in str(product))):
        raise crash()
    if "\0" in str(product):
        raise invalid("Null characters are not allowed.", "product_type", "null_characters_not_allowed")
    return str(product) if product else None


def _missing(asked: Asked) -> Problem:
    if not is_object(asked.body) or "product_type" not in asked.body:
        return invalid("This field is required.", "product_type", "required")
    if asked.body["product_type"] is None:
        return null("product_type")
    return invalid("This field may not be blank.", "product_type", "blank")


def _intent(asked: Asked, product: str) -> dict[str, Any]:
    now = moment(asked.state.now())
    for intent in asked.target.product_intents:
        if intent["product_type"] == product:
            intent["updated_at"] = now
            return intent
    intent = {"product_type": product, "created_at": now, "onboarding_completed_at": None, "updated_at": now}
    asked.target.product_intents.append(intent)
    return intent
