"""Files of desired settings: what they mean, and that what is wrong is told with its place."""

import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from aioposthog_env import ConfigurationError, Environment, Sandbox, Secret, TeamSettings
from aioposthog_env.documents import read_document
from aioposthog_env.settings_file import SettingsFile, dump_settings
from tests.conftest import connect

POLICY = """\
settings:
  anonymize_ips: true
  timezone: "UTC"
  slack_incoming_webhook: {env: HOOK}
overrides:
  - select: {names: ["staging-*"], where: "not is_demo"}
    settings: {timezone: Europe/Berlin, surveys_opt_in: true}
  - select: {ids: [7]}
    settings: {timezone: Asia/Tokyo}
ignore: [surveys_opt_in]
"""

TOML = """\
ignore = ["surveys_opt_in"]

[settings]
anonymize_ips = true
timezone = "UTC"
slack_incoming_webhook = { env = "HOOK" }

[[overrides]]
select = { names = ["staging-*"], where = "not is_demo" }
settings = { timezone = "Europe/Berlin", surveys_opt_in = true }

[[overrides]]
select = { ids = [7] }
settings = { timezone = "Asia/Tokyo" }
"""


def write(folder: Path, text: str, ending: str = "yaml") -> Path:
    path = folder / f"policy.{ending}"
    path.write_text(text)
    return path


def environment(id: int, name: str, **settings: Any) -> Environment:
    return Environment(id=id, name=name, settings=TeamSettings(name=name, **settings))


