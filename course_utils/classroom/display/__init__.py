"""What the classroom shows: cards, plots, tokens, diagrams, pictures, the memory calculator."""
