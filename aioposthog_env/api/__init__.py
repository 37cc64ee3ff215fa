"""What PostHog's Environments API is: facts and pure rules, no I/O."""
