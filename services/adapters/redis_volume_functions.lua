#!lua name=kairos_volume
-- Volume constraints of the whole bank, leased in chunks to nodes. Runs on Redis 7.0 and later and on Valkey.
--
-- A pool (hash) holds one volume in one period: `amount`, and `left`, the units that nobody has. A lease (hash) holds what one
-- node was granted of every pool (`g:<pool>`) and what it has charged of that (`c:<pool>`), both totals over the lease's
-- life; `s:<pool>` numbers the charges so that a message overtaken by a newer one changes nothing. The registry (sorted
-- set) names the live leases by the moment they lapse, in milliseconds of the server's clock.
--
-- For every pool, at any time: left + sum over live leases of (granted - charged) + everything ever charged = amount. Nothing
-- is charged but through a live lease, and no lease charges more than it was granted: so nothing is charged twice,
-- whoever crashes whenever.
--
-- What the log of decisions says was handed out is kept in the pool beside it (`logged`). A store that has lost data has
-- lost what was charged as well; until the log has been read again and taken out of the pools, a mark is absent (`whole`),
-- and nothing is leased.
--
-- All keys carry one hash tag, so one shard has them all; a function may therefore touch the leases of other nodes.

local REAPED_AT_ONCE = 64
local KEPT_MS = 40 * 86400000 -- a pool stays for whoever asks, after its period
local RELEASED_AT_ONCE = 1000

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function text(number)
  return string.format('%.0f', number)
end

local function number(value)
  return tonumber(value or 0) or 0
end

-- Gives back what a lease was granted and never charged.
local function dissolve(lease)
  local fields = redis.call('HGETALL', lease)
  local granted, charged = {}, {}
  for i = 1, #fields, 2 do
    local pool = string.sub(fields[i], 3)
    if string.sub(fields[i], 1, 2) == 'g:' then
      granted[pool] = tonumber(fields[i + 1])
    elseif string.sub(fields[i], 1, 2) == 'c:' then
      charged[pool] = tonumber(fields[i + 1])
    end
  end
  for pool, units in pairs(granted) do
    -- A pool that has expired or was lost meanwhile must not come back as a stub.
    if redis.call('HEXISTS', pool, 'amount') == 1 then
      redis.call('HINCRBY', pool, 'left', text(units - (charged[pool] or 0)))
    end
  end
  redis.call('DEL', lease)
end

local function reap(registry, now)
  local lapsed = redis.call('ZRANGEBYSCORE', registry, '-inf', text(now), 'LIMIT', 0, REAPED_AT_ONCE)
  for _, lease in ipairs(lapsed) do
    dissolve(lease)
    redis.call('ZREM', registry, lease)
  end
end

-- Makes the pool if there is none; where the strategy's amount has changed, the difference is added or taken. `ends` is the
-- end of its period, which in a replay may be far from the server's time.
local function open_pool(pool, amount, ends)
  local stands = redis.call('HGET', pool, 'amount')
  if not stands then
    redis.call('HSET', pool, 'amount', text(amount), 'left', text(amount))
  elseif tonumber(stands) ~= amount then
    redis.call('HSET', pool, 'amount', text(amount))
    redis.call('HINCRBY', pool, 'left', text(amount - tonumber(stands)))
  end
  redis.call('PEXPIREAT', pool, text(math.max(ends, now_ms()) + KEPT_MS))
  return number(redis.call('HGET', pool, 'left'))
end

local function note_charged(lease, pool, sequence, charged)
  if number(redis.call('HGET', lease, 's:' .. pool)) < sequence then
    redis.call('HSET', lease, 's:' .. pool, text(sequence), 'c:' .. pool, text(charged))
  end
end

