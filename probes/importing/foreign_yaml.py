"""What does another program's YAML say? Files or folders of them, read as plain values."""

from pathlib import Path
from typing import Any

import yaml

from probes.importing.draft import DraftError

MAX_BYTES = 5 << 20


class _Loader(yaml.SafeLoader):
    """Safe, and bytes stay what they are (`!!binary`)."""


def read_mapping(source: Path, program: str) -> dict[str, Any]:
    """The mapping in a file; the files of a folder are merged, lists appended. Raises DraftError."""
    files = sorted(source.glob("**/*.y*ml")) if source.is_dir() else [source]
    merged: dict[str, Any] = {}
    for file in files:
        for key, value in _read(file, program).items():
            if isinstance(value, list) and isinstance(merged.get(key), list):
                merged[key] = [*merged[key], *value]
            else:
                merged[key] = value
    if not merged:
        raise DraftError(f"{source} holds no configuration of {program}")
    return merged


def _read(file: Path, program: str) -> dict[str, Any]:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise DraftError(f"{file} is larger than {MAX_BYTES >> 20} MB")
        found = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a safe loader
    except OSError as error:
        raise DraftError(f"{file} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise DraftError(f"{file} is no YAML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(found, dict):
        raise DraftError(f"{file} is no configuration of {program}: it holds no keys")
    return found
