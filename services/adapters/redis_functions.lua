#!lua name=kairos
-- Atomic steps on customer state and contact ledger. Runs on Redis 7.0 and later and on Valkey.
-- The meaning of a contact record and of a rule is defined in decision_engine/contact_ledger.py, that of the steps in
-- decision_engine/ledger_steps.py; the property tests hold this file to them.

local RECORD_SIZE = 64
local RECORD = '<c8I4I4I4I4I2BBI4dddd'
local RESERVED = 1
local ANY_RESPONSE = 126
local IMPRESSION = 2
local ANSWERED = 124
local OUTBOUND_FLAG = 2
local LOST_FLAG = 128
local MAX_RECORDS = 256
local NEWEST_KEPT = 64

-- State ------------------------------------------------------------------------------------------

-- A fence is a value its writer put down when it began a batch. If it is not there any more, the server has lost writes since
-- (a restart, a failover), and what the writer read before must not be built upon.
local function fenced(key, expected)
  return expected == '' or redis.call('GET', key) == expected
end

-- Writes a state; an empty one is none any more.
local function set_state(key, value)
  if value == '' then
    redis.call('DEL', key)
  else
    redis.call('SET', key, value)
  end
end

-- KEYS: the fence, then states. ARGV: the fence's value (empty: none), the length of the version prefix, then for each state
-- the prefix it must still have (empty: there must be none) and the new value (empty: none any more). Answers the zero-based
-- indexes of the states that were not written, or -1 where the fence has fallen and nothing was.
local function save(keys, args)
  if not fenced(keys[1], args[1]) then
    return -1
  end
  local last = tonumber(args[2]) - 1
  local conflicts = {}
  for i = 2, #keys do
    if redis.call('GETRANGE', keys[i], 0, last) == args[2 * i - 1] then
      set_state(keys[i], args[2 * i])
    else
      conflicts[#conflicts + 1] = i - 2
    end
  end
  return conflicts
end

-- Notes that something of a customer is due at a moment, or sooner if that is noted already.
local function note_due(key, customer, due)
  if due ~= '' then
    redis.call('ZADD', key, 'LT', due, customer)
  end
end

-- Writes a value that lapses after some milliseconds (empty: never); an empty one is none.
local function put(key, value, keep)
  if value == '' then
    redis.call('DEL', key)
  elseif keep == '' then
    redis.call('SET', key, value)
  else
    redis.call('SET', key, value, 'PX', keep)
  end
end

-- States together with trigger memories. KEYS: the fence, then for each customer the state, the memory and the due index of
-- the customer's partition. ARGV: the fence's value, the length of the version prefix, then for each customer the prefix
-- and the new value as in `save`, the memory as it must still be (empty: none), the new memory (empty: none), the moment
-- something is due (empty: nothing is), the customer, and the milliseconds the memory is kept. Answers as `save` does.
local function save_watched(keys, args)
  if not fenced(keys[1], args[1]) then
    return -1
  end
  local last = tonumber(args[2]) - 1
  local conflicts = {}
  for i = 0, (#keys - 1) / 3 - 1 do
    local key, arg = 2 + 3 * i, 3 + 7 * i
    if redis.call('GETRANGE', keys[key], 0, last) == args[arg]
      and (redis.call('GET', keys[key + 1]) or '') == args[arg + 2] then
      note_due(keys[key + 2], args[arg + 5], args[arg + 4])
      set_state(keys[key], args[arg + 1])
      put(keys[key + 1], args[arg + 3], args[arg + 6])
    else
      conflicts[#conflicts + 1] = i
    end
  end
  return conflicts
end

-- Trigger memories alone. KEYS: for each customer the memory and the due index. ARGV: for each customer the memory as it must
-- still be, the new one, the moment something is due, the customer, and how long it is kept, as above. Answers the
-- zero-based indexes of those that were not written.
local function remember(keys, args)
  local conflicts = {}
  for i = 0, #keys / 2 - 1 do
    local key, arg = 1 + 2 * i, 1 + 5 * i
    if (redis.call('GET', keys[key]) or '') == args[arg] then
      note_due(keys[key + 1], args[arg + 3], args[arg + 2])
      put(keys[key], args[arg + 1], args[arg + 4])
    else
      conflicts[#conflicts + 1] = i
    end
  end
  return conflicts
end

-- KEYS: a due index. ARGV: for each customer the name, the moment as it was read, and the moment to put in its place (empty:
-- none). Only where it still is as it was read: whoever found something sooner has noted it meanwhile.
local function postpone(keys, args)
  for i = 1, #args, 3 do
    local stands = redis.call('ZSCORE', keys[1], args[i])
    if stands and tonumber(stands) == tonumber(args[i + 1]) then
      if args[i + 2] == '' then
        redis.call('ZREM', keys[1], args[i])
      else
        redis.call('ZADD', keys[1], args[i + 2], args[i])
      end
    end
  end
  return 1
end

-- KEYS: the fence, then one or more progress hashes. ARGV: the fence's value, then pairs of field and offset, the same for
-- all of them. An offset only moves forward. Answers 1, or -1 where the fence has fallen.
local function progress(keys, args)
  if not fenced(keys[1], args[1]) then
    return -1
  end
  for k = 2, #keys do
    for i = 2, #args, 2 do
      local stands = redis.call('HGET', keys[k], args[i])
      if not stands or tonumber(stands) < tonumber(args[i + 1]) then
        redis.call('HSET', keys[k], args[i], args[i + 1])
      end
    end
  end
  return 1
end

-- Ledger -----------------------------------------------------------------------------------------

-- Fields of a record in a Lua table: [1] tracking, [2] offer, [3] group, [4] issue, [5] channel (so that a rule's
-- scope is an index), then status, flags, reserved, expires, contact, outcome.
local function decode(blob)
  local records = {}
  for at = 1, #blob - RECORD_SIZE + 1, RECORD_SIZE do
    local tracking, offer, group, issue, channel, status, flags, _, _, reserved, expires, contact, outcome =
      struct.unpack(RECORD, blob, at)
    records[#records + 1] = {
      tracking, offer, group, issue, channel,
      status = status, flags = flags, reserved = reserved, expires = expires, contact = contact, outcome = outcome,
    }
  end
  return records
end

local function encode(records)
  local parts = {}
  for i, r in ipairs(records) do
    parts[i] = struct.pack(RECORD, r[1], r[2], r[3], r[4], r[5], r.status, r.flags, 0, 0,
      r.reserved, r.expires, r.contact, r.outcome)
  end
  return table.concat(parts)
end

local function is_mark(record)
  return bit.band(record.flags, LOST_FLAG) ~= 0
end

local function lapsed(record, now)
  return record.status == RESERVED and record.expires <= now and not is_mark(record)
end

-- Adds a dropped record to the mark of those dropped.
local function note(mark, record)
  local status = bit.band(record.status, ANY_RESPONSE)
  if record.status == RESERVED or is_mark(record) then
    status = bit.bor(status, bit.band(record.status, RESERVED))
  end
  mark.status = bit.bor(mark.status, status)
  mark.contact = math.max(mark.contact, record.contact)
  mark.outcome = math.max(mark.outcome, record.outcome)
end

-- At most MAX_RECORDS. What nobody answered goes first, the oldest first, the newest last; the dropped leave their mark,
-- which refuses whatever might have had to count them.
local function bounded(records)
  if #records <= MAX_RECORDS then
    return records
  end
  local mark = {
    string.rep('\0', 8), 0, 0, 0, 0,
    status = 0, flags = LOST_FLAG, reserved = 0, expires = 0, contact = 0, outcome = 0,
  }
  local contacts = {}
  for _, r in ipairs(records) do
    if is_mark(r) then
      note(mark, r)
    else
      contacts[#contacts + 1] = r
    end
  end
  local surplus, newest, dropped = #contacts - (MAX_RECORDS - 1), #contacts - NEWEST_KEPT, {}
  local function drop(from, to, answered_too)
    for i = from, to do
      if surplus > 0 and not dropped[i] and (answered_too or bit.band(contacts[i].status, ANSWERED) == 0) then
        dropped[i] = true
        surplus = surplus - 1
        note(mark, contacts[i])
      end
    end
  end
  drop(1, newest, false)
  drop(1, newest, true)
  drop(math.max(newest, 0) + 1, #contacts, false)
  drop(math.max(newest, 0) + 1, #contacts, true)
  local kept = { mark }
  for i, r in ipairs(contacts) do
    if not dropped[i] then
      kept[#kept + 1] = r
    end
  end
  return kept
end

-- Drops reservations that lapsed and contacts older than the retention, and keeps within the bound.
local function prune(records, now, retention)
  local kept = {}
  for _, r in ipairs(records) do
    local newest = math.max(r.reserved, r.contact, r.outcome)
    if not lapsed(r, now) and newest >= now - retention then
      kept[#kept + 1] = r
    end
  end
  return bounded(kept)
end

local function write(key, records, retention)
  redis.call('SET', key, encode(records), 'PX', string.format('%.0f', retention))
end

local function time_of(record, by_outcome)
  if by_outcome == 1 then
    return record.outcome
  end
  return record.contact
end

-- A rule: scope, clock, statuses, statuses it must be without, direction, padding, scope key, limit, since; a since below
-- zero is so many milliseconds before now.
local RULE = '<BBI2I2BBI4I4d'
local RULE_SIZE = 24

local function matches(record, rule, now)
  if rule.scope > 0 and record[rule.scope + 1] ~= rule.key then
    return false
  end
  if rule.direction > 0 and (bit.band(record.flags, OUTBOUND_FLAG) ~= 0) ~= (rule.direction == 2) then
    return false
  end
  if record.status == RESERVED then
    if bit.band(rule.statuses, RESERVED) == 0 or record.expires <= now then
      return false
    end
  elseif bit.band(bit.band(record.status, rule.statuses), ANY_RESPONSE) == 0 then
    return false
  end
  return bit.band(record.status, rule.without) == 0 and time_of(record, rule.clock) >= rule.since
end

local function reaches_lost(record, rule)
  return bit.band(record.status, rule.statuses) ~= 0 and time_of(record, rule.clock) >= rule.since
end

-- Whether the rule lets one more contact through; `known` remembers answers until the records change, for
-- alternatives share most of their rules.
local function passes(packed, records, now, known)
  local answer = known[packed]
  if answer ~= nil then
    return answer
  end
  local scope, clock, statuses, without, direction, _, key, limit, since = struct.unpack(RULE, packed)
  if since < 0 then
    since = now + since
  end
  local rule = {
    scope = scope, clock = clock, statuses = statuses, without = without, direction = direction, key = key, since = since,
  }
  local found = 0
  answer = found < limit
  for i = #records, 1, -1 do
    if not answer then
      break
    end
    if is_mark(records[i]) then
      answer = not reaches_lost(records[i], rule)
    elseif matches(records[i], rule, now) then
      found = found + 1
      answer = found < limit
    end
  end
  known[packed] = answer
  return answer
end

-- An alternative: tracking key, offer, group, issue, channel, flags, number of rules; its rules follow.
local ALTERNATIVE = '<c8I4I4I4I4BB'
local ALTERNATIVE_SIZE = 26

local function all_pass(packed, at, count, records, now, known)
  for i = 0, count - 1 do
    local from = at + i * RULE_SIZE
    if not passes(string.sub(packed, from, from + RULE_SIZE - 1), records, now, known) then
      return false
    end
  end
  return true
end

-- KEYS: the ledger. ARGV: now, lapse time and retention in milliseconds, 1 where an offer may be taken more than once, and
-- the packed positions: for each a number of alternatives (two bytes) and those alternatives in order of preference.
-- Answers for each position the zero-based index of the alternative taken, or -1.
local function reserve(keys, args)
  local now, lapses, retention = tonumber(args[1]), tonumber(args[2]), tonumber(args[3])
  local repeats, packed = args[4] == '1', args[5]
  local records = prune(decode(redis.call('GET', keys[1]) or ''), now, retention)
  local before, known, offered, taken, at = #records, {}, {}, {}, 1
  while at <= #packed do
    local alternatives
    alternatives, at = struct.unpack('<I2', packed, at)
    local choice = -1
    for index = 0, alternatives - 1 do
      local tracking, offer, group, issue, channel, flags, rules = struct.unpack(ALTERNATIVE, packed, at)
      at = at + ALTERNATIVE_SIZE
      if choice < 0 and (repeats or not offered[offer]) and all_pass(packed, at, rules, records, now, known) then
        choice = index
        offered[offer] = true
        known = {}
        records[#records + 1] = {
          tracking, offer, group, issue, channel,
          status = RESERVED, flags = flags, reserved = now, expires = lapses, contact = now, outcome = 0,
        }
      end
      at = at + rules * RULE_SIZE
    end
    taken[#taken + 1] = choice
  end
  if #records > before then
    write(keys[1], bounded(records), retention)
  end
  return taken
end

-- A response: tracking key, offer, group, issue, channel, status bit, flags, padding, time.
local RESPONSE = '<c8I4I4I4I4I2BBd'

local function find(records, tracking)
  for i = #records, 1, -1 do
    if records[i][1] == tracking then
      return records[i]
    end
  end
  return nil
end

-- Puts a contact that the ledger has lost back where its time belongs.
local function insert(records, record)
  local at = #records + 1
  while at > 1 and records[at - 1].reserved > record.reserved do
    at = at - 1
  end
  table.insert(records, at, record)
end

local function apply(records, packed)
  local tracking, offer, group, issue, channel, status, flags, _, time = struct.unpack(RESPONSE, packed)
  local record = find(records, tracking)
  if not record then
    record = {
      tracking, offer, group, issue, channel,
      status = RESERVED, flags = flags, reserved = time, expires = time, contact = time, outcome = 0,
    }
    insert(records, record)
  end
  if record.status == RESERVED then
    record.contact = time
  else
    record.contact = math.min(record.contact, time)
  end
  record.status = bit.bor(record.status, status)
  if status ~= IMPRESSION then
    record.outcome = math.max(record.outcome, time)
  end
end

-- KEYS: the ledger. ARGV: the retention in milliseconds, then tracking keys. Gives back what is only reserved under them.
local function release(keys, args)
  local gone, kept = {}, {}
  for i = 2, #args do
    gone[args[i]] = true
  end
  local records = decode(redis.call('GET', keys[1]) or '')
  for _, r in ipairs(records) do
    if not (gone[r[1]] and r.status == RESERVED and not is_mark(r)) then
      kept[#kept + 1] = r
    end
  end
  if #kept == 0 then
    redis.call('DEL', keys[1])
  elseif #kept < #records then
    write(keys[1], kept, tonumber(args[1]))
  end
  return #records - #kept
end

-- What a marker says of who applied the response first: the one who took it, or the one who read it in the log.
local TAKEN, READ = '1', 'log'

-- KEYS: the ledger, then a marker for each response. ARGV: retention in milliseconds, seconds a marker lives, the packed
-- responses, then TAKEN (also when absent) or READ. Answers 1 for each response applied, 0 for each that had been applied
-- before. Between the bus and this call the log may be read, so what was only READ is news once to the one who takes it. A
-- response's time comes from outside, so nothing lapses by it; only the bound on the number of records holds here.
local function respond(keys, args)
  local retention, marker_seconds, by = tonumber(args[1]), args[2], args[#keys + 2] or TAKEN
  local applied, records = {}, nil
  for i = 2, #keys do
    if redis.call('SET', keys[i], by, 'NX', 'EX', marker_seconds) then
      records = records or decode(redis.call('GET', keys[1]) or '')
      apply(records, args[i + 1])
      applied[i - 1] = 1
    elseif by == TAKEN and redis.call('GET', keys[i]) == READ then
      redis.call('SET', keys[i], by, 'EX', marker_seconds)
      applied[i - 1] = 1
    else
      applied[i - 1] = 0
    end
  end
  if records then
    write(keys[1], prune(records, 0, retention), retention)
  end
  return applied
end

-- What two accounts of one contact say together.
local function join(one, other)
  if one.status == RESERVED then
    one.contact = other.contact
  elseif other.status ~= RESERVED then
    one.contact = math.min(one.contact, other.contact)
  end
  one.status = bit.bor(one.status, other.status)
  one.flags = bit.bor(one.flags, other.flags)
  one.reserved = math.min(one.reserved, other.reserved)
  one.expires = math.max(one.expires, other.expires)
  one.outcome = math.max(one.outcome, other.outcome)
end

-- KEYS: the ledger, then a marker for each response the records account for. ARGV: now and retention in milliseconds, seconds
-- a marker lives, then records. Puts what the log says of a person into the ledger; doing it again changes nothing.
local function restore(keys, args)
  local now, retention = tonumber(args[1]), tonumber(args[2])
  local records = decode(redis.call('GET', keys[1]) or '')
  for _, record in ipairs(decode(args[4])) do
    local held = find(records, record[1])
    if held then
      join(held, record)
    else
      insert(records, record)
    end
  end
  records = prune(records, now, retention)
  if #records > 0 then
    write(keys[1], records, retention)
  end
  for i = 2, #keys do
    redis.call('SET', keys[i], TAKEN, 'NX', 'EX', args[3])
  end
  return #records
end

-- KEYS: the ledger. ARGV: a time and the retention in milliseconds. Forgets the contacts up to that time, which an erased
-- person no longer has; those of a later relationship stay.
local function forget(keys, args)
  local until_time, kept = tonumber(args[1]), {}
  for _, r in ipairs(decode(redis.call('GET', keys[1]) or '')) do
    if math.max(r.reserved, r.contact, r.outcome) > until_time then
      kept[#kept + 1] = r
    end
  end
  if #kept == 0 then
    return redis.call('DEL', keys[1])
  end
  write(keys[1], kept, tonumber(args[2]))
  return 0
end

-- Clock ------------------------------------------------------------------------------------------

-- KEYS: the clock. ARGV: a time in milliseconds. Moves the clock forward, never back, and answers where it stands.
local function advance(keys, args)
  local stands = redis.call('GET', keys[1])
  if stands and tonumber(stands) >= tonumber(args[1]) then
    return stands
  end
  redis.call('SET', keys[1], args[1])
  return args[1]
end

-- Idempotent answers ------------------------------------------------------------------------------

-- KEYS: an idempotency key. ARGV: the caller's claim, its answer, seconds to keep it. The answer takes the place of that very
-- claim or of nothing, never of what another attempt left: that is answered, and nothing (nil) where the answer stands.
local function keep_answer(keys, args)
  local held = redis.call('GET', keys[1])
  if held and held ~= args[1] and held ~= args[2] then
    return held
  end
  redis.call('SET', keys[1], args[2], 'EX', args[3])
  return nil
end

-- KEYS: an idempotency key, the decision's record, its tracked options, and last, where the decision is noted, the set of
-- what its node has still to publish. ARGV: as for `keep_answer`, then seconds to keep the record, and it, seconds to keep
-- the options, the decision's id (empty: it is not noted), and each of the options. Where another attempt's answer or claim
-- stands nothing is written: whatever is known of the decision is that attempt's. Answers as `keep_answer` does.
local function keep_decision(keys, args)
  local held = keep_answer(keys, args)
  if held then
    return held
  end
  redis.call('SET', keys[2], args[5], 'EX', args[4])
  local noted = args[7] ~= ''
  for i = 3, noted and #keys - 1 or #keys do
    redis.call('SET', keys[i], args[i + 5], 'EX', args[6])
  end
  if noted then
    redis.call('SADD', keys[#keys], args[7])
  end
  return nil
end

redis.register_function('kairos_keep_answer', keep_answer)
redis.register_function('kairos_keep_decision', keep_decision)
redis.register_function('kairos_save', save)
redis.register_function('kairos_save_watched', save_watched)
redis.register_function('kairos_remember', remember)
redis.register_function('kairos_postpone', postpone)
redis.register_function('kairos_progress', progress)
redis.register_function('kairos_reserve', reserve)
redis.register_function('kairos_release', release)
redis.register_function('kairos_respond', respond)
redis.register_function('kairos_restore', restore)
redis.register_function('kairos_forget', forget)
redis.register_function('kairos_advance', advance)
