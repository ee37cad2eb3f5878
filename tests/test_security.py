"""No secret stands in a tracked file: detect-secrets' own plugins look, and what it may find is listed here, with why."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.settings import default_settings

ROOT = Path(__file__).parents[1]
KNOWN = {
    "collector/database/endpoint.py": "QuestDB's own default password, public",
    "collector/database/record.py": "a sentence about passwords",
    "collector/database/runtime.py": "the checksum of QuestDB's jar",
    "ops/systemd/evenkeel-.service.d/10-hardening.conf": "the path of a credential",
}
MADE_UP = {"Secret Keyword", "Basic Auth Credentials"}
"""What tests hold: passwords of servers that live for seconds."""
HASHES = {"requirements.lock"}
"""Nothing but names, versions and checksums."""


def test_no_tracked_file_holds_a_secret() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    names = [name for name in listed.stdout.split("\0") if name and name not in HASHES]
    found = {str(path.relative_to(ROOT)): kinds for path, kinds in look(*map(ROOT.joinpath, names)).items()}
    ours = {name for name in found if not name.startswith("tests/")}
    assert ours == set(KNOWN), found
    for name in found.keys() - ours:
        assert found[name] <= MADE_UP, name


def test_a_secret_would_be_found(tmp_path: Path) -> None:
    file = tmp_path / "settings.py"
    file.write_text(
        'url = "postgresql://eve:' + 'hunter2hunter2@host:8812/qdb"\nAWS = "' + "AKIA" + 'IOSFODNN7EXAMPLE"\n'
    )
    (kinds,) = look(file).values()
    assert kinds == {"Basic Auth Credentials", "AWS Access Key"}


def look(*files: Path) -> dict[Path, set[str]]:
    """File → kinds of secrets in it."""
    secrets = SecretsCollection()
    with default_settings():
        for file in files:
            secrets.scan_file(str(file))
    return {Path(name): {secret.type for secret in secrets[name]} for name in secrets.files}
