"""What ``config`` does: the profiles, and whether their keys can be had."""

from aioposthog_env.cli import DONE, PARTLY
from aioposthog_env.cli.output import Output
from aioposthog_env.cli.profiles import config_path, load_profiles
from aioposthog_env.errors import PostHogEnvError


async def config(*, json: bool, check: bool) -> int:
    """Show the profiles. Keys are never shown."""
    output = Output(json=json)
    profiles = load_profiles()
    rows: list[dict[str, object]] = []
    for profile in profiles.values():
        row: dict[str, object] = {"profile": profile.name, "host": profile.host, "key": profile.source}
        if check:
            try:
                row["check"] = f"a {(await profile.credential(session=False)).kind}"
            except PostHogEnvError as error:
                row["check"] = f"problem: {error}"
        rows.append(row)
    if json:
        output.data({"path": str(config_path()), "profiles": rows})
    else:
        output.say(f"{config_path()}" + ("" if config_path().exists() else ", which is not there"))
        output.table(("profile", "host", "key", *(("check",) if check else ())), [tuple(row.values()) for row in rows])
    return PARTLY if any(str(row.get("check", "")).startswith("problem") for row in rows) else DONE
