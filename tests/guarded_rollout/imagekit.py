"""Container images built and run without a registry or a daemon: buildah, runc, this machine's own Python."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.leftovers import owned_folder

Json = dict[str, Any]
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
BASE = f"{PYTHON.replace('python', 'python:')}-slim"
NOT_IN_THE_BASE = ("test", "__pycache__", "site-packages", "idlelib", "tkinter", "config-*", "_tkinter*")
OF_WHEELS = ("libgcc_s", "libstdc++", "libpthread", "libdl", "librt", "libutil", "libresolv", "libnss_dns")
"""What manylinux lets a wheel expect beside libc and libm, and what libc loads to ask for names."""


def unable() -> str:
    """Say why this machine cannot build and run images; empty if it can."""
    if os.geteuid() != 0:
        return "a container with a user of its own needs root"
    if lacking := [name for name in ("buildah", "runc") if shutil.which(name) is None]:
        return f"{' and '.join(lacking)} (Debian's packages) are not installed"
    tried = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "true"]
    given = subprocess.run(tried, capture_output=True, check=False).returncode == 0
    return "" if given else "root gets no namespaces of its own here"


@dataclass(frozen=True)
class Images:
    """An own storage of images, below a folder."""

    folder: Path

    def buildah(self, *words: str | Path) -> str:
        """What it printed; it must succeed."""
        store = ["--root", self.folder / "store", "--runroot", self.folder / "run", "--storage-driver", "vfs"]
        done = subprocess.run(
            [str(word) for word in ("buildah", *store, *words)], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        return done.stdout.strip()

    def take_in(self, tree: Path, name: str) -> None:
        """Make an image of a file system."""
        container = self.buildah("from", "scratch")
        self.buildah("copy", "--quiet", container, tree, "/")
        self.buildah("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin", container)
        self.buildah("commit", "--quiet", "--rm", container, name)

    def build(self, context: Path, name: str) -> None:
        """Build a folder's Containerfile; pip is configured as it is here."""
        given = [path for path in ("/etc/ssl/certs", "/etc/pip.conf") if Path(path).exists()]
        volumes = [f"--volume={path}:{path}:ro" for path in given]
        self.buildah("build", "--isolation", "chroot", "--pull=never", *volumes, "--tag", name, context)

    def file_system(self, name: str) -> Path:
        """Where the image's files lie, for containers that may not write there."""
        return Path(self.buildah("mount", self.buildah("from", "--pull=never", name)))

    def configuration(self, name: str) -> Json:
        found: Json = json.loads(self.buildah("inspect", "--type", "image", name))["OCIv1"]["config"]
        return found


@contextmanager
def images() -> Iterator[Images]:
    """No image but one of the name that Containerfiles begin from."""
    made = Images(owned_folder("im"))
    try:
        lay_base(made.folder / "base")
        made.take_in(made.folder / "base", BASE)
        shutil.rmtree(made.folder / "base")
        yield made
    finally:
        shutil.rmtree(made.folder, ignore_errors=True)


def lay_base(root: Path) -> None:
    """This machine's Python, a shell, and the libraries that they load: less than `python:…-slim` has."""
    local, home = root / "usr/local", Path(sys.base_prefix)
    (local / "bin").mkdir(parents=True)
    shutil.copy2(home / "bin" / PYTHON, local / "bin" / PYTHON)
    for name in ("python", "python3"):
        (local / "bin" / name).symlink_to(PYTHON)
    ignored = shutil.ignore_patterns(*NOT_IN_THE_BASE)
    shutil.copytree(home / "lib" / PYTHON, local / "lib" / PYTHON, ignore=ignored)
    for folder in (
        "bin",
        "etc",
        "root",
        "proc",
        "dev",
        "sys",
        "run",
        "tmp",
        f"usr/local/lib/{PYTHON}/site-packages",
    ):
        (root / folder).mkdir()
    (root / "tmp").chmod(0o1777)
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    shutil.copy2("/bin/sh", root / "bin/sh")
    loaded = [home / "bin" / PYTHON, Path("/bin/sh"), *(local / "lib" / PYTHON / "lib-dynload").glob("*.so")]
    for library in {*of_wheels(), *(each for file in loaded for each in libraries(file))}:
        at = root / ("usr/lib" if home in library.parents else str(library.parent).lstrip("/"))
        at.mkdir(parents=True, exist_ok=True)
        shutil.copy2(library, at / library.name)
    subprocess.run(
        ["chroot", root, "/usr/local/bin/python", "-m", "ensurepip"], check=True, capture_output=True
    )


