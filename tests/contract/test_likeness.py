"""The sandbox answers as the real server of October 2024 did, and docs/sandbox.md says how often."""

import re
from pathlib import Path
from typing import Final

import pytest

from aioposthog_env import Sandbox
from tests.contract.likeness import LEFT_OUT, Scene, left_out, recorded_scene
from tests.contract.recorded import FIXTURE, Recorded, load, recordings
from tests.figures import Count

DOCS: Final = Path(__file__).parents[2] / "docs" / "sandbox.md"


async def replay(cases: list[Recorded]) -> dict[str, list[str]]:
    """The cases that differ, with their differences."""
    found: dict[str, list[str]] = {}
    async with recorded_scene("2024-10") as scene, recorded_scene(throttled=True) as throttled:
        for case in cases:
            chosen: Scene = throttled if case.status == 429 else scene
            if differences := await chosen.replay(case):
                found[case.case] = differences
    return found


async def test_the_sample_agrees(count: Count) -> None:
    cases = [case for case in load(FIXTURE) if left_out(case) is None]
    assert len(cases) >= 50
    assert await replay(cases) == {}
    count("recorded", of_the_sample_answered_alike=len(cases))


async def test_all_recordings_agree_and_the_docs_say_so(count: Count) -> None:
    source = recordings()
    if source is None:
        pytest.skip("POSTHOG_RECORDINGS does not name the recordings; only the sample was replayed")
    everything = load(source)
    cases = [case for case in everything if left_out(case) is None]
    assert await replay(cases) == {}
    stated = re.search(r"\*\*(\d+) of (\d+)\*\* recorded answers .* (\d+) are left out", DOCS.read_text(encoding="utf-8"))
    assert stated is not None
    assert [int(number) for number in stated.groups()] == [len(cases), len(cases), len(everything) - len(cases)]
    count("recorded", answered_alike=len(cases), not_modelled=len(everything) - len(cases))


def test_every_reason_for_leaving_out_stands_in_the_docs() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for _, why in LEFT_OUT:
        assert why in text


async def test_a_difference_would_be_seen() -> None:
    """The comparison itself can fail: a scene of another era disagrees in most cases."""
    cases = [case for case in load(FIXTURE) if left_out(case) is None]
    async with recorded_scene("2024-10") as scene:
        snapshot = scene.snapshot | {"era": "2025-11"}
        for environment in snapshot["environments"]:
            environment["settings"] |= {"surprise": 1}
        other = Scene(scene.sandbox, scene.keys, snapshot, scene.http)
        found = [case.case for case in cases if await other.replay(case)]
    assert len(found) >= 10


def test_the_eras_that_can_be_played() -> None:
    assert [Sandbox(1, era=era).environment_ids for era in ("2024-10", "2025-11", "current")] == [[1]] * 3
