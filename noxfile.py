"""What is checked, in sessions that each stand alone: `nox` runs the checks, `nox -s NAME` one of them."""

import os
import shutil
import sys
import tarfile
from pathlib import Path

import nox

nox.options.sessions = ["tests", "lint", "types", "imports"]
nox.options.default_venv_backend = "venv"

EXTRAS = "[cli,report,redis,workers,otel,keyring]"
GROUPS = nox.project.load_toml("pyproject.toml")
LICENCES = ["MIT", "BSD", "Apache", "ISC", "PSF", "Python Software Foundation", "Mozilla Public License 2.0", "MPL-2.0"]


LOCKS = {
    "dev": "pyproject.toml --all-extras --group dev",
    "test": "pyproject.toml --extra cli --extra report --extra workers --extra otel --group test",
    "cli": "pyproject.toml --extra cli",
    "build": "--group build",
}
"""What each file in requirements/ pins. The first one is resolved freely, the others take their versions from it."""


def install(session: nox.Session, lock: str = "dev") -> None:
    """Install the pinned dependencies, then the package itself."""
    session.install("-r", "requirements/build.lock")
    session.install("--no-build-isolation", "-r", f"requirements/{lock}.lock")
    session.install("--no-build-isolation", "--no-deps", "-e", ".")


@nox.session
def tests(session: nox.Session) -> None:
    """The tests, with branch coverage; the pure rooms must be covered whole."""
    install(session)
    session.run("pytest", "-n", "auto", "--cov", *session.posargs)
    if not session.posargs:
        pure = "aioposthog_env/api/*,aioposthog_env/models/*,aioposthog_env/policy/*"
        session.run("coverage", "report", f"--include={pure}", "--fail-under=100", "--show-missing")


@nox.session
def browser(session: nox.Session) -> None:
    """The report's page in headless Chromium, which must be installed."""
    install(session)
    session.run("pytest", "tests/reports/test_page.py", env={"CI": "1"})


