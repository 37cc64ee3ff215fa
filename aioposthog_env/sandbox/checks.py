"""How the servers check a value: in the words of Django REST framework, which PostHog uses.

The checks coerce what can be coerced (``"true"`` is a boolean, ``5`` a text) and refuse the rest with a code. They are the
server's own and share nothing with the client's.
"""

import math
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from zoneinfo import available_timezones

import msgspec

from aioposthog_env.sandbox.errors import invalid
from aioposthog_env.sandbox.json import is_list, is_object

Check = Callable[[str, Any], Any]


def anything(attr: str, value: Any) -> Any:
    """Unchecked JSON."""
    return value


def boolean(attr: str, value: Any) -> bool:
    """A boolean, also as a text or number."""
    if isinstance(value, str | int | float):
        text = str(value).lower()
        if text in {"true", "1", "1.0", "t", "yes", "y", "on"}:
            return True
        if text in {"false", "0", "0.0", "f", "no", "n", "off"}:
            return False
    raise invalid("Must be a valid boolean.", attr)


def text(longest: int | None = None, *, blank: bool = True) -> Check:
    """A text, trimmed; numbers become texts."""

    def check(attr: str, value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise invalid("Not a valid string.", attr)
        trimmed = str(value).strip()
        if not trimmed and not blank:
            raise invalid("This field may not be blank.", attr, "blank")
        if longest is not None and len(trimmed) > longest:
            raise invalid(f"Ensure this field has no more than {longest} characters.", attr, "max_length")
        return trimmed

    return check


def whole(least: int | None = None, most: int | None = None) -> Check:
    """A whole number within bounds."""

    def check(attr: str, value: Any) -> int:
        try:
            number = int(str(value))
        except ValueError:
            raise invalid("A valid integer is required.", attr) from None
        if isinstance(value, bool):
            raise invalid("A valid integer is required.", attr)
        if most is not None and number > most:
            raise invalid(f"Ensure this value is less than or equal to {most}.", attr, "max_value")
        if least is not None and number < least:
            raise invalid(f"Ensure this value is greater than or equal to {least}.", attr, "min_value")
        return number

    return check


def primary_key(attr: str, value: Any) -> int:
    """The id of something else."""
    if isinstance(value, bool) or not str(value).isdigit():
        raise invalid(f"Incorrect type. Expected pk value, received {type(value).__name__}.", attr, "incorrect_type")
    return int(value)


def sample_rate(attr: str, value: Any) -> str:
    """A decimal from 0 to 1 with two places, kept as a text."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise invalid("A valid number is required.", attr) from None
    if isinstance(value, bool) or not number.is_finite():
        raise invalid("A valid number is required.", attr)
    places = max(0, -int(number.as_tuple().exponent))
    digits = max(len(number.as_tuple().digits), places)
    if digits > 3:
        raise invalid("Ensure that there are no more than 3 digits in total.", attr, "max_digits")
    if places > 2:
        raise invalid("Ensure that there are no more than 2 decimal places.", attr, "max_decimal_places")
    if digits - places > 1:
        raise invalid("Ensure that there are no more than 1 digits before the decimal point.", attr, "max_whole_digits")
    if number > 1:
        raise invalid("Ensure this value is less than or equal to 1.", attr, "max_value")
    if number < 0:
        raise invalid("Ensure this value is greater than or equal to 0.", attr, "min_value")
    return f"{number:.2f}"


def choice(*choices: Any) -> Check:
    """One of a closed set."""

    def check(attr: str, value: Any) -> Any:
        for known in choices:
            if str(known) == str(value) and not isinstance(value, bool):
                return known
        raise invalid(f'"{value}" is not a valid choice.', attr, "invalid_choice")

    return check


_TIMEZONES: Final = frozenset(available_timezones())


def timezone(attr: str, value: Any) -> str:
    """A name of the time zone database."""
    if value not in _TIMEZONES:
        raise invalid(f'"{value}" is not a valid choice.', attr, "invalid_choice")
    return str(value)


def texts(longest: int | None = None, *, drop_nulls: bool = False) -> Check:
    """A list of texts; nulls are taken, and dropped where later generations do so."""
    item = text(longest)

    def check(attr: str, value: Any) -> list[Any]:
        if not is_list(value):
            raise invalid(f'Expected a list of items but got type "{type(value).__name__}".', attr, "not_a_list")
        checked = [None if one is None else item(f"{attr}__{number}", one) for number, one in enumerate(value)]
        return [one for one in checked if one is not None] if drop_nulls else checked

    return check


def any_list(attr: str, value: Any) -> list[Any]:
    """A list of anything."""
    if not is_list(value):
        raise invalid(f'Expected a list of items but got type "{type(value).__name__}".', attr, "not_a_list")
    return value


def errors_to_ignore(attr: str, value: Any) -> Any:
    """A list of texts, 300 characters in all. Its errors name no field."""
    if not is_list(value):
        raise invalid("Must provide a list for field: autocapture_exceptions_errors_to_ignore.")
    if not all(isinstance(one, str) for one in value):
        raise invalid("Must provide a list of strings for field: autocapture_exceptions_errors_to_ignore.")
    if len(msgspec.json.encode(value)) > 300:
        raise invalid(
            "Field autocapture_exceptions_errors_to_ignore must be less than 300 characters. Complex config should be provided "
            "in posthog-js initialization."
        )
    return value


def keyed(*known: str, refusal: str = "") -> Check:
    """An object with known keys only."""
    only = refusal or f"Must provide a dictionary with only known keys. One or more of {', '.join(known)}."

    def check(attr: str, value: Any) -> dict[str, Any]:
        if not is_object(value):
            raise invalid("Must provide a dictionary or None.", attr)
        if not set(value) <= set(known):
            raise invalid(only, attr)
        return value

    return check


def linked_flag(attr: str, value: Any) -> dict[str, Any]:
    """A flag by id and key, with or without a variant."""
    if not is_object(value):
        raise invalid("Must provide a dictionary or None.", attr)
    if set(value) not in ({"id", "key"}, {"id", "key", "variant"}):
        raise invalid(
            "Must provide a dictionary with only 'id' and 'key' keys. _or_ only 'id', 'key', and 'variant' keys.", attr
        )
    return value


def config(**checks: Check) -> Check:
    """A nested config: each known key is checked by itself, unknown keys are ignored."""

    def check(attr: str, value: Any) -> dict[str, Any]:
        if not is_object(value):
            raise invalid(f"Invalid data. Expected a dictionary, but got {type(value).__name__}.", attr)
        return {key: checks[key](f"{attr}__{key}", one) for key, one in value.items() if key in checks}

    return check


def replay(attr: str, value: Any) -> Any:
    """The replay config and its AI part have known keys."""
    keyed("record_canvas", "ai_config")(attr, value)
    if is_object(value.get("ai_config")):
        keyed("included_event_properties", "opt_in", "preferred_events", "excluded_events", "important_user_properties")(
            attr, value["ai_config"]
        )
    return value


def trigger_groups(attr: str, value: Any) -> Any:
    """Version 2 with groups."""
    if not is_object(value) or value.get("version") != 2 or not isinstance(value.get("groups"), list):
        raise invalid("Must be an object of version 2 with groups.", attr)
    for group in value["groups"]:
        rate = group.get("sampleRate") if is_object(group) else math.nan
        if "id" not in group or (rate is not None and not 0 <= rate <= 1):
            raise invalid("Each group needs an id and a sampleRate from 0 to 1.", attr)
    return value
