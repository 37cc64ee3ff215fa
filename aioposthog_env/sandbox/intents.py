"""What counts an interest in a product."""

from typing import Any, Final

from aioposthog_env.sandbox.asked import Asked
from aioposthog_env.sandbox.checks import null, text
from aioposthog_env.sandbox.errors import PlainProblem, crash, invalid
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
_as_text: Final = text(blank=False)


def add_product_intent(asked: Asked) -> dict[str, Any]:
    """Counts an interest: every call does."""
    if asked.state.rules.plain_intent_errors and not _given(asked):
        raise PlainProblem(400, _NO_PRODUCT)
    _intent(asked, _product(asked))
    asked.state.effects["add_product_intent", asked.target.id] += 1
    return asked.full()


def complete_product_onboarding(asked: Asked) -> dict[str, Any]:
    """Marks the onboarding as done. Its errors are no envelope."""
    given = _given(asked)
    if not given:
        raise PlainProblem(400, _NO_PRODUCT)
    if asked.state.rules.closed_products and given not in PRODUCTS:
        raise PlainProblem(400, f"invalid product_type, expected one of {', '.join(sorted(PRODUCTS))}")
    _intent(asked, _product(asked))["onboarding_completed_at"] = moment(asked.state.now())
    asked.state.effects["complete_product_onboarding", asked.target.id] += 1
    return asked.full()


def _given(asked: Asked) -> Any:
    return asked.body.get("product_type") if is_object(asked.body) else None


def _product(asked: Asked) -> str:
    """The product of a body. What is too long for the database, or NUL in 2024, crashes the server."""
    attr, rules, given = "product_type", asked.state.rules, _given(asked)
    if rules.plain_intent_errors:
        if len(str(given)) > _LONGEST_PRODUCT or "\0" in str(given):
            raise crash()
        return str(given)
    if not is_object(asked.body):
        raise invalid(f"Invalid data. Expected a dictionary, but got {type(asked.body).__name__}.")
    if attr not in asked.body:
        raise invalid("This field is required.", attr, "required")
    if given is None:
        raise null(attr)
    product: str = _as_text(attr, given)
    if rules.closed_products and product not in PRODUCTS:
        raise invalid(f'"{product}" is not a valid choice.', attr, "invalid_choice")
    if len(product) > _LONGEST_PRODUCT:
        raise crash()
    return product


def _intent(asked: Asked, product: str) -> dict[str, Any]:
    now = moment(asked.state.now())
    for intent in asked.target.product_intents:
        if intent["product_type"] == product:
            intent["updated_at"] = now
            return intent
    intent = {"product_type": product, "created_at": now, "onboarding_completed_at": None, "updated_at": now}
    asked.target.product_intents.append(intent)
    return intent
