"""``AsyncEnvironments``, the facade: one short method per endpoint."""

import builtins
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

import attrs

from aioposthog_env import access, waiting
from aioposthog_env.access import AccessReport, EnvironmentAccess
from aioposthog_env.api import calls
from aioposthog_env.api.calls import Call
from aioposthog_env.api.era import Era
from aioposthog_env.api.routes import Place, Routes, place_of
from aioposthog_env.auth import Credential
from aioposthog_env.bulk.apply import MAX_AGE, Applying, Desired, apply_plan, by_id, make_plan, undo_run
from aioposthog_env.bulk.each import Each
from aioposthog_env.bulk.outcome import Keep
from aioposthog_env.bulk.plan import Plan
from aioposthog_env.bulk.queued import TaskQueue
from aioposthog_env.bulk.record import MAIN, JournalPath, Recording
from aioposthog_env.bulk.run import BulkRun, Refs, checked_refs
from aioposthog_env.bulk.selection import Selected, Selection, select
from aioposthog_env.errors import ConfigurationError
from aioposthog_env.limiter import RateLimiter
from aioposthog_env.models.activity import ActivityEntry
from aioposthog_env.models.environment import AnyRef, Environment, EnvironmentSummary, as_ref
from aioposthog_env.models.restrictions import IngestionRestriction
from aioposthog_env.models.settings import JSONValue, TeamSettings
from aioposthog_env.paging import activity_pages, list_all
from aioposthog_env.policy.priority import Priority
from aioposthog_env.policy.retry import RetryPolicy
from aioposthog_env.redacted import redacted
from aioposthog_env.sending import Limiter
from aioposthog_env.session import PostHogSession
from aioposthog_env.telemetry import Hook
from aioposthog_env.transport import TLS, Timeout

T = TypeVar("T")


