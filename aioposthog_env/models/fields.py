"""How fields of payloads are declared: their wire names, and the facts about settings that code elsewhere needs."""

import copy
from typing import Any, Literal, TypeAlias, Union, cast

import attrs
from msgspec import UNSET

JSONValue: TypeAlias = Union[str, int, float, bool, list["JSONValue"], dict[str, "JSONValue"], None]  # noqa: UP007
"""Anything that JSON can hold."""

MergeRule: TypeAlias = Literal["replace", "merge", "merge_per_key"]


@attrs.frozen(kw_only=True)
class FieldFacts:
    """What is known of a setting beside its type.

    Attributes:
        eras: The generations that have it: letters of ``ABCD``.
        nullable: Whether null may be written.
        merge: What PATCH does with an object: ``replace`` it; ``merge`` its keys into the stored one; ``merge_per_key``,
            where each known key is written by itself.
        merge_eras: The generations in which an object is merged; it is replaced in the others.
        on_create: Whether it can be given when an environment is created.
        secret: Whether its value must not be shown.
    """

    eras: str = "ABCD"
    nullable: bool = True
    merge: MergeRule = "replace"
    merge_eras: str = "ABCD"
    on_create: bool = True
    secret: bool = False


def setting(**facts: Any) -> Any:
    """A setting: unset by default, with its facts."""
    return attrs.field(default=UNSET, metadata={"facts": FieldFacts(**facts)})


def key(wire: str | None = None) -> Any:
    """A key of a nested config: unset by default, perhaps under another name on the wire."""
    metadata: dict[str, Any] = {} if wire is None else {"wire": wire}
    return attrs.field(default=UNSET, metadata=metadata)


class UnknownFields(dict[str, Any]):
    """The keys of a payload that no field knows. One may hold a secret of a newer server.

    So ``repr`` shows the keys only, and pickling leaves everything out. A copy keeps it.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return keys_only(self)

    def __copy__(self) -> "UnknownFields":
        return UnknownFields(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> "UnknownFields":
        return UnknownFields(copy.deepcopy(dict(self), memo))

    def __reduce_ex__(self, protocol: object) -> tuple[type["UnknownFields"], tuple[()]]:
        return UnknownFields, ()


def extra() -> Any:
    """Where the keys go that no field knows. Never written back, shown or pickled: one may be a secret."""
    return attrs.field(factory=UnknownFields, converter=UnknownFields, metadata={"off_wire": True})


def keys_only(value: object) -> str:
    """An object without its values."""
    keys = cast("dict[object, object]", value) if isinstance(value, dict) else {}
    return f"{{{', '.join(f'{key!r}: …' for key in keys)}}}"


def wire_name(field: "attrs.Attribute[Any]") -> str:
    """The name of a field in JSON."""
    return str(field.metadata.get("wire", field.name))
