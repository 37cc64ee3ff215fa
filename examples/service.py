"""An async service that reads and changes one environment while it answers a request.

    POSTHOG_HOST=eu POSTHOG_PERSONAL_API_KEY=phx_… python examples/service.py

One client serves all requests: it shares its connections, and the rate limit of the key.
"""

from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from aioposthog_env import AsyncEnvironments, NotFoundError, RateLimitWaitTooLong, RetryPolicy, TeamSettings

ENVIRONMENTS = web.AppKey("environments", AsyncEnvironments)


async def client(app: web.Application) -> AsyncIterator[None]:
    # Somebody waits for the answer, so neither the call nor a wait for the rate limit may take long.
    async with AsyncEnvironments(retry=RetryPolicy(deadline=10, wait_ceiling=2)) as environments:
        app[ENVIRONMENTS] = environments
        yield


async def show(request: web.Request) -> web.Response:
    environment = await request.app[ENVIRONMENTS].retrieve(int(request.match_info["id"]))
    return web.json_response({"name": environment.name, "anonymize_ips": environment.settings.anonymize_ips})


async def anonymize(request: web.Request) -> web.Response:
    environment = await request.app[ENVIRONMENTS].update(int(request.match_info["id"]), TeamSettings(anonymize_ips=True))
    return web.json_response({"name": environment.name, "anonymize_ips": environment.settings.anonymize_ips})


@web.middleware
async def told(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    try:
        return await handler(request)
    except NotFoundError as error:
        raise web.HTTPNotFound(text=str(error)) from None
    except RateLimitWaitTooLong as error:
        raise web.HTTPServiceUnavailable(text=str(error), headers={"Retry-After": f"{error.retry_after:.0f}"}) from None


def make_app() -> web.Application:
    app = web.Application(middlewares=[told])
    app.cleanup_ctx.append(client)
    app.add_routes([web.get("/environments/{id:\\d+}", show), web.post("/environments/{id:\\d+}/anonymize", anonymize)])
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=8080)
