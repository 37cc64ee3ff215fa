"""Every error that a real server gave becomes the right exception."""

from collections.abc import Mapping
from typing import Final

import pytest

from aioposthog_env import errors
from aioposthog_env.api.replies import error_of
from aioposthog_env.policy.delivery import Failed, Refused, Reply, Throttled, classify
from tests.contract.recorded import FIXTURES, Recorded, load, recordings_or_skip
from tests.figures import Count

KINDS: Final[Mapping[int, type[errors.ApiError]]] = {
    400: errors.ValidationError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    405: errors.ApiError,
    406: errors.ApiError,
    415: errors.ApiError,
    429: errors.ThrottledError,
    500: errors.ServerError,
}
DELIVERIES: Final[Mapping[int, type[object]]] = {429: Throttled, 500: Failed}


def check(answer: Recorded) -> None:
    headers = {"Retry-After": answer.headers["retry-after"]} if "retry-after" in answer.headers else {}
    delivery = classify(Reply(answer.status, headers, answer.body))
    assert type(delivery) is DELIVERIES.get(answer.status, Refused), answer.case
    retry_after = delivery.retry_after if isinstance(delivery, Throttled) else None
    error = error_of(answer.status, headers, answer.body, host="https://posthog.example", retry_after=retry_after)
    assert isinstance(error, KINDS[answer.status]), answer.case
    if isinstance(answer.json, dict) and "detail" in answer.json:
        assert (error.type, error.code, error.attr) == (answer.json["type"], answer.json["code"], answer.json["attr"])
        assert error.detail == " ".join(answer.json["detail"].split())
        no_token = "does not support" in error.detail
        assert isinstance(error, errors.CredentialNotAcceptedError) is no_token, answer.case
    elif isinstance(answer.json, dict):
        assert error.detail == answer.json["error"]
    if isinstance(error, errors.ThrottledError):
        assert error.retry_after == float(answer.headers["retry-after"])


def failures(answers: list[Recorded]) -> list[Recorded]:
    return [answer for answer in answers if answer.status >= 400 and answer.method != "HEAD"]


SAMPLES: Final = {era: failures(load(fixture)) for era, fixture in FIXTURES.items()}


@pytest.mark.parametrize("answer", [answer for sample in SAMPLES.values() for answer in sample], ids=lambda answer: answer.case)
def test_every_error_of_the_samples(answer: Recorded) -> None:
    check(answer)


@pytest.mark.parametrize("era", SAMPLES)
def test_every_recorded_error(era: str, count: Count) -> None:
    answers = failures(load(recordings_or_skip(era)))
    assert len(answers) > len(SAMPLES[era])
    for answer in answers:
        check(answer)
    count("recorded", errors_of_the_right_class=len(answers))
