"""From preferences to a policy: the reward model and reinforcement learning from human feedback."""
