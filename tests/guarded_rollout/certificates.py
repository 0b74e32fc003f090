"""A certificate authority of one's own, by openssl."""

import subprocess
from pathlib import Path

KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
SIGNING = """
[ca]
default_ca = here
[here]
new_certs_dir = {folder}
database = {folder}/index.txt
rand_serial = yes
default_md = sha256
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
"""


class Authority:
    """A CA in a folder; `root` is what those who trust it have."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.root, self._key = folder, folder / "root.pem", folder / "root.key"
        (folder / "index.txt").touch()
        (folder / "ca.cnf").write_text(SIGNING.format(folder=folder))
        _openssl(
            *("req", "-x509", *KEY, "-subj", "/CN=A CA of tests", "-days", "30"),
            *("-keyout", self._key, "-out", self.root),
        )

    def issue(self, domain: str, *, begins: str = "20200101000000Z", ends: str = "20600101000000Z") -> Path:
        """A folder with `file.pem` and `key.pem` for a domain; the same one each time, written anew."""
        made = self.folder / domain
        made.mkdir(exist_ok=True)
        asked = made / "asked.pem"
        names = ("-subj", f"/CN={domain}", "-addext", f"subjectAltName=DNS:{domain}")
        _openssl("req", "-new", *KEY, *names, "-keyout", made / "key.pem", "-out", asked)
        _openssl(
            *("ca", "-batch", "-notext", "-config", self.folder / "ca.cnf", "-in", asked),
            *("-cert", self.root, "-keyfile", self._key, "-out", made / "file.pem"),
            *("-startdate", begins, "-enddate", ends),
        )
        return made


def _openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