-- KEYS: the registry, the caller's lease, the mark, then pools. Where the mark is absent the answer is -2 and nothing is
-- done. ARGV: the time to live in milliseconds, a divisor, 1 where the lease
-- begins (0: it must be there still; where it is not, it lapsed, and the answer is -1), then for each pool
-- seven numbers: amount, units that may be gone by now, the granted total wished for, the charged total and its number,
-- the least useful grant, and the end of the period (epoch milliseconds). What is beyond the wish goes back; what is short
-- of it is granted, but never more than a fair part: what may go divided by the divisor and the number of live leases.
-- Answers for each pool: granted total, units left, units that may still go now, and the fair part.
local function lease(keys, args)
  if redis.call('EXISTS', keys[3]) == 0 then
    return -2
  end
  local registry, own, now = keys[1], keys[2], now_ms()
  local ttl, divisor = tonumber(args[1]), tonumber(args[2])
  if args[3] == '1' then
    redis.call('HSET', own, 'open', '1')
  elseif redis.call('EXISTS', own) == 0 then
    return -1
  end
  redis.call('ZADD', registry, text(now + ttl), own)
  reap(registry, now)
  local nodes = redis.call('ZCARD', registry)
  local answers, at = {}, 4
  for i = 4, #keys do
    local pool = keys[i]
    local amount, allowed, wish, charged, sequence, least, ends =
      tonumber(args[at]), tonumber(args[at + 1]), tonumber(args[at + 2]), tonumber(args[at + 3]), tonumber(args[at + 4]),
      tonumber(args[at + 5]), tonumber(args[at + 6])
    at = at + 7
    local left = open_pool(pool, amount, ends)
    if sequence > 0 then
      note_charged(own, pool, sequence, charged)
    end
    local granted = number(redis.call('HGET', own, 'g:' .. pool))
    local free = math.max(0, math.min(left, allowed - (amount - left)))
    local fair = math.max(least, math.floor(free / (divisor * nodes)))
    local change = 0
    if wish < granted then
      change = math.max(wish, number(redis.call('HGET', own, 'c:' .. pool))) - granted
    elseif wish > granted then
      change = math.min(wish - granted, free, fair)
    end
    if change ~= 0 then
      granted = granted + change
      left = left - change
      redis.call('HSET', own, 'g:' .. pool, text(granted))
      redis.call('HSET', pool, 'left', text(left))
      free = math.max(0, math.min(left, allowed - (amount - left)))
    end
    answers[#answers + 1] = { granted, left, free, fair }
  end
  return answers
end

-- KEYS: the registry, the caller's lease. ARGV: triples of pool, charged total and its number. Answers 1 when the charges
-- stand, 0 when the lease is gone or was never granted that much, and nothing was charged.
local function charge(keys, args)
  local registry, own = keys[1], keys[2]
  if not redis.call('ZSCORE', registry, own) then
    return 0
  end
  for i = 1, #args, 3 do
    if number(redis.call('HGET', own, 'g:' .. args[i])) < tonumber(args[i + 1]) then
      return 0
    end
  end
  for i = 1, #args, 3 do
    note_charged(own, args[i], tonumber(args[i + 2]), tonumber(args[i + 1]))
  end
  return 1
end

-- KEYS: the registry, the caller's lease. ARGV: triples as for a charge, the last word on what was charged. Ends the lease:
-- everything else goes back.
local function surrender(keys, args)
  if charge(keys, args) == 1 then
    dissolve(keys[2])
    redis.call('ZREM', keys[1], keys[2])
    return 1
  end
  return 0
end

-- Holds: units charged for something that may yet not happen ---------------------------------------

-- KEYS: the pending holds (sorted set by deadline), those answered early (sorted set by when to forget), the offsets read
-- (hash), the mark. ARGV: the partition, the offset its reader stands at, the next one after these records, when to forget
-- what is answered, a number and so many pairs of pool and units handed out, then pairs of `+` or `-` and a member (`+`
-- begins with its deadline and a space). `+` begins a hold; `-` ends the hold of the same member for good: it happened.
-- Answers the next offset wanted; where that is not the one given, nothing was done: another has read these records, or
-- the store has lost what was read before, and then the mark goes too.
local function hold(keys, args)
  local pending, answered, offsets = keys[1], keys[2], keys[3]
  local wanted = number(redis.call('HGET', offsets, args[1]))
  if wanted ~= tonumber(args[2]) then
    if wanted < tonumber(args[2]) then
      redis.call('DEL', keys[4])
    end
    return wanted
  end
  local at = 6
  for _ = 1, tonumber(args[5]) do
    redis.call('HINCRBY', args[at], 'logged', args[at + 1])
    if redis.call('PTTL', args[at]) < 0 then
      redis.call('PEXPIRE', args[at], text(KEPT_MS))
    end
    at = at + 2
  end
  for i = at, #args, 2 do
    local member = args[i + 1]
    if args[i] == '+' then
      local deadline, named = string.match(member, '^(%d+) (.*)$')
      if not redis.call('ZSCORE', answered, named) then
        redis.call('ZADD', pending, deadline, named)
      end
    elseif redis.call('ZREM', pending, member) == 0 then
      redis.call('ZADD', answered, args[4], member)
    end
  end
  redis.call('HSET', offsets, args[1], args[3])
  return tonumber(args[3])
end

-- KEYS: the pending holds, those answered early. ARGV: a time, epoch milliseconds. Gives back the units of holds whose
-- deadline it has passed: nothing came within their time. A member ends in ` <pool> <units>`. Answers how many.
local function release(keys, args)
  local due = redis.call('ZRANGEBYSCORE', keys[1], '-inf', args[1], 'LIMIT', 0, RELEASED_AT_ONCE)
  for _, member in ipairs(due) do
    redis.call('ZREM', keys[1], member)
    local pool, units = string.match(member, ' (%S+) (%d+)$')
    if pool and redis.call('HEXISTS', pool, 'amount') == 1 then
      redis.call('HINCRBY', pool, 'left', units)
    end
    if pool and redis.call('HEXISTS', pool, 'logged') == 1 then
      redis.call('HINCRBY', pool, 'logged', '-' .. units)
    end
  end
  redis.call('ZREMRANGEBYSCORE', keys[2], '-inf', args[1])
  return #due
end

local function unspent(registry, pool)
  local units = 0
  for _, own in ipairs(redis.call('ZRANGE', registry, 0, -1)) do
    units = units + number(redis.call('HGET', own, 'g:' .. pool)) - number(redis.call('HGET', own, 'c:' .. pool))
  end
  return units
end

-- Takes out of a pool what it still has although the log says it is gone. Charges are on record before they are in the
-- log, so in a store that has lost nothing that is never anything.
local function correct(registry, pool)
  local amount, left, logged = unpack(redis.call('HMGET', pool, 'amount', 'left', 'logged'))
  local missing = number(logged) - (number(amount) - number(left) - unspent(registry, pool))
  if missing <= 0 then
    return 0
  end
  redis.call('HINCRBY', pool, 'left', text(-missing))
  return missing
end

-- KEYS: the registry, the mark, the offsets read, then pools. ARGV: a number and so many pairs of partition and the offset
-- its reader stands at, which is the end of the log; then for each pool its amount, the end of its period, and 1 where the
-- log reaches back to its beginning. Corrects the pools and puts down the mark. A pool that is gone, and whose log does not
-- reach back, has nothing left: nobody knows what was handed out. Answers the units taken out, or -1 where the offsets are
-- not those given.
local function open(keys, args)
  local registry, at = keys[1], 2
  for _ = 1, tonumber(args[1]) do
    local wanted = number(redis.call('HGET', keys[3], args[at]))
    if wanted ~= tonumber(args[at + 1]) then
      if wanted < tonumber(args[at + 1]) then
        redis.call('DEL', keys[2])
      end
      return -1
    end
    at = at + 2
  end
  local taken = 0
  for i = 4, #keys do
    local stood = redis.call('HEXISTS', keys[i], 'amount') == 1
    local left = open_pool(keys[i], tonumber(args[at]), tonumber(args[at + 1]))
    if stood or args[at + 2] == '1' then
      taken = taken + correct(registry, keys[i])
    else
      redis.call('HSET', keys[i], 'left', '0')
      taken = taken + left
    end
    at = at + 3
  end
  redis.call('SET', keys[2], '1')
  return taken
end

-- KEYS: the registry, then pools. Answers for each pool the units that nobody has charged, or -1 where there is no pool.
local function standing(keys)
  local answers = {}
  for i = 2, #keys do
    local left = redis.call('HGET', keys[i], 'left')
    answers[#answers + 1] = left and number(left) + unspent(keys[1], keys[i]) or -1
  end
  return answers
end

redis.register_function('kairos_volume_lease', lease)
redis.register_function('kairos_volume_standing', standing)
redis.register_function('kairos_volume_charge', charge)
redis.register_function('kairos_volume_surrender', surrender)
redis.register_function('kairos_volume_hold', hold)
redis.register_function('kairos_volume_release', release)
redis.register_function('kairos_volume_open', open)
