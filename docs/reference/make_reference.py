"""Writes commands.md and settings.md from the code they describe: `.venv/bin/python docs/reference/make_reference.py`."""

import ast
import inspect
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin

import attrs

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from aioposthog_env.api.era import Era  # noqa: E402
from aioposthog_env.cli.app import add_commands, app  # noqa: E402
from aioposthog_env.models import settings  # noqa: E402
from aioposthog_env.models.fields import FieldFacts  # noqa: E402
from aioposthog_env.models.types import described, is_json, members  # noqa: E402

SHARED = ("Which environments", "Connection")
"""The groups of options that many commands take; described once."""

COMMANDS = """\
# Commands

Made by `docs/reference/make_reference.py` from the commands themselves; `aioposthog-env COMMAND --help` prints the same.
[The command line](../command-line.md) tells how they work together.
"""

SETTINGS = """\
# Settings

Made by `docs/reference/make_reference.py` from `TeamSettings`.

Every setting is unset by default, and an unset one is not sent. None is sent as null, which PostHog takes where the type names
null. The classes among the types are described with the [models](models.md#nested-settings). Where a setting is not known to
every [generation](../url-styles.md#generations) of PostHog, the others ignore it, which `update` finds out and tells.
Objects are replaced as a whole, unless *merged* is said: then the keys that are given are written into what is stored.

| setting | type | generations | meaning |
| :-- | :-- | :-- | :-- |
"""


def commands() -> str:
    """The page of the commands."""
    add_commands()
    named = _named(app)
    arguments = {name: _arguments(command) for name, command in named.items()}
    page = [COMMANDS]
    for group in SHARED:
        takers = [name for name, found in arguments.items() if any(_group(one) == group for one in found)]
        first = [one for one in arguments[takers[0]] if _group(one) == group]
        links = ", ".join(f"[{name}](#{name.replace(' ', '-')})" for name in takers)
        page.append(f"## {group}\n\n{_options(first)}\n\nTaken by {links}.\n")
    for name, command in named.items():
        own = [one for one in arguments[name] if _group(one) not in SHARED]
        shared = [group for group in SHARED if any(_group(one) == group for one in arguments[name])]
        page.append(
            f"## {name}\n\n```text\n{_usage(name, arguments[name])}\n```\n\n{_description(command)}\n\n{_options(own)}\n"
        )
        if shared:
            links = " and ".join(f"[{group}](#{group.lower().replace(' ', '-')})" for group in shared)
            page.append(f"And the options of {links}.\n")
    return "\n".join(page)


def _named(group: Any, before: str = "") -> dict[str, Any]:
    """The commands by what is typed, those of a group after its name."""
    found: dict[str, Any] = {}
    for name in group:
        if not name.startswith("-"):
            command = group[name]
            found |= _named(command, f"{before}{name} ") if command.default_command is None else {before + name: command}
    return found


def _arguments(command: Any) -> list[Any]:
    return [one for one in command.assemble_argument_collection(parse_docstring=True) if one.show]


def _group(argument: Any) -> str:
    return str(argument.parameter.group[0].name)


def _description(command: Any) -> str:
    text = inspect.getdoc(command.default_command) or ""
    return text.partition("\n\nParameters\n---")[0]


def _usage(name: str, arguments: Iterable[Any]) -> str:
    words = ["aioposthog-env", name]
    for one in arguments:
        if _is_positional(one):
            many = "..." if str(one.hint).startswith("list") else ""
            words.append(f"{one.name}{many}" if one.required else f"[{one.name}{many}]")
        elif one.required:
            words.append(f"{one.name} {_value(one)}")
    return " ".join([*words, "[OPTIONS]"])


def _is_positional(argument: Any) -> bool:
    return not argument.name.startswith("-")


def _value(argument: Any) -> str:
    """What follows an option: nothing for a switch."""
    if choices := argument.get_choices():
        return "|".join(choices)
    kind = str(argument.hint)
    if "bool" in kind:
        return ""
    return next((word for part, word in (("Path", "FILE"), ("int", "N"), ("float", "SECONDS")) if part in kind), "TEXT")


def _options(arguments: Sequence[Any]) -> str:
    rows = ["| option | meaning |", "| :-- | :-- |"]
    for one in arguments:
        name = one.name if _is_positional(one) else " ".join([", ".join(one.names), _value(one)]).strip()
        default = one.field_info.default
        told = "" if one.required or default in (None, False, []) else f" Default: {_short(default)}."
        must = " Required." if one.required and not _is_positional(one) else ""
        rows.append(f"| {_code(name)} | {_cell(one.parameter.help or '')}{told}{must} |")
    return "\n".join(rows)


def _short(default: object) -> str:
    return f"{default:g}" if isinstance(default, float) else str(default)


def _code(text: str) -> str:
    return f"`{_cell(text)}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def table_of_settings() -> str:
    """The page of the settings."""
    meanings = _attribute_docstrings(settings, "TeamSettings")
    fields = attrs.fields_dict(settings.TeamSettings)
    rows = []
    for name, facts in settings.FACTS.items():
        cells = (_code(name), _type(fields[name].type, facts), _generations(facts), _meaning(meanings[name], facts))
        rows.append(f"| {' | '.join(map(_cell, cells))} |")
    return SETTINGS + "\n".join(rows) + "\n"


def _type(kind: Any, facts: FieldFacts) -> str:
    text = "any JSON" if is_json(kind) else described(kind).removesuffix(" or null")
    if name := next((member.__name__ for member in members(kind) if attrs.has(member) and not is_json(kind)), None):
        text = f"`{name}`"
    choices = [one for member in get_args(kind) if get_origin(member) is Literal for one in get_args(member)]
    if choices:
        text += f": {', '.join(f'`{one}`' for one in choices)},"
    return f"{text} or null" if facts.nullable else text.removesuffix(",")


def _attribute_docstrings(module: ModuleType, name: str) -> dict[str, str]:
    body = next(
        node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.ClassDef) and node.name == name
    )
    found = {}
    for field, said in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(said, ast.Expr) and isinstance(said.value, ast.Constant):
            found[ast.unparse(field.target)] = str(said.value.value).replace("``", "`")
    return found


def _generations(facts: FieldFacts) -> str:
    first, last = Era[facts.eras[0]], Era[facts.eras[-1]]
    if first is last:
        return first.value if last is Era.D else f"{first.value} only"
    since = "" if first is Era.A else f"since {first.value}"
    until = "" if last is Era.D else f"until {last.value}"
    return f"{since} {until}".strip()


def _meaning(text: str, facts: FieldFacts) -> str:
    marks = []
    if facts.merge != "replace" and "merged" not in text:
        marks.append("Merged." if facts.merge == "merge" else "Merged, each key by itself.")
    if not facts.on_create:
        marks.append("Not on create.")
    if facts.secret:
        marks.append("Never shown nor recorded.")
    return " ".join([text, *marks])


PAGES = {"commands.md": commands, "settings.md": table_of_settings}

if __name__ == "__main__":
    for page, make in PAGES.items():
        (HERE / page).write_text(make(), encoding="utf-8")
