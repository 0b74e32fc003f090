"""The Containerfile that `rollout export` writes builds, and its image does what the manifests ask of it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from dhash_service.checks.drawing import picture
from tests.dhash_service.store.databases import fresh_database, postgres_server
from tests.guarded_rollout.imagekit import Images, Pod, images, unable
from tests.guarded_rollout.sandbox import ROOT, SOURCE, free_port, wait_until
from tests.guarded_rollout.test_export_cluster import IMAGE, Json, documents, exported
from tests.leftovers import owned_folder

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(unable()), reason=unable()),
]
SOCKET = {"name": "socket", "mountPath": "/tmp/pg/.s.PGSQL.5432"}
LOOK = """
import os, pathlib
def written(path):
    try:
        pathlib.Path(path, "new").write_text("x")
    except OSError as error:
        return os.strerror(error.errno)
    return "written"
names = "CapEff", "CapBnd", "NoNewPrivs"
rights = [line.split()[1] for line in open("/proc/self/status") if line.startswith(names)]
print(os.getuid(), os.getgid(), *rights, sep=", ")
print(*map(written, ("/app", "/", "/tmp", "/data")), sep=", ")
"""


@pytest.fixture(scope="module")
def built() -> Iterator[Images]:
    """The image, built of what this repository has."""
    folder = owned_folder("ic")
    with images() as made:
        for name in (*SOURCE, ".dockerignore"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, folder / name)
        (folder / "Containerfile").write_text(exported("containerfile"))
        made.build(folder, IMAGE)
        shutil.rmtree(folder)
        yield made


@pytest.fixture(scope="module")
def root(built: Images) -> Path:
    """The image's files."""
    return built.file_system(IMAGE)


@pytest.fixture
def url() -> Iterator[str]:
    with postgres_server(durable=False) as server, fresh_database(server) as made:
        yield made


def test_the_image_is_a_user_s_without_rights_and_serves(built: Images, root: Path) -> None:
    told = built.configuration(IMAGE)
    assert told["User"] == "10001:10001"
    assert told["Entrypoint"] == ["/app/bin/dhash", "serve"]
    assert not list((root / "app/lib").glob("python*/site-packages/pip"))


def test_a_pod_backs_up_expands_serves_and_drains(root: Path, url: str, tmp_path: Path) -> None:
    port = free_port()
    given = ("--set", "DHASH_HOST=127.0.0.1", "--set", f"DHASH_PORT={port}")
    made = {each["kind"]: each for each in documents("kubernetes", *given)}

    def pod(name: str, kind: str) -> Pod:
        """With the database's socket, for it does not listen on the network."""
        spec = made[kind]["spec"]["template"]["spec"]
        for container in (*spec["containers"], *spec.get("initContainers", ())):
            container["volumeMounts"] = [*container["volumeMounts"], SOCKET]
        (place,) = parse_qs(urlsplit(url).query)["host"]
        secret = {"url": url.replace(place, "/tmp/pg")}
        volumes = {"socket": Path(place) / ".s.PGSQL.5432", "backups": backups}
        return Pod(name, tmp_path / name, root, spec, {"dhash-store": secret}, volumes)

    backups = tmp_path / "backups"
    backups.mkdir()
    backups.chmod(0o2775)
    shutil.chown(backups, 0, 10_001)
    # First there is no store yet; then the Job is run again for the same release.
    for name, files in (("a", []), ("b", ["b.snapshot"]), ("c", ["b.snapshot", "c.snapshot"])):
        job = pod(name, "Job")
        for container in (*job.spec["initContainers"], *job.spec["containers"]):
            done = job.run(container)
            assert done.returncode == 0, done.stderr
        assert sorted(each.name for each in backups.iterdir()) == files
    serving = pod("serving", "Deployment")
    (container,) = serving.spec["containers"]
    looked = serving.run(container, "/app/bin/python", "-c", LOOK).stdout.splitlines()
    assert looked == [
        "10001, 10001, 0000000000000000, 0000000000000000, 1",
        "Read-only file system, Read-only file system, written, written",
    ]
    with (
        serving.running(container, tmp_path / "log") as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        wait_until(lambda: process.poll() is not None or ready(client, container), 60, "the pod is ready")
        assert process.poll() is None, (tmp_path / "log").read_text()
        sent = client.post("/api/dhash", content=picture("one"), headers={"Content-Type": "image/png"}).json()
        found = client.get("/api/dhash/search", params={"hash": sent["hash"]}).json()
        assert [each["id"] for each in found["results"]] == [sent["id"]]
        assert client.get("/health").json()["release"] == "1.4.0"
        serving.end(container)
        assert process.wait(serving.spec["terminationGracePeriodSeconds"]) == 0


def ready(client: httpx.Client, container: Json) -> bool:
    """What the startup probe asks."""
    try:
        return client.get(container["startupProbe"]["httpGet"]["path"]).status_code == 200
    except httpx.TransportError:
        return False
