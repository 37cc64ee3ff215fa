"""The rules of the shared limiter, as one script that Redis runs: what a process reports, and what it asks for.

The rules are those of ``policy.rate_limit`` and ``policy.priority``, line by line, since they must be decided where the state
is, in one step. A test plays the same operations to both and compares every answer. What is added is what several processes
need:

* **Members.** Each slot has a name that its process chose, ``p:client:number``, where ``p`` is ``i`` for interactive and ``b``
  for bulk. Who asks twice for a member has it once, and an answer that is told twice counts once. So a command whose reply was
  lost is sent again as it was.
* **The clock** is that of Redis, so that processes need not agree on the time. It is in microseconds.
* **Leases.** A slot in flight has a lease that its process renews. Where that process died, the slot counts as answered when
  the lease ends. If the process was only paused and its answer comes later, that answer counts once more: the request may
  have left after the lease.
* **The queue.** Waiting slots of all processes stand in one line, interactive ones first, each kind in order of arrival. A free
  slot is for who stands first, so a process gets as many as it finds in front of it, and those ahead of it keep theirs. As each
  process has at most so many tickets in the line, those that always wait get equal shares. Each is told when to come back.
  One that does not come, because it was killed or paused, loses its tickets shortly after that time.
* **The epoch.** The first to find no state makes a new one, with a random name. A process that has seen another name before
  knows that the data was lost: Redis was restarted without it, or emptied. Then nothing leaves for one shortest window,
  which gives all processes the time to say what they saw last, and the longer windows hold at least that much again.

Keys hold nothing but times and members, and expire when every window has passed. They share a hash tag, so that a cluster
holds them in one place.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import attrs
import msgspec

from aioposthog_env.policy.priority import FLOOR, PART
from aioposthog_env.policy.rate_limit import HELD, KEPT, PAUSE, STEP, RateLimit

MICROSECONDS: Final = 1e6
LUA: Final = """
local ask = cjson.decode(ARGV[1])
local STATE, FLYING, QUEUE, BACK = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local n = #ask.limits
local function log_key(i) return KEYS[4 + i] end
local function seen_key(i) return KEYS[4 + n + i] end
local function exact(x) return string.format('%.17g', x) end

local now = ask.now
if now == 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1e6 + tonumber(time[2])
end

local saved, flat = {}, redis.call('HGETALL', STATE)
for i = 1, #flat, 2 do saved[flat[i]] = flat[i + 1] end
local function number(name, otherwise) return tonumber(saved[name]) or otherwise end

local epoch, born = saved.epoch or ask.new_epoch, number('born', now)
local not_before, cut_at = number('not_before', -math.huge), number('cut_at', -math.huge)
local probe_from, won = number('probe_from', math.huge), number('won', 0)
local refusals, ticket = number('refusals', 0), number('ticket', 0)
local share = {}
for i, limit in ipairs(ask.limits) do share[i] = math.min(number('share' .. i, limit.count), limit.count) end
local in_flight = redis.call('ZCARD', FLYING)

local function used(i, at)
  redis.call('ZREMRANGEBYSCORE', log_key(i), '-inf', exact(at - ask.limits[i].held))
  return redis.call('ZCARD', log_key(i))
end
local function interactive(member) return string.sub(member, 1, 1) == 'i' end
local function record(i, member, at)
  redis.call('ZADD', log_key(i), exact(at), member)
  if interactive(member) then redis.call('ZADD', seen_key(i), exact(at), member) end
end
local function keep(at)
  local shared = false
  for i, limit in ipairs(ask.limits) do
    local held = used(i, at)
    if held > share[i] then
      share[i] = held
      won = won + 1
    end
    shared = shared or share[i] < limit.count
  end
  if not shared then probe_from = math.huge end
end
local function answered(member, at)
  for i = 1, n do record(i, member, at) end
  if at >= probe_from then keep(at) end
end

-- the wait of a slot that stands behind others in the queue; asked when the logs of this command are complete
local held, seen, recent = {}, {}, {}
local function look()
  for i, limit in ipairs(ask.limits) do
    held[i] = used(i, now)
    redis.call('ZREMRANGEBYSCORE', seen_key(i), '-inf', exact(now - limit.held))
    seen[i] = redis.call('ZCARD', seen_key(i))
    recent[i] = redis.call('ZCOUNT', seen_key(i), '(' .. exact(now - limit.held / ask.part), '+inf')
  end
