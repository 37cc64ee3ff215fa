"""Numbers with what they count."""


def counted(number: int, what: str) -> str:
    """``1 environment``, ``2 environments``: a noun whose plural ends in ``s``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
