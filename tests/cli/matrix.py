"""Every command, and everything that may become of it. ``test_matrix`` runs what stands here."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeAlias, get_args

import attrs

Kind: TypeAlias = Literal["success", "partly failed", "wrong usage", "no terminal", "json", "interrupted", "wrong credential"]
KINDS: Final[Sequence[Kind]] = get_args(Kind)

MANY: Final = " ".join(map(str, range(1, 41)))
"""The ids of all environments: what is said of forty must fit on a screen as what is said of one does."""
TABLE_OF: Final = {columns: r"[^\t]*" + r"\t[^\t]*" * (columns - 1) for columns in range(2, 8)}


@attrs.frozen
class Typed:
    """A command that is run.

    Attributes:
        line: What is typed.
        code: The exit code.
        says: Words on stderr.
        out: What each line of stdout is like; empty: there is none.
        before: What is typed before; it has to succeed.
        refuse: The endpoint whose next request PostHog forbids.
    """

    line: str
    code: int = 0
    says: str = ""
    out: str = ""
    before: Sequence[str] = ()
    refuse: str = ""


@attrs.frozen
class Json:
    """A command that prints JSON: one document, or a line for each item."""

    line: str
    shape: Literal["document", "lines"]
    code: int = 0
    before: Sequence[str] = ()


@attrs.frozen
class Interrupted:
    """A command that gets Ctrl-C.

    Attributes:
        line: What is typed.
        during: The endpoint whose first request is under way then; empty for a command with a PostHog of its own, which gets it
            once it has said where that listens.
        before: What is typed before.
        effects: What is counted on each environment, and how often it has taken effect once the command that goes on, which is
            printed, has run; None for a command that records nothing.
    """

    line: str
    during: str
    before: Sequence[str] = ()
    effects: tuple[str, int] | None = None


@attrs.frozen
class Elsewhere:
    """Elsewhere by a test of its own, as ``module.function`` beside this file."""

    by: str


@attrs.frozen
class Senseless:
    """There is nothing to test, and why."""

    why: str


Cell: TypeAlias = Typed | Json | Interrupted | Elsewhere | Senseless

_PLANNED: Final = (f"plan {MANY} --set timezone=Asia/Tokyo -o plan.json",)
_APPLIED: Final = (*_PLANNED, "apply plan.json --journal applied.db --yes")
_ROTATED: Final = (f"rotate-secrets {MANY} --sink sink.jsonl --journal first.db --yes",)
_INVALID: Final = "The credential is not valid"
_NOBODY: Final = "there is no terminal"

MATRIX: Final[Mapping[str, Mapping[Kind, Sequence[Cell]]]] = {
    "demo": {
        "success": [Elsewhere("test_commands.test_the_demo_of_2025_as_a_table")],
        "partly failed": [Senseless("its PostHog is its own and takes every change")],
        "wrong usage": [
            Typed("demo --environments 0", 2, "above 0"),
            Typed("demo --environments x", 2, "int"),
            Typed("demo --era 2019 --json", 2, "2024-10"),
            Typed("demo 5", 2, "5"),
        ],
        "no terminal": [Typed("demo --environments 5", says="listens at", out=TABLE_OF[2])],
        "json": [Elsewhere("test_commands.test_the_demo")],
        "interrupted": [Interrupted("demo --environments 600", "")],
        "wrong credential": [Senseless("it makes its own key")],
    },
    "doctor": {
        "success": [Elsewhere("test_reading.test_the_doctor_of_a_good_key_and_session")],
        "partly failed": [Elsewhere("test_reading.test_the_doctor_of_a_key")],
        "wrong usage": [
            Typed("doctor x", 2, "int"),
            Typed("doctor 0", 2, "not the id"),
            Typed("doctor --host eu --sandbox", 2, "not both"),
        ],
        "no terminal": [Typed("doctor 1", out=TABLE_OF[3])],
        "json": [Elsewhere("test_reading.test_the_doctor_of_a_good_key_and_session")],
        "interrupted": [Interrupted(f"doctor {MANY} --concurrency 2", "list")],
        "wrong credential": [Elsewhere("test_reading.test_the_doctor_says_what_to_do_where_nothing_can_be_asked")],
    },
    "config": {
        "success": [Elsewhere("test_profiles.test_a_key_from_each_place")],
        "partly failed": [Elsewhere("test_profiles.test_a_key_that_cannot_be_had_is_found_by_the_check")],
        "wrong usage": [Typed("config check --sandbox", 2, "--sandbox"), Typed("config nonsense", 2, "nonsense")],
        "no terminal": [Typed("config", says="config.toml", out=TABLE_OF[3])],
        "json": [Elsewhere("test_profiles.test_no_file_is_no_profile")],
        "interrupted": [Elsewhere("test_profiles.test_an_interrupt_while_a_command_gives_the_key")],
        "wrong credential": [Senseless("it asks PostHog nothing; a login that fails is a key that cannot be had")],
    },
    "list": {
        "success": [Elsewhere("test_commands.test_list")],
        "partly failed": [Elsewhere("test_hosts.test_a_host_that_fails_is_said_and_the_other_is_shown")],
        "wrong usage": [
            Elsewhere("test_commands.test_wrong_usage_is_exit_code_2_and_says_what_to_do"),
            Typed("list --era 2019", 2, "2024-10"),
            Typed("list --profile none", 2, "There is no profile"),
        ],
        "no terminal": [Typed("list", says="40 environments", out=TABLE_OF[4])],
        "json": [Json("list", "lines")],
        "interrupted": [Interrupted("list", "list")],
        "wrong credential": [Typed("list", 1, _INVALID)],
    },
    "show": {
        "success": [Elsewhere("test_commands.test_show_hides_secrets")],
        "partly failed": [Typed("show 1 99", 3, "99 failed:", out=TABLE_OF[2])],
        "wrong usage": [
            Typed("show", 2, "No environment was named"),
            Typed("show x", 2, "int"),
            Typed("show -1", 2, "not the id"),
            Typed("show --where 'a['", 2, "never closed"),
            Typed("show 1 --organization ''", 2, "UUID"),
            Typed("show 1 --concurrency 0", 2, "concurrency"),
        ],
        "no terminal": [Typed("show 1 2", says="Selected 2", out=TABLE_OF[2])],
        "json": [Json("show 1 2", "document")],
        "interrupted": [Elsewhere("test_reading.test_an_interrupted_reading_is_exit_code_130")],
        "wrong credential": [Typed(f"show {MANY}", 1, _INVALID)],
    },
    "export": {
        "success": [Elsewhere("test_changing.test_export_and_audit")],
        "partly failed": [
            Elsewhere("test_reading.test_an_export_is_put_into_its_place_whole_and_for_its_owner_only"),
            Typed("export 1 99", 3, "99 failed:", out=".+"),
        ],
        "wrong usage": [
            Typed("export", 2, "No environment was named"),
            Typed("export 1 --format xml", 2, "yaml"),
            Typed("export 1 --output nowhere/all.yaml", 2, "cannot be written"),
        ],
        "no terminal": [Typed("export 1", says="Selected 1", out=r"(#|environments|-|  ).*")],
        "json": [Json("export 1", "document")],
        "interrupted": [Interrupted(f"export {MANY} --concurrency 2", "retrieve")],
        "wrong credential": [Typed(f"export {MANY} -o all.yaml", 1, _INVALID)],
    },
    "audit": {
        "success": [Elsewhere("test_changing.test_export_and_audit")],
        "partly failed": [Elsewhere("test_reading.test_an_audit_of_which_a_part_cannot_be_read")],
        "wrong usage": [
            Typed("audit", 2, "No environment was named"),
            Typed("audit 1 --policy nowhere.yaml", 2, "cannot be read"),
            Typed("audit 1 --policy .", 2, "cannot be read"),
            Typed("audit 1 --report run.pdf", 2, "html"),
        ],
        "no terminal": [Typed("audit --all", 3, "environments differ", out=TABLE_OF[5])],
        "json": [Json("audit --all", "lines", 3)],
        "interrupted": [Elsewhere("test_reading.test_an_interrupted_reading_is_exit_code_130")],
        "wrong credential": [Typed(f"audit {MANY}", 1, _INVALID)],
    },
    "plan": {
        "success": [Elsewhere("test_changing.test_plan_apply_undo")],
        "partly failed": [Typed("plan 1 99 --set timezone=Asia/Tokyo", 3, "Selected 2", out=r"(\d+ |  ).*")],
        "wrong usage": [
            Elsewhere("test_changing.test_wrong_usage_is_told_in_one_screen"),
            Typed("plan 1 --set timezone=UTC --settings policy.yaml", 2, "either"),
            Typed("plan 1 --set timezone=UTC -o nowhere/plan.json", 2, "cannot be written"),
            Typed("plan 1 --set app_urls=5", 2, "app_urls"),
        ],
        "no terminal": [Typed("plan 1 2 --set timezone=Asia/Tokyo", 3, "Selected 2", out=r"(\d+ |  ).*")],
        "json": [Json("plan 1 2 --set timezone=Asia/Tokyo", "document", 3)],
        "interrupted": [Interrupted(f"plan {MANY} --set timezone=Asia/Tokyo --concurrency 2", "retrieve")],
        "wrong credential": [Typed(f"plan {MANY} --set timezone=Asia/Tokyo", 1, _INVALID)],
    },
    "apply": {
        "success": [Elsewhere("test_changing.test_plan_apply_undo")],
        "partly failed": [Elsewhere("test_changing.test_a_part_that_fails_says_what_and_how_to_go_on")],
        "wrong usage": [
            Elsewhere("test_changing.test_wrong_usage_is_told_in_one_screen"),
            Elsewhere("test_changing.test_yes_does_not_reach_further_than_was_thought"),
            Typed("apply .", 2, "cannot be read"),
            Typed("apply plan.json --canary -1", 2, "canary"),
        ],
        "no terminal": [
            Typed("apply plan.json", 2, _NOBODY, before=["plan 1 2 --set timezone=Asia/Tokyo -o plan.json"]),
            Typed("apply --settings policy.yaml --name '*0002'", 2, _NOBODY),
        ],
        "json": [Json("apply plan.json --journal run.db --yes", "lines", before=_PLANNED)],
        "interrupted": [Elsewhere("test_changing.test_an_interrupted_run_tells_how_to_go_on_and_is_gone_on_with")],
        "wrong credential": [
            Typed(
                "apply plan.json --journal run.db --yes",
                1,
                _INVALID,
                before=["plan 1 2 --set timezone=Asia/Tokyo -o plan.json"],
            )
        ],
    },
    "undo": {
        "success": [Elsewhere("test_changing.test_plan_apply_undo")],
        "partly failed": [Typed("undo applied.db --yes", 3, "1 failed", before=_APPLIED, refuse="update")],
        "wrong usage": [
            Typed("undo", 2, "JOURNAL"),
            Typed("undo nowhere.db --yes", 1, "There is no journal"),
            Typed("undo applied.db --run other --yes", 2, "no run 'other'", before=_APPLIED),
            Typed("undo first.db --yes", 2, "nothing else can be undone", before=_ROTATED),
        ],
        "no terminal": [Typed("undo applied.db", 2, _NOBODY, before=_APPLIED)],
        "json": [Json("undo applied.db --yes", "lines", before=_APPLIED)],
        "interrupted": [
            Interrupted("undo applied.db --yes --concurrency 2", "update", before=_APPLIED, effects=("setting timezone", 2))
        ],
        "wrong credential": [Typed("undo applied.db --yes", 1, _INVALID, before=_APPLIED)],
    },
    "runs": {
        "success": [Elsewhere("test_changing.test_apply_makes_a_plan_and_a_journal_of_its_own")],
        "partly failed": [Elsewhere("test_changing.test_a_file_that_is_no_journal_hides_no_other")],
        "wrong usage": [Typed("runs nowhere.db", 1, "There is no journal"), Typed("runs --yes", 2, "--yes")],
        "no terminal": [Typed("runs applied.db", says="1 run", out=TABLE_OF[6], before=_APPLIED)],
        "json": [Json("runs applied.db", "lines", before=_APPLIED)],
        "interrupted": [Senseless("it reads files of this machine, and waits for nothing")],
        "wrong credential": [Senseless("it asks PostHog nothing")],
    },
    "set": {
        "success": [Elsewhere("test_commands.test_set")],
        "partly failed": [Elsewhere("test_commands.test_a_part_that_failed_is_exit_code_3_and_all_of_it_1")],
        "wrong usage": [Elsewhere("test_commands.test_wrong_usage_is_exit_code_2_and_says_what_to_do")],
        "no terminal": [Typed("set 1 2 timezone=Asia/Tokyo", out=r"\d+\tsucceeded")],
        "json": [Elsewhere("test_commands.test_set")],
        "interrupted": [Elsewhere("test_commands.test_an_interrupt_in_the_middle_of_a_run_is_exit_code_130")],
        "wrong credential": [Typed(f"set {MANY} timezone=Asia/Tokyo", 1, _INVALID, out=r"\d+\t(failed|skipped)")],
    },
    "rotate-secrets": {
        "success": [Elsewhere("test_changing.test_secrets_are_rotated_once_and_go_to_the_sink_only")],
        "partly failed": [Typed("rotate-secrets 1 99 --sink s --journal run.db --yes", 3, "99 failed:")],
        "wrong usage": [
            Elsewhere("test_changing.test_wrong_usage_is_told_in_one_screen"),
            Typed("rotate-secrets 1 --yes", 2, "--sink"),
            Typed("rotate-secrets --sink s --yes", 2, "No environment was named"),
            Typed("rotate-secrets 1 --sink nowhere/s --yes", 2, "Nothing was sent"),
        ],
        "no terminal": [Typed("rotate-secrets 1 2 --sink s", 2, _NOBODY)],
        "json": [Elsewhere("test_changing.test_secrets_are_rotated_once_and_go_to_the_sink_only")],
        "interrupted": [
            Interrupted(
                f"rotate-secrets {MANY} --sink s --journal run.db --yes --concurrency 2",
                "rotate_secret_token",
                effects=("rotate_secret_token", 1),
            )
        ],
        "wrong credential": [
            Elsewhere("test_changing.test_a_key_cannot_rotate_and_says_what_can"),
            Typed(f"rotate-secrets {MANY} --sink s --journal run.db --yes", 1, _INVALID),
        ],
    },
    "delete-secret-backups": {
        "success": [Elsewhere("test_changing.test_the_other_calls_that_cannot_be_taken_back")],
        "partly failed": [
            Typed("delete-secret-backups 1 99 --min-age 0 --journal run.db --yes", 3, "99 failed:", before=_ROTATED)
        ],
        "wrong usage": [
            Typed("delete-secret-backups 1 --yes", 2, "--min-age"),
            Typed("delete-secret-backups 1 --min-age -1 --yes", 2, "min-age"),
            Typed("delete-secret-backups --all --min-age 0 --yes", 2, "explicit ids only"),
        ],
        "no terminal": [Typed("delete-secret-backups 1 2 --min-age 0", 2, _NOBODY, before=_ROTATED)],
        "json": [Json("delete-secret-backups 1 2 --min-age 0 --journal run.db --yes", "lines", before=_ROTATED)],
        "interrupted": [
            Interrupted(
                f"delete-secret-backups {MANY} --min-age 0 --journal run.db --yes --concurrency 2",
                "delete_secret_token_backup",
                before=_ROTATED,
                effects=("delete_secret_token_backup", 1),
            )
        ],
        "wrong credential": [Typed(f"delete-secret-backups {MANY} --min-age 0 --journal run.db --yes", 1, _INVALID)],
    },
    "reset-tokens": {
        "success": [Elsewhere("test_changing.test_the_other_calls_that_cannot_be_taken_back")],
        "partly failed": [Typed("reset-tokens 1 99 --journal run.db --yes", 3, "99 failed:")],
        "wrong usage": [
            Typed("reset-tokens", 2, "No environment was named"),
            Typed("reset-tokens --all --yes", 2, "explicit ids only"),
            Typed("reset-tokens x --yes", 2, "int"),
        ],
        "no terminal": [Typed("reset-tokens 1 2", 2, _NOBODY)],
        "json": [Json("reset-tokens 1 2 --journal run.db --yes", "lines")],
        "interrupted": [
            Interrupted(
                f"reset-tokens {MANY} --journal run.db --yes --concurrency 2", "reset_token", effects=("reset_token", 1)
            )
        ],
        "wrong credential": [Typed(f"reset-tokens {MANY} --journal run.db --yes", 1, _INVALID)],
    },
    "delete": {
        "success": [Elsewhere("test_changing.test_the_other_calls_that_cannot_be_taken_back")],
        "partly failed": [Elsewhere("test_changing.test_a_delete_that_was_interrupted_goes_on_by_the_command_it_prints")],
        "wrong usage": [
            Typed("delete", 2, "No environment was named"),
            Typed("delete --name '*' --yes", 2, "explicit ids only"),
            Typed("delete 1 --journal . --yes", 1, "no journal"),
        ],
        "no terminal": [Typed("delete 1 2", 2, _NOBODY)],
        "json": [Json("delete 1 2 --journal run.db --yes", "lines")],
        "interrupted": [Interrupted(f"delete {MANY} --journal run.db --yes --concurrency 2", "delete", effects=("delete", 1))],
        "wrong credential": [Typed(f"delete {MANY} --journal run.db --yes", 1, _INVALID)],
    },
    "activity": {
        "success": [Elsewhere("test_reading.test_activity_restrictions_and_demo_data")],
        "partly failed": [Typed("activity 1 99", 3, "99 failed:", out=TABLE_OF[5], before=_APPLIED)],
        "wrong usage": [
            Typed("activity", 2, "No environment was named"),
            Typed("activity 1 --most 0", 2, "most"),
            Typed("activity 1 --profile none", 2, "There is no profile"),
        ],
        "no terminal": [Typed("activity 1 2", out=TABLE_OF[5], before=_APPLIED)],
        "json": [Elsewhere("test_reading.test_activity_restrictions_and_demo_data")],
        "interrupted": [Interrupted(f"activity {MANY} --concurrency 2", "activity")],
        "wrong credential": [Typed(f"activity {MANY}", 1, _INVALID)],
    },
    "restrictions": {
        "success": [Elsewhere("test_reading.test_activity_restrictions_and_demo_data")],
        "partly failed": [Elsewhere("test_reading.test_a_part_that_fails_and_wrong_usage")],
        "wrong usage": [
            Typed("restrictions", 2, "No environment was named"),
            Typed("restrictions --ids-from nowhere", 2, "cannot be read"),
            Elsewhere("test_reading.test_a_file_of_what_are_no_ids"),
        ],
        "no terminal": [Typed("restrictions 4", out=TABLE_OF[3])],
        "json": [Json("restrictions --all", "lines")],
        "interrupted": [Elsewhere("test_reading.test_an_interrupted_reading_is_exit_code_130")],
        "wrong credential": [Typed(f"restrictions {MANY}", 1, _INVALID)],
    },
    "demo-data": {
        "success": [Elsewhere("test_reading.test_ids_from_standard_input")],
        "partly failed": [Typed("demo-data 1 99", 3, "99 failed:", out="1\tFalse")],
        "wrong usage": [Typed("demo-data", 2, "No environment was named"), Typed("demo-data one", 2, "int")],
        "no terminal": [Typed("demo-data 1 2", out=r"\d\tFalse")],
        "json": [Elsewhere("test_reading.test_ids_from_standard_input")],
        "interrupted": [Interrupted(f"demo-data {MANY} --concurrency 2", "is_generating_demo_data")],
        "wrong credential": [Typed(f"demo-data {MANY}", 1, _INVALID)],
    },
    "intent add": {
        "success": [Elsewhere("test_reading.test_an_intent_is_counted_once")],
        "partly failed": [Typed("intent add session_replay 1 99", 3, "99 failed:", out=r"1\tsucceeded|99\tfailed")],
        "wrong usage": [
            Typed("intent", 2, "WHAT"),
            Typed("intent add", 2, "PRODUCT"),
            Typed("intent add session_replay", 2, "No environment was named"),
            Typed("intent sell session_replay 1", 2, "add"),
        ],
        "no terminal": [Typed("intent add session_replay 1 2", says="2 succeeded", out=r"\d\tsucceeded")],
        "json": [Elsewhere("test_reading.test_an_intent_is_counted_once")],
        "interrupted": [Elsewhere("test_reading.test_an_interrupted_intent_finishes_what_is_in_flight_and_tells_it")],
        "wrong credential": [Typed(f"intent add session_replay {MANY}", 1, _INVALID, out=r"\d+\t(failed|skipped)")],
    },
    "intent complete": {
        "success": [Elsewhere("test_reading.test_an_intent_is_counted_once")],
        "partly failed": [Typed("intent complete session_replay 1 99", 3, "99 failed:", out=r"1\tsucceeded|99\tfailed")],
        "wrong usage": [
            Typed("intent complete session_replay", 2, "No environment was named"),
            Typed("intent complete session_replay 1 --context a", 2, "intent add only"),
        ],
        "no terminal": [Typed("intent complete session_replay 1", says="1 succeeded", out=r"1\tsucceeded")],
        "json": [Json("intent complete session_replay 1 2", "lines")],
        "interrupted": [Elsewhere("test_reading.test_an_interrupted_intent_finishes_what_is_in_flight_and_tells_it")],
        "wrong credential": [Typed(f"intent complete session_replay {MANY}", 1, _INVALID, out=r"\d+\t(failed|skipped)")],
    },
    "sandbox": {
        "success": [Elsewhere("test_commands.test_the_sandbox_as_a_server_whose_scene_is_saved_and_loaded")],
        "partly failed": [Senseless("it serves or it does not")],
        "wrong usage": [
            Elsewhere("test_commands.test_a_sandbox_that_cannot_be_served"),
            Typed("sandbox --environments -1", 2, "from 0"),
            Typed("sandbox --port 0 --save nowhere/scene.json", 2, "cannot be written"),
        ],
        "no terminal": [Elsewhere("test_commands.test_the_sandbox_as_a_server_whose_scene_is_saved_and_loaded")],
        "json": [Elsewhere("test_matrix.test_the_sandbox_tells_json")],
        "interrupted": [Elsewhere("test_commands.test_the_sandbox_as_a_server_whose_scene_is_saved_and_loaded")],
        "wrong credential": [Senseless("it is the one that gives out keys")],
    },
    "workers run": {
        "success": [Elsewhere("workers.test_command_line.test_workers_apply_and_rotate")],
        "partly failed": [Senseless("it has no outcome of its own; the run that submitted the jobs tells theirs")],
        "wrong usage": [
            Typed("workers run", 2, "--redis"),
            Typed("workers run --redis http://127.0.0.1", 2, "not a Redis URL"),
            Typed("workers run --redis redis://redis.example.com", 2, "can run code on the workers"),
            Typed("workers run --redis redis://127.0.0.1 --allow-open-queue --lease 0", 2, "lease"),
        ],
        "no terminal": [Elsewhere("workers.test_command_line.test_workers_apply_and_rotate")],
        "json": [Senseless("it prints no data, only words on stderr")],
        "interrupted": [Elsewhere("workers.test_command_line.test_workers_apply_and_rotate")],
        "wrong credential": [Elsewhere("workers.test_run.test_workers_refuse_jobs_of_another_host_or_another_owner")],
    },
}
