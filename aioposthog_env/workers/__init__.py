"""The same bulk run on a task queue: a coordinator submits, any number of worker processes make the calls.

::

    coordinator                           Redis                              workers
    reads, journals the intent  ──►  job: ids, body, digests    ──►  lease, read, compare, send once
    journals the outcome, sink  ◄──  outcome: status, digests   ◄──  redacted outcome

``item`` is what a job holds, ``run_item`` what a worker does with it, ``lease`` what keeps two workers apart. These three know
no engine. ``coordinator`` and ``worker`` put them on docket. ``docs/workers.md`` has the guarantees, the sizing and the
operations.
"""

from aioposthog_env.workers.coordinator import Workers
from aioposthog_env.workers.item import WorkItem
from aioposthog_env.workers.lease import Leases
from aioposthog_env.workers.run_item import run_item
from aioposthog_env.workers.worker import work_forever

__all__ = ["Leases", "WorkItem", "Workers", "run_item", "work_forever"]