end
local function wait_of_log(i, taken, most)
  local over = held[i] + taken + 1 - most
  if over <= 0 then return 0 end
  if over > held[i] then return math.huge end
  local stamp = redis.call('ZRANGE', log_key(i), over - 1, over - 1, 'WITHSCORES')[2]
  return math.max(0, tonumber(stamp) + ask.limits[i].held - now)
end
local function kept_free(i, most, recently)
  local coming = math.max(0, ask.part * recently - seen[i])
  local spare = math.max(math.min(seen[i], math.ceil(most / ask.floor)), math.ceil(seen[i] / ask.part))
  return math.min(math.max(coming + spare, math.ceil(most * ask.kept_free)), math.floor(most / 2))
end
local function bulk_wait_of_log(i, taken, most)
  local function slots(left) return wait_of_log(i, taken, most - kept_free(i, most, recent[i] - left)) end
  local function quarter(left)
    if left == 0 then return 0 end
    local place = seen[i] - recent[i] + left - 1
    local stamp = redis.call('ZRANGE', seen_key(i), place, place, 'WITHSCORES')[2]
    return tonumber(stamp) + ask.limits[i].held / ask.part - now
  end
  local few, many = 0, recent[i]
  while few < many do
    local middle = math.floor((few + many) / 2)
    if quarter(middle) >= slots(middle) then many = middle else few = middle + 1 end
  end
  local wait = math.max(quarter(few), slots(few))
  if few > 0 then wait = math.min(wait, slots(few - 1)) end
  if seen[i] > 0 then
    local first = redis.call('ZRANGE', seen_key(i), 0, 0, 'WITHSCORES')[2]
    wait = math.min(wait, tonumber(first) + ask.limits[i].held - now)
  end
  return wait
end
local function wait_of(member, ahead)
  local wait, taken = 0, in_flight + ahead
  local wait_there = interactive(member) and wait_of_log or bulk_wait_of_log
  for i = 1, n do wait = math.max(wait, wait_there(i, taken, share[i])) end
  if wait > 0 and taken <= math.floor(won / ask.step) then
    local beyond = 0
    for i, limit in ipairs(ask.limits) do beyond = math.max(beyond, wait_there(i, taken, limit.count)) end
    wait = math.min(wait, math.max(beyond, probe_from - now))
  end
  if wait == math.huge and ahead > 0 then
    wait = 0
    for i, limit in ipairs(ask.limits) do wait = math.max(wait, math.floor(ahead / share[i]) * limit.window) end
    if wait == 0 then wait = math.huge end
  end
  return math.max(wait, not_before - now)
end

-- the data was lost
if ask.epoch ~= '' and ask.epoch ~= epoch then
  not_before = math.max(not_before, born + ask.limits[1].held)
  for i = 1, n do
    for filler = used(i, now) + 1, ask.known[i] do record(i, 'b:lost:' .. filler, now) end
  end
end

-- leases that ended
local lapsed = redis.call('ZRANGEBYSCORE', FLYING, '-inf', exact(now), 'WITHSCORES')
for i = 1, #lapsed, 2 do
  redis.call('ZREM', FLYING, lapsed[i])
  in_flight = in_flight - 1
  answered(lapsed[i] .. ':lapsed', tonumber(lapsed[i + 1]))
end

-- processes that have not come back
for _, client in ipairs(redis.call('ZRANGEBYSCORE', BACK, '-inf', '(' .. exact(now))) do
  redis.call('ZREM', BACK, client)
  for _, member in ipairs(redis.call('ZRANGE', QUEUE, 0, -1)) do
    if string.match(member, '^.:(.*):') == client then redis.call('ZREM', QUEUE, member) end
  end
end

-- what is reported
for _, member in ipairs(ask.renewed) do redis.call('ZADD', FLYING, 'XX', exact(now + ask.lease), member) end
for _, member in ipairs(ask.given_up) do
  in_flight = in_flight - redis.call('ZREM', FLYING, member)
  redis.call('ZREM', QUEUE, member)
