"""What became of each environment of a bulk run, and of the run as a whole."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Generic, Literal, TypeAlias, TypeVar

import attrs

from aioposthog_env.errors import BulkError, OutcomeUnknownError, PostHogEnvError
from aioposthog_env.models.environment import EnvironmentRef
from aioposthog_env.plural import counted
from aioposthog_env.redacted import printable_half_built

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
E = TypeVar("E", bound=PostHogEnvError)

Reason: TypeAlias = Literal[
    "already done", "done earlier", "stopped", "canary", "stale", "unreadable", "dry run", "too young", "not kept"
]
Status: TypeAlias = Literal["succeeded", "unchanged", "failed", "unknown", "skipped"]
Keep: TypeAlias = Literal["values", "outcomes", "counts"]
"""What a report holds: outcomes with their values; without; or only what is not done, and how much is."""


@printable_half_built
@attrs.frozen(kw_only=True)
class Outcome(Generic[T_co]):
    """What became of one environment.

    Attributes:
        ref: Names the environment: ``ref.id`` is its id.
        status: ``succeeded``; ``unchanged``: nothing had to be done; ``failed``: it did not happen, or the error says what
            did; ``unknown``: it may or may not have happened, look before repeating it; ``skipped``: not tried.
        reason: Why it is unchanged or skipped: ``already done``: the environment was as desired already; ``stopped`` or
            ``canary``, because others failed; ``stale``: it is no longer as it was planned with; ``unreadable``; ``dry run``;
            ``too young``; ``not kept``. Of one that succeeded: ``done earlier``, by an earlier session of the run, which its
            journal holds. ``docs/safety.md`` tells what to do.
        value: What the call returned; None unless it succeeded in this session.
        error: Why it failed, is unknown, or was skipped. It has no traceback: the frames would keep whole response bodies
            alive as long as the report.
        not_applied: Settings, and keys inside settings, that the server did not take although the call itself happened.
        attempts: Requests sent for this environment.
        waited: Seconds spent waiting, for the rate limit and between attempts.
        digests: What was changed, as digests, where a worker made the call: then there is no value.
    """

    ref: EnvironmentRef
    status: Status
    reason: Reason | None = None
    value: T_co | None = None
    error: PostHogEnvError | None = None
    not_applied: tuple[str, ...] = ()
    attempts: int = 0
    waited: float = 0.0
    digests: Mapping[str, str | None] | None = None

    def __str__(self) -> str:
        words = f"{self.ref.id}: {self.status}" + (f" ({self.reason})" if self.reason else "")
        untaken = f"; the server did not take {', '.join(self.not_applied)}" if self.not_applied else ""
        return words + untaken + (f": {self.error}" if self.error is not None else "")


def failure(ref: EnvironmentRef, error: PostHogEnvError) -> Outcome[object]:
    """The outcome of a call that raised."""
    status: Status = "unknown" if isinstance(error, OutcomeUnknownError) else "failed"
    return Outcome[object](ref=ref, status=status, error=as_value(error), attempts=error.attempts, waited=error.waited)


def as_value(error: E) -> E:
    """Return a caught error as a value that may be kept: without its traceback, and without the errors before it.

    Frames hold the responses that they worked on, and the errors of decoders hold what they could not decode.
    """
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


@printable_half_built
@attrs.frozen
class BulkReport(Generic[T_co]):
    """All outcomes of a bulk run, in the order in which they came.

    Attributes:
        outcomes: One outcome per environment.
        seconds: How long the run took.
        stopped_by: The error that ended the run before all environments were tried; None where none did.
        only_counted: How many outcomes were counted and not kept; see ``keep`` of ``each``.
        parts: The reports that it was merged from, by name.
        only_counted_earlier: How many of those that were only counted an earlier session of the run has done.
    """

    outcomes: tuple[Outcome[T_co], ...]
    seconds: float = 0.0
    stopped_by: PostHogEnvError | None = None
    only_counted: Mapping[Status, int] = attrs.field(factory=dict[Status, int])
    parts: "Mapping[str, BulkReport[T_co]]" = attrs.field(factory=dict[str, "BulkReport[T_co]"])
    only_counted_earlier: int = 0

    @classmethod
    def merge(cls, reports: "Mapping[str, BulkReport[T]]") -> "BulkReport[T]":
        """One report of several runs that went on side by side, for example one for each host or account.

        An id means another environment at each host: ``parts`` tells whose outcome one is, and what remains there.

        Args:
            reports: The reports by a name of your choice.
        """
        counted: Counter[Status] = Counter()
        for report in reports.values():
            counted.update(report.only_counted)
        return BulkReport(
            tuple(outcome for report in reports.values() for outcome in report.outcomes),
            max((report.seconds for report in reports.values()), default=0.0),
            next((report.stopped_by for report in reports.values() if report.stopped_by is not None), None),
            dict(counted),
            dict(reports),
            sum(report.only_counted_earlier for report in reports.values()),
        )

    def __len__(self) -> int:
        return len(self.outcomes) + sum(self.only_counted.values())

    def __iter__(self) -> Iterator[Outcome[T_co]]:
        return iter(self.outcomes)

    def _with(self, status: Status) -> tuple[Outcome[T_co], ...]:
        return tuple(outcome for outcome in self.outcomes if outcome.status == status)

    @property
    def succeeded(self) -> tuple[Outcome[T_co], ...]:
        """Done, in this session or, where the reason is ``done earlier``, in an earlier one of the run."""
        return self._with("succeeded")

    @property
    def unchanged(self) -> tuple[Outcome[T_co], ...]:
        """Nothing had to be done."""
        return self._with("unchanged")

    @property
    def failed(self) -> tuple[Outcome[T_co], ...]:
        """Not done; each carries its error."""
        return self._with("failed")

    @property
    def unknown(self) -> tuple[Outcome[T_co], ...]:
        """May or may not have happened. Look before repeating."""
        return self._with("unknown")

    @property
    def skipped(self) -> tuple[Outcome[T_co], ...]:
        """Not tried."""
        return self._with("skipped")

    @property
    def counts(self) -> dict[Status, int]:
        """How many environments ended in each status."""
        counted = Counter(outcome.status for outcome in self.outcomes) + Counter(self.only_counted)
        order: Sequence[Status] = ("succeeded", "unchanged", "failed", "unknown", "skipped")
        return {status: counted[status] for status in order}

    @property
    def done_earlier(self) -> int:
        """How many of those that succeeded an earlier session of the run has done; a run without a journal has none."""
        return self.only_counted_earlier + sum(outcome.reason == "done earlier" for outcome in self.outcomes)

    def remaining(self) -> list[EnvironmentRef]:
        """The environments that a next run may take: those that failed or were skipped.

        Those whose outcome is unknown are left out, because repeating them may do harm; see ``unknown``. So are those whose
        call has taken effect and whose error came after it, such as a secret that was rotated and could not be verified or
        handed over. A journal knows what is left of them: resume the run with it.
        """
        return [
            outcome.ref
            for outcome in self.outcomes
            if outcome.status == "skipped"
            or (outcome.status == "failed" and not (outcome.error is not None and outcome.error.action_done))
        ]

    def raise_for_failures(self) -> None:
        """Raise unless every environment succeeded or needed nothing.

        Raises:
            BulkError: Some failed, were skipped, or are unknown. It carries this report.
        """
        bad = len(self.failed) + len(self.unknown) + len(self.skipped)
        if not bad:
            return
        first = next((outcome for outcome in self.outcomes if outcome.error is not None), None)
        example = f" The first error: {first.error}" if first is not None else ""
        raise BulkError(f"{bad} of {len(self)} environments are not done ({in_words(self.counts)}).{example}", report=self)

    def __str__(self) -> str:
        words = in_words(self.counts, self.done_earlier) or "nothing to do"
        return f"{counted(len(self), 'environment')} in {self.seconds:.1f} s: {words}"


def in_words(counts: Mapping[Status, int], done_earlier: int = 0) -> str:
    """Say how many environments ended in each status, and how many of them earlier; empty where none did."""
    earlier = {"succeeded": f" ({done_earlier} done earlier)"} if done_earlier else {}
    return ", ".join(f"{count} {status}{earlier.get(status, '')}" for status, count in counts.items() if count)


class Collected(Generic[T]):
    """Outcomes on their way into a report, which keeps of them what was asked for.

    Args:
        keep: What to keep. What is not done is kept always, since somebody has to look at it.
    """

    def __init__(self, keep: Keep = "values") -> None:
        self._keep: Keep = keep
        self._outcomes: list[Outcome[T]] = []
        self._only_counted: Counter[Status] = Counter()
        self._only_counted_earlier = 0

    def add(self, outcome: Outcome[T]) -> None:
        """Take one more."""
        if self._keep == "counts" and outcome.status in _DONE and not outcome.not_applied:
            self._only_counted[outcome.status] += 1
            self._only_counted_earlier += outcome.reason == "done earlier"
        else:
            whole = self._keep == "values" or outcome.value is None
            self._outcomes.append(outcome if whole else _without_value(outcome))

    def report(self, seconds: float, stopped_by: PostHogEnvError | None) -> BulkReport[T]:
        """The report of all that was added."""
        counted, earlier = dict(self._only_counted), self._only_counted_earlier
        return BulkReport(tuple(self._outcomes), seconds, stopped_by, counted, only_counted_earlier=earlier)


def _without_value(outcome: Outcome[T]) -> Outcome[T]:
    # attrs.evolve would cost as much as all the rest of a run that reads nothing.
    return Outcome(
        ref=outcome.ref,
        status=outcome.status,
        reason=outcome.reason,
        error=outcome.error,
        not_applied=outcome.not_applied,
        attempts=outcome.attempts,
        waited=outcome.waited,
        digests=outcome.digests,
    )


_DONE: Final = frozenset({"succeeded", "unchanged"})
