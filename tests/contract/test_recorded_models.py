"""Real answers decode to the right model, and nothing of them is lost."""

import json
from typing import Any, Final

import attrs
import pytest

from aioposthog_env.models.activity import ActivityPage
from aioposthog_env.models.converter import decode, unstructure
from aioposthog_env.models.environment import Environment, EnvironmentPage
from aioposthog_env.models.settings import FACTS
from tests.contract import make_fixture
from tests.contract.kinds import kind_of
from tests.contract.recorded import FIXTURE, Recorded, load, recordings
from tests.figures import Count

SAMPLE: Final = load(FIXTURE)


def extras_of(value: Any) -> list[str]:
    """Every key that no field knows, at any depth of a model."""
    if isinstance(value, list):
        return [key for item in value for key in extras_of(item)]
    if not attrs.has(type(value)):
        return []
    found = list(getattr(value, "extra", {}))
    return found + [key for field in attrs.fields(type(value)) for key in extras_of(getattr(value, field.name))]


def check(answer: Recorded) -> None:
    kind = kind_of(answer)
    assert kind is not None
    model: Any = decode(answer.body, kind)
    assert extras_of(model) == [], answer.case
    if isinstance(model, Environment):
        settings = {key: value for key, value in answer.json.items() if key in FACTS}
        assert unstructure(model.settings) == settings, answer.case
        assert (model.id, model.name) == (answer.json["id"], answer.json["name"])
        assert model.ref.project_id == answer.json.get("project_id")
    elif isinstance(model, EnvironmentPage):
        assert [unstructure(summary) for summary in model.results] == answer.json["results"]
        assert (model.count, model.next) == (answer.json["count"], answer.json["next"])
    else:
        assert isinstance(model, ActivityPage)
        assert [unstructure(entry) for entry in model.results] == answer.json["results"]
        assert model.total_count == answer.json["total_count"]


def payloads(answers: list[Recorded]) -> list[Recorded]:
    return [answer for answer in answers if kind_of(answer) is not None]


@pytest.mark.parametrize("answer", payloads(SAMPLE), ids=lambda answer: answer.case)
def test_every_payload_of_the_sample_decodes_without_loss(answer: Recorded) -> None:
    check(answer)


def test_the_sample_holds_every_kind_of_payload_and_error() -> None:
    kinds = {kind_of(answer) for answer in SAMPLE}
    assert kinds == {Environment, EnvironmentPage, ActivityPage, None}
    assert {answer.status for answer in SAMPLE if answer.status >= 400} == {400, 401, 403, 404, 405, 406, 415, 429, 500}


def test_every_recorded_payload_decodes_without_loss(count: Count) -> None:
    source = recordings()
    if source is None:
        pytest.skip("POSTHOG_RECORDINGS does not name the recordings; only the sample was read")
    answers = payloads(load(source))
    assert len(answers) > len(payloads(SAMPLE))
    for answer in answers:
        check(answer)
    count("recorded", decoded_without_loss=len(answers))


def test_the_sample_is_what_the_script_makes() -> None:
    if recordings() is None:
        pytest.skip("POSTHOG_RECORDINGS does not name the recordings; the sample cannot be made anew")
    made = [json.dumps(row, separators=(",", ":")) for row in make_fixture.sample()]
    assert made == FIXTURE.read_text(encoding="utf-8").splitlines()
    assert FIXTURE.stat().st_size <= make_fixture.MOST_BYTES