end
used(n, now) -- so that what was told twice is still known, and what has left the window is not
for _, member in ipairs(ask.answered) do
  local flew = redis.call('ZREM', FLYING, member)
  in_flight = in_flight - flew
  if flew == 1 or not redis.call('ZSCORE', log_key(n), member) then answered(member, now) end
end
for _, refused in ipairs(ask.refused) do
  local member, at, wait = refused[1], refused[2], refused[3]
  not_before = math.max(not_before, now + wait)
  if redis.call('ZREM', FLYING, member) == 1 then
    in_flight, refusals = in_flight - 1, refusals + 1
    probe_from = not_before + ask.pause * ask.limits[1].window
    local full = n
    for i = n, 1, -1 do if wait <= ask.limits[i].window then full = i end end
    for i = 1, n do if i ~= full then record(i, member, now) end end
    if at >= cut_at then
      cut_at, won = now, 0
      share[full] = math.max(1, math.floor(used(full, now) * ask.kept_share))
    end
  end
end

-- what is asked for
local granted, first_wait = {}, nil
look()
for i, member in ipairs(ask.asked) do
  local lease = redis.call('ZSCORE', FLYING, member)
  if lease then
    granted[i] = tonumber(lease) - ask.lease
  else
    if not redis.call('ZSCORE', QUEUE, member) then
      ticket = ticket + 1
      redis.call('ZADD', QUEUE, exact((interactive(member) and 0 or 1e15) + ticket), member)
    end
    local wait = wait_of(member, redis.call('ZRANK', QUEUE, member))
    if wait == 0 then
      redis.call('ZREM', QUEUE, member)
      redis.call('ZADD', FLYING, exact(now + ask.lease), member)
      in_flight = in_flight + 1
      granted[i] = now
    else
      first_wait = first_wait or wait
      granted[i] = wait == math.huge and 0 or -math.ceil(wait)
    end
  end
end

local back = 0
if first_wait then
  back = first_wait == math.huge and ask.unknown or math.min(math.max(first_wait, ask.soonest), ask.latest)
  redis.call('ZADD', BACK, exact(now + back + ask.grace), ask.client)
else
  redis.call('ZREM', BACK, ask.client)
end

