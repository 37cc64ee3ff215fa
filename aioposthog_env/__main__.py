"""``python -m aioposthog_env`` is the command line."""

from aioposthog_env.cli import main

main()
