"""What is checked, in sessions that each stand alone: `nox` runs the checks, `nox -s NAME` one of them."""

import os
import sys

import nox

nox.options.sessions = ["tests", "lint", "types", "imports"]
nox.options.default_venv_backend = "venv"

GROUPS = nox.project.load_toml("pyproject.toml")


def install(session: nox.Session, *groups: str) -> None:
    """The package with its extras, and what the named groups hold."""
    wanted = [line for group in groups for line in nox.project.dependency_groups(GROUPS, group)]
    session.install("-e", ".[cli,report,workers]", *wanted)


@nox.session
def tests(session: nox.Session) -> None:
    """The tests, with branch coverage; the pure rooms must be covered whole."""
    install(session, "test", "browser")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    if not session.posargs:
        session.run("coverage", "report", "--skip-covered")
        pure = "aioposthog_env/api/*,aioposthog_env/models/*,aioposthog_env/policy/*"
        session.run("coverage", "report", f"--include={pure}", "--fail-under=100", "--show-missing")


@nox.session
def browser(session: nox.Session) -> None:
    """The report's page in headless Chromium, which must be installed."""
    install(session, "test", "browser")
    session.run("pytest", "tests/reports/test_page.py", env={"CI": "1"})


@nox.session
def lint(session: nox.Session) -> None:
    """Style, and what is likely wrong."""
    install(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Both type checkers, strict."""
    install(session, "types", "bench")
    session.run("mypy")
    session.run("pyright", env={"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"})


@nox.session
def imports(session: nox.Session) -> None:
    """Who may import whom."""
    install(session, "imports")
    session.run("lint-imports")


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmarks: ratios against rivals in the same run. `nox -s bench -- decode --quick` runs one of them, briefly."""
    install(session, "bench")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def torture(session: nox.Session) -> None:
    """Processes that apply and rotate are killed 200 times; the short form of this is among the tests."""
    install(session, "test")
    session.run("pytest", "-s", "tests/safety/test_killed.py", env={"TORTURE": "1"})


@nox.session
def demo(session: nox.Session) -> None:
    """The main job on the embedded sandbox."""
    install(session)
    session.run("aioposthog-env", "demo", *session.posargs)


@nox.session(python=["3.11", "3.12", "3.13"])
def versions(session: nox.Session) -> None:
    """The tests on every supported version of Python that is here."""
    install(session, "test", "browser")
    session.run("pytest", *session.posargs, env={"COLUMNS": os.environ.get("COLUMNS", "120")})


if __name__ == "__main__":
    sys.exit("Run `nox`.")
