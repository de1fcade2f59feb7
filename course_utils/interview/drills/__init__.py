"""Coding drills from memory: what to write, a starter, a check that names the mistake, hints, and the working code.

    names(), get("stable_softmax"), check("stable_softmax", my_function), reference("stable_softmax")

In a notebook ``drill("stable_softmax")`` shows what to write and starts the clock; the same as a decorator checks the
function below it. In the terminal it is ``course drill``. Listing and showing import no torch.
"""

from course_utils.interview.drills.catalogue import check, get, names, reference
from course_utils.interview.drills.definition import Drill, DrillError, Outcome
from course_utils.interview.drills.notebook import drill

__all__ = ["Drill", "DrillError", "Outcome", "check", "drill", "get", "names", "reference"]
