"""The house stands as drawn: imports go one way, types and style hold, nothing stray lies at the top."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("probes", "alerts", "dashboard", "sample_targets")
TOP = {
    *PACKAGES,
    "tests",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
}


def run(*command: str) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / command[0]), *command[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-8000:]}\n{done.stderr[-2000:]}"


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def test_imports_go_one_way() -> None:
    run("lint-imports", "--no-cache")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_types_hold() -> None:
    run("mypy")


def test_style_holds() -> None:
    run("ruff", "check", ".")
    run("ruff", "format", "--check", ".")


def test_nothing_else_stands_at_the_top() -> None:
    stray = {path.relative_to(ROOT).parts[0] for path in tracked_files()} - TOP
    assert {name for name in stray if not name.startswith(".")} == set()


def test_no_module_of_the_dashboard_hides_another() -> None:
    # Streamlit puts dashboard/ first on sys.path: a dashboard/alerts.py would hide the package.
    names = {path.stem for path in (ROOT / "dashboard").glob("*.py")} - {"__init__", "__main__"}
    assert names & (set(PACKAGES) | sys.stdlib_module_names | {"streamlit", "pandas", "requests", "click"}) == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_opens_with_what_it_answers(package: str) -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in (ROOT / package).rglob("*.py")
        if path.stat().st_size and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_no_file_is_a_drawer() -> None:
    drawers = {"utils.py", "helpers.py", "models.py", "constants.py"}
    assert [str(path) for path in tracked_files() if path.name in drawers] == []


def test_sql_stands_only_in_the_stores() -> None:
    allowed = (ROOT / "probes" / "store", ROOT / "alerts")
    for package in ("probes", "alerts", "dashboard"):
        for path in (ROOT / package).rglob("*.py"):
            if any(path.is_relative_to(folder) for folder in allowed):
                continue
            imported = [
                name
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("sqlalchemy")
                for name in (alias.name for alias in node.names)
            ]
            assert set(imported) & {"select", "insert", "update", "delete", "text", "Table", "func"} == set(), path


def test_the_worker_does_not_load_the_dashboard() -> None:
    # Streamlit and pandas cost seconds of start and a hundred megabytes, SQLAlchemy 25.
    heavy = ("streamlit", "pandas", "numpy", "requests", "sqlalchemy", "asyncio", "OpenSSL", "cryptography")
    code = f"import sys, probes.worker, probes.store.upkeep; print(*(name for name in {heavy} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == ""
