"""JupyterLab for the course: on this machine only, without news from the network, without side panels for instructors.

Used by ``make lab``, and by hand with ``jupyter lab --config jupyter/jupyter_lab_config.py``.
"""

import os
import sys
from pathlib import Path

here = Path(__file__).resolve().parent

c = get_config()  # noqa: F821  (Jupyter puts it there)
c.ServerApp.ip = "127.0.0.1"
c.ServerApp.root_dir = str(here.parent)
c.LabApp.app_settings_dir = str(here / "settings")
c.LabApp.extension_manager = "readonly"
c.LabApp.news_url = None

# `course` and `python` in Lab's own terminal are those of this environment. A login shell would set PATH anew.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
if os.name != "nt":
    c.ServerApp.terminado_settings = {"shell_command": [os.environ.get("SHELL") or "/bin/sh"]}
