"""JupyterHub for a class on one machine, reached on 127.0.0.1 alone; docs/instructors.md says how it is used.

    jupyterhub -f jupyter/hub/jupyterhub_config.py

COURSE_HUB_FOLDER    where learners' folders, passwords and the Hub's own files lie; ~/llm-course-hub
COURSE_HUB_LEARNERS  how many may be in at once; 8
COURSE_HUB_MEMORY    GiB that a process of a learner may fill; 4
COURSE_HUB_IDLE      seconds after which an idle server is stopped; 3600
COURSE_HUB_PORT      where the Hub is reached; 8000. The two ports after it are used as well

All learners' processes run as whoever starts the Hub: each has a folder and a password, but one who means harm can
reach the others' files. Strangers belong on a cluster (values.yaml), where each has a container.
"""

import os
import shutil
import sys
from hmac import compare_digest
from pathlib import Path

from jupyterhub.auth import Authenticator
from jupyterhub.spawner import SimpleLocalProcessSpawner

COURSE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(COURSE))

from course_utils.machine import cores, memory_gib  # noqa: E402
from course_utils.workshop import hub  # noqa: E402


def number(name: str, otherwise: float) -> float:
    text = os.environ.get(name) or str(otherwise)
    try:
        return float(text)
    except ValueError:
        sys.exit(f"error: {name} is {text!r}; expected a number, such as {name}={otherwise:g}")


folder = Path(os.environ.get("COURSE_HUB_FOLDER") or "~/llm-course-hub").expanduser().absolute()
learners, port = int(number("COURSE_HUB_LEARNERS", 8)), int(number("COURSE_HUB_PORT", 8000))
try:
    if warning := hub.check_memory(learners, memory_gib()):
        print(f"note: {warning}", file=sys.stderr)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    sheet = hub.learners_sheet(folder, learners)
    hub.passwords(sheet)
except (hub.HubError, OSError) as error:
    sys.exit(f"error: {error}")
if shutil.which("configurable-http-proxy") is None:
    sys.exit("error: configurable-http-proxy is not found: npm install -g configurable-http-proxy@5.1.0")


class Sheet(Authenticator):
    """Names and passwords from the table; a line that is added there counts from the next login on."""

    async def authenticate(self, handler, data):
        wanted = hub.passwords(sheet).get(data["username"].strip().lower())
        given = data["password"].encode()
        return data["username"] if wanted is not None and compare_digest(wanted.encode(), given) else None


class OwnCourse(SimpleLocalProcessSpawner):
    """A server in the learner's own copy of the course; its processes cannot fill the machine's memory."""

    async def start(self):
        self.notebook_dir = str(hub.settle(folder, self.user.name, COURSE))
        settings = Path(self.notebook_dir, "jupyter", "jupyter_lab_config.py")
        self.args = [f"--config={settings}", *(["--allow-root"] if os.geteuid() == 0 else [])]
        return await super().start()

    def get_env(self):
        mine = folder / "learners" / self.user.name / "course"
        return super().get_env() | hub.environment(mine, hub.threads(learners, cores()))

    def make_preexec_fn(self, name):
        at_home, most = super().make_preexec_fn(name), self.mem_limit

        def begin():
            import resource

            at_home()
            resource.setrlimit(resource.RLIMIT_DATA, (most, most))

        return begin


c = get_config()  # noqa: F821  (JupyterHub puts it there)
c.JupyterHub.bind_url = f"http://127.0.0.1:{port}"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{port + 1}"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{port + 2}"
c.ConfigurableHTTPProxy.pid_file = str(folder / "proxy.pid")
c.JupyterHub.db_url = f"sqlite:///{folder / 'hub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(folder / "cookie_secret")
c.JupyterHub.authenticator_class = Sheet
c.Sheet.allow_all = True  # whoever is in the table
c.JupyterHub.spawner_class = OwnCourse
c.JupyterHub.active_server_limit = (
    learners  # one more is asked to try again, and nobody's kernel dies for want of memory
)
c.JupyterHub.cleanup_servers = True
c.Spawner.cmd = [sys.executable, "-m", "jupyterhub.singleuser"]
c.Spawner.mem_limit = f"{number('COURSE_HUB_MEMORY', 4):g}G"
c.Spawner.start_timeout = c.Spawner.http_timeout = 600  # a whole class starts at once
c.Spawner.default_url = "/lab/tree/notebooks/00_start_here.ipynb"
c.OwnCourse.home_dir_template = str(folder / "learners" / "{username}")
idle = number("COURSE_HUB_IDLE", 3600)
heard = str(max(1, int(min(300, idle / 6))))  # seconds between two reports of who is at work; late ones would be culled
c.JupyterHub.last_activity_interval = int(heard)
c.Spawner.environment = {"JUPYTERHUB_ACTIVITY_INTERVAL": heard}
command = [sys.executable, "-m", "jupyterhub_idle_culler", f"--timeout={idle:g}"]
c.JupyterHub.services = [{"name": "culler", "command": command}]
scopes = ["list:users", "read:users:activity", "read:servers", "delete:servers"]
c.JupyterHub.load_roles = [{"name": "culler", "scopes": scopes, "services": ["culler"]}]
print(f"Names and passwords: {sheet}\nThe class: http://127.0.0.1:{port}", file=sys.stderr)