def libraries(file: Path) -> list[Path]:
    """What the dynamic linker would load for it, itself included."""
    told = subprocess.run(["ldd", file], capture_output=True, text=True, check=True).stdout
    return [Path(word) for word in told.split() if word.startswith("/") and Path(word).exists()]


def of_wheels() -> list[Path]:
    told = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    words = [line.split() for line in told.splitlines() if "x86-64" in line]
    return [Path(line[-1]) for line in words if line[0].partition(".so")[0] in OF_WHEELS]


@dataclass(frozen=True)
class Pod:
    """A pod's spec, run as a kubelet would: the same user, rights, environment and mounts.

    The network is this machine's. `secrets` are by name and key, `volumes` those that are not scratch.
    """

    name: str
    folder: Path
    root: Path
    spec: Json
    secrets: Mapping[str, Mapping[str, str]]
    volumes: Mapping[str, Path]

    def run(self, container: Json, *words: str) -> subprocess.CompletedProcess[str]:
        """A container of it to its end, with other words than its command if there are any."""
        command = self._runc(container, words)
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    @contextmanager
    def running(self, container: Json, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
        """A container of it until the block ends."""
        with log.open("wb") as output:
            process = subprocess.Popen(self._runc(container, ()), stdout=output, stderr=output)
        try:
            yield process
        finally:
            subprocess.run(
                [*self._program, "delete", "--force", container["name"]], capture_output=True, check=False
            )
            process.wait(30)

    def end(self, container: Json) -> None:
        """SIGTERM, as a kubelet sends it."""
        subprocess.run([*self._program, "kill", container["name"], "TERM"], check=True, capture_output=True)

    @property
    def _program(self) -> list[str]:
        return ["runc", f"--root={self.folder / 'runc'}"]

    def _runc(self, container: Json, words: Sequence[str]) -> list[str]:
        bundle = self.folder / f"bundle-{container['name']}"
        bundle.mkdir(parents=True, exist_ok=True)
        written = bundle / "config.json"
        written.unlink(missing_ok=True)
        subprocess.run(["runc", "spec", f"--bundle={bundle}"], check=True)
        written.write_text(json.dumps(self._configured(json.loads(written.read_text()), container, words)))
        return [*self._program, "run", f"--bundle={bundle}", container["name"]]

    def _configured(self, base: Json, container: Json, words: Sequence[str]) -> Json:
        own, pods = container["securityContext"], self.spec["securityContext"]
        assert own["capabilities"] == {"drop": ["ALL"]}
        variables = {each["name"]: self._variable(each) for each in container["env"]}
        process = base["process"] | {
            "terminal": False,
            "user": {
                "uid": pods["runAsUser"],
                "gid": pods["runAsGroup"],
                "additionalGids": [pods["fsGroup"]],
            },
            "args": [filled(word, variables) for word in words or container["command"]],
            "env": ["PATH=/usr/bin:/bin", *(f"{name}={value}" for name, value in variables.items())],
            "capabilities": {},
            "noNewPrivileges": not own["allowPrivilegeEscalation"],
        }
        linux = base["linux"]
        linux["namespaces"] = [each for each in linux["namespaces"] if each["type"] != "network"]
        mounts = [each for each in base["mounts"] if each["type"] not in ("cgroup", "sysfs")]
        return base | {
            "process": process,
            "root": {"path": str(self.root), "readonly": own["readOnlyRootFilesystem"]},
            "mounts": [*mounts, *map(self._mount, container["volumeMounts"])],
            "linux": linux,
        }

    def _variable(self, given: Json) -> str:
        if "value" in given:
            return str(given["value"])
        if "fieldRef" in given["valueFrom"]:
            assert given["valueFrom"]["fieldRef"] == {"fieldPath": "metadata.name"}
            return self.name
        reference = given["valueFrom"]["secretKeyRef"]
        return self.secrets[reference["name"]][reference["key"]]

    def _mount(self, given: Json) -> Json:
        """A kubelet gives an emptyDir, and a folder below it, to the pod's group."""
        at = self.volumes.get(given["name"])
        if at is None:
            at = self.folder / given["name"] / given.get("subPath", "")
            at.mkdir(parents=True, exist_ok=True)
            os.chown(at, 0, self.spec["securityContext"]["fsGroup"])
            at.chmod(0o2775)
        return {
            "type": "bind",
            "source": str(at),
            "destination": given["mountPath"],
            "options": ["rbind", "rw"],
        }


def filled(word: str, variables: Mapping[str, str]) -> str:
    """A word of a command with what `$(NAME)` stands for."""
    for name, value in variables.items():
        word = word.replace(f"$({name})", value)
    return word
