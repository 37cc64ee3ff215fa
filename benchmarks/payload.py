"""The environments that are measured: 2, 6 and 30 KB, in the fields that PostHog sends."""

import asyncio
from functools import cache
from typing import Any, Final

import aiohttp
import msgspec

from aioposthog_env.sandbox import Sandbox
from aioposthog_env.sandbox.eras import EraName

SIZES: Final = (2, 6, 30)
_UNKNOWN: Final = tuple(f"setting_of_a_later_version_{number}" for number in range(19))


@cache
def payload(kilobytes: int) -> bytes:
    """One environment's full payload.

    Args:
        kilobytes: 2: as PostHog sent it in 2024, 51 fields. 6: as it sends it now, 110 fields, 19 of which this version does
            not know, with the lists that real environments have. 30: the same with long lists.
    """
    if kilobytes == 2:
        return msgspec.json.encode(_of_sandbox("2024-10"))
    times = 1 if kilobytes == 6 else 19
    return msgspec.json.encode(_filled(_of_sandbox("current"), times))


def _of_sandbox(era: EraName) -> dict[str, Any]:
    async def fetch() -> bytes:
        async with Sandbox(1, era=era) as sandbox:
            headers = {"Authorization": f"Bearer {sandbox.key()}"}
            url = f"{sandbox.url}/api/environments/1/"
            async with aiohttp.ClientSession(headers=headers) as http, http.get(url) as answer:
                return await answer.read()

    return msgspec.json.decode(asyncio.run(fetch()), type=dict[str, Any])


def _filled(environment: dict[str, Any], times: int) -> dict[str, Any]:
    environment["app_urls"] = [f"https://app-{number}.example.com/a/path" for number in range(10 * times)]
    environment["test_account_filters"] = [
        {"key": "email", "type": "person", "value": f"@team-{number}.example.com", "operator": "not_icontains"}
        for number in range(6 * times)
    ]
    environment["survey_config"] = {"appearance": {f"colour_{number}": "#eeeded" for number in range(18 * times)}}
    environment["product_intents"] = [
        {"product_type": name, "created_at": "2026-11-23T19:33:51.722462Z", "onboarding_completed_at": None}
        for name in ("session_replay", "feature_flags", "surveys")
    ]
    return environment | dict.fromkeys(_UNKNOWN, None)
