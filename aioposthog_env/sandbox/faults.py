"""Faults on demand: what can go wrong between a client and PostHog, as data.

A fault says four things: whether the request takes effect, what is answered, how the answer goes over the wire, and how long
it takes. ``FAULTS`` names the useful combinations.
"""

import random
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

import attrs

from aioposthog_env.api.endpoints import ENDPOINTS
from aioposthog_env.redacted import printable_half_built
from aioposthog_env.sandbox.more_endpoints import MORE_ENDPOINTS

Wire: TypeAlias = Literal[
    "whole",
    "drop unread",
    "drop midway",
    "drop",
    "truncate",
    "stall",
    "wrong length",
    "close idle",
]
"""How an answer goes out: ``whole``; not at all, with the request unread, half read, or read; half of it and then nothing;
with a length that is not its own; or whole, with the kept-alive connection closed a moment later."""

LONGEST_DELAY: Final = 30.0

ENDPOINT_NAMES: Final = tuple(row.name for row in (*ENDPOINTS, *MORE_ENDPOINTS))
"""What a fault may be meant for."""


@printable_half_built
@attrs.frozen(kw_only=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        endpoint: The endpoint's name; None for any.
        effect: Whether the request takes effect.
        status: The status of the answer; None for the true one.
        body: The body of the answer; None for the true one.
        headers: More headers.
        wire: How the answer goes out.
        before: Seconds before the effect.
        after: Seconds between effect and answer; of ``stall``: before the connection is closed.
        times: How often it happens; None: as often as there are requests.
        probability: How likely it is that a request meets it.
    """

    endpoint: str | None = None
    effect: bool = True
    status: int | None = None
    body: bytes | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    wire: Wire = "whole"
    before: float = 0.0
    after: float = 0.0
    times: int | None = 1
    probability: float = 1.0


_ERROR: Final = b'{"type":"server_error","code":"error","detail":"A server error occurred.","attr":null}'
_HTML: Final = b"<html><body><h1>Something else answered</h1></body></html>"
_THROTTLED: Final = (
    b'{"type":"throttled_error","code":"throttled","detail":"Request was throttled. Expected available in 1 second.",'
    b'"attr":null}'
)
_NO_DATABASE: Final = (
    b'{"type":"server_error","code":"database_unavailable","detail":"The database is unavailable.","attr":null}'
)
_AS_HTML: Final = {"Content-Type": "text/html"}

FAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "drop_unread": {"effect": False, "wire": "drop unread"},
    "drop_midway": {"effect": False, "wire": "drop midway"},
    "drop_after_effect": {"wire": "drop"},
    "500_after_effect": {"status": 500, "body": _ERROR},
    "502_after_effect": {"status": 502, "body": _HTML, "headers": _AS_HTML},
    "504_after_effect": {"status": 504, "body": _HTML, "headers": _AS_HTML},
    "500_before_effect": {"effect": False, "status": 500, "body": _ERROR},
    "502_before_effect": {"effect": False, "status": 502, "body": _HTML, "headers": _AS_HTML},
    "delay_before_effect": {"before": 0.5},
    "delay_after_effect": {"after": 0.5},
    "truncate": {"wire": "truncate"},
    "stall": {"wire": "stall", "after": 0.5},
    "wrong_length": {"wire": "wrong length"},
    "html": {"status": 200, "body": _HTML, "headers": _AS_HTML},
    "bad_json": {"status": 200, "body": b'{"id": 1, "name": '},
    "bad_utf8": {"status": 200, "body": b'{"id": 1, "name": "\xff\xfe"}'},
    "throttle": {"effect": False, "status": 429, "body": _THROTTLED, "headers": {"Retry-After": "1"}},
    "throttle_without_wait": {"effect": False, "status": 429, "body": _THROTTLED},
    "database_unavailable": {"effect": False, "status": 503, "body": _NO_DATABASE, "headers": {"Retry-After": "1"}},
    "close_idle": {"wire": "close idle"},
    "redirect_same_origin": {"effect": False, "status": 307, "body": b""},
    "redirect_other_origin": {"effect": False, "status": 307, "body": b"", "headers": {"Location": "http://127.0.0.1:9/"}},
}
"""The faults by name. Connections that are refused altogether are ``Sandbox.refusing_connections()``."""


def named_fault(name: str, **changes: Any) -> Fault:
    """A fault of the table, changed where a value is given.

    Raises:
        ValueError: There is no such fault, or a delay is beyond the bound.
    """
    if name not in FAULTS:
        raise ValueError(f"There is no fault {name!r}; there are {', '.join(FAULTS)}.")
    fault = Fault(**(dict(FAULTS[name]) | changes))
    if not 0 <= max(fault.before, fault.after) <= LONGEST_DELAY:
        raise ValueError(f"A delay is at most {LONGEST_DELAY:.0f} s.")
    return fault


class FaultPlan:
    """The faults to come, in order. The first that fits a request is taken."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Put a fault behind those that are there.

        Raises:
            ValueError: There is no such endpoint, so it would never happen.
        """
        if fault.endpoint is not None and fault.endpoint not in ENDPOINT_NAMES:
            raise ValueError(
                f"There is no endpoint {fault.endpoint!r}; there are {', '.join(ENDPOINT_NAMES)}, and None for any."
            )
        self._faults.append(fault)

    @property
    def pending(self) -> int:
        """How many are still to come."""
        return len(self._faults)

    def clear(self) -> None:
        """Forget all of them."""
        self._faults.clear()

    def meet(self, endpoint: str | None) -> Fault | None:
        """The fault that a request meets; None for none."""
        for place, fault in enumerate(self._faults):
            if fault.endpoint not in {None, endpoint} or self._rng.random() >= fault.probability:
                continue
            if fault.times is not None:
                if fault.times > 1:
                    self._faults[place] = attrs.evolve(fault, times=fault.times - 1)
                else:
                    del self._faults[place]
            return fault
        return None
