"""The embedded PostHog as a server of its own."""

import asyncio
from pathlib import Path

from aioposthog_env.cli import DONE
from aioposthog_env.cli.output import Output, check_place
from aioposthog_env.cli.places import check_ends
from aioposthog_env.cli.signals import receiving
from aioposthog_env.errors import ConfigurationError, PostHogEnvError
from aioposthog_env.plural import counted
from aioposthog_env.sandbox import Sandbox
from aioposthog_env.sandbox.eras import EraName


async def serve(number: int, *, era: EraName, port: int, load: Path | None, save: Path | None, json: bool) -> int:
    """Serve until Ctrl-C or SIGTERM, and save the scene then."""
    output = Output(json=json)
    check_place(save)
    if load is not None:
        check_ends(load)
    try:
        sandbox = Sandbox(number, era=era, port=port) if load is None else Sandbox.load(load, port=port)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"The scene cannot be read: {error}") from None
    try:
        await sandbox.__aenter__()
    except OSError as error:
        raise ConfigurationError(f"Port {port} cannot be used: {error.strerror}.") from None
    stopped = asyncio.Event()
    try:
        everything, reading = sandbox.key(), sandbox.key("project:read")
        session = sandbox.session()
        command = f'curl -H "Authorization: Bearer {everything}" {sandbox.url}/api/environments/'
        rows = {
            "url": sandbox.url,
            "key": everything,
            "key_project_read": reading,
            "sessionid": session.session_id,
            "posthog_csrftoken": session.csrf_token,
            "email": sandbox.user.email,
            "password": sandbox.user.password,
            "try": command,
        }
        variables = {
            "POSTHOG_HOST": sandbox.url,
            "POSTHOG_PERSONAL_API_KEY": everything,
            "POSTHOG_SESSION_ID": session.session_id,
            "POSTHOG_CSRF_TOKEN": session.csrf_token,
        }
        if json:
            output.data({**rows, "variables": variables})
        else:
            output.table(("what", "value"), list(rows.items()))
            output.text("\n".join(f"export {name}={value}" for name, value in variables.items()))
        output.flush()
        output.say(f"{counted(len(sandbox.environment_ids), 'environment')}; Ctrl-C or SIGTERM ends it.")
        with receiving(lambda _: stopped.set()):
            await stopped.wait()
    finally:
        try:
            if save is not None:
                sandbox.save(save)
        except OSError as error:
            raise PostHogEnvError(f"The scene {save} cannot be written: {error.strerror}.") from None
        finally:
            await sandbox.__aexit__(None, None, None)
    return DONE
