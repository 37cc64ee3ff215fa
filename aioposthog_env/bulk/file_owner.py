"""Who owns a file."""

import os


def is_foreign(found: os.stat_result) -> bool:
    """Return whether a file belongs to another user, who could read or change it. Always False where users have no ids."""
    return hasattr(os, "geteuid") and found.st_uid != os.geteuid()
