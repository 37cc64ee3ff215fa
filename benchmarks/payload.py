"""The environment that is measured: about 6 KB and 110 fields, as a current PostHog sends it."""

import asyncio

import msgspec

from aioposthog_env.sandbox import Sandbox


def six_kilobytes() -> bytes:
    """One full payload, made by the sandbox and filled up to 6 KB with settings that real environments have."""

    async def fetch() -> bytes:
        async with Sandbox(1) as sandbox:
            from aiohttp import ClientSession

            headers = {"Authorization": f"Bearer {sandbox.key()}"}
            async with ClientSession() as session, session.get(f"{sandbox.url}/api/projects/1/", headers=headers) as reply:
                return await reply.read()

    payload = msgspec.json.decode(asyncio.run(fetch()))
    payload["app_urls"] = [f"https://app-{number}.example.com/a/path" for number in range(12)]
    payload["test_account_filters"] = [
        {"key": "email", "type": "person", "value": f"@team-{number}.example.com", "operator": "not_icontains"}
        for number in range(8)
    ]
    payload["survey_config"] = {"appearance": {f"colour_{number}": "#eeeded" for number in range(20)}}
    payload["product_intents"] = [
        {"product_type": name, "created_at": "2026-11-23T19:33:51.722462Z", "onboarding_completed_at": None}
        for name in ("session_replay", "feature_flags", "surveys")
    ]
    return msgspec.json.encode(payload)
