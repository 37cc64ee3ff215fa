"""The arguments that several commands have. Light, since printing the help imports it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

from cyclopts import Group, Parameter, Token, validators

_WHOLE: Final = re.compile(r"-?[0-9]{1,19}")
_DECIMAL: Final = re.compile(r"-?[0-9]{1,19}(?:\.[0-9]{1,19})?")


def whole(_: object, tokens: Sequence[Token]) -> int:
    """Read a whole number. Cyclopts alone reads ``4.6`` as 5, and ``int`` reads ``1_0`` as 10.

    Raises:
        ValueError: The text holds anything but digits.
    """
    text = tokens[0].value
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not an int")
    return int(text)


def decimal(_: object, tokens: Sequence[Token]) -> float:
    """Read a number of digits, with or without a decimal point.

    Raises:
        ValueError: The text holds anything else, such as ``inf``.
    """
    text = tokens[0].value
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a number")
    return float(text)


Whole: TypeAlias = Annotated[int, Parameter(converter=whole)]
Decimal: TypeAlias = Annotated[float, Parameter(converter=decimal)]
Routes: TypeAlias = Literal["auto", "root", "project", "nested"]
Era: TypeAlias = Literal["2024-10", "2025-08", "2025-11", "current"]
Ids: TypeAlias = Annotated[list[Whole], Parameter(name="ID", negative="")]
ReportTo: TypeAlias = Annotated[Path | None, Parameter(name="--report")]
AllowEnv: TypeAlias = Annotated[list[str], Parameter(negative="")]
Yes: TypeAlias = Annotated[bool, Parameter(negative="")]
Moved: TypeAlias = Annotated[bool, Parameter(negative="")]

CHOICE = Group("Which environments", sort_key=0)
CONNECTION = Group("Connection", sort_key=1)
WORKERS = Group("Workers", sort_key=2)
QUEUE: Final = "aioposthog-env"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Connection:
    """Which PostHog is asked, and how the answer is printed."""

    profile: Annotated[str | None, Parameter(group=CONNECTION)] = None
    "A profile, which names host and key together; see config. Several as us,eu."
    host: Annotated[str | None, Parameter(group=CONNECTION)] = None
    "us, eu, or a URL; goes with the key of the variables. Default: the variable POSTHOG_HOST, else us."
    sandbox: Annotated[bool, Parameter(group=CONNECTION, negative="")] = False
    "Ask an embedded PostHog with 25 made-up environments instead."
    era: Annotated[Era, Parameter(group=CONNECTION)] = "current"
    "Which generation of PostHog the sandbox plays."
    json: Annotated[bool, Parameter(negative="")] = False
    "Print JSON."
    limiter: Annotated[str | None, Parameter(group=CONNECTION)] = field(default=None, repr=False)
    "A Redis that shares the rate limit among processes with one key, as redis://HOST/0. Default: the variable POSTHOG_LIMITER."
    routes: Annotated[Routes | None, Parameter(group=CONNECTION)] = None
    "The URL style of every call. Default: that of the profile, else auto, which finds it out by reading."
    concurrency: Annotated[Whole, Parameter(group=CONNECTION, validator=validators.Number(gte=1))] = 32
    "How many environments are worked on at a time."

    @property
    def profiles(self) -> tuple[str, ...]:
        """The names of the profiles that were asked for, each once."""
        names = (name.strip() for name in (self.profile or "").split(","))
        return tuple(dict.fromkeys(name for name in names if name))


ASKED_AS_USUAL: Final = Connection()


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Choice:
    """Everything that is given must hold; of several names, any one may."""

    name: Annotated[list[str], Parameter(group=CHOICE, negative="")] = field(default_factory=list[str])
    "Names, with * and ?; may be repeated: --name 'prod-*'."
    where: Annotated[str | None, Parameter(group=CHOICE)] = None
    "A condition: --where 'timezone == \"UTC\" and not anonymize_ips'."
    organization: Annotated[str | None, Parameter(group=CHOICE)] = None
    "The id of an organization."
    project: Annotated[Whole | None, Parameter(group=CHOICE)] = None
    "The id of a project."
    all: Annotated[bool, Parameter(group=CHOICE, negative="")] = False
    "All that the credential can see."
    ids_from: Annotated[Path | None, Parameter(group=CHOICE, allow_leading_hyphen=True)] = None
    "A file of ids, separated by white space; - for standard input."
    allow_empty: Annotated[bool, Parameter(group=CHOICE, negative="")] = False
    "Take it as success where nothing is selected."


UNCHOSEN: Final = Choice()
"""No criterion was given."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class OnWorkers:
    """Who makes the calls: this process, or workers that take them from a queue."""

    workers: Annotated[str | None, Parameter(group=WORKERS)] = None
    "Let workers make the calls; the address of their queue, as for `workers run`. No secret goes through it."
    queue: Annotated[str, Parameter(group=WORKERS)] = QUEUE
    "The name of that queue."
    allow_insecure: Annotated[bool, Parameter(group=WORKERS, negative="")] = False
    "Take a queue beyond this machine that asks for no password or speaks no TLS."
    allow_open_queue: Annotated[bool, Parameter(group=WORKERS, negative="")] = False
    "Take a queue of this machine that asks for no password: each user of the machine can then run code as the worker."

    @property
    def elsewhere(self) -> bool:
        """Whether workers make the calls."""
        return self.workers is not None


HERE: Final = OnWorkers()
"""This process makes the calls."""
