"""What a learner leaves behind: claims, progress, ratings."""
