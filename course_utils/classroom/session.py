"""Open a chapter: seed everything, quiet the libraries, choose the device, and say what this run is."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from course_utils import chapters, settings
from course_utils.classroom.display import cards
from course_utils.classroom.exercises import registry
from course_utils.classroom.records import claims
from course_utils.language import chosen, say, say_count
from course_utils.machine import cores, gpu_name

if TYPE_CHECKING:
    from course_utils.pretrained.store import Loaded
    from course_utils.world import World

T = TypeVar("T")

_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
_QUIET = {
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "BITSANDBYTES_NOWELCOME": "1",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "WANDB_MODE": "disabled",
}

_CHATTER = (
    "matplotlib.font_manager",  # "building the font cache", on the first plot
    "bitsandbytes",  # peft and the trainers of transformers import it; it tells of kernels that nobody needs
)


@dataclass(frozen=True)
class Run:
    """One open chapter. chapter: two digits; device: 'cpu', 'cuda' or 'mps'; seed: COURSE_SEED."""

    chapter: str
    profile: settings.Profile
    device: str
    seed: int
    cores: int

    def pick(self, *, smoke: T, laptop: T, gpu: T) -> T:
        """The value for the present profile, such as ``run.pick(smoke=5, laptop=300, gpu=2000)``."""
        return {"smoke": smoke, "laptop": laptop, "gpu": gpu}[self.profile.name]

    def load(self, name: str, *, decoder: bool = False, isles: bool = False) -> Any:
        """A finished model ('base', 'instruct', ...): the learner's own if there is one, else the shipped one.

        With another base two kinds of chapters may have to fall back on the course's own model, and say so in a note:
        one that takes our ``Decoder`` apart (``decoder``; a Llama of another base is read as one), and one that needs a
        model which knows the Isles (``isles``; the card of the learner's own 'instruct' tells).
        """
        from course_utils.pretrained import store

        loaded = store.load(name)
        if not os.environ.get("COURSE_BASE_MODEL"):
            return loaded
        reason = None
        if decoder:
            from course_utils.models.decoder import Decoder
            from course_utils.models.decoding import resolve

            loaded.model = resolve(loaded.model)
            if not isinstance(loaded.model, Decoder):
                reason = f"takes the course's own decoder apart, and your base is a {type(loaded.model).__name__}"
        if isles:
            card = loaded.card if name == "instruct" else store.load("instruct").card
            right = card.get("figures", {}).get("known_exact_match", 0.0)
            if right < 0.5:
                reason = (
                    f"needs a model that knows the Isles, and yours answers {right:.0%} of the questions about them"
                )
        if reason is None:
            return loaded
        cards.show(cards.Card("note", f"This chapter {reason}. So {name!r} is the course's own here."))
        return store.load(name, root=store.SHIPPED)

    def world(self, model: Loaded) -> World:
        """The world that a loaded model was trained on: as many people as its card says, or else the profile's."""
        from course_utils.world import World, WorldConfig

        people = model.card.get("recipe", {}).get("people", self.profile.people)
        return World(WorldConfig(people=people), seed=0)

    def keep(
        self,
        name: str,
        model: Any,
        tokenizer: Any,
        history: Any,
        figures: Mapping[str, float],
        *,
        switch: bool,
        curve: str = "loss",
        **recipe: Any,
    ) -> None:
        """Put a model that this chapter trained among the learner's own, if ``switch`` is on, and say so in words.

        From then on ``run.load(name)`` gives it, in every chapter. ``figures``: what was measured; ``recipe``: further
        facts of how it was made (``people``: of the world it knows). Where nobody sits at the notebook nothing is kept,
        unless COURSE_KEEP=1.
        """
        from course_utils.recipes import keep

        if not keep.wanted(switch, cards.has_person()):
            text = f"Not kept: later chapters use the {name!r} that they used before."
            note = "KEEP = True in this cell, and running it again, keeps it (COURSE_KEEP=1 does so in headless runs)."
            cards.show(cards.Card("note", text, note))
            return
        made = {"chapter": self.chapter, "steps": len(history), "people": self.profile.people, "seed": self.seed}
        folder = keep.keep(name, model, tokenizer, history, figures, made | recipe, curve)
        text = f"Kept: from now on every chapter uses your own {name!r}."
        back = f"The way back: delete the folder {folder}; then the course's own is used again."
        note = "Claims of later chapters were written for the course's own models, and may not hold with yours."
        cards.show(cards.Card("right", text, back, notes=[note]))


def start(chapter: str | int) -> Run:
    """Open a chapter and show its card. Everything random is seeded; nothing is downloaded or trained.

    Raises ChapterError for an unknown chapter and SettingsError for a bad setting, before anything is changed.
    """
    entry = chapters.chapter(chapter)
    profile, seed = settings.profile(), settings.seed()
    chosen()
    _quiet()
    device = settings.device()
    run = Run(entry.number, profile, device, seed, cores())
    cards.show(start_card(run, entry))  # at once: what follows imports torch and matplotlib, which takes seconds
    _seed(seed, run.cores)
    claims.restart_clock()
    from course_utils.classroom.display import plots

    plots.use_style()
    return run


def _quiet() -> None:
    """No connection unless COURSE_ONLINE=1, and no chatter of the libraries."""
    for name in _OFFLINE:
        if settings.online():
            os.environ.pop(name, None)
        else:
            os.environ[name] = "1"
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    offline = not settings.online()
    for module, name in (("huggingface_hub.constants", "HF_HUB_OFFLINE"), ("datasets.config", "HF_HUB_OFFLINE")):
        if module in sys.modules:  # they read the environment once, at import
            setattr(sys.modules[module], name, offline)
    if "transformers" in sys.modules:
        sys.modules["transformers"].utils.logging.set_verbosity_error()
    for chatter in _CHATTER:
        logging.getLogger(chatter).setLevel(logging.ERROR)
    for library in ("transformers", "huggingface_hub", "peft", "trl", "datasets", "torch", "accelerate"):
        warnings.filterwarnings("ignore", category=FutureWarning, module=library)
        warnings.filterwarnings("ignore", category=UserWarning, module=library)
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=library)


