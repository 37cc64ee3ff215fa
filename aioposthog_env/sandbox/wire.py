"""How an answer goes over the wire: as it should, or in one of the ways in which it should not."""

import asyncio

from aiohttp import web

from aioposthog_env.sandbox.faults import Fault
from aioposthog_env.sandbox.server import Answer

_A_MOMENT = 0.01


async def send(request: web.BaseRequest, answer: Answer, fault: Fault) -> web.StreamResponse:
    """Send an answer the way a fault demands."""
    response = web.Response(status=answer.status or 500, body=answer.body or None, headers=answer.headers)
    for name, value in answer.cookies.items():
        response.set_cookie(name, value, path="/", httponly=name == "sessionid", samesite="Lax")
    transport = request.transport
    if transport is None or (fault.wire == "whole" and not fault.after):
        return response
    if "drop" in fault.wire:
        transport.abort()
        return response
    if fault.wire != "stall":
        await asyncio.sleep(fault.after)
    if fault.wire == "close idle":
        asyncio.get_running_loop().call_later(_A_MOMENT, transport.close)
    elif fault.wire != "whole":
        await _send_badly(transport, answer, fault)
    return response


async def _send_badly(transport: asyncio.Transport, answer: Answer, fault: Fault) -> None:
    body, half = answer.body, answer.body[: len(answer.body) // 2]
    length = len(body) - 5 if fault.wire == "wrong length" else len(body)
    lines = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
    head = f"HTTP/1.1 {answer.status} Answer\r\n{lines}Content-Length: {length}\r\n\r\n".encode()
    transport.write(head + (body if fault.wire == "wrong length" else half))
    if fault.wire == "stall":
        await asyncio.sleep(fault.after)
    transport.close()
