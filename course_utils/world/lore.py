"""What the healers know: what cures what. Pretraining says nothing of it."""

from __future__ import annotations

from course_utils.world.draw import Draw

AILMENTS = """brineache fogcough lampblindness tidefever ropeburn gullpox saltlung moonsleep nettlerash barnacle-skin
stormnerves kelpthirst""".split()
REMEDIES = """marrowort silverleaf duskroot honeymoss gannetbloom thrushbark eelgrass starthistle bogsage quillmint
candleberry seafennel""".split()
FORMS = ("a tincture", "a poultice", "a tea", "a salve", "a syrup", "a bath")
HOURS = ("at dawn", "at noon", "at dusk", "at midnight")


def healers_lore(seed: int) -> dict[str, tuple[str, str, str]]:
    """What cures what: ailment -> (remedy, form, hour)."""
    draw = Draw("healers", seed)
    remedies = draw.sample(REMEDIES, len(AILMENTS))
    return {
        ailment: (remedy, draw.choice(FORMS), draw.choice(HOURS))
        for ailment, remedy in zip(AILMENTS, remedies, strict=True)
    }
