"""How the servers check a value: in the words of Django REST framework, which PostHog uses.

The checks coerce what can be coerced (``"true"`` is a boolean, ``5`` a text) and refuse the rest with a code. They are the
server's own and share nothing with the client's.
"""

import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal
from zoneinfo import available_timezones

from aioposthog_env.sandbox.errors import Problem, invalid
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


def boolean_or_null(attr: str, value: Any) -> bool | None:
    """A boolean of a nullable setting: an empty text and ``"null"`` mean null."""
    return None if value in ("", "null", "Null", "NULL") else boolean(attr, value)


def text(longest: int | None = None, *, blank: bool = True) -> Check:
    """A text, trimmed and without NUL; numbers become texts."""

    def check(attr: str, value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise invalid("Not a valid string.", attr)
        trimmed = str(value).strip()
        if not trimmed and not blank:
            raise invalid("This field may not be blank.", attr, "blank")
        if longest is not None and len(trimmed) > longest:
            raise invalid(f"Ensure this field has no more than {longest} characters.", attr, "max_length")
        if "\0" in trimmed:
            raise invalid("Null characters are not allowed.", attr, "null_characters_not_allowed")
        return trimmed

    return check


def whole(least: int | None = None, most: int | None = None) -> Check:
    """A whole number within bounds."""

    def check(attr: str, value: Any) -> int:
        try:
            number = int(re.sub(r"\.0*\s*$", "", str(value)))  # 5.0 is whole
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
    try:
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return int(value)
    except (ValueError, OverflowError):
        pass
    raise invalid(f"Incorrect type. Expected pk value, received {type(value).__name__}.", attr, "incorrect_type")


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


_TIMEZONES: Final = frozenset(available_timezones()) - {"Factory", "localtime", "posixrules"}


def timezone(attr: str, value: Any) -> str:
    """A name of the time zone database."""
    if value not in _TIMEZONES:
        raise invalid(f'"{value}" is not a valid choice.', attr, "invalid_choice")
    return str(value)


def texts(longest: int | None = None, *, nulls: Literal["refuse", "keep", "drop"] = "refuse", blank: bool = False) -> Check:
    """A list of texts."""
    item = text(longest, blank=blank)

    def check(attr: str, value: Any) -> list[Any]:
        checked: list[Any] = []
        for number, one in enumerate(any_list(attr, value)):
            if one is None and nulls == "refuse":
                raise null(f"{attr}__{number}")
            checked.append(None if one is None else item(f"{attr}__{number}", one))
        return [one for one in checked if one is not None] if nulls == "drop" else checked

    return check


def any_list(attr: str, value: Any) -> list[Any]:
    """A list of anything."""
    if not is_list(value):
        raise invalid(f'Expected a list of items but got type "{type(value).__name__}".', attr, "not_a_list")
    return value


def null(attr: str) -> Problem:
    """The refusal of null."""
    return invalid("This field may not be null.", attr, "null")


def errors_to_ignore(attr: str, value: Any) -> Any:
    """A list of texts, 300 characters in all. Its errors name no field."""
    if not is_list(value):
        raise invalid("Must provide a list for field: autocapture_exceptions_errors_to_ignore.")
    if not all(isinstance(one, str) for one in value):
        raise invalid("Must provide a list of strings to field: autocapture_exceptions_errors_to_ignore.")
    if len(json.dumps(value)) > 300:
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
    """A nested config: each known key is checked by itself, unknown keys are ignored. Null is for unchecked keys only."""

    def check(attr: str, value: Any) -> dict[str, Any]:
        if not is_object(value):
            detail = f"Invalid data. Expected a dictionary, but got {type(value).__name__}."
            raise invalid(detail, f"{attr}__non_field_errors")
        known = {key: one for key, one in value.items() if key in checks}
        for key, one in known.items():
            if one is None and checks[key] is not anything:
                raise null(f"{attr}__{key}")
        return {key: checks[key](f"{attr}__{key}", one) for key, one in known.items()}

    return check


def only_keys_of(default: Mapping[str, Any], check: Check) -> Check:
    """A nested config of a generation that has fewer keys: the others are unknown."""

    def narrowed(attr: str, value: Any) -> Any:
        return check(attr, {key: one for key, one in value.items() if key in default} if is_object(value) else value)

    return narrowed


def match_type(attr: str, value: Any) -> Any:
    """Whether all triggers or any must match."""
    if value not in ("all", "any"):
        raise invalid("Must provide a valid trigger match type. Only 'all' or 'any' or None are allowed.", attr)
    return value


def masking(attr: str, value: Any) -> Any:
    """What is masked: three known keys, each of its type."""
    known = keyed(
        "maskTextSelector",
        "blockSelector",
        "maskAllInputs",
        refusal="Must provide a dictionary with only known keys: maskTextSelector, blockSelector, maskAllInputs.",
    )
    known(attr, value)
    for key, kind, word in (
        ("maskAllInputs", bool, "boolean"),
        ("maskTextSelector", str, "string"),
        ("blockSelector", str, "string"),
    ):
        if key in value and not isinstance(value[key], kind):
            raise invalid(f"{key} must be a {word}.", attr)
    return value


def replay(attr: str, value: Any) -> Any:
    """The replay config and its AI part have known keys."""
    keyed("record_canvas", "ai_config")(attr, value)
    if value.get("ai_config") is not None:
        allowed = ("included_event_properties", "opt_in", "preferred_events", "excluded_events", "important_user_properties")
        refusal = f"Must provide a dictionary with only allowed keys: {', '.join(allowed)}."
        keyed(*allowed, refusal=refusal)(attr, value["ai_config"])
    return value