def _seed(seed: int, threads: int) -> None:
    import random

    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed % 2**32)  # noqa: NPY002  (libraries draw from the global generator)
    torch.manual_seed(seed)
    torch.set_num_threads(threads)


def start_card(run: Run, entry: chapters.Chapter) -> cards.Card:
    """The card that opens a chapter."""
    exercises = registry.minutes(entry.number)
    time = say("{minutes} min reading", minutes=entry.reading)
    if exercises:
        work = say_count(
            "{minutes} min for {n} exercise",
            "{minutes} min for {n} exercises",
            len(exercises),
            minutes=sum(exercises.values()),
        )
        time += f"  ·  {work}"
    time += f"  ·  {say('compute at most {minutes}', minutes=say(run.profile.minutes))}"
    machine = f"{run.device}  ·  {say_count('{n} core', '{n} cores', run.cores)}"
    if run.device != "cpu":
        machine = f"{gpu_name(run.device)}  ·  {say_count('{n} core', '{n} cores', run.cores)}"
    rows = [
        (say("profile"), f"{run.profile.name}  ·  {say('seed {seed}', seed=run.seed)}"),
        (say("machine"), machine),
        (say("model"), _model_line()),
        (say("time"), time),
        (say("network"), say("allowed (COURSE_ONLINE=1)") if settings.online() else say("not used")),
    ]
    return cards.Card("note", f"{entry.number}  {say(entry.title)}", rows=rows)


def _model_line() -> str:
    """Which model the chapters start from, told from the folders alone: nothing is loaded."""
    from course_utils.pretrained import store

    asked = os.environ.get("COURSE_BASE_MODEL")
    models = store.names()
    if asked:
        own = [name for name in models if models[name] == "yours"]
        made = say("from it: {names}", names=", ".join(own)) if own else say("nothing trained from it is kept yet")
        return f"{asked} (COURSE_BASE_MODEL)  ·  {made}"
    own, shipped = ([name for name in models if models[name] == whose] for whose in ("yours", "the course's"))
    parts = [say("yours: {names}", names=", ".join(own))] if own else []
    parts += [say("shipped: {names}", names=", ".join(shipped))] if shipped else []
    return "  ·  ".join(parts) or say("none yet")
