"""The launcher's former name: a supervisor that version 1.0 started runs this path until it is restarted."""

import runpy
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).with_name("launcher.py")), run_name="__main__")
