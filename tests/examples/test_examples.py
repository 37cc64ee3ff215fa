"""The examples do what they say, against the sandbox."""

import asyncio
import importlib.util
from pathlib import Path
from types import ModuleType

import aiohttp
import pytest
from aiohttp import web

from aioposthog_env import Journal, Sandbox, Secret
from tests.cli.test_commands import serving
from tests.conftest import logged_in

FOLDER = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    return load_file(FOLDER / f"{name}.py")


def load_file(path: Path) -> ModuleType:
    """A script as a module, which does not run it."""
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_operator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    with serving(20, lacking_anonymize_ips=7) as sandbox:
        monkeypatch.setenv("POSTHOG_HOST", sandbox.url)
        monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", sandbox.key())
        for _ in range(2):  # the second time there is nothing left to do
            asyncio.run(load("operator").main())
        assert sum(sandbox.effects["setting anonymize_ips", id] for id in sandbox.environment_ids) == 7
    assert "Anonymize IP addresses" in (tmp_path / "anonymize.md").read_text()
    assert "7 succeeded" in capsys.readouterr().out


async def test_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Sandbox(2) as sandbox:
        monkeypatch.setenv("POSTHOG_HOST", sandbox.url)
        monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", sandbox.key())
        sandbox.environment(1).settings["anonymize_ips"] = False
        runner = web.AppRunner(load("service").make_app())
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/environments"
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{url}/1/anonymize") as changed, session.get(f"{url}/1") as shown:
                assert await changed.json() == await shown.json() == {"name": "Environment 0001", "anonymize_ips": True}
            async with session.get(f"{url}/9") as missing:
                assert missing.status == 404
        await runner.cleanup()


async def test_the_worker_rotates_once_however_often_a_job_is_delivered(capsys: pytest.CaptureFixture[str]) -> None:
    worker, stored = load("worker"), dict[int, str]()

    async def store(environment: int, secret: Secret) -> None:
        stored[environment] = secret.reveal()

    async with Sandbox(2) as sandbox, logged_in(sandbox) as environments:
        await environments.rotate_secret_token(1)  # so that there is a secret to replace
        before = sandbox.effects["rotate_secret_token", 1]
        job = await worker.make_job(environments, 1)
        jobs: asyncio.Queue[object] = asyncio.Queue()
        for _ in range(3):
            jobs.put_nowait(job)
        workers = [asyncio.create_task(worker.work(environments, jobs, store)) for _ in range(2)]
        await jobs.join()
        for one in workers:
            one.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        assert sandbox.effects["rotate_secret_token", 1] - before == 1
        secret = (await environments.retrieve(1)).secret_api_token
        assert isinstance(secret, Secret)
        assert stored == {1: secret.reveal()}
    assert capsys.readouterr().out == "1 rotated\n" * 3


async def test_the_accounts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with Sandbox(5, lacking_anonymize_ips=3) as one, Sandbox(4, lacking_anonymize_ips=2) as two:
        monkeypatch.setenv("KEY_ONE", one.key())
        monkeypatch.setenv("KEY_TWO", two.key())
        accounts, journal = {one.url: "KEY_ONE", two.url: "KEY_TWO"}, tmp_path / "accounts.db"
        for _ in range(2):  # the second time there is nothing left to do
            report = await load("accounts").main(accounts, str(journal))
            assert len(report) == 9
            assert {host: len(part) for host, part in report.parts.items()} == {one.url: 5, two.url: 4}
            report.raise_for_failures()
        for sandbox, changed in ((one, 3), (two, 2)):
            assert sum(sandbox.effects["setting anonymize_ips", id] for id in sandbox.environment_ids) == changed
        runs = {run.name: run for run in await Journal(journal).runs()}
        assert {name: run.host for name, run in runs.items()} == {one.url: one.url, two.url: two.url}
    assert "9 environments" in capsys.readouterr().out
