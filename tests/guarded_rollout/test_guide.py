import subprocess
from types import SimpleNamespace

from guarded_rollout.backup.guide import restore_guide


def test_the_guides_variables_are_taken_literally_by_the_shell(tmp_path):
    service = SimpleNamespace(
        variables={"ODD": 'a "b" `c` \\ $HOME {store}', "UDS": "{uds}"},
        commands={"serve": ("{bin}/dhash", "serve"), "store_merge": ("{bin}/dhash", "db", "merge", "--json")},
    )
    environment = SimpleNamespace(
        service=service, name="production", workers=1, checks=SimpleNamespace(drain_seconds=30)
    )
    release = SimpleNamespace(id="1.0.0-abc", artifact="w.whl")
    guide = restore_guide(SimpleNamespace(environment=environment), release)
    [export] = [line for line in guide.splitlines() if line.startswith("export ")]
    script = f'{export}\nprintf %s "$ODD"'
    said = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True).stdout
    assert said == f'a "b" `c` \\ $HOME sqlite:///{tmp_path}/store/restored.db'
    assert "    venv/bin/dhash db merge OTHER_FILE" in guide
