#!lua name=kairos_online
-- The evidence of online learning: of each partition of the log its cells, its options under way and how far the log was
-- taken, changed together or not at all. Runs on Redis 7.0 and later and on Valkey.

local HEADER = '@'

-- Writes or removes pairs of field and value; an empty value is none.
local function put(key, args, from, count)
  for i = from, from + 2 * count - 1, 2 do
    if args[i + 1] == '' then
      redis.call('HDEL', key, args[i])
    else
      redis.call('HSET', key, args[i], args[i + 1])
    end
  end
  return from + 2 * count
end

-- KEYS: the partition's cells, its options, the index of partitions. ARGV: the header as it must still be (empty: none), the
-- new header, the partition, the milliseconds all of this is kept, the number of cells and pairs of name and value, the
-- number of options and pairs of name and value. Answers 1, or 0 where the header is another and nothing was written. With a
-- fourth key, the partition's latest writes (a list, the newest first), there follow what is noted there of this write and
-- how many are kept.
local function save(keys, args)
  if (redis.call('HGET', keys[1], HEADER) or '') ~= args[1] then
    return 0
  end
  local after = put(keys[1], args, 6, tonumber(args[5]))
  after = put(keys[2], args, after + 1, tonumber(args[after]))
  redis.call('HSET', keys[1], HEADER, args[2])
  redis.call('HSET', keys[3], args[3], args[2])
  if keys[4] then
    redis.call('LPUSH', keys[4], args[after])
    redis.call('LTRIM', keys[4], 0, args[after + 1] - 1)
  end
  for i = 1, #keys do
    redis.call('PEXPIRE', keys[i], args[4])
  end
  return 1
end

redis.register_function('kairos_online_save', save)
