"""One module per chapter, ``chNN``, with the checks of its exercises. They are loaded when an exercise asks."""
