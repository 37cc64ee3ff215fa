"""SECURITY.md, CONTRIBUTING.md and docs/telemetry.md: what they name is there, and what they show runs."""

import ast
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from aioposthog_env import PersonalAPIKey, Sandbox, otel, telemetry

ROOT = Path(__file__).parents[2]


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def functions_of(file: str) -> set[str]:
    return {one.name for one in ast.parse(read(file)).body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_each_test_that_the_threat_model_names_is_there() -> None:
    named = re.findall(r"`(tests/[a-z_/]+\.py)::([a-z0-9_]+)`", read("SECURITY.md"))
    assert len(named) > 30
    assert [f"{file}::{test}" for file, test in named if test not in functions_of(file)] == []


def test_each_claim_of_the_threat_model_names_a_test() -> None:
    claims = re.findall(r"^\* (.*?)(?=^\* |^$)", read("SECURITY.md"), re.M | re.S)
    assert len(claims) > 15
    assert [claim for claim in claims if "`tests/" not in claim] == []


def test_the_command_for_newcomers_is_the_one_of_the_readme() -> None:
    (command,) = re.findall(r"```sh\n(.*?)\n```", read("CONTRIBUTING.md"), re.S)
    assert command in read("README.md").splitlines()


def test_the_sessions_and_files_for_newcomers_are_there() -> None:
    sessions = functions_of("noxfile.py")
    told = read("CONTRIBUTING.md")
    named = {name for line in re.findall(r"nox -s ([a-z ]+)", told) for name in line.split()}
    assert named <= sessions
    assert named >= {"tests", "lint", "types", "imports", "versions", "lowest", "optimized", "package", "licences", "audit"}
    for file in re.findall(r"`((?:docs|tests)/[a-z_./]+)`", told + read("docs/versioning.md")):
        assert (ROOT / file).is_file(), file


def test_the_docs_name_every_record_metric_and_attribute() -> None:
    docs = read("docs/telemetry.md")
    rows = set(re.findall(r"^\| `([A-Za-z]+)` \|", docs, re.M))
    assert rows == {kind.__name__ for kind in telemetry.Event.__args__}
    named = set(re.findall(r"`((?:http|url|server|error|posthog)\.[a-z_.]+)`", docs))
    source = set(re.findall(r'"((?:http|url|server|error|posthog)\.[a-z_.]+)"', Path(otel.__file__).read_text("utf-8")))
    events = {"posthog.rate_limit.waited", "posthog.retry.scheduled", "posthog.read_back.decided", "posthog.wait"}
    assert source - events == named - {"url.full"}


async def test_the_code_of_the_docs_about_telemetry(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = re.findall(r"```python\n(.*?)```", read("docs/telemetry.md"), re.S)
    async with Sandbox(2) as sandbox:
        names: dict[str, Any] = {"host": sandbox.url, "auth": PersonalAPIKey(sandbox.key())}
        imports = "from aioposthog_env import AsyncEnvironments\nfrom aioposthog_env.telemetry import *\n"
        exec(imports + textwrap.dedent(first), names)
        await names["main"]()
    exec(second, names)
    assert isinstance(names["hooks"][0], otel.OpenTelemetryHook)
    assert "waited 0.0 s" in capsys.readouterr().out
