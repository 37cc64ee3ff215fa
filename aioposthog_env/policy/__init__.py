"""When to wait, repeat and give up: pure rules that take ``now`` and ``rng`` as arguments."""