class AsyncEnvironments:
    """PostHog's Environments API for async code. Enter it with ``async with``.

    Any number of tasks may call one client at the same time. It belongs to the event loop in which it was entered.

    Args:
        host: ``us``, ``eu``, or a URL. Default: the variable ``POSTHOG_HOST``, else ``us``. A key is valid only in the region
            that issued it.
        auth: ``PersonalAPIKey``, ``OAuthToken`` or ``SessionCookie``. Default: the key in ``POSTHOG_PERSONAL_API_KEY``.
        routes: The URL style: ``nested``, ``root``, ``project``, or ``auto`` to find out by reading which one the host takes.
        retry: When to repeat a call. ``RetryPolicy.disabled()`` for never.
        timeout: How long one request may take.
        limiter: ``shared``: one limiter for all clients of this event loop with the same key at the same host, none for
            sessions and OAuth tokens, which PostHog does not limit. A ``RateLimiter`` of your own; a ``RedisRateLimiter``,
            which many processes share; or None, which suits a self-hosted server without limits.
        enforce_scopes: Hold each call against the credential's scopes before it is sent. Switch it off for very old servers,
            which let keys without scopes do everything.
        max_connections: The most connections at a time.
        max_body: The largest body of an answer, in bytes.
        ssl: None for the system's certificate authorities, a file or folder of others, or an ``ssl.SSLContext``.
        proxy: The address of an HTTP proxy.
        trust_env: Take the proxy from the environment variables.
        allow_insecure_http: Allow plain http to a host other than this machine.
        hooks: Called with a frozen record of what happens; see ``aioposthog_env.telemetry``.

    Raises:
        ConfigurationError: An argument cannot be used; says what to give instead.
    """

    def __init__(
        self,
        host: str | None = None,
        *,
        auth: Credential | None = None,
        routes: Routes = "auto",
        retry: RetryPolicy | None = None,
        timeout: Timeout | None = None,
        limiter: Limiter = "shared",
        enforce_scopes: bool = True,
        max_connections: int = 32,
        max_body: int = 16 * 2**20,
        ssl: TLS = None,
        proxy: str | None = None,
        trust_env: bool = False,
        allow_insecure_http: bool = False,
        hooks: Sequence[Hook] = (),
    ) -> None:
        # A key or a password may have been given in the wrong place, and a traceback shows arguments.
        host, auth, limiter, proxy = redacted(host), redacted(auth), redacted(limiter), redacted(proxy)
        self._session = PostHogSession(
            host,
            auth=auth,
            routes=routes,
            retry=retry,
            timeout=timeout,
            limiter=limiter,
            enforce_scopes=enforce_scopes,
            max_connections=max_connections,
            max_body=max_body,
            ssl=ssl,
            proxy=proxy,
            trust_env=trust_env,
            allow_insecure_http=allow_insecure_http,
            hooks=hooks,
        )

    async def __aenter__(self) -> Self:
        await self._session.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    @property
    def host(self) -> str:
        """The origin that calls go to."""
        return self._session.origin

    @property
    def era(self) -> Era:
        """Which generation of PostHog answers, as far as was seen so far."""
        return self._session.era

    @property
    def limiter(self) -> RateLimiter | None:
        """The rate limiter in use; None before entering, and where there is none."""
        return self._session.limiter

    def with_options(
        self,
        *,
        retry: RetryPolicy | None = None,
        timeout: Timeout | None = None,
        enforce_scopes: bool | None = None,
        hooks: Sequence[Hook] | None = None,
        priority: Priority | None = None,
    ) -> "AsyncEnvironments":
        """The same client under other policies. It shares connections, limiter and all that was found out about the host.

        Enter and leave only the client that it came from.

        Args:
            retry: Another retry policy.
            timeout: Another timeout.
            enforce_scopes: Whether to check scopes.
            hooks: Other hooks, instead of the present ones.
            priority: ``interactive`` or ``bulk``, for all its calls. By default single calls are interactive, and those that
                ``each``, ``plan``, ``apply``, ``undo`` and ``select`` make are bulk: they go behind the others in the queue
                for the rate limit, and leave a few slots to them.
        """
        given: dict[str, Any] = {
            "retry": retry,
            "timeout": timeout,
            "enforce_scopes": enforce_scopes,
            "hooks": None if hooks is None else tuple(hooks),
            "priority": priority,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        other = object.__new__(AsyncEnvironments)
        other._session = self._session.with_options(attrs.evolve(self._session.options, **changes))
        return other

    async def list(
        self, *, search: str | None = None, organization_id: str | None = None, project_id: int | None = None
    ) -> AsyncIterator[EnvironmentSummary]:
        """Every environment that the credential can see, in all its organizations, each once. Needs ``project:read``.

        PostHog's list has no order, so it is read in one large page and checked for holes before the first is yielded.

        Args:
            search: Only names that contain this text, ignoring case.
            organization_id: Only this organization.
            project_id: Only environments of this project.

        Raises:
            PermissionDeniedError: Keys limited to projects cannot list; name the environments instead.
            TransportError: The list kept changing while it was read.
        """
        place = Place(project_id=project_id, organization_id=_organization(organization_id))
        for summary in await list_all(self._session, place, search):
            yield summary

    async def select(self, selection: Selection, *, concurrency: int = 32, with_names: bool = False) -> builtins.list[Selected]:
        """The environments that a selection means, by id.

        Ids alone are taken as they are; with other criteria, they are read. Without ids the list is read, and where the
        condition asks for settings, each environment that the other criteria leave.

        Args:
            selection: Which environments.
            concurrency: How many are read at a time.
            with_names: Read environments that were given by id alone, for their names.

        Raises:
            ConfigurationError: A selection without a criterion, or a condition that compares what cannot be compared.
            BulkError: An environment could not be read.
        """
        _organization(selection.organization_id)
        session = self.each(()).session  # waits for the rate limit as long as it takes
        return await select(session, selection, concurrency=concurrency, with_names=with_names)

    async def create(
        self, settings: TeamSettings, *, project_id: int | None = None, organization_id: str | None = None
    ) -> Environment:
        """Create an environment. Never repeated after a lost answer. Needs ``project:write`` and an organization's admin.

        PostHog switches the current project of the key's owner, also in the browser, to what was created.

        Args:
            settings: Its settings; ``name`` is optional. Nested configs and ``primary_dashboard`` cannot be given here.
            project_id: The project to create it in, on servers up to 2025. Without it a new project is created with its
                environment, on the newest servers.
            organization_id: The organization of the new project; default: the one the owner last opened.

        Raises:
            ConfigurationError: Bad settings, or a server that needs ``project_id``.
            OutcomeUnknownError: The answer was lost; list and look for the name before you try again.
            PermissionDeniedError: Not allowed, or the plan's number of environments is reached.
        """
        place = Place(project_id=project_id, organization_id=_organization(organization_id))
        return (await self._session.call(calls.create(settings), place)).value

    async def retrieve(self, environment: AnyRef) -> Environment:
        """Read an environment. Needs ``project:read``.

        The payload holds the secret token and its backup in clear; here they are ``Secret`` values.

        Raises:
            NotFoundError: There is none that this credential can see.
        """
        return await self._call(environment, calls.retrieve())

    async def update(self, environment: AnyRef, settings: TeamSettings, *, expected: TeamSettings | None = None) -> Environment:
        """Change the settings that are set, ``name`` included. Needs ``project:write`` (in 2025 mostly ``project:read``).

        Some objects are merged by the server and others replaced; ``TeamSettings`` says which. The answer is compared with
        what was asked.

        Args:
            environment: The environment.
            settings: The settings to change; what is unset stays.
            expected: What they are to replace. The environment is read first: where it is as desired already, nothing is sent;
                where it is neither as desired nor as expected, neither.

        Raises:
            StateChangedError: A setting has another value by now than expected; nothing was sent.
            InvalidSettingsError: Values that no PostHog takes, all of them at once; nothing was sent.
            SettingsNotAppliedError: The server said yes and did not take some settings.
            ValidationError: The server refused a value; ``attr`` names the field.
        """
        return await self._call(environment, calls.update(settings, expected=expected))

    async def delete(self, environment: AnyRef) -> None:
        """Delete an environment. Needs ``project:write`` and an admin.

        Newer servers delete in the background: the environment can still be read for a while. Where only the project path
        exists and the server is not known to be of the newest generation, nothing is sent, since there it would delete
        the whole project.

        Raises:
            ConfigurationError: It would delete more than the environment; nothing was sent.
            NotFoundError: There is none that this credential can see.
        """
        await self._call(environment, calls.delete())

    async def activity(self, environment: AnyRef) -> AsyncIterator[ActivityEntry]:
        """The activity log of an environment, newest first, each entry once. Takes a session only.

        Raises:
            ScopeError: The credential is a token; the action publishes no scope.
        """
        async for page in activity_pages(self._session, place_of(as_ref(environment))):
            for entry in page.value:
                yield entry

    async def add_product_intent(
        self,
        environment: AnyRef,
        product_type: str,
        *,
        intent_context: str | None = None,
        metadata: Mapping[str, JSONValue] | None = None,
        settings: TeamSettings | None = None,
    ) -> Environment:
        """Say that a product is of interest. Counted by the server, so never repeated. Needs ``project:read``.

        Args:
            environment: The environment.
            product_type: The product, such as ``session_replay``; newer servers take known ones only.
            intent_context: What led to it; newer servers take known texts only.
            metadata: Anything to keep with it.
            settings: PostHog's documentation shows settings in this body; servers ignore them, which the error then says.

        Raises:
            OutcomeUnknownError: The answer was lost.
            SettingsNotAppliedError: The intent was added, the settings were ignored.
        """
        call = calls.add_product_intent(product_type, intent_context=intent_context, metadata=metadata, settings=settings)
        return await self._call(environment, call)

    async def complete_product_onboarding(
        self, environment: AnyRef, product_type: str, *, settings: TeamSettings | None = None
    ) -> Environment:
        """Say that the onboarding of a product is complete. Counted, so never repeated. Needs ``project:read``.

        Raises:
            OutcomeUnknownError: The answer was lost.
            SettingsNotAppliedError: It was completed, the settings were ignored.
        """
        return await self._call(environment, calls.complete_product_onboarding(product_type, settings=settings))

    async def event_ingestion_restrictions(self, environment: AnyRef) -> builtins.list[IngestionRestriction]:
        """What the ingestion holds back for this environment; PostHog's staff manage it. Needs ``project:read``."""
        return await self._call(environment, calls.event_ingestion_restrictions())

    async def is_generating_demo_data(self, environment: AnyRef) -> bool:
        """Whether demo data is still being made. Takes a session only.

        Raises:
            ScopeError: The credential is a token; the action publishes no scope.
        """
        return await self._call(environment, calls.is_generating_demo_data())

    async def reset_token(
        self, environment: AnyRef, *, expected: str | None = None, settings: TeamSettings | None = None
    ) -> Environment:
        """Replace the project token. The old one stops working at once: events sent with it are lost. Session of an admin.

        Args:
            environment: The environment.
            expected: The digest of the token to replace. Where it is another one by now, that was done already, and the
                environment is returned as it is.
            settings: PostHog's documentation shows settings in this body; servers ignore them, which the error then says.

        Raises:
            ScopeError: The credential is a token; the action publishes no scope.
            OutcomeUnknownError: The answer was lost, and reading back did not tell; see ``aioposthog_env.recovery``.
            SettingsNotAppliedError: The token was reset, the settings were ignored.
        """
        expected = redacted(expected)  # in a traceback, a secret in place of its digest does not show
        return await self._call(environment, calls.reset_token(expected=expected, settings=settings))

    async def rotate_secret_token(
        self, environment: AnyRef, *, expected: str | None = None, settings: TeamSettings | None = None
    ) -> Environment:
        """Replace the secret token. The old one becomes the backup and keeps working; the old backup is gone at once.

        Two rotations in a row throw away the secret that deployed services still use, so it is never sent twice. After a
        lost answer the environment is read, which tells what became of it. Session of an admin.

        Args:
            environment: The environment.
            expected: The digest of the secret to replace, ``secret.digest()``. Where that secret is the backup by now, it was
                rotated already, and the environment is returned as it is.
            settings: PostHog's documentation shows settings in this body; servers ignore them, which the error then says.

        Raises:
            StateChangedError: The expected secret is neither the secret nor the backup; nothing was sent.
            ScopeError: The credential is a token; the action publishes no scope.
            OutcomeUnknownError: The answer was lost, and reading back did not tell; see ``aioposthog_env.recovery``.
            SettingsNotAppliedError: The secret was rotated, the settings were ignored.
            ValidationError: The newest servers make no first secret where there is none.
        """
        expected = redacted(expected)  # in a traceback, a secret in place of its digest does not show
        return await self._call(environment, calls.rotate_secret_token(expected=expected, settings=settings))

    async def delete_secret_token_backup(self, environment: AnyRef, *, settings: TeamSettings | None = None) -> Environment:
        """Drop the backup of the secret token; nothing happens where there is none. Session of an admin.

        Raises:
            ScopeError: The credential is a token; the action publishes no scope.
            SettingsNotAppliedError: The backup was deleted, the settings were ignored.
        """
        return await self._call(environment, calls.delete_secret_token_backup(settings=settings))

    async def settings_as_of(self, environment: AnyRef, at: datetime, names: Collection[str]) -> TeamSettings:
        """What settings were at a time, rebuilt from the activity log. Since 2026. Takes a session only.

        Args:
            environment: The environment.
            at: The time, with its time zone.
            names: The settings to rebuild, such as ``["timezone"]``; the server is never asked for all, which its own
                tests never do.

        Raises:
            ScopeError: The credential is a token; the action publishes no scope.
            NotFoundError: The server is older and does not have it.
        """
        return await self._call(environment, calls.settings_as_of(at, names))

    async def experiments_config(self, environment: AnyRef) -> dict[str, JSONValue]:
        """How experiments are run. Since 2026. Takes a session only."""
        return await self._call(environment, calls.experiments_config())

    async def update_experiments_config(self, environment: AnyRef, changes: Mapping[str, JSONValue]) -> dict[str, JSONValue]:
        """Change how experiments are run. Since 2026. Session of an admin."""
        return await self._call(environment, calls.update_experiments_config(changes))

    async def logs_config(self, environment: AnyRef) -> dict[str, JSONValue]:
        """How logs are read. Since 2026. Takes a session only."""
        return await self._call(environment, calls.logs_config())

    async def update_logs_config(self, environment: AnyRef, changes: Mapping[str, JSONValue]) -> dict[str, JSONValue]:
        """Change how logs are read. Since 2026. Session of an admin."""
        return await self._call(environment, calls.update_logs_config(changes))

    async def generate_conversations_public_token(self, environment: AnyRef) -> Environment:
        """Replace the public token of the conversations widget. The old one stops working. Since 2026. Session of an admin.

        Raises:
            ScopeError: The credential is a token; the action publishes no scope.
            OutcomeUnknownError: The answer was lost, and reading back did not tell; see ``aioposthog_env.recovery``.
        """
        return await self._call(environment, calls.generate_conversations_public_token())

    async def check_access(self, *, needs: Collection[str] = (), of: Refs = ()) -> AccessReport:
        """What this credential may do, endpoint by endpoint and environment by environment. Sends no write.

        Args:
            needs: The scopes that the work ahead needs, such as ``{"project:write"}``.
            of: The environments of the work ahead; each is read once.
        """
        if isinstance(needs, str):
            raise ConfigurationError(f"needs takes a collection of scopes, such as {{{needs!r}}}.")
        read: list[EnvironmentAccess] = []
        reading = self.with_options(enforce_scopes=False)
        async with reading.each(of).retrieve() as outcomes:
            async for outcome in outcomes:
                admin = None if outcome.value is None else access.is_admin(outcome.value)
                read.append(EnvironmentAccess(outcome.ref, outcome.value is not None, admin, outcome.error))
        return access.report(await self._session.grant(), self.era, needs, read)

    def each(
        self,
        refs: Refs,
        *,
        concurrency: int = 32,
        stop_after_failures: int | None = None,
        wait_ceiling: float | None = None,
        journal: JournalPath | None = None,
        run: str = MAIN,
        adopt: bool = False,
        keep: Keep = "values",
        on: TaskQueue | None = None,
    ) -> Each:
        """The same call to many environments: ``await environments.each(refs).retrieve()``.

        Args:
            refs: The environments: ids, references, or what ``list`` yields; any iterable, also an asynchronous one.
                Duplicates are run once.
            concurrency: How many are worked on at a time.
            stop_after_failures: After this many failures the rest is skipped; None: go on.
            wait_ceiling: The longest wait for the rate limit, in seconds; None: as long as it takes.
            journal: A file in which each write is recorded before it is sent, and its outcome after it. The same call with the
                same file resumes: what is done is not sent, what is in doubt is looked at, the rest is run.
            run: The name of the run within the file, which may hold several.
            adopt: Resume although the run was begun with another credential.
            keep: What the report holds of what is done: ``values``, the outcomes with what the calls returned; ``outcomes``,
                without that; ``counts``, how many. What is not done is in the report always, without its value where values
                are not kept. Iterating over a run gives every outcome whole.
            on: ``Workers(…)``: worker processes make the calls, and ``concurrency`` is theirs; see ``docs/workers.md``.
                Outcomes then have digests instead of values.

        Raises:
            ConfigurationError: Not a collection of environments; nothing was sent.
        """
        if keep not in {"values", "outcomes", "counts"}:
            raise ConfigurationError(f"keep takes 'values', 'outcomes' or 'counts', not {keep!r}.")
        for name, value in (("concurrency", concurrency), ("stop_after_failures", stop_after_failures)):
            if value is not None and (isinstance(value, bool) or value < 1):
                raise ConfigurationError(f"{name} must be a whole number above 0, not {value!r}.")
        options = self._session.options
        retry = attrs.evolve(options.retry, wait_ceiling=wait_ceiling)
        patient = attrs.evolve(options, retry=retry, priority=options.priority or "bulk")
        return Each(
            self._session.with_options(patient),
            checked_refs(refs),
            concurrency=concurrency,
            stop_after_failures=stop_after_failures,
            keep=keep,
            recording=None if journal is None else Recording(journal, run, adopt),
            queue=on,
        )

    async def plan(self, desired: Desired, refs: Refs | None = None, *, concurrency: int = 32) -> Plan:
        """What would have to change, without changing anything. One read per environment.

        Args:
            desired: The settings for all environments, those of each by its id, or a function of the environment.
            refs: The environments; may be left out where ``desired`` names them by id.
            concurrency: How many are read at a time.

        Raises:
            ConfigurationError: Settings that no PostHog takes, or no environments.
        """
        if isinstance(desired, TeamSettings):
            calls.update(desired)
        if refs is None:
            if (named := by_id(desired)) is None:
                raise ConfigurationError(
                    "Name the environments: plan(settings, [42, 43]), or plan(settings, environments.list())."
                )
            refs = builtins.list(named)
        return await make_plan(self.each(refs, concurrency=concurrency), self._session, desired)

    def apply(
        self,
        plan: Plan,
        *,
        journal: JournalPath | None = None,
        run: str = MAIN,
        adopt: bool = False,
        concurrency: int = 32,
        max_age: float | timedelta | None = None,
        verify: bool = False,
        canary: int = 0,
        stop_after_failures: int | None = None,
        dry_run: bool = False,
        wait_ceiling: float | None = None,
        keep: Keep = "values",
        on: TaskQueue | None = None,
    ) -> BulkRun[Environment]:
        """Send each environment that differs the settings that differ. Await the run, or enter and iterate it.

        Args:
            plan: What to change.
            journal: A file that records it, so that it can be resumed with the same plan, and undone; see ``each``.
            run: The name of the run within the file.
            adopt: Resume although the run was begun with another credential.
            concurrency: How many environments are worked on at a time.
            max_age: Where the plan has read an environment longer ago than this, in seconds or as a ``timedelta``, it is read
                again right before its write; where a setting has another value by now, it is skipped as ``stale``. None: 0
                with a journal, which costs one read for each environment that changes; 600 s without one.
            verify: Read each environment again afterwards, rather than trust the answer.
            canary: Change so many environments first, and go on only if all of them succeeded.
            stop_after_failures: After this many failures the rest is skipped; None: go on.
            dry_run: Change nothing, and record nothing. Each environment that the plan changes is read and compared with it:
                what would change is skipped as ``dry run``, what was changed since as ``stale``.
            wait_ceiling: The longest wait for the rate limit, in seconds; None: as long as it takes.
            keep: What the report holds; see ``each``.
            on: ``Workers(…)``: worker processes make the changes; see ``each``. Each environment is compared with the plan.

        Raises:
            ConfigurationError: The plan is of another host, or was loaded without its sensitive values; or workers are to
                change a sensitive setting, which must not go through their queue.
        """
        oldest = max_age.total_seconds() if isinstance(max_age, timedelta) else max_age
        if oldest is None:
            oldest = MAX_AGE if journal is None else 0.0
        if canary < 0 or not oldest >= 0:
            raise ConfigurationError("canary and max_age must not be below 0.")
        each = self.each(
            (), concurrency=concurrency, stop_after_failures=stop_after_failures, wait_ceiling=wait_ceiling, keep=keep
        )
        how = Applying(
            concurrency=concurrency,
            max_age=oldest,
            verify=verify,
            canary=canary,
            stop_after_failures=stop_after_failures,
            dry_run=dry_run,
            keep=keep,
            recording=None if journal is None else Recording(journal, run, adopt),
            queue=on,
        )
        return apply_plan(each.session, plan, how)

    def undo(
        self,
        journal: JournalPath,
        *,
        run: str = MAIN,
        adopt: bool = False,
        concurrency: int = 32,
        stop_after_failures: int | None = None,
        wait_ceiling: float | None = None,
        keep: Keep = "values",
    ) -> BulkRun[Environment]:
        """Give back the previous values of what a run has changed, where they still are as the run left them.

        It is recorded in the same file, as the run ``undo`` and the name, and so can be resumed. Sensitive settings are kept
        as digests only and cannot be given back; the outcome names them in ``not_applied``, or is ``not kept``. One read per
        environment, and one write where there is something to give back. What is undone, the run does again when it is resumed.

        Args:
            journal: The file.
            run: The run to undo.
            adopt: Resume an undo that was begun with another credential.
            concurrency: How many environments are worked on at a time.
            stop_after_failures: After this many failures the rest is skipped; None: go on.
            wait_ceiling: The longest wait for the rate limit, in seconds; None: as long as it takes.
            keep: What the report holds; see ``each``.

        Raises:
            JournalError: When it is run: there is no such file or run, it changed no settings, or it was at another host.
        """
        each = self.each(
            (), concurrency=concurrency, stop_after_failures=stop_after_failures, wait_ceiling=wait_ceiling, keep=keep
        )
        recording = Recording(journal, run, adopt)
        return undo_run(each.session, recording, concurrency=concurrency, stop_after_failures=stop_after_failures, keep=keep)

    async def wait_until_deleted(self, environment: AnyRef, *, deadline: float = 3600.0) -> None:
        """Wait until an environment that is being deleted is gone. Newer servers delete in the background.

        Args:
            environment: The environment.
            deadline: The longest wait, in seconds.

        Raises:
            WaitTimeoutError: It can still be read.
            StateChangedError: The server says that it is not being deleted.
        """
        await waiting.until_deleted(self._session, as_ref(environment), deadline)

    async def wait_until_demo_data_ready(self, environment: AnyRef, *, deadline: float = 3600.0) -> None:
        """Wait until the demo data of an environment is made. Takes a session only.

        Args:
            environment: The environment.
            deadline: The longest wait, in seconds.

        Raises:
            WaitTimeoutError: It is still being made.
            ScopeError: The credential is a token; the action publishes no scope.
        """
        await waiting.until_demo_data_ready(self._session, as_ref(environment), deadline)

    async def _call(self, environment: AnyRef, call: Call[T]) -> T:
        return (await self._session.call(call, place_of(as_ref(environment)))).value


def _organization(organization_id: str | None) -> str | None:
    if organization_id is not None and not all(part.isalnum() and part.isascii() for part in organization_id.split("-")):
        raise ConfigurationError(f"{organization_id!r} is not the id of an organization, which is a UUID.")
    return organization_id
