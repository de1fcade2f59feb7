"""JupyterLab for the course: on this machine only, without news from the network, without side panels for instructors.

Used by ``make lab``, and by hand with ``jupyter lab --config jupyter/jupyter_lab_config.py``.
"""

import json
import os
import sys
from pathlib import Path

from jupyterlab_server.workspaces_handler import WorkspacesManager

from course_utils import settings

here = Path(__file__).resolve().parent

c = get_config()  # noqa: F821  (Jupyter puts it there)
c.ServerApp.ip = "127.0.0.1"
c.ServerApp.root_dir = str(here.parent)
c.LabApp.app_settings_dir = str(here / "settings")
c.LabApp.extension_manager = "readonly"
c.LabApp.news_url = None
c.LabApp.custom_css = True  # custom/custom.css
c.ServerApp.tornado_settings = {"static_custom_path": [str(here / "custom")]}

# The course keeps an arrangement of windows of its own. At first the list of files is folded away (the folder at the
# left edge brings it back), so that a line of 120 characters fits on a small screen.
arrangement = settings.home() / "jupyterlab"
c.LabApp.workspaces_dir = str(arrangement)
if not any(arrangement.glob("default*")):
    layout = {"left": {"collapsed": True, "visible": True}, "right": {"collapsed": True, "visible": True}}
    data = {"layout-restorer:data": {**layout, "relativeSizes": [0, 1, 0]}}
    try:
        arrangement.mkdir(parents=True, exist_ok=True)
        WorkspacesManager(str(arrangement)).save("default", json.dumps({"data": data, "metadata": {"id": "default"}}))
    except OSError:
        pass  # a folder that cannot be written: the list of files stays open

# `course` and `python` in Lab's own terminal are those of this environment. A login shell would set PATH anew.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
if os.name != "nt":
    c.ServerApp.terminado_settings = {"shell_command": [os.environ.get("SHELL") or "/bin/sh"]}