@pytest.mark.parametrize(("ending", "text"), [("yaml", POLICY), ("toml", TOML)])
def test_later_overrides_win_and_what_is_ignored_is_left_out(
    ending: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", "https://hooks.example.com/x")
    file = SettingsFile.load(write(tmp_path, text, ending), allow_env=["HOOK"])
    hook = Secret("https://hooks.example.com/x")
    common = {"anonymize_ips": True, "slack_incoming_webhook": hook}
    assert file.desired(environment(1, "prod", is_demo=False)) == TeamSettings(timezone="UTC", **common)  # type: ignore[arg-type]
    assert file.desired(environment(2, "Staging-1", is_demo=False)).timezone == "Europe/Berlin"
    assert file.desired(environment(3, "staging-2", is_demo=True)).timezone == "UTC"
    assert file.desired(environment(7, "staging-7", is_demo=False)).timezone == "Asia/Tokyo"
    assert file.ids == (7,)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("settings:\n  anonymise_ips: true\n", "line 2, column 3: there is no setting 'anonymise_ips'; did you mean"),
        ("settings:\n  timezone: UTC\n  anonymize_ips: NO\n", "line 3, column 3: anonymize_ips: expected true or false"),
        ("settings:\n  week_start_day: 9\n", "line 2, column 3: week_start_day"),
        ("setings: {}\n", "line 1, column 1: the file has no 'setings'; did you mean 'settings'?"),
        ("overrides:\n  - select: {names: [a]}\n    settings: {timezon: UTC}\n", "line 3, column 16: there is no setting"),
        ("overrides:\n  - select: {where: 'timezon == 1'}\n    settings: {}\n", "did you mean timezone?"),
        ("overrides:\n  - select: {ids: [x]}\n    settings: {}\n", "'x' is not an id"),
        ("overrides:\n  - select: {}\n    settings: {}\n", "line 2, column 5: select needs one of"),
        ("overrides:\n  - settings: {}\n", "line 2, column 5: select needs one of"),
        ("overrides:\n  - select:\n    settings: {}\n", "line 2, column 5: select needs one of"),
        ("overrides:\n  - select: {ids: [], names: [a]}\n    settings: {}\n", "line 2, column 14: ids is blank"),
        ("overrides:\n  - select: {where: null}\n    settings: {}\n", "where is blank"),
        ("overrides:\n  - select: {organization: ''}\n    settings: {}\n", "organization is blank"),
        ("overrides:\n  - select: {project: '7'}\n    settings: {}\n", "'7' is not an id"),
        ("overrides:\n  - select: {project: 7.0}\n    settings: {}\n", "'7.0' is not an id"),
        ("overrides:\n  - select: {where: true}\n    settings: {}\n", "where takes texts"),
        ("overrides:\n  - select: {names: [1]}\n    settings: {}\n", "names takes texts"),
        ("settings:\n  session_replay_config: {record_kanvas: true}\n", "did you mean 'record_canvas'?"),
        ("settings:\n  session_recording_masking_config: {mask_all_inputs: true}\n", "did you mean 'maskAllInputs'?"),
        ("settings:\n  session_recording_trigger_groups: {version: 2, groups: [{id: a, rat: 1}]}\n", "[0] has no key 'rat'"),
        ("ignore: [[1]]\n", "there is no setting '[1]'"),
        ("ignore: [surveys]\n", "there is no setting 'surveys'"),
        ("ignore: surveys_opt_in\n", "ignore must be a list"),
        ("settings: [1]\n", "settings must be a mapping"),
        ("settings:\n  slack_incoming_webhook: {env: NOT_SET_ANYWHERE}\n", "NOT_SET_ANYWHERE is not set"),
        ("settings:\n  slack_incoming_webhook: {env: PATH}\n", "line 2, column 3: slack_incoming_webhook: the environment"),
        ("settings:\n  slack_incoming_webhook: {env: PATH}\n", "--allow-env PATH"),
        ("settings:\n  conversations_settings: {env: PATH}\n", "--allow-env PATH"),
        ("overrides:\n- select: {ids: [1]}\n  settings: {slack_incoming_webhook: {env: PATH}}\n", "--allow-env PATH"),
        ("environments:\n- id: 1\n  settings: {slack_incoming_webhook: {env: PATH}}\n", "--allow-env PATH"),
        ("settings:\n  slack_incoming_webhook: {env: [HOOK]}\n", "env takes the name of an environment variable"),
        ("settings:\n  slack_incoming_webhook: {env: 'A B'}\n", "env takes the name of an environment variable"),
        ("settings:\n  timezone: UTC\n  timezone: UTC\n", "line 3, column 3: found duplicate key"),
        ("settings:\n\ttimezone: UTC\n", "line 2"),
        ("settings: &a\n  modifiers: *a\n", "line 2: aliases (*name) are not taken"),
        ("a: " + "[" * 60 + "]" * 60 + "\n", "nested too deep"),
        ("settings: {}\n---\nsettings: {}\n", "line 2, column 1: a second document begins"),
        ("settings:\n  timezone: !!str UTC\n", "line 2, column 13: tags (!name) are not taken"),
        ("settings: !!map {}\n", "line 1, column 11: tags (!name) are not taken"),
        ("settings:\n  ? [a, b]\n  : 1\n", "line 2, column 5: a key must be a text"),
        ("settings:\n  <<: {timezone: UTC}\n", "line 2, column 3: there is no setting '<<'"),
        ("settings:\n  timezone: 2026-11-30\n", "line 2, column 3: timezone: expected a text"),
        ("settings: {timezone: UTC, timezone : UTC}\n", "line 1, column 27: found duplicate key 'timezone'"),
        ("", "nothing is in it"),
        ("- 1\n", "the file must be a mapping"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SettingsFile.load(write(tmp_path, text), allow_env=["NOT_SET_ANYWHERE", "HOOK", "A B"])
    assert said in str(caught.value)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SettingsFile.load(write(tmp_path, "settings:\n  anonymise_ips: true\n  timezone: 5\nignore: [x]\n"))
    assert len(str(caught.value).splitlines()) == 4


@pytest.mark.parametrize(
    ("ending", "text", "said"),
    [
        ("toml", "[settings]\ntimezone = 5\n", "line 2: timezone: expected a text"),
        ("toml", "[settings\n", "cannot be read"),
        ("json", '{"settings": {\n"anonymise_ips": true}}', "line 2: there is no setting"),
        ("json", '{"settings": {"timezone": "a", "timezone": "b"}}', "stands twice"),
        ("json", "{", "line 1, column 2"),
        ("json", '{"settings": {"primary_dashboard": ' + "9" * 5_000 + "}}", "number too large"),
        ("toml", "[settings]\nprimary_dashboard = " + "9" * 5_000 + "\n", "number too large"),
        ("txt", "", "must end in"),
    ],
)
def test_other_languages_tell_their_lines_too(ending: str, text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SettingsFile.load(write(tmp_path, text, ending))
    assert said in str(caught.value)


def test_a_file_that_is_not_there_too_large_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        SettingsFile.load(tmp_path / "none.yaml")
    (tmp_path / "large.yaml").write_bytes(b"#" * (32 * 2**20 + 1))
    with pytest.raises(ConfigurationError, match="larger than 32 MB"):
        SettingsFile.load(tmp_path / "large.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"settings: \xe4")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        SettingsFile.load(tmp_path / "latin.yaml")


@pytest.mark.parametrize("format", ["yaml", "json"])
async def test_what_was_written_reads_as_what_is_there(format: Any, tmp_path: Path) -> None:
    async with Sandbox(3) as sandbox, connect(sandbox) as environments:
        sandbox.environment(2).settings["slack_incoming_webhook"] = "https://hooks.example.com/very-secret"
        read = [one.value for one in await environments.each([1, 2, 3]).retrieve() if one.value is not None]
        text = dump_settings(read, format=format)
        assert not any(secret in text for secret in [*sandbox.secrets, "very-secret"])
        file = SettingsFile.load(write(tmp_path, text, format))
        plan = await environments.plan(file.desired, file.ids)
        assert plan.changing == ()
        sandbox.environment(2).settings["timezone"] = "Asia/Tokyo"
        plan = await environments.plan(file.desired, file.ids)
        assert [(one.ref.id, [change.name for change in one.changes]) for one in plan.changing] == [(2, ["timezone"])]


@pytest.mark.timeout(15)
@pytest.mark.parametrize(
    "comment",
    ["# " + "x" * 1_000_000 + "\n", "# a line of a comment\n" * 50_000, "\n" * 200_000, "  # indented\n" * 80_000],
    ids=["one line", "lines", "blank lines", "indented lines"],
)
def test_a_comment_of_a_megabyte_is_skipped(comment: str, tmp_path: Path) -> None:
    # The loaders of ruamel.yaml that keep comments take 20 s and more for each of these.
    file = SettingsFile.load(write(tmp_path, f"{comment}settings:\n{comment}  timezone: UTC # one more\n{comment}"))
    assert file.settings == TeamSettings(timezone="UTC")


def test_plain_words_are_texts_unless_yaml_1_2_says_otherwise(tmp_path: Path) -> None:
    text = "[NO, on, 12:30:45, 0o17, 1_000, 0x1F, 1.5, 1e3, ~, null, true, 'true', \"5\", =, <<, '']"
    found = read_document(write(tmp_path, f"a: {text}\n5: x\ntrue: y\n")).value
    words = ["NO", "on", "12:30:45", 15, 1000, 31, 1.5, 1000.0, None, None, True, "true", "5", "=", "<<", ""]
    assert found == {"a": words, "5": "x", "true": "y"}


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.booleans())
def test_any_value_is_read_as_the_loader_of_ruamel_reads_it(value: Any, flow: bool) -> None:
    yaml: Any = YAML(typ="safe", pure=True)
    reference: Any = YAML(typ="safe", pure=True)
    yaml.default_flow_style = flow
    written = io.StringIO()
    yaml.dump(value, written)
    with TemporaryDirectory() as folder:
        path = write(Path(folder), written.getvalue())
        try:
            # Not the value itself: ruamel.yaml writes `?0` as a key that it reads as `0`, and `:0` as one that it refuses.
            expected = reference.load(written.getvalue())
        except YAMLError:
            with pytest.raises(ConfigurationError, match="cannot be read"):
                read_document(path)
        else:
            assert read_document(path).value == expected


def test_names_of_variables_are_a_collection(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="collection of names"):
        SettingsFile.load(write(tmp_path, "settings: {timezone: UTC}\n"), allow_env="HOOK")


def test_values_of_a_key_that_stands_twice_are_not_shown(tmp_path: Path) -> None:
    hook = "slack_incoming_webhook: https://hooks.example.com/very-secret"
    with pytest.raises(ConfigurationError, match="duplicate key") as caught:
        SettingsFile.load(write(tmp_path, f"settings:\n  {hook}-1\n  {hook}-2\n"))
    assert "very-secret" not in str(caught.value)


def test_what_posthog_shows_and_no_longer_takes_is_not_exported(tmp_path: Path) -> None:
    shown = environment(1, "a", app_urls=["x" * 201], timezone="UTC")
    file = SettingsFile.load(write(tmp_path, dump_settings([shown])))
    assert file.desired(shown) == TeamSettings(timezone="UTC")
