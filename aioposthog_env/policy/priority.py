"""What bulk calls leave to interactive ones. Pure.

A bulk run takes all that a window has, often within seconds, and then nothing comes back for most of the window; with the
hour's log full, for up to fifty minutes. A call that somebody waits for would wait as long. So interactive calls go before
bulk ones in the queue, and bulk calls leave a few slots of each window free.

How many follows what was seen. Of each window's own length: as many as it has seen interactive calls, up to 1 % of it; more
only where more were seen, and then a quarter of them, since the slots of the calls seen come back just when the next of
their kind need them. Nothing is kept free where no interactive call was seen, so a bulk run alone loses nothing. Who knows
that such calls will come may ask for a part that is always free.
"""

import math
from typing import Final, Literal, TypeAlias

Priority: TypeAlias = Literal["interactive", "bulk"]
"""``interactive``: somebody waits for this one call. ``bulk``: one of many, which take what is left."""

FLOOR: Final = 100
"""One part in so many is kept free once as many interactive calls were seen."""
PART: Final = 4
"""One slot is kept free for so many interactive calls seen."""


def kept_free(seen: int, most: int, always: float = 0.0) -> int:
    """How many slots of a window bulk calls leave free, at most half of them.

    Args:
        seen: Interactive calls that the window holds.
        most: How many calls it may hold.
        always: The part that is kept free whatever was seen, from 0 to 0.5.
    """
    wanted = max(min(seen, math.ceil(most / FLOOR)), math.ceil(seen / PART), math.ceil(most * always))
    return min(wanted, most // 2)
