-- A session is the hash session:<SHA-256 of its key>: its values as "v:<key>", and beside them all its "facts" in
-- JSON: each as a field of its own would cost every reader, and take the script four times as many calls.
-- handle:<handle> and guest:<guest> lead to it and expire with it. The sorted sets "seen" and "expires" hold the
-- handles of all sessions by these facts, user:<user> those of one user by the login. What has expired stays in
-- them until somebody meets it. Facts are strings: times in microseconds since 1970, numbers, "" is None.

local GRACE_MS, SWEEP = {grace_ms}, 10
local call = redis.call

local function name(kind, id) return '{prefix}' .. kind .. (id and ':' .. id or '') end

local taken = 0
local function take()
  taken = taken + 1
  return ARGV[taken]
end
local function count() return tonumber(take()) end

local function milliseconds()
  local now = call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end

-- Lua would write a large number as 1.8e+12.
local function text(number) return string.format('%.0f', number) end

local function facts_of(hash)
  local found = call('HGET', name('session', hash), 'facts')
  return found and cjson.decode(found)
end

local function facts_by(handle)
  local hash = call('GET', name('handle', handle))
  local facts = hash and facts_of(hash)
  if facts and facts.handle == handle then return facts, hash end
end

local function begun(facts) return facts.login ~= '' and facts.login or facts.created end

-- It has not expired, nor begun too long ago.
local function is_valid(facts, now, oldest)
  return tonumber(facts.expires) > now and tonumber(begun(facts)) > oldest
end

local function forget(handle)
  call('ZREM', name('seen'), handle)
  call('ZREM', name('expires'), handle)
end

local function remove(hash, facts)
  call('DEL', name('session', hash), name('handle', facts.handle))
  if call('GET', name('guest', facts.guest)) == facts.handle then call('DEL', name('guest', facts.guest)) end
  call('ZREM', name('user', facts.user), facts.handle)
  forget(facts.handle)
end

-- A login looks at some of the user's others, so that those that have expired do not gather.
local function index_user(facts, now, ends_at)
  local key = name('user', facts.user)
  if call('ZADD', key, begun(facts), facts.handle) == 1 then
    for _, handle in ipairs(call('ZRANDMEMBER', key, 3)) do
      if not facts_by(handle) then call('ZREM', key, handle) end
    end
  end
  if call('PTTL', key) < ends_at - now then call('PEXPIREAT', key, text(ends_at)) end
end

-- With every write: the facts, when it ends, and where it is found.
local function keep(hash, facts)
  call('HSET', name('session', hash), 'facts', cjson.encode(facts))
  local now = milliseconds()
  local ends_at = math.max(tonumber(facts.expires) / 1000, now) + GRACE_MS
  call('SET', name('handle', facts.handle), hash, 'PXAT', text(ends_at))
  if facts.guest ~= '' then call('SET', name('guest', facts.guest), facts.handle, 'PXAT', text(ends_at)) end
  call('ZADD', name('seen'), facts.seen, facts.handle)
  call('ZADD', name('expires'), facts.expires, facts.handle)
  if facts.user ~= '' then index_user(facts, now, ends_at) end
  call('PEXPIREAT', name('session', hash), text(ends_at))
end

local function expired(now, limit)
  return call('ZRANGEBYSCORE', name('expires'), '-inf', now, 'LIMIT', 0, limit)
end

-- With every new session a few of those that Redis has dropped.
local function sweep()
  for _, handle in ipairs(expired(text((milliseconds() - GRACE_MS) * 1000), SWEEP)) do
    if not facts_by(handle) then forget(handle) end
  end
end

local function see(facts)
  facts.seen, facts.expires = take(), take()
  local login, client, agent, ip = take(), take() == '1', take(), take()
  if login ~= '' then facts.login = login end
  if client then facts.agent, facts.ip = agent, ip end
end

-- As Python counts: the characters of the name and the bytes of the value.
local function size_of(field, value)
  local _, characters = string.gsub(field, '[^\128-\191]', '')
  return characters - 2 + value
end

local function stored_size(key, field)
  return call('HEXISTS', key, field) == 1 and size_of(field, call('HSTRLEN', key, field)) or 0
end

