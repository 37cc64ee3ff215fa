"""The pinned dependencies in requirements/ satisfy pyproject.toml and name nothing but releases and their hashes."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
LOCKS: Mapping[str, tuple[list[str], list[str]]] = {
    "build": ([], ["build"]),
    "cli": (["cli"], []),
    "test": (["cli", "report", "workers", "otel"], ["test"]),
    "dev": (list(EXTRAS), ["dev"]),
}
"""The extras and dependency groups that each lock holds."""
PLATFORMS = [
    {
        "python_version": version,
        "python_full_version": f"{version}.7",
        "platform_system": system,
        "sys_platform": {"Linux": "linux", "Darwin": "darwin", "Windows": "win32"}[system],
        "os_name": "nt" if system == "Windows" else "posix",
    }
    for version in ("3.11", "3.12", "3.13", "3.14")
    for system in ("Linux", "Darwin", "Windows")
]


def pins(lock: str, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The versions that a lock pins, by name, on one platform or on this one."""
    text = (ROOT / "requirements" / f"{lock}.lock").read_text("utf-8")
    found = (Requirement(line.removesuffix("\\")) for line in text.splitlines() if not line.startswith(" "))
    return {
        canonicalize_name(one.name): str(one.specifier).removeprefix("==")
        for one in found
        if one.marker is None or one.marker.evaluate(dict(environment or {}))
    }


def required(lock: str) -> Iterator[Requirement]:
    """What pyproject.toml names for a lock."""
    extras, groups = LOCKS[lock]
    if extras:
        yield from map(Requirement, PROJECT["project"]["dependencies"])
    for extra in extras:
        yield from map(Requirement, EXTRAS[extra])
    while groups:
        group, *groups = groups
        for entry in PROJECT["dependency-groups"][group]:
            if isinstance(entry, str):
                yield Requirement(entry)
            else:
                groups.append(entry["include-group"])


@pytest.mark.parametrize("environment", PLATFORMS, ids=lambda one: f"{one['platform_system']}-{one['python_version']}")
@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_satisfies_pyproject(lock: str, environment: dict[str, str]) -> None:
    pinned = pins(lock, environment)
    stale = [
        str(one)
        for one in required(lock)
        if (one.marker is None or one.marker.evaluate(dict(environment)))
        and not one.specifier.contains(pinned.get(canonicalize_name(one.name), "0.dev0"), prereleases=False)
    ]
    assert stale == [], "run `nox -s lock`"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_what_its_packages_depend_on(lock: str) -> None:
    pinned = pins(lock)
    queue = [(one, frozenset({""})) for one in required(lock)]
    seen, missing = set[str](), set[str]()
    while queue:
        one, extras = queue.pop()
        name = canonicalize_name(one.name)
        if str(one) in seen or not (one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras)):
            continue
        seen.add(str(one))
        if name not in pinned:
            missing.add(name)
        elif installed_version(name) == pinned[name]:
            further = frozenset({"", *one.extras})
            queue += [(Requirement(text), further) for text in distribution(name).requires or []]
    assert missing == set()


def installed_version(name: str) -> str | None:
    try:
        return distribution(name).version
    except PackageNotFoundError:
        return None


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_releases_and_hashes_only(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.lock").read_text("utf-8")
    release = r"[a-z0-9-]+==[0-9][a-z0-9.]*(?: ; [a-zA-Z0-9_.'<>=!() ]+)?"
    # Neither a host nor a path fits in, so the lock serves any index.
    assert re.fullmatch(rf"(?:{release}(?: \\\n    --hash=sha256:[0-9a-f]{{64}})+\n)+", text)


def test_the_locks_agree_on_every_version() -> None:
    everything = {**pins("build"), **pins("dev")}
    for lock in LOCKS:
        assert pins(lock).items() <= everything.items()


def test_every_lock_is_known() -> None:
    assert {one.stem for one in (ROOT / "requirements").iterdir()} == set(LOCKS)


def test_the_commands_of_the_readme_install_pinned_versions_only() -> None:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    for command in (blocks[0], blocks[1]):
        installations = re.findall(r"pip install (.*?) &&", command)
        assert len(installations) >= 2
        for options in installations:
            assert re.fullmatch(r"(?:-q|--no-build-isolation|--no-deps -e \.|-r requirements/\w+\.lock| )+", options)
