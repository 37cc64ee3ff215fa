"""A report as JSON, for programs."""

import json
from typing import Final

import attrs

from aioposthog_env.reports.model import Report

_FORMAT: Final = 1


def to_json(report: Report) -> str:
    """The report as JSON, its fields as they are named in ``Report``; nothing but ASCII is in it."""
    whole = {
        "format": _FORMAT,
        **attrs.asdict(report),
        "started": report.started.isoformat(),
        "counts": report.counts,
        "done_earlier": report.done_earlier,
    }
    return json.dumps(whole, indent=2) + "\n"
