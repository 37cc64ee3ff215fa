"""The pytest plugin, as a stranger's suite uses it: the worked example of docs/sandbox.md, in a pytest of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

DOCS: Final = Path(__file__).parents[2] / "docs" / "sandbox.md"


def example() -> str:
    """The example in the docs."""
    blocks: list[str] = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.S)
    (found,) = [block for block in blocks if "posthog_sandbox" in block]
    return found


def suite(tmp_path: Path, text: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a test file in an empty folder."""
    environment = os.environ | variables
    (tmp_path / "test_stranger.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=50, check=False)


def test_the_example_of_the_docs_with_pytest_asyncio(tmp_path: Path) -> None:
    plugins = ("-p", "pytest_asyncio.plugin", "-p", "aioposthog_env.pytest_plugin")
    (settings,) = re.findall(r"```toml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.S)
    (tmp_path / "pyproject.toml").write_text(settings)
    strict = ("--strict-markers", "--strict-config", "-W", "error", "-W", "ignore:assertions not in test modules")
    done = suite(tmp_path, example(), *plugins, *strict, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_the_example_of_the_docs_with_anyio_alone(tmp_path: Path) -> None:
    text = example().replace("import pytest\n", "import pytest\n\npytestmark = pytest.mark.anyio\n", 1)
    text += '\n\n@pytest.fixture\ndef anyio_backend():\n    return "asyncio"\n'
    plugins = ("-p", "anyio.pytest_plugin", "-p", "aioposthog_env.pytest_plugin")
    done = suite(tmp_path, text, *plugins, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_a_marker_that_cannot_be_used_is_an_error_that_says_so(tmp_path: Path) -> None:
    text = "import pytest\n\n@pytest.mark.posthog(faults=[('flood', None)])\ndef test_it(posthog_sandbox):\n    pass\n"
    done = suite(tmp_path, text)
    assert done.returncode == 1
    assert "There is no fault 'flood'" in done.stdout


@pytest.mark.parametrize(("given", "wrong"), [("bananas=3, era='current'", "bananas"), ("3", "3")])
def test_a_marker_with_other_names_is_an_error_that_tells_the_right_ones(tmp_path: Path, given: str, wrong: str) -> None:
    text = f"import pytest\n\n@pytest.mark.posthog({given})\ndef test_it(posthog_sandbox):\n    pass\n"
    done = suite(tmp_path, text)
    assert done.returncode == 1
    assert "UsageError: The marker posthog takes environments, era, seed," in done.stdout
    assert f"faults, all by name; it does not take {wrong}." in done.stdout


def test_the_first_example_of_the_docs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.S)
    exec(compile(blocks[0], "sandbox.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out == "Environment 0001\n0 2\n"
