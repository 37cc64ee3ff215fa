"""Classes with the fields and types of ``Environment``, for decoders that cannot make ours.

Ours tells unset from null, keeps unknown keys on each level and its settings in an object of their own. These are flat, have
None where nothing was sent, and hold JSON that has no class as it is. Secrets are ``Secret``, and pydantic's own there.
"""

from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any, TypeAlias, Union, cast, get_args

import attrs
import cattrs.preconf.orjson
import msgspec
import orjson
import pydantic

from aioposthog_env.auth import Secret
from aioposthog_env.models.environment import Environment
from aioposthog_env.models.fields import wire_name
from aioposthog_env.models.settings import TeamSettings
from aioposthog_env.models.types import is_json, members, type_of

Decoder: TypeAlias = Callable[[bytes], object]
Make: TypeAlias = Callable[[str, dict[str, Any]], Any]
"""Makes a class of a name and its fields."""


def lookalike(kind: Any, make: Make) -> Any:
    """A class with the fields of an attrs class and, where it has settings, with theirs."""
    fields: dict[str, Any] = {}
    for source in (kind, TeamSettings) if kind is Environment else (kind,):
        fields |= {
            wire_name(field): _type(field.type, make) for field in attrs.fields(source) if not field.metadata.get("off_wire")
        }
    return make(kind.__name__, fields)


def _type(kind: Any, make: Make) -> Any:
    if is_json(kind):
        return Any
    return Union[tuple(_member(member, make) for member in members(kind))]  # noqa: UP007  made at run time


def _member(member: Any, make: Make) -> Any:
    found = type_of(member)
    if found is dict:
        return dict[str, Any]
    if found is list:
        return list[_type(get_args(member)[0], make)]  # type: ignore[misc]
    return found if found is Secret or not attrs.has(found) else lookalike(found, make)


@cache
def _attrs_class() -> Any:
    def make(name: str, fields: dict[str, Any]) -> Any:
        made = {field: attrs.field(default=None, type=kind | None) for field, kind in fields.items()}
        return attrs.make_class(name, made, kw_only=True, slots=True)

    return lookalike(Environment, make)


def by_msgspec() -> Decoder:
    decoder: msgspec.json.Decoder[object] = msgspec.json.Decoder(_attrs_class(), dec_hook=lambda kind, value: kind(value))
    return decoder.decode


def by_cattrs() -> Decoder:
    """The converter that cattrs offers for orjson, with hooks for the two types it does not know."""
    converter = cattrs.preconf.orjson.make_converter()
    converter.register_structure_hook(Secret, lambda value, _: Secret(value))
    converter.register_structure_hook(datetime, lambda value, _: datetime.fromisoformat(value))
    kind = _attrs_class()
    return lambda body: converter.structure(orjson.loads(body), kind)


def by_pydantic() -> Decoder:
    def make(name: str, fields: dict[str, Any]) -> Any:
        made: Any = {field: (_public(kind) | None, None) for field, kind in fields.items()}
        return pydantic.create_model(name, __config__=pydantic.ConfigDict(extra="allow"), **made)

    return cast("Decoder", lookalike(Environment, make).model_validate_json)


def _public(kind: Any) -> Any:
    kinds = get_args(kind) or (kind,)
    return Union[tuple(pydantic.SecretStr if one is Secret else one for one in kinds)] if Secret in kinds else kind  # noqa: UP007
