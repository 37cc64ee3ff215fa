"""PostHog's error answers: one envelope, the first problem only."""

from typing import Any

JSON = dict[str, Any]


class Problem(Exception):  # noqa: N818  the server's word for no
    """An answer that is no success."""

    def __init__(
        self, status: int, type: str, code: str, detail: str, attr: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.body: JSON = {"type": type, "code": code, "detail": detail, "attr": attr}
        self.headers: dict[str, str] = headers or {}


class PlainProblem(Problem):
    """Some actions answer with ``{"error": …}`` instead of the envelope."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(status, "", "", error)
        self.body: JSON = {"error": error}


def invalid(detail: str, attr: str | None = None, code: str = "invalid_input") -> Problem:
    """400: the input is at fault."""
    return Problem(400, "validation_error", code, detail, attr)


def denied(detail: str, type: str = "authentication_error", code: str = "permission_denied") -> Problem:
    """403."""
    return Problem(403, type, code, detail)


def not_found(detail: str = "Not found.") -> Problem:
    """404."""
    return Problem(404, "invalid_request", "not_found", detail)


def unauthenticated(detail: str, challenge: str | None, code: str = "authentication_failed") -> Problem:
    """401, with the challenge that the era sends."""
    headers = {} if challenge is None else {"WWW-Authenticate": challenge}
    return Problem(401, "authentication_error", code, detail, headers=headers)


def crash(detail: str = "A server error occurred.") -> Problem:
    """An uncaught exception of the server."""
    return Problem(500, "server_error", "error", detail)