@nox.session
def lint(session: nox.Session) -> None:
    """Style, and what is likely wrong."""
    install(session)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Both type checkers, strict; and that the types of all public names are known."""
    install(session)
    session.run("mypy")
    session.run("pyright", env={"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"})
    session.run(
        "pyright",
        "--verifytypes",
        "aioposthog_env",
        "--ignoreexternal",
        env={"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        silent=True,
    )


@nox.session
def imports(session: nox.Session) -> None:
    """Who may import whom."""
    install(session)
    session.run("lint-imports")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site, into site/. A link or a name that leads nowhere ends it."""
    install(session)
    session.run("python", "docs/reference/make_reference.py")
    session.run("zensical", "build", "--clean", "--strict")


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmarks: ratios against rivals in the same run. `nox -s bench -- decode --quick` runs one of them, briefly."""
    install(session)
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def reliability(session: nox.Session) -> None:
    """All figures of reliability: the tests in their long form, with 200 kills, then the soak."""
    install(session)
    session.run("pytest", "-n", "auto", *session.posargs, env={"TORTURE": "1"})
    if not session.posargs:
        session.run("python", "-m", "benchmarks", "soak")


@nox.session
def mutation(session: nox.Session) -> None:
    """Small faults in the modules that decide about writes, one at a time: the tests must see nine in ten of each module."""
    install(session)
    session.run("python", "-m", "tests.mutation", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """The main job on the embedded sandbox."""
    install(session, "cli")
    session.run("aioposthog-env", "demo", *session.posargs)


@nox.session(python=["3.11", "3.12", "3.13"])
def versions(session: nox.Session) -> None:
    """The tests on every supported version of Python that is here."""
    install(session)
    session.run("pytest", "-n", "auto", *session.posargs, env={"COLUMNS": os.environ.get("COLUMNS", "120")})


@nox.session
def newest(session: nox.Session) -> None:
    """The tests with the newest releases of everything, which the locks do not hold yet."""
    unlocked(session, "highest")
    session.run("pytest", "-n", "auto", *(session.posargs or ["--ignore=tests/reports/test_page.py"]))


@nox.session
def lowest(session: nox.Session) -> None:
    """The tests with the oldest versions that pyproject.toml allows of what it names."""
    unlocked(session, "lowest-direct")
    session.run("pytest", "-n", "auto", *(session.posargs or ["--ignore=tests/reports/test_page.py"]))


def unlocked(session: nox.Session, resolution: str) -> None:
    """Install the package and what its tests need, without the locks."""
    session.install("uv")
    session.run("uv", "pip", "install", "--upgrade", "--resolution", resolution, "-e", f".{EXTRAS}", "--group", "test")


@nox.session
def optimized(session: nox.Session) -> None:
    """The tests where Python drops assertions and docstrings."""
    install(session)
    # pytest rewrites the assertions of the tests themselves, so these hold all the same.
    helpers = "ignore:assertions not in test modules:pytest.PytestConfigWarning"
    # The variable, where `-OO` would stay with the first process: the tests run on all cores.
    session.run("pytest", "-n", "auto", "-W", helpers, *session.posargs, env={"PYTHONOPTIMIZE": "2"})


@nox.session
def package(session: nox.Session) -> None:
    """Wheel and sdist are built, and tested in an empty environment without the source; `-- tests` runs all tests there."""
    place = Path(session.create_tmp()).resolve()
    shutil.rmtree(place)
    session.install("-r", "requirements/build.lock")
    session.run("python", "-m", "hatchling", "build", "-d", str(place / "dist"))
    (wheel,), (sdist,) = (place / "dist").glob("*.whl"), (place / "dist").glob("*.tar.gz")
    session.run("python", "-m", "venv", str(place / "empty"))
    python = str(place / "empty" / "bin" / "python")
    wanted = nox.project.dependency_groups(GROUPS, "test")
    session.run(python, "-m", "pip", "install", "-q", f"{wheel}{EXTRAS}", *wanted, external=True)
    with tarfile.open(sdist) as archive:
        archive.extractall(place, filter="data")
    (source,) = (one for one in place.glob("aioposthog_env-*") if one.is_dir())
    (source / "aioposthog_env").rename(place / "set_aside")
    session.chdir(source)
    tests = session.posargs or ["tests/package", "tests/contract", "tests/examples"]
    session.run(python, "-m", "pytest", *tests, env={"TEST_THE_WHEEL": "1"}, external=True)
    session.run(python, "-m", "pip", "install", "-q", "--force-reinstall", "--no-deps", str(sdist), external=True)
    session.run(python, "-m", "pytest", "tests/package", env={"TEST_THE_WHEEL": "1"}, external=True)


@nox.session
def licences(session: nox.Session) -> None:
    """Whether the licences of everything that is installed with the library let anybody use it."""
    session.install(f".{EXTRAS}", "pip-licenses>=5")
    ours = ["--ignore-packages", "pip-licenses", "prettytable", "wcwidth", "tomli"]
    session.run("pip-licenses", "--from=mixed", "--partial-match", f"--allow-only={';'.join(LICENCES)}", *ours)


@nox.session
def audit(session: nox.Session) -> None:
    """Whether a vulnerability is known of anything that is installed with the library."""
    session.install("-e", f".{EXTRAS}", "pip-audit>=2.9")
    installed = Path(session.create_tmp()) / "installed.txt"
    installed.write_text(str(session.run("pip", "freeze", "--exclude-editable", silent=True)), "utf-8")
    # Strict: what cannot be looked up is a failure, and no clean bill.
    session.run("pip-audit", "--strict", "--no-deps", "--disable-pip", "--progress-spinner", "off", "-r", str(installed))


@nox.session
def lock(session: nox.Session) -> None:
    """Write requirements/ anew after a change of pyproject.toml; `nox -s lock -- --upgrade` takes the newest releases."""
    session.install("uv")
    options = ["--universal", "--generate-hashes", "--no-annotate", "--no-header", "--quiet"]
    for name, wanted in LOCKS.items():
        pins = [] if name == "dev" else ["--constraint", "requirements/dev.lock"]
        file = f"requirements/{name}.lock"
        session.run("uv", "pip", "compile", *wanted.split(), *options, *pins, *session.posargs, "-o", file)


if __name__ == "__main__":
    sys.exit("Run `nox`.")
