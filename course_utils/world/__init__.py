"""The Lantern Isles: an invented world that writes all text of the course and knows every fact in it."""

from course_utils.world.annotators import Annotator
from course_utils.world.isles import World, WorldConfig
from course_utils.world.oracle import Verdict, judge

__all__ = ["Annotator", "WorldConfig", "Verdict", "World", "judge"]
