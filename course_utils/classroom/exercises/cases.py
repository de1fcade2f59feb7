"""An exercise checked by cases: the answer must agree with the reference on each, and known bugs are told by name.

    loss = Exercise("12.4", title=..., reference=policy_loss, cases=[Case(...), ...], hints=[...], ...)

    @loss.bug("The minus is missing: an optimizer minimizes.")
    def without_minus(logprobs, old_logprobs, advantages, mask, clip):
        return -policy_loss(logprobs, old_logprobs, advantages, mask, clip)

    @loss.also
    def gradients(candidate): ...

A bug is code with its sentence, written once. The check runs it beside the answer to find out what went wrong, and the
tests put it in the learner's place and ask for that very sentence.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from course_utils.classroom.exercises import expect, registry
from course_utils.classroom.exercises.expect import Mistake

Function = Callable[..., Any]


class Case:
    """The arguments of one call, and what a card calls them.

    ``note``: said in place of the arguments where they are too large to show. ``message``: said for an answer that
    fails here first and is no known bug.
    """

    def __init__(self, *args: Any, note: str = "", message: str = "", **kwargs: Any) -> None:
        self.args, self.kwargs, self.note, self.message = args, kwargs, note, message

    def call(self, function: Function) -> Any:
        """``function`` with copies of the arguments: what it does to them cannot reach the next call."""
        return function(*copy.deepcopy(self.args), **copy.deepcopy(self.kwargs))

    def given(self, names: Sequence[str]) -> Any:
        """What the card shows as given."""
        return self.note or {**dict(zip(names, self.args, strict=False)), **self.kwargs}


@dataclass(frozen=True)
class Bug:
    """A wrong answer that the check knows. ``sentence`` is what the card says to whoever writes it."""

    function: Any
    sentence: str


class Comparison:
    """A check that compares an answer with the reference on cases, and knows bugs by name.

    cases: from the smallest to the largest, or a function that makes them. general: said where the answer differs and
    is no known bug. rtol, atol: for floats and floating tensors; both 0 asks for equality, with dtype. observe: where
    the answer's value alone does not show enough, ``observe(answer, *arguments of the case)`` calls it and returns
    what is compared (its gradient too, say), or raises a Mistake.
    """

    def __init__(
        self,
        *,
        cases: Sequence[Case] | Callable[[], Sequence[Case]],
        general: str,
        rtol: float = 1e-4,
        atol: float = 1e-6,
        observe: Function | None = None,
    ) -> None:
        self.general, self.rtol, self.atol = general, rtol, atol
        self._observe = observe
        self.bugs: list[Bug] = []
        self._cases = cases
        self._before: list[Function] = []
        self._also: list[Function] = []

    @property
    def reference(self) -> Any:
        """The reference object."""
        raise NotImplementedError

    @property
    def cases(self) -> Sequence[Case]:
        """The cases, made when first needed."""
        if callable(self._cases):
            self._cases = self._cases()
        return self._cases

    def bug(self, sentence: str) -> Callable[[Any], Any]:
        """Decorator: the function (or class) below is a wrong answer, and ``sentence`` is what its card must say."""

        def add(function: Any) -> Any:
            self.bugs.append(Bug(function, sentence))
            return function

        return add

    def first(self, requirement: Function) -> Function:
        """Decorator: ``requirement(candidate)`` raises a Mistake for what must be known before values are compared."""
        self._before.append(requirement)
        return requirement

    def also(self, requirement: Function) -> Function:
        """Decorator: ``requirement(candidate)`` raises a Mistake for what no comparison of values shows."""
        self._also.append(requirement)
        return requirement

    def check(self, candidate: Any) -> None:
        """Raise a Mistake that names what is wrong with ``candidate``, or return."""
        for requirement in self._before:
            requirement(candidate)
        names = registry.parameters(self.reference)
        right: list[Any] = []
        for case in self.cases:
            wanted, found = self._seen(self.reference, case), self._seen(candidate, case)
            if expect.matches(found, wanted, self.rtol, self.atol):
                right.append(wanted)
                continue
            sentence = self._sentence(candidate, right, found, wanted)
            if sentence:
                raise Mistake(sentence, given=case.given(names), expected=wanted, yours=found)
            self._compare(found, wanted, case.message or self.general, case.given(names))
        for requirement in self._also:
            requirement(candidate)

    def _seen(self, function: Function, case: Case) -> Any:
        """What ``function`` shows on a case: what it returns, or what ``observe`` makes of it."""
        return case.call(partial(self._observe, function) if self._observe else function)

    def _result(self, function: Function, case: Case) -> tuple[Any] | None:
        """(what the function shows,), or None if it raises."""
        try:
            return (self._seen(function, case),)
        except Exception:
            return None

    def _sentence(self, candidate: Any, right: Sequence[Any], found: Any, wanted: Any) -> str:
        """The sentence of the bug that answers as the candidate does: ``right`` on the cases before, and ``found`` on
        the next, where ``wanted`` is right. Of several, of the one most like it."""
        number = len(right)
        alike = [
            bug
            for bug in self.bugs
            if self._gives(bug, number, found)
            and not self._gives(bug, number, wanted)
            and all(self._gives(bug, before, value) for before, value in enumerate(right))
        ]
        if len(alike) > 1:
            others = [case for place, case in enumerate(self.cases) if place != number]
            theirs = [self._result(candidate, case) for case in others]
            alike.sort(key=lambda bug: -self._agreement(bug, others, theirs))  # stable: the first of equals stays first
        return alike[0].sentence if alike else ""

    def _gives(self, bug: Bug, number: int, value: Any) -> bool:
        """Whether the bug answers ``value`` on that case."""
        result = self._result(bug.function, self.cases[number])
        return result is not None and expect.matches(value, result[0], self.rtol, self.atol)

    def _agreement(self, bug: Bug, cases: Iterable[Case], theirs: Iterable[tuple[Any] | None]) -> int:
        pairs = ((self._result(bug.function, case), result) for case, result in zip(cases, theirs, strict=True))
        return sum(
            a is b if a is None or b is None else expect.matches(a[0], b[0], self.rtol, self.atol) for a, b in pairs
        )

    def _compare(self, found: Any, wanted: Any, message: str, given: Any) -> None:
        """Raise the Mistake of a plain comparison: kind, shape, dtype, then values."""
        if self.rtol or self.atol:
            if expect.is_tensor(wanted) or isinstance(wanted, float):
                expect.close(found, wanted, message, given=given, rtol=self.rtol, atol=self.atol)
        else:
            expect.equal(found, wanted, message, given=given)
        raise Mistake(message, given=given, expected=wanted, yours=found)


class Exercise(Comparison):
    """One exercise of a chapter. ``cases``, ``general``, ``rtol``, ``atol``, ``observe``: as ``Comparison`` takes them.

    The other arguments are those of ``registry.check``. Raises ExerciseError as that does.
    """

    def __init__(
        self,
        id: str,
        *,
        reference: str | Function,
        cases: Sequence[Case] | Callable[[], Sequence[Case]],
        general: str,
        rtol: float = 1e-4,
        atol: float = 1e-6,
        observe: Function | None = None,
        **described: Any,
    ) -> None:
        super().__init__(cases=cases, general=general, rtol=rtol, atol=atol, observe=observe)
        self.id = id

        def run(candidate: Any) -> None:
            self.check(candidate)

        run.__module__, run.__qualname__ = __name__, f"Exercise({id!r})"
        registry.check(id, reference=reference, bugs=self.bugs, **described)(run)

    @property
    def reference(self) -> Any:
        """The reference object."""
        return registry.find(self.id).reference
