"""The places of all processes, in the Redis of the site.

Two sorted sets: who came first, by ticket, and until when each place is good. A place is its process's to
renew, once a second, by Redis's clock; those of a process that was killed are free after a lease.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from chatsession import redis
from chatsession.bus import bus
from chatsession.runs import stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from redis import Redis

    from chatsession.runs.seats import Place

# Tickets and times are microseconds of Redis's clock. Neither script waits for anything.
_CLOCK = """
local order, leases = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local good_until = now + ARGV[1] * 1000000
local function hold(place, ticket)
    redis.call('ZADD', order, ticket, place)
    redis.call('ZADD', leases, good_until, place)
end
local function drop(place)
    redis.call('ZREM', order, place)
    redis.call('ZREM', leases, place)
end
for _, place in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now)) do drop(place) end
"""
_EXPIRE = """
redis.call('EXPIRE', order, math.ceil(ARGV[1]))
redis.call('EXPIRE', leases, math.ceil(ARGV[1]))
"""
#: ARGV: seconds of a lease, most places there may be (-1: as many as come), place, and the places that are
#: given back. The rank (-1: refused) and the ticket.
_ADMIT = f"""{_CLOCK}
local limit, place = tonumber(ARGV[2]), ARGV[3]
for i = 4, #ARGV do drop(ARGV[i]) end
local rank = redis.call('ZCARD', order)
if limit >= 0 and rank >= limit then return {{-1, now}} end
hold(place, now)
{_EXPIRE}
return {{redis.call('ZRANK', order, place), now}}
"""
#: ARGV: seconds of a lease, how many places are given back, these, then place and ticket of each that is
#: held. The ranks of the latter; one that Redis had lost is there again.
_RENEW = f"""{_CLOCK}
local first = 3 + ARGV[2]
for i = 3, first - 1 do drop(ARGV[i]) end
for i = first, #ARGV, 2 do hold(ARGV[i], ARGV[i + 1]) end
{_EXPIRE}
local ranks = {{}}
for i = first, #ARGV, 2 do ranks[#ranks + 1] = redis.call('ZRANK', order, ARGV[i]) end
return ranks
"""


def admit(place: Place, limit: int | None, gone: Sequence[str]) -> bool | None:
    """Enter a place behind all others, its rank and ticket; False if ``limit`` are taken without ``gone``.

    None if Redis cannot be asked.
    """
    answer = bus.ask(partial(_run, _ADMIT, [-1 if limit is None else limit, place.id, *gone]))
    if answer is not None:
        place.rank, place.ticket = answer
    return None if answer is None else place.rank >= 0


def renew(places: Sequence[Place], gone: Sequence[str]) -> list[int] | None:
    """The ranks of ``places``, whose leases are renewed; those of ``gone`` are given back.

    None if Redis cannot be asked.
    """
    held = [value for place in places for value in (place.id, place.ticket)]
    return bus.ask(partial(_run, _RENEW, [len(gone), *gone, *held]))


def _run(script: str, arguments: Iterable[str | int], client: Redis) -> list[int]:
    keys = [redis.key("seats", "order"), redis.key("seats", "leases")]
    return cast("list[int]", client.register_script(script)(keys, [stored.LEASE, *arguments]))
