"""What became of a write whose answer was lost, and which must not be repeated.

PostHog has no idempotency keys, so a lost answer can only be resolved by looking at the environment. This version does
not look: it says what is known, and leaves the environment alone.
"""

from typing import Final

from aioposthog_env.errors import OutcomeUnknownError
from aioposthog_env.policy.delivery import Failed, Lost

_WHERE_TO_LOOK: Final = {
    "create": "list the environments and look for the name",
    "rotate_secret_token": "retrieve the environment: after one rotation the backup is the old secret",
    "reset_token": "retrieve the environment and compare its project token",
    "generate_conversations_public_token": "retrieve the environment and compare the token among its conversations settings",
    "add_product_intent": "retrieve the environment and look at its product intents",
    "complete_product_onboarding": "retrieve the environment and look at its product intents",
}


def outcome_unknown(endpoint: str, delivery: Lost | Failed) -> OutcomeUnknownError:
    """The error for a call that may have taken effect."""
    if isinstance(delivery, Failed):
        seen = f"the answer was status {delivery.reply.status}"
    else:
        seen = f"the answer was lost: {delivery.reason}"
    look = _WHERE_TO_LOOK.get(endpoint, "retrieve the environment")
    return OutcomeUnknownError(
        f"It may or may not have happened ({seen}). It was not sent again, because happening twice does harm. Before you "
        f"repeat it, {look}.",
        observations=(seen,),
    )