local function fields_like(key, start)
  local found = {}
  for _, field in ipairs(call('HKEYS', key)) do
    if string.sub(field, 1, #start) == start then found[#found + 1] = field end
  end
  return found
end

local function as_expected(key)
  local right = true
  for _ = 1, count() do
    local present = call('HGET', key, 'v:' .. take())
    local known, value = take() == '1', take()
    if known then right = right and present == value else right = right and not present end
  end
  return right
end

local operations = {}

function operations.insert()
  local hash = take()
  local key, facts = name('session', hash), cjson.decode(take())
  if call('EXISTS', key) == 1 then return 0 end
  for _ = 1, count() do call('HSET', key, 'v:' .. take(), take()) end
  keep(hash, facts)
  sweep()
  return 1
end

-- records.merge(): nothing if the change is refused, the size if that is too large, {} if the record was the one
-- that was last seen, else the whole of it as it is now.
function operations.apply()
  local hash = take()
  local key, facts = name('session', hash), facts_of(hash)
  if not facts then return false end
  local version, generation, limit, clears = take(), take(), count(), take() == '1'
  if (not clears and generation ~= facts.generation) or not as_expected(key) then return false end

  local gone, put = {}, {}
  if clears then gone = fields_like(key, 'v:') end
  if take() == '1' and not clears then gone = fields_like(key, 'v:_auth_') end
  for _ = 1, count() do gone[#gone + 1] = 'v:' .. take() end
  for _ = 1, count() do
    local field = 'v:' .. take()
    put[field] = take()
  end

  local was, size = {}, tonumber(facts.size)
  for _, field in ipairs(gone) do was[field] = stored_size(key, field) end
  for field in pairs(put) do was[field] = stored_size(key, field) end
  for _, stored in pairs(was) do size = size - stored end
  for field, value in pairs(put) do size = size + size_of(field, #value) end
  if size > limit and size > tonumber(facts.size) then return size end

  for _, field in ipairs(gone) do call('HDEL', key, field) end
  for field, value in pairs(put) do call('HSET', key, field, value) end
  local is_current = version == facts.version
  facts.size, facts.version = text(size), text(facts.version + 1)
  if clears then facts.generation = text(facts.generation + 1) end
  local moves_user, user, moves_guest, guest = take() == '1', take(), take() == '1', take()
  if moves_user and user ~= facts.user then
    call('ZREM', name('user', facts.user), facts.handle)
    facts.user = user
  end
  if moves_guest and guest ~= facts.guest then
    call('DEL', name('guest', facts.guest))
    facts.guest = guest
  end
  local moves, has_expiry, expiry = take() == '1', take() == '1', take()
  if moves and call('HGET', key, 'v:_session_expiry') == (has_expiry and expiry) then see(facts) end
  keep(hash, facts)
  return is_current and {} or call('HGETALL', key)
end

function operations.touch()
  local hash = take()
  local facts = facts_of(hash)
  if not facts then return 0 end
  see(facts)
  keep(hash, facts)
  return 1
end

function operations.rename()
  local old, new = take(), take()
  local facts = facts_of(old)
  if not facts then return 0 end
  call('RENAME', name('session', old), name('session', new))
  keep(new, facts)
  return 1
end

function operations.remove()
  local hash = take()
  local facts = facts_of(hash)
  if facts then remove(hash, facts) end
end

function operations.expire()
  local hash = take()
  local facts = facts_of(hash)
  if not facts or is_valid(facts, count(), count()) then return 0 end
  remove(hash, facts)
  return 1
end

-- The handles of a user's valid sessions but for the newest logins.
function operations.excess()
  local user, limit, now, oldest = take(), count(), count(), count()
  local found = {}
  for _, handle in ipairs(call('ZREVRANGE', name('user', user), 0, -1)) do
    local facts = facts_by(handle)
    if facts and facts.user == user and is_valid(facts, now, oldest) then
      if limit > 0 then limit = limit - 1 else found[#found + 1] = handle end
    end
  end
  return found
end

operations['end'] = function()
  local facts, hash = facts_by(take())
  if not facts then return false end
  remove(hash, facts)
  return cjson.encode(facts)
end

-- Some that have expired: how many were looked at.
function operations.clear()
  local now, limit = count(), count()
  local handles = expired(text(now), limit)
  for _, handle in ipairs(handles) do
    local facts, hash = facts_by(handle)
    if not facts then
      forget(handle)
    elseif tonumber(facts.expires) <= now then
      remove(hash, facts)
    else
      call('ZADD', name('expires'), facts.expires, handle)
    end
  end
  return #handles
end

function operations.by_handle()
  local found = {}
  for _ = 1, count() do
    local facts = facts_by(take())
    if facts then found[#found + 1] = cjson.encode(facts) end
  end
  return found
end

function operations.by_guest()
  local found = {}
  for _ = 1, count() do
    local guest = take()
    local handle = call('GET', name('guest', guest))
    local facts = handle and facts_by(handle)
    if facts and facts.guest == guest then found[#found + 1] = cjson.encode(facts) end
  end
  return found
end

-- A stretch of an index from above: how many it has, and what they are. What has gone is taken out of the index.
function operations.page()
  local of_user, user, first, last = take() == '1', take(), take(), take()
  local key, found = of_user and name('user', user) or name('seen'), {}
  local handles = call('ZREVRANGE', key, first, last)
  for _, handle in ipairs(handles) do
    local facts = facts_by(handle)
    if facts and (not of_user or facts.user == user) then
      found[#found + 1] = cjson.encode(facts)
    else
      call('ZREM', key, handle)
      if not facts then forget(handle) end
    end
  end
  return {#handles, found}
end

return operations[take()]()
