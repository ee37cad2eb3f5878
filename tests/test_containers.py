"""The compose file and the image's recipe: valid to the client, and as docs/security.md says. No engine runs them here."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from collector.database.launch import settings
from collector.settings import QuestDBConfig

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docker-compose.yml"
CLIENTS = (["docker", "compose"], ["docker-compose"])


def client() -> list[str] | None:
    """A compose client; it needs no engine to read a file."""
    for command in CLIENTS:
        if shutil.which(command[0]):
            done = subprocess.run([*command, "version"], capture_output=True, timeout=60, check=False)
            if not done.returncode:
                return command
    return None


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    """As YAML merges them."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text())["services"]
    return found


def test_the_client_takes_the_file() -> None:
    command = client()
    if command is None:
        pytest.skip("no compose client here: install docker-compose to check the file with its `config`")
    done = subprocess.run(
        [*command, "-f", str(FILE), "config"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    resolved = yaml.safe_load(done.stdout)
    assert set(resolved["services"]) == {"questdb", "collector", "analyzer", "dashboard", "grafana"}
    assert resolved["services"]["dashboard"]["environment"]["EVENKEEL_QUESTDB_READER"] == "reader"


def test_every_port_is_this_machines_own(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 5
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_service_is_bounded_and_confined(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert re.fullmatch(r"\d+[mg]", service["mem_limit"]), name
        assert service["restart"] == "unless-stopped", name
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}, name
        if name != "questdb":  # the image starts as root and steps down itself
            assert service["read_only"] and service["cap_drop"] == ["ALL"], name
            assert service["security_opt"] == ["no-new-privileges:true"], name
    for name in ("questdb", "collector", "grafana"):
        assert services[name]["healthcheck"]["test"][0] == "CMD"


def test_secrets_come_from_files_and_readers_only_read(services: dict[str, dict[str, Any]]) -> None:
    secrets = yaml.safe_load(FILE.read_text())["secrets"]
    assert all(set(secret) == {"file"} for secret in secrets.values())
    for name, service in services.items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|TOKEN|SECRET", variable):
                assert variable.endswith(("_FILE", "__FILE")) and value.startswith("/run/secrets/"), name
                used = {one if isinstance(one, str) else one["target"] for one in service["secrets"]}
                assert value.removeprefix("/run/secrets/") in used, (name, variable)
    assert services["grafana"]["environment"]["EVENKEEL_GRAFANA_QUESTDB_USER"] == "reader"
    for name in ("analyzer", "dashboard"):
        assert services[name]["environment"]["EVENKEEL_QUESTDB_READER"] == "reader"


def test_questdb_is_set_up_as_the_managed_one(services: dict[str, dict[str, Any]]) -> None:
    ours = {str(key): str(value) for key, value in services["questdb"]["environment"].items()}
    for key, value in settings(QuestDBConfig(), 9000, 8812).items():
        if key not in ("QDB_HTTP_BIND_TO", "QDB_PG_NET_BIND_TO", "QDB_PG_USER", "QDB_PG_PASSWORD"):
            assert ours[key] == value, key


def test_images_are_named_with_their_version_and_ours_is_not_root(
    services: dict[str, dict[str, Any]],
) -> None:
    for service in services.values():
        assert re.search(r":(\d+\.\d+\.\d+|local)$", service["image"]), service["image"]
    recipe = (ROOT / "ops/Containerfile").read_text()
    stages = recipe.split("FROM ")[1:]
    assert len(stages) == 2 and "-slim" in stages[1]
    assert re.search(r"^USER 10001$", stages[1], re.M)
    assert not re.search(r"^(COPY|ADD) \. ", recipe, re.M)
