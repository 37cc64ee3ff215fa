"""What bulk calls leave to interactive ones. Pure.

A bulk run takes all that a window has, often within seconds, and then nothing comes back for most of the window; with the
hour's log full, for up to fifty minutes. A call that somebody waits for would wait as long. So interactive calls go before
bulk ones in the queue, and bulk calls leave some slots of each window free.

How many follows what the window has seen. If interactive calls go on at the pace of its last quarter, the next window holds
four times as many as that quarter did; those that it holds already come back by then, so the rest is kept free. On top of that
comes a quarter of what it holds, or as many as it holds up to 1 % of the limit, since people come in bursts. Where no
interactive call was seen nothing is kept free, so a bulk run alone loses nothing. Who knows that such calls will come may ask
for a part that is always free.
"""

import math
from typing import Final, Literal, TypeAlias

Priority: TypeAlias = Literal["interactive", "bulk"]
"""``interactive``: somebody waits for this one call. ``bulk``: one of many, which take what is left."""

FLOOR: Final = 100
"""One part in so many is kept free once as many interactive calls were seen."""
PART: Final = 4
"""The pace is that of one part in so many of the window."""


def kept_free(seen: int, recent: int, most: int, always: float = 0.0) -> int:
    """How many slots of a window bulk calls leave free, at most half of them.

    Args:
        seen: Interactive calls that the window holds.
        recent: How many of them are of its last quarter.
        most: How many calls the window may hold.
        always: The part that is kept free whatever was seen, from 0 to 0.5.
    """
    coming = max(0, PART * recent - seen)
    spare = max(min(seen, math.ceil(most / FLOOR)), math.ceil(seen / PART))
    return min(max(coming + spare, math.ceil(most * always)), most // 2)
