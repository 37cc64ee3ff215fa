"""Reading in one URL style after the other, to find out which of them a host takes, and how old it is."""

from typing import Any, cast

from aioposthog_env.api import calls
from aioposthog_env.api.calls import Call
from aioposthog_env.api.era import Era, era_of_payload, null_dashboard_crashes
from aioposthog_env.api.routes import Place, RouteMemory, Style, Verdict, candidates, judge, path, probe_of
from aioposthog_env.errors import DecodeError
from aioposthog_env.models.converter import decode_keys
from aioposthog_env.policy.delivery import Answered, Delivery, Failed, Refused, Reply
from aioposthog_env.sending import Request, Sender


async def probe_styles(
    sender: Sender, call: Call[Any], place: Place, routes: RouteMemory, *, stoppable: bool = False
) -> tuple[Style | None, Delivery]:
    """One round over the styles.

    Args:
        sender: Sends the reads.
        call: The call that is to be made.
        place: Where.
        routes: What is known of the host.
        stoppable: As for ``Request``.

    Returns:
        The style that answered with its answer; or None with the most telling failure.
    """
    asking = call
    if call.endpoint is not probe_of(call.endpoint):
        asking = calls.list_page(limit=1, offset=0, search=None) if place.environment_id is None else calls.retrieve()
    failed: Delivery | None = None
    refused: Delivery | None = None
    for style in candidates(call.endpoint, place):
        if style == "nested" and failed is not None:
            break  # a server in trouble: what the nested path answers proves nothing then
        where = path(style, asking.endpoint, place) + asking.query
        delivery = await sender.deliver(Request(asking.endpoint, where, stoppable=stoppable))
        if not isinstance(delivery, Answered | Refused | Failed):
            return None, delivery
        verdict = judge(style, status=delivery.reply.status, opening=delivery.reply.opening)
        if verdict is Verdict.ANSWERS:
            return style, delivery
        if verdict is Verdict.FAILED:
            failed = failed or delivery
        else:
            refused = refused or Refused(delivery.reply)
            if delivery.reply.status == 403:
                routes.known(Era.C)
    return None, cast("Delivery", failed or refused)


def learn_era(routes: RouteMemory, reply: Reply, style: Style) -> None:
    """Take note of the generation that an environment's payload tells."""
    try:
        keys = decode_keys(reply.body)
    except DecodeError:
        return
    routes.known(era_of_payload(keys, whole=style != "project"))
    routes.null_dashboard_crashes |= null_dashboard_crashes(keys, whole=style != "project")
