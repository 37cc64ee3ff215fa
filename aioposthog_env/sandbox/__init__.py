"""An embedded PostHog for tests and first steps: ``async with Sandbox(environments=250) as sandbox:``."""

from aioposthog_env.sandbox.faults import FAULTS, Fault
from aioposthog_env.sandbox.sandbox import Sandbox, SandboxCall
from aioposthog_env.sandbox.state import Plan, SandboxEnvironment, SandboxSession, SandboxUser
from aioposthog_env.sandbox.throttle import Throttle

__all__ = [
    "FAULTS",
    "Fault",
    "Plan",
    "Sandbox",
    "SandboxCall",
    "SandboxEnvironment",
    "SandboxSession",
    "SandboxUser",
    "Throttle",
]