local told = {'epoch', epoch, 'born', exact(born), 'won', exact(won), 'refusals', exact(refusals), 'ticket', exact(ticket)}
local function tell(name, value, finite)
  if finite then
    told[#told + 1] = name
    told[#told + 1] = exact(value)
  else
    redis.call('HDEL', STATE, name)
  end
end
tell('not_before', not_before, not_before > -math.huge)
tell('cut_at', cut_at, cut_at > -math.huge)
tell('probe_from', probe_from, probe_from < math.huge)
for i, limit in ipairs(ask.limits) do tell('share' .. i, share[i], share[i] < limit.count) end
redis.call('HSET', STATE, unpack(told))
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ask.expire) end

return {epoch, granted, math.floor(back), held, in_flight, math.ceil(math.max(0, not_before - now)), share, refusals}
"""

_FIGURES: Final = {"floor": FLOOR, "part": PART, "kept_share": KEPT, "pause": PAUSE, "step": STEP}
"""Those of the pure rules."""
_EXPIRE: Final = 1.1
"""Keys live so many times the longest window and a lease: then they would tell nothing."""


@attrs.frozen(kw_only=True)
class Timing:
    """When processes come back, in seconds.

    Attributes:
        lease: How long a slot in flight counts without a word from its process.
        soonest: The least time until asking again, so that slots that return one after the other are taken together.
        latest: The most: others may leave the queue.
        unknown: The time where only an answer can help.
        grace: How long a process that is late keeps its place in the queue.
    """

    lease: float = 15.0
    soonest: float = 0.005
    latest: float = 0.5
    unknown: float = 0.05
    grace: float = 0.25


@attrs.define(kw_only=True)
class Reports:
    """What a process has to tell.

    Attributes:
        answered: Members whose answer came, or was lost.
        given_up: Members that were not sent, or are no longer waited for.
        refused: Members that the server refused, when they were granted, and the seconds that it asks to wait.
    """

    answered: list[str] = attrs.field(factory=list[str])
    given_up: list[str] = attrs.field(factory=list[str])
    refused: list[tuple[str, float, float]] = attrs.field(factory=list[tuple[str, float, float]])

    def __bool__(self) -> bool:
        return bool(self.answered or self.given_up or self.refused)

    def take(self, most: int) -> "Reports":
        """The oldest of each kind, which are no longer in here."""
        taken = Reports(answered=self.answered[:most], given_up=self.given_up[:most], refused=self.refused[:most])
        del self.answered[:most], self.given_up[:most], self.refused[:most]
        return taken

    def put_back(self, taken: "Reports") -> None:
        """Have these again: they were not told."""
        self.answered[:0] = taken.answered
        self.given_up[:0] = taken.given_up
        self.refused[:0] = taken.refused


@attrs.frozen
class Told:
    """What Redis told.

    Attributes:
        epoch: The name of the state.
        granted: Per member asked for: when it was granted, in microseconds of Redis; else a wait in seconds, as
            ``-wait``, and ``-inf`` where only an answer can help.
        back: After how many seconds to ask again.
        used: Per limit, the answered requests that its window holds.
        in_flight: Requests of all processes that are under way.
        gate: Seconds until the gate opens.
        shares: Per limit, how many its window may hold.
        refusals: Requests of all processes that the server refused.
    """

    epoch: str
    granted: tuple[float, ...]
    back: float
    used: tuple[int, ...]
    in_flight: int
    gate: float
    shares: tuple[int, ...]
    refusals: int


def keys(prefix: str, limits: int) -> list[str]:
    """The keys of one state: what is known, in flight, the queue, when who comes back, and two logs per limit."""
    names = ["state", "flying", "queue", "back"]
    names += [f"{kind}{number}" for kind in ("log", "seen") for number in range(1, limits + 1)]
    return [f"{prefix}:{name}" for name in names]


def question(
    *,
    client: str,
    epoch: str,
    new_epoch: str,
    limits: Sequence[RateLimit],
    kept_free: float,
    timing: Timing,
    known: Sequence[int],
    reports: Reports,
    renewed: Sequence[str] = (),
    asked: Sequence[str] = (),
    now: int = 0,
) -> bytes:
    """What a process tells and asks, as the script takes it.

    Args:
        client: The process.
        epoch: The name of the state that it has seen last; empty for none.
        new_epoch: The name of the state where there is none.
        limits: The limits, the shortest window first.
        kept_free: The part of each that bulk calls leave free in any case.
        timing: When processes come back.
        known: Per limit, what the process saw used when it asked last.
        reports: What it has to tell.
        renewed: Members in flight whose lease goes on.
        asked: Members that it waits for, interactive ones first, each kind in order of arrival.
        now: The time in microseconds, for tests; 0 for that of Redis.
    """
    longest = limits[-1].window * HELD + timing.lease
    return msgspec.json.encode(
        {
            "client": client,
            "epoch": epoch,
            "new_epoch": new_epoch,
            "limits": [
                {
                    "count": limit.count,
                    "window": limit.window * MICROSECONDS,
                    "held": limit.window * MICROSECONDS * HELD,
                }
                for limit in limits
            ],
            "kept_free": kept_free,
            **_FIGURES,
            "lease": timing.lease * MICROSECONDS,
            "soonest": timing.soonest * MICROSECONDS,
            "latest": timing.latest * MICROSECONDS,
            "unknown": timing.unknown * MICROSECONDS,
            "grace": timing.grace * MICROSECONDS,
            "expire": math.ceil(longest * _EXPIRE * 1_000),
            "known": known,
            "answered": reports.answered,
            "given_up": reports.given_up,
            "refused": [(member, at, wait * MICROSECONDS) for member, at, wait in reports.refused],
            "renewed": renewed,
            "asked": asked,
            "now": now,
        }
    )


def told(reply: Any) -> Told:
    """The script's reply."""
    epoch, granted, back, used, in_flight, gate, shares, refusals = reply
    return Told(
        epoch=epoch.decode(),
        granted=tuple(float(one) if one > 0 else one / MICROSECONDS or -math.inf for one in granted),
        back=back / MICROSECONDS,
        used=tuple(used),
        in_flight=in_flight,
        gate=gate / MICROSECONDS,
        shares=tuple(shares),
        refusals=refusals,
    )
