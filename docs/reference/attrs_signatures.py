"""For the reference: the arguments of attrs classes, which are not written down as an ``__init__`` that could be read."""

import inspect
from typing import Any

import attrs
import griffe

KINDS = {
    inspect.Parameter.POSITIONAL_OR_KEYWORD: griffe.ParameterKind.positional_or_keyword,
    inspect.Parameter.KEYWORD_ONLY: griffe.ParameterKind.keyword_only,
}


class AttrsSignatures(griffe.Extension):
    """Gives attrs classes the ``__init__`` that attrs makes."""

    def on_class_members(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        """Called with each class that was read."""
        made = griffe.dynamic_import(cls.path)
        if not (isinstance(made, type) and attrs.has(made)) or "__init__" in cls.members:
            return
        parameters = [griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)]
        for name, one in inspect.signature(made).parameters.items():
            field: Any = cls.members.get(name)
            annotation = None if field is None else field.annotation
            parameters.append(griffe.Parameter(name, annotation=annotation, kind=KINDS[one.kind], default=shown(one.default)))
        cls.set_member("__init__", griffe.Function("__init__", parameters=griffe.Parameters(*parameters), returns="None"))


def shown(default: object) -> str | None:
    """A default as it is written; an ellipsis where it is made anew each time."""
    if default is inspect.Parameter.empty:
        return None
    return "..." if default is attrs.NOTHING else repr(default)
