"""The sandbox answers as real servers of October 2024 and August 2025 did, and docs/sandbox.md says how often."""

import json
import re
from pathlib import Path
from typing import Final, get_args

import pytest

from aioposthog_env import Sandbox
from aioposthog_env.sandbox.eras import EraName
from tests.contract import likeness
from tests.contract.likeness import GROUNDS, LEFT_OUT, left_out, recorded_scene, replay
from tests.contract.recorded import FIXTURE, FIXTURES, load, recordings_or_skip
from tests.figures import Count

DOCS: Final = Path(__file__).parents[2] / "docs" / "sandbox.md"
ERAS: Final[tuple[EraName, ...]] = ("2024-10", "2025-08")


@pytest.mark.parametrize("era", ERAS)
async def test_the_samples_agree(era: EraName, count: Count) -> None:
    cases = [case for case in load(FIXTURES[era]) if left_out(case) is None]
    assert len(cases) >= 50
    assert await replay(cases, era) == {}
    count("recorded", of_the_samples_answered_alike=len(cases))


@pytest.mark.parametrize("era", ERAS)
async def test_all_recordings_agree_and_the_docs_say_so(era: EraName, count: Count) -> None:
    everything = load(recordings_or_skip(era))
    cases = [case for case in everything if left_out(case) is None]
    found = await replay(cases, era)
    assert len(found) <= (1 - likeness.ENOUGH) * len(cases), found
    stated = re.search(rf"^\| `{era}` \| (\d+) of (\d+) \| (\d+) \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert stated is not None
    agree = len(cases) - len(found)
    assert [int(number) for number in stated.groups()] == [agree, len(cases), len(everything) - len(cases)]
    count("recorded", answered_alike=agree, not_modelled=len(everything) - len(cases))


def test_every_reason_for_leaving_out_stands_in_the_docs() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for _, why in LEFT_OUT:
        assert why in text


async def test_a_difference_would_be_seen() -> None:
    """The comparison itself can fail: a scene of another era disagrees in most cases."""
    cases = [case for case in load(FIXTURE) if left_out(case) is None]
    assert len(await replay(cases, "2025-08")) >= 10


async def test_what_a_patch_stores_is_compared_value_by_value() -> None:
    cases = [case for case in load(FIXTURES["2025-08"]) if case.method == "PATCH" and case.status == 200]
    async with recorded_scene("2025-08", cases) as scene:
        for case in cases:
            if not isinstance(case.sent, dict) or "timezone" not in case.sent or "name" in case.path:
                continue
            assert await scene.replay(case) == []
            case.json["timezone"] = "Antarctica/Troll"
            assert await scene.replay(case) == [f"timezone is {case.sent['timezone']!r} instead of 'Antarctica/Troll'"]
            return
    pytest.fail("no case of the sample changes the time zone")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = FIXTURES["2025-08"].read_text(encoding="utf-8").splitlines()
    kept = [row for row in rows if '"method":"GET"' in row and '"status":200' in row]
    assert likeness.main([str(FIXTURES["2025-08"]), "--era", "2025-08"]) == 0
    number = int(re.fullmatch(r"(\d+) of \1 agree", capsys.readouterr().out.splitlines()[0])[1])  # type: ignore[index]
    assert number >= 50
    changed = json.loads(kept[0]) | {"case": "changed"}
    changed["response"]["status"] = 299
    left = json.loads(kept[0]) | {"case": "left"}
    left["request"]["path"] = "/api/organizations/"
    path = tmp_path / "some.jsonl"
    path.write_text("".join(f"{row}\n" for row in (kept[0], json.dumps(changed), json.dumps(left))), encoding="utf-8")
    assert likeness.main([str(path), "--era", "2025-08"]) == 1
    first, second, third = capsys.readouterr().out.splitlines()
    assert first == "1 of 2 agree"
    assert second.startswith("  changed: status 200 instead of 299")
    assert third == f"1 left out: {LEFT_OUT[0][1]}"


def test_every_era_can_be_played_and_two_are_recorded() -> None:
    assert [Sandbox(1, era=era).environment_ids for era in get_args(EraName)] == [[1]] * 4
    assert GROUNDS.keys() == FIXTURES.keys() == set(ERAS)
