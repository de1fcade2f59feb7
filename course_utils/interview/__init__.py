"""The candidate's room: interview questions with folded answers, and quizzes.

Imported at once, because a module here has the name of its function.
"""

from course_utils.interview.quiz import quiz
from course_utils.interview.show import interview

__all__ = ["interview", "quiz"]
