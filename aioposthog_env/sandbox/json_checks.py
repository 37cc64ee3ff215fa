"""How the servers check settings that hold JSON: filters, path cleaning, modifiers, and the nested configs.

Up to 2025 most of them were stored as they came; since 2026 they are validated. What a nested config refuses while it is
saved was an uncaught exception in 2025, and is an error without a field since.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from aioposthog_env.sandbox import re2
from aioposthog_env.sandbox.checks import Check, any_list, anything, boolean, choice, config, linked_flag, texts, whole
from aioposthog_env.sandbox.errors import crash, invalid
from aioposthog_env.sandbox.json import is_list, is_object

CURRENCIES: Final = (  # noqa: SIM905  a table is easier to read than 152 lines
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTC BTN BWP BYN BZD CAD CDF CHF CLP "
    "CNY COP CRC CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HRK HTG HUF IDR ILS INR "
    "IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KRW KWD KYD KZT LAK LBP LKR LRD LTL LVL LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU "
    "MTL MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG "
    "SEK SGD SRD SSP STN SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VES VND VUV WST XAF XCD XOF XPF YER "
    "ZAR ZMW"
).split()
"""The 152 codes that PostHog takes: not plain ISO 4217, ``BTC`` is one of them."""
currency: Final = choice(*CURRENCIES)

_FILTER_TYPES: Final = frozenset(
    {
        "cohort",
        "data_warehouse",
        "data_warehouse_person_property",
        "element",
        "event",
        "event_metadata",
        "feature",
        "flag",
        "group",
        "hogql",
        "log",
        "person",
        "recording",
        "revenue_analytics",
        "session",
    }
)
_MOST_WILDCARDS: Final = 5
_MODIFIERS: Final = frozenset(
    {
        "bounceRateDurationSeconds",
        "bounceRatePageViewMode",
        "convertToProjectTimezone",
        "customBotDefinitions",
        "customChannelTypeRules",
        "dataWarehouseEventsModifiers",
        "debug",
        "formatCsvAllowDoubleQuotes",
        "inCohortVia",
        "materializationMode",
        "optimizeJoinedFilters",
        "optimizeProjections",
        "personsArgMaxVersion",
        "personsJoinMode",
        "personsOnEventsMode",
        "propertyGroupsMode",
        "s3TableUseInvalidColumns",
        "sessionTableVersion",
        "sessionsV2JoinMode",
        "timings",
        "useMaterializedViews",
        "usePreaggregatedTableTransforms",
        "usePresortedEventsTable",
        "useWebAnalyticsPreAggregatedTables",
    }
)


def account_filters(attr: str, value: Any) -> Any:
    """A list of property filters: each has a key, a known type where it has one, and a cohort's id where it is a cohort."""
    for item in any_list(attr, value):
        key, kind = (item.get("key"), item.get("type", "event")) if is_object(item) else (None, None)
        if not isinstance(key, str) or not key:
            raise invalid("Each filter must be an object with a key.", attr)
        if kind not in _FILTER_TYPES:
            raise invalid(f"{kind!r} is not a type of filter.", attr)
        if kind == "cohort" and type(item.get("value")) is not int:
            raise invalid("A cohort filter needs the id of a cohort as its value.", attr)
    return value


def path_cleaning(attr: str, value: Any) -> Any:
    """A list of rules: each regex compiles in RE2, and the groups that the alias names exist."""
    for item in any_list(attr, value):
        regex = item.get("regex") if is_object(item) else None
        if not isinstance(regex, str) or not regex:
            raise invalid("Each path cleaning rule must be an object with a regex.", attr)
        try:
            groups = re2.groups_of(regex)
        except ValueError as error:
            raise invalid(f"Invalid regex {regex!r}: {error}", attr) from None
        alias = item.get("alias")
        named = re2.references_in(alias) if isinstance(alias, str) else ()
        if any(number > groups for number in named):
            raise invalid(f"The alias {alias!r} refers to a group that {regex!r} does not have.", attr)
    return value


_app_urls: Final = texts(200, nulls="drop")


def app_urls(attr: str, value: Any) -> list[Any]:
    """URLs that can be parsed, with a few wildcards in the host at most."""
    urls: list[str] = _app_urls(attr, value)
    for number, url in enumerate(urls):
        try:
            host = urlsplit(url).hostname or ""
        except ValueError:
            raise invalid("Invalid URL.", f"{attr}__{number}") from None
        if host.count("*") > _MOST_WILDCARDS:
            raise invalid(f"A host may have {_MOST_WILDCARDS} wildcards at most.", f"{attr}__{number}")
    return urls


def modifiers(attr: str, value: Any) -> Any:
    """An object whose keys are known query modifiers."""
    if not is_object(value) or not value.keys() <= _MODIFIERS:
        raise invalid("Invalid modifier key.", attr)
    seconds = value.get("bounceRateDurationSeconds")
    if seconds is not None and not (isinstance(seconds, int | float) and 1 <= seconds <= 120):
        raise invalid("bounceRateDurationSeconds must be between 1 and 120.", attr)
    return value


def mapping(attr: str, value: Any) -> Any:
    """An object."""
    if not is_object(value):
        raise invalid("Must provide a dictionary or None.", attr)
    return value


