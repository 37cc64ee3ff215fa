"""Real answers decode to the right model, and nothing of them is lost."""

import json
import re
from typing import Any, Final

import attrs
import pytest

from aioposthog_env.api.replies import decode_success
from aioposthog_env.models.activity import ActivityPage
from aioposthog_env.models.converter import unstructure
from aioposthog_env.models.environment import Environment, EnvironmentPage
from aioposthog_env.models.keys import KeyInfo
from aioposthog_env.models.settings import FACTS
from tests.contract import make_fixture
from tests.contract.kinds import endpoint_of, id_of, kind_of
from tests.contract.recorded import FIXTURES, Recorded, load, recordings_or_skip
from tests.figures import Count

SAMPLES: Final = {era: load(fixture) for era, fixture in FIXTURES.items()}
NOT_OURS: Final = re.compile(r"/api/(?:organizations/.*|personal_api_keys/|login)")
"""Paths that succeed and that this client never requests."""


def extras_of(value: Any) -> list[str]:
    """Every key that no field knows, at any depth of a model."""
    if isinstance(value, list):
        return [key for item in value for key in extras_of(item)]
    if not attrs.has(type(value)):
        return []
    found = list(getattr(value, "extra", {}))
    return found + [key for field in attrs.fields(type(value)) for key in extras_of(getattr(value, field.name))]


def check(answer: Recorded) -> None:
    endpoint = endpoint_of(answer)
    assert endpoint is not None, answer.case
    model: Any = decode_success(endpoint, answer.body, id_of(answer))
    assert extras_of(model) == [], answer.case
    if isinstance(model, Environment):
        settings = {key: value for key, value in answer.json.items() if key in FACTS}
        assert unstructure(model.settings) == settings, answer.case
        assert (model.id, model.name) == (answer.json["id"], answer.json["name"])
        assert model.ref.project_id == answer.json.get("project_id")
    elif isinstance(model, EnvironmentPage):
        assert [unstructure(summary) for summary in model.results] == answer.json["results"]
        assert (model.count, model.next) == (answer.json["count"], answer.json["next"])
    elif isinstance(model, ActivityPage):
        assert [unstructure(entry) for entry in model.results] == answer.json["results"]
        assert model.total_count == answer.json["total_count"]
    elif isinstance(model, KeyInfo):
        assert (model.scopes, model.scoped_teams) == (answer.json["scopes"], answer.json["scoped_teams"])
    elif isinstance(model, bool):
        assert answer.json == {"is_generating_demo_data": model}
    elif model is not None:
        assert [unstructure(one) for one in model] == answer.json
    else:
        assert answer.status == 204


def payloads(answers: list[Recorded]) -> list[Recorded]:
    return [answer for answer in answers if endpoint_of(answer) is not None]


@pytest.mark.parametrize(
    "answer", [answer for sample in SAMPLES.values() for answer in payloads(sample)], ids=lambda answer: answer.case
)
def test_every_payload_of_the_samples_decodes_without_loss(answer: Recorded) -> None:
    check(answer)


@pytest.mark.parametrize("era", SAMPLES)
def test_the_samples_hold_every_kind_of_payload_and_error(era: str) -> None:
    kinds = {kind_of(answer) for answer in SAMPLES[era]}
    assert {Environment, EnvironmentPage, ActivityPage} <= kinds
    seen = {answer.status for answer in SAMPLES[era] if answer.status >= 400}
    assert seen == {400, 401, 403, 404, 405, 406, 415, 500} | ({429} if era == "2024-10" else set())


@pytest.mark.parametrize("era", SAMPLES)
def test_every_recorded_payload_decodes_without_loss(era: str, count: Count) -> None:
    everything = load(recordings_or_skip(era))
    answers = payloads(everything)
    assert len(answers) > len(payloads(SAMPLES[era]))
    for answer in answers:
        check(answer)
    for answer in everything:
        if answer.status < 300 and answer not in answers:
            assert answer.method == "HEAD" or NOT_OURS.fullmatch(answer.path.partition("?")[0]), answer.case
    count("recorded", decoded_without_loss=len(answers))


@pytest.mark.parametrize("era", SAMPLES)
def test_the_samples_are_what_the_script_makes(era: str) -> None:
    recordings_or_skip(era)
    made = [json.dumps(row, separators=(",", ":")) for row in make_fixture.sample(era)]
    assert made == FIXTURES[era].read_text(encoding="utf-8").splitlines()
    assert FIXTURES[era].stat().st_size <= make_fixture.MOST_BYTES
