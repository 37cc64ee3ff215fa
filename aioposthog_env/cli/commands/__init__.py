"""The commands and their arguments. What a command does is imported only when it runs."""

from aioposthog_env.cli.commands import changing, looking, serving

MODULES = (changing, looking, serving)
"""Importing them adds their commands to the app."""