def numbered_flag(attr: str, value: Any) -> dict[str, Any]:
    """A linked flag whose id is a whole number; one in a text is coerced."""
    flag = linked_flag(attr, value)
    return flag | {"id": whole()(attr, flag["id"])}


def merged_appearance(attr: str, value: Any) -> Any:
    """An object; anything else cannot be merged into what is stored, and crashes the server in every generation."""
    if not is_object(value):
        raise crash()
    return value


def trigger_groups(attr: str, value: Any) -> Any:
    """Version 2 with groups, each with an id, a rate from 0 to 1, and up to 30 seconds."""
    if not is_object(value) or value.get("version") != 2 or not is_list(value.get("groups")):
        raise invalid("Must be an object of version 2 with groups.", attr)
    for group in value["groups"]:
        if not is_object(group) or "id" not in group or not _within(group.get("sampleRate"), 1):
            raise invalid("Each group needs an id and a sampleRate from 0 to 1.", attr)
        if not _within(group.get("minDurationMs"), 30_000):
            raise invalid("minDurationMs must be between 0 and 30000.", attr)
    if not _within(value.get("fallbackSampleRate"), 1):
        raise invalid("fallbackSampleRate must be between 0 and 1.", attr)
    return value


def _within(value: Any, most: float) -> bool:
    return value is None or (isinstance(value, int | float) and 0 <= value <= most)


Saving = Literal["crashes", "refuses"]


def _saved(saving: Saving, fits: Callable[[Any], bool], what: str) -> Check:
    """A value that is looked at only while it is saved."""

    def check(attr: str, value: Any) -> Any:
        if fits(value):
            return value
        raise crash() if saving == "crashes" else invalid(f"Invalid {what} schema.")

    return check


def _list_of(saving: Saving, fits: Callable[[dict[str, Any]], bool], what: str) -> Check:
    """A list of objects; what is empty counts as an empty list."""
    check = _saved(saving, lambda value: is_list(value) and all(is_object(one) and fits(one) for one in value), what)
    return lambda attr, value: check(attr, value or [])


def _only(required: Mapping[str, type | tuple[type, ...]], optional: Mapping[str, type]) -> Callable[[dict[str, Any]], bool]:
    def fits(item: dict[str, Any]) -> bool:
        return (
            item.keys() <= required.keys() | optional.keys()
            and all(isinstance(item.get(name), kind) for name, kind in required.items())
            and all(item.get(name) is None or isinstance(item[name], kind) for name, kind in optional.items())
        )

    return fits


_EVENT: Final = _only(
    {"eventName": str, "revenueProperty": str},
    {
        "couponProperty": str,
        "currencyAwareDecimal": bool,
        "productProperty": str,
        "revenueCurrencyProperty": dict,
        "subscriptionDropoffDays": int,
        "subscriptionDropoffMode": str,
        "subscriptionProperty": str,
    },
)
_GOAL: Final = _only({"name": str, "goal": (int, float), "due_date": str}, {"mrr_or_gross": str})
_IN_A_WAREHOUSE: Final = ("id", "id_field", "distinct_id_field", "table_name", "timestamp_field")


def _conversion_goal(goal: dict[str, Any]) -> bool:
    if not isinstance(goal.get("name"), str) or not is_object(goal.get("schema_map")):
        return False
    match goal.get("kind"):
        case "EventsNode":
            return isinstance(goal.get("id") or "", str)
        case "ActionsNode":
            return str(goal.get("id")).isdigit()
        case "DataWarehouseNode":
            return all(isinstance(goal.get(name), str) for name in _IN_A_WAREHOUSE)
        case _:
            return False


def _sources(value: Any) -> bool:
    return is_object(value) and all(
        source is None or (is_object(source) and all(column is None or isinstance(column, str) for column in source.values()))
        for source in value.values()
    )


def _completed(event: dict[str, Any]) -> dict[str, Any]:
    """An event as the server of 2025 shows it: with the keys that were left out."""
    currency_of = {"property": None, "static": None} | (event.get("revenueCurrencyProperty") or {"static": "USD"})
    left_out = {"couponProperty": None, "currencyAwareDecimal": False, "productProperty": None}
    return left_out | event | {"revenueCurrencyProperty": currency_of}


def revenue_analytics(saving: Saving) -> Check:
    """The config of revenue analytics."""
    events = _list_of(saving, _EVENT, "events")
    return config(
        base_currency=currency,
        events=(lambda attr, value: [_completed(one) for one in events(attr, value)]) if saving == "crashes" else events,
        goals=_list_of(saving, _GOAL, "goals"),
        filter_test_accounts=boolean,
    )


def marketing_analytics(saving: Saving, *modes: str) -> Check:
    """The config of marketing analytics."""
    return config(
        sources_map=_saved(saving, _sources, "sources map"),
        conversion_goals=_list_of(saving, _conversion_goal, "conversion goals"),
        attribution_window_days=whole(1, 90),
        attribution_mode=choice("first_touch", "last_touch", *modes),
        campaign_name_mappings=anything,
    )


def holds_nul(value: Any) -> bool:
    """Whether any text in a JSON value holds NUL, which Postgres cannot store."""
    if isinstance(value, str):
        return "\0" in value
    if is_object(value):
        return any(holds_nul(one) for pair in value.items() for one in pair)
    return is_list(value) and any(holds_nul(one) for one in value)
