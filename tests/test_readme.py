"""What the README says is so: its table of kinds, its configuration, its commands."""

import re
import shlex
from pathlib import Path

import click
import pytest

from alerts.config import load_all
from dashboard.cli import main
from probes.kind_table import markdown_table

README = Path(__file__).resolve().parent.parent / "README.md"


def test_the_table_of_kinds_is_what_the_classes_say() -> None:
    table = re.search(r"<!-- kinds -->\n(.*?)\n<!-- /kinds -->", README.read_text(), re.DOTALL)
    assert table is not None
    assert table[1] == markdown_table()


def test_the_example_configuration_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = re.search(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
    assert example is not None
    (tmp_path / "smtp").write_text("a-password")
    path = tmp_path / "backwatch.yaml"
    path.write_text(example[1].replace("/run/secrets/smtp", str(tmp_path / "smtp")))
    monkeypatch.setenv("SHOP_DB", "postgresql://probe:probe@127.0.0.1/shop")
    monkeypatch.setenv("HOOK_SECRET", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
    config, alerting = load_all(path, None)
    assert len(config.estate.checks) == 4
    assert set(alerting.notifiers) == {"ops", "hook"}


def test_every_command_of_the_readme_exists() -> None:
    lines = [
        line for block in re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL) for line in block.splitlines()
    ]
    named = [words for line in lines if (words := re.findall(r"(?:^|[/\s])backwatch ([a-z].*)", line.split("#")[0]))]
    assert len(named) >= 5
    for (rest,) in named:
        command: click.Command | None = main
        for word in shlex.split(rest.split("|")[0]):
            if isinstance(command, click.Group) and word.islower():
                command = command.get_command(click.Context(command), word)
                assert command is not None, rest


def test_every_picture_of_the_readme_is_there() -> None:
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README.read_text()):
        assert (README.parent / picture).is_file(), picture
