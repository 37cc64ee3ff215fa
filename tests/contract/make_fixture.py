"""Make the fixtures: a sample of each recording in the folder that ``POSTHOG_RECORDINGS`` names.

Run as ``POSTHOG_RECORDINGS=… python -m tests.contract.make_fixture``. It keeps one answer of each endpoint and of each
distinct error, so that the tests can run where the recordings are not at hand.
"""

import json
import re
import sys
from collections import Counter
from typing import Any

from tests.contract.kinds import endpoint_of
from tests.contract.recorded import FIXTURES, Recorded, load, recordings, rows_of

MOST_BYTES = 120_000
LONGEST_LIST = 3


def group_of(answer: Recorded) -> str:
    """Answers of one group tell the same."""
    if answer.status >= 300:
        error = answer.json if isinstance(answer.json, dict) else {}
        # Seconds and ids differ without meaning.
        detail = re.sub(r"\d+|[0-9a-f]{8}-[0-9a-f-]{27}", "0", str(error.get("detail", answer.text)))
        return f"{answer.status} {error.get('type')} {error.get('code')} {error.get('attr')} {detail}"
    name = re.sub(r"/\d+|/@current", "/0", answer.path.partition("?")[0].rstrip("/"))
    return f"{answer.status} {answer.method} {name}"


def sample(era: str) -> list[dict[str, Any]]:
    """The rows to keep, in their order; long lists are shortened."""
    source = recordings(era)
    if source is None:
        raise SystemExit("POSTHOG_RECORDINGS does not name the recordings.")
    seen: Counter[str] = Counter()
    kept: list[dict[str, Any]] = []
    for row, answer in zip(rows_of(source), load(source), strict=True):
        group = group_of(answer)
        if (answer.status < 300 and endpoint_of(answer) is None) or seen[group]:
            continue
        seen[group] += 1
        body = row["response"].get("json")
        if isinstance(body, dict) and isinstance(body.get("results"), list):
            body["results"] = body["results"][:LONGEST_LIST]
        kept.append(row)
    return kept


def main() -> None:
    for era, fixture in FIXTURES.items():
        written = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in sample(era))
        if len(written.encode()) > MOST_BYTES:
            raise SystemExit(f"{len(written.encode())} bytes are more than {MOST_BYTES}; keep fewer.")
        fixture.write_text(written, encoding="utf-8")
        sys.stdout.write(f"{fixture.name}: {written.count(chr(10))} answers, {len(written.encode())} bytes\n")


if __name__ == "__main__":
    main()
