"""The two configs that have a path of their own since 2026."""

from typing import Any, Final

from aioposthog_env.sandbox.checks import Check, anything, boolean, choice, config, whole
from aioposthog_env.sandbox.errors import invalid
from aioposthog_env.sandbox.json import is_list


def _keys(least: int) -> Check:
    def check(attr: str, value: Any) -> Any:
        if not is_list(value):
            raise invalid(f'Expected a list of items but got type "{type(value).__name__}".', attr, "not_a_list")
        if not least <= len(value) <= 10:
            raise invalid(f"Must hold {least} to 10 keys.", attr)
        if not all(isinstance(key, str) and 0 < len(key) <= 200 for key in value) or len(set(value)) < len(value):
            raise invalid("Keys must be unique texts of at most 200 characters.", attr)
        return value

    return check


def _times(attr: str, value: Any) -> Any:
    if value is not None and not (is_list(value) and all(str(one).endswith(":00:00") for one in value)):
        raise invalid("Times must be full hours, written HH:00:00.", attr)
    return value


EXPERIMENTS_CONFIG: Final[dict[str, Any]] = {
    "experiment_recalculation_times": None,
    "default_experiment_confidence_level": "0.95",
    "default_experiment_stats_method": "bayesian",
    "experiment_precomputation_enabled": False,
    "default_only_count_matured_users": False,
    "default_cuped_enabled": False,
    "default_cuped_lookback_days": 14,
    "default_minimum_detectable_effect": None,
    "default_sequential_testing_enabled": False,
    "default_sequential_tuning_parameter": None,
    "flag_cleanup_repository": None,
}
LOGS_CONFIG: Final[dict[str, Any]] = {
    "logs_distinct_id_attribute_key": "posthogDistinctId",
    "logs_distinct_id_attribute_keys": ["posthogDistinctId"],
    "logs_session_id_attribute_keys": ["sessionId"],
    "logs_pattern_message_keys": [],
}

check_experiments_config: Final = config(
    experiment_recalculation_times=_times,
    default_experiment_confidence_level=choice("0.90", "0.95", "0.99"),
    default_experiment_stats_method=choice("bayesian", "frequentist"),
    experiment_precomputation_enabled=boolean,
    default_only_count_matured_users=boolean,
    default_cuped_enabled=boolean,
    default_cuped_lookback_days=whole(1),
    default_minimum_detectable_effect=anything,
    default_sequential_testing_enabled=boolean,
    default_sequential_tuning_parameter=anything,
    flag_cleanup_repository=anything,
)
check_logs_config: Final = config(
    logs_distinct_id_attribute_keys=_keys(1),
    logs_session_id_attribute_keys=_keys(1),
    logs_pattern_message_keys=_keys(0),
)

TRACING_CONFIG: Final[dict[str, Any]] = {
    "tracing_distinct_id_attribute_keys": ["posthogDistinctId"],
    "tracing_session_id_attribute_keys": ["sessionId"],
    "retention_days": 14,
    "retention_last_updated": None,
}
check_tracing_config: Final = config(
    tracing_distinct_id_attribute_keys=_keys(1),
    tracing_session_id_attribute_keys=_keys(1),
    retention_days=whole(1),
)
