/**
 * What must happen on the server in one step, in Lua.
 *
 * A partition belongs to the member that the hash of owners names, with the epoch of its claim: its
 * fence. Every script that changes something for a partition compares the fence first and changes
 * nothing when it is another's, so that who was taken for dead can wake up and do no harm. All of
 * these but the first may run when memory is full, because they are what makes room.
 */

import { createHash } from "node:crypto";

export interface RedisScript {
  readonly text: string;
  readonly sha: string;
}

/** A script that is refused when memory is full. */
export function redisScript(lines: string, flags = ""): RedisScript {
  const text = `#!lua${flags}\n${lines}`;
  return { text, sha: createHash("sha1").update(text).digest("hex") };
}

function script(lines: string): RedisScript {
  return redisScript(lines, " flags=allow-oom");
}

/**
 * Stores frames, in order: refused as a whole when memory is full, and not interrupted once it has
 * begun. KEYS: logs. ARGV: per frame, which of the logs and the bytes. Answers the refusals, each
 * as the number of its frame and why. One command, because each costs a client more than its frame.
 */
export const PUBLISH = redisScript(`
local refused = {}
for at = 1, #ARGV, 2 do
  local made = redis.pcall('XADD', KEYS[tonumber(ARGV[at])], '0-*', 'f', ARGV[at + 1])
  if type(made) == 'table' and made.err then
    refused[#refused + 1] = (at - 1) / 2
    refused[#refused + 1] = made.err
  end
end
return refused`);

/** KEYS: streams. ARGV: group, first id before what it reads. */
export const ENSURE_GROUPS = script(`
for _, key in ipairs(KEYS) do
  local made = redis.pcall('XGROUP', 'CREATE', key, ARGV[1], ARGV[2], 'MKSTREAM')
  if made.err and not string.find(made.err, '^BUSYGROUP') then
    return redis.error_reply(made.err)
  end
end
return 1`);

/**
 * A sign of life, and how the group stands. KEYS: members, facts, owners. ARGV: member, session in
 * ms, what it may own, types. Answers `{types of others}` when they differ, and nothing is changed.
 */
export const BEAT = script(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)) do
  redis.call('ZREM', KEYS[1], id)
  redis.call('HDEL', KEYS[2], 'may:' .. id)
end
local ids = redis.call('ZRANGE', KEYS[1], 0, -1)
local types = redis.call('HGET', KEYS[2], 'types')
local others = #ids
for _, id in ipairs(ids) do if id == ARGV[1] then others = others - 1 end end
if others > 0 and types and types ~= ARGV[4] then return { types } end
redis.call('HSET', KEYS[2], 'types', ARGV[4], 'may:' .. ARGV[1], ARGV[3])
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
ids = redis.call('ZRANGE', KEYS[1], 0, -1)
local members = {}
for _, id in ipairs(ids) do
  members[#members + 1] = id
  members[#members + 1] = redis.call('HGET', KEYS[2], 'may:' .. id) or ''
end
return { types or '', members, redis.call('HGETALL', KEYS[3]) }`);

/**
 * Takes partitions that are nobody's, or of a member that is gone. KEYS: members, owners, epochs.
 * ARGV: member, partitions. Answers an epoch for each, 0 where it was too late.
 */
export const CLAIM = script(`
local epochs = {}
local alive = redis.call('ZSCORE', KEYS[1], ARGV[1])
for at = 2, #ARGV do
  local owner = redis.call('HGET', KEYS[2], ARGV[at])
  local id = owner and string.match(owner, '^(.*):%d+$')
  local free = not id or id == ARGV[1] or not redis.call('ZSCORE', KEYS[1], id)
  epochs[at - 1] = 0
  if alive and free then
    local epoch = redis.call('HINCRBY', KEYS[3], ARGV[at], 1)
    redis.call('HSET', KEYS[2], ARGV[at], ARGV[1] .. ':' .. epoch)
    epochs[at - 1] = epoch
  end
end
return epochs`);

/**
 * Where a partition stands. KEYS: owners, then a log and its postponements per topic. ARGV: group,
 * partition, fence. Per topic: the last sequence before anything unsettled, entries delivered and
 * not acknowledged, postponements.
 */
export const ATTACH = script(`
if redis.call('HGET', KEYS[1], ARGV[2]) ~= ARGV[3] then return false end
local topics = {}
for at = 2, #KEYS, 2 do
  local position = 0
  local pending = redis.call('XPENDING', KEYS[at], ARGV[1])
  if pending[1] > 0 then
    position = tonumber(string.match(pending[2], '%-(%d+)$')) - 1
  else
    for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[at])) do
      local facts = {}
      for field = 1, #group, 2 do facts[group[field]] = group[field + 1] end
      if facts.name == ARGV[1] then
        position = tonumber(string.match(facts['last-delivered-id'], '%-(%d+)$'))
      end
    end
  end
  topics[#topics + 1] = { position, pending[1], redis.call('HGETALL', KEYS[at + 1]) }
end
return topics`);

/**
 * Takes over what was delivered and not acknowledged, by whomever it was received. KEYS: owners,
 * log. ARGV: group, partition, fence, consumer, sequence it comes after, entries at most, what is
 * added to the count of deliveries. Answers the last sequence looked at (0: none), then per entry
 * its id, count and bytes; an entry that is gone is not among them.
 */
export const RECOVER = script(`
if redis.call('HGET', KEYS[1], ARGV[2]) ~= ARGV[3] then return false end
local found = redis.call('XPENDING', KEYS[2], ARGV[1], '(0-' .. ARGV[5], '+', ARGV[6])
local answer = { 0 }
for _, each in ipairs(found) do
  local count = math.max(1, each[4] + ARGV[7])
  local entry = redis.call('XCLAIM', KEYS[2], ARGV[1], ARGV[4], 0, each[1], 'RETRYCOUNT', count)[1]
  answer[1] = tonumber(string.match(each[1], '%-(%d+)$'))
  if entry then answer[#answer + 1] = { each[1], count, entry[2][2] } end
end
return answer`);

/**
 * KEYS: owners, then a log and its postponements per part. ARGV: group, parts, then per part:
 * partition, fence, whether something of it may be postponed, number of ids, ids. Answers 1 or, for
 * a part of another's, 0.
 */
export const ACK = script(`
local at = 3
local results = {}
for part = 1, tonumber(ARGV[2]) do
  local mine = redis.call('HGET', KEYS[1], ARGV[at]) == ARGV[at + 1]
  local count = tonumber(ARGV[at + 3])
  local ids = {}
  for each = 1, count do ids[each] = ARGV[at + 3 + each] end
  if mine then
    redis.call('XACK', KEYS[part * 2], ARGV[1], unpack(ids))
    if ARGV[at + 2] == '1' then redis.call('HDEL', KEYS[part * 2 + 1], unpack(ids)) end
  end
  results[part] = mine and 1 or 0
  at = at + 4 + count
end
return results`);

/** KEYS: owners, log, postponements. ARGV: group, partition, fence, consumer, id, attempt, what. */
export const POSTPONE = script(`
if redis.call('HGET', KEYS[1], ARGV[2]) ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[3], ARGV[5], ARGV[7])
redis.call('XCLAIM', KEYS[2], ARGV[1], ARGV[4], 0, ARGV[5], 'RETRYCOUNT', ARGV[6], 'JUSTID')
return 1`);

/**
 * To the dead letters and acknowledged, both or neither. KEYS: owners, log, postponements, dead
 * letters. ARGV: group, partition, fence, id, letters kept, then fields and values. Answers 2 when
 * it was settled already.
 */
export const BURY = script(`
if redis.call('HGET', KEYS[1], ARGV[2]) ~= ARGV[3] then return 0 end
if #redis.call('XPENDING', KEYS[2], ARGV[1], ARGV[4], ARGV[4], 1) == 0 then return 2 end
local entry = redis.call('XRANGE', KEYS[2], ARGV[4], ARGV[4])[1]
local bytes = entry and entry[2][2] or ''
redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[5], '0-*', 'bytes', bytes, unpack(ARGV, 6))
redis.call('XACK', KEYS[2], ARGV[1], ARGV[4])
redis.call('HDEL', KEYS[3], ARGV[4])
return 1`);

/**
 * Gives a partition up; what was received and not handed out does not count as an attempt. KEYS:
 * owners, logs. ARGV: group, partition, fence, consumer, then per log the last sequence handed
 * out and the last received.
 */
export const RELEASE = script(`
if redis.call('HGET', KEYS[1], ARGV[2]) ~= ARGV[3] then return 0 end
for at = 2, #KEYS do
  local after = '(0-' .. ARGV[at * 2 + 1]
  local upto = '0-' .. ARGV[at * 2 + 2]
  local unseen = redis.pcall('XPENDING', KEYS[at], ARGV[1], after, upto, 2000, ARGV[4])
  for _, each in ipairs(unseen) do
    local count = math.max(0, each[4] - 1)
    redis.call('XCLAIM', KEYS[at], ARGV[1], ARGV[4], 0, each[1], 'RETRYCOUNT', count, 'JUSTID')
  end
end
redis.call('HDEL', KEYS[1], ARGV[2])
return 1`);

/** KEYS: members, facts. ARGV: member. */
export const LEAVE = script(`
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], 'may:' .. ARGV[1])
return 1`);

/**
 * Removes what every group has settled, but for the last of it, and consumers that are gone. KEYS:
 * members, logs. ARGV: group, settled frames kept, frames kept at most (0: all). Answers how many
 * frames went unsettled.
 */
export const TRIM = script(`
local dropped = 0
for at = 2, #KEYS do
  local settled = nil
  for _, group in ipairs(redis.pcall('XINFO', 'GROUPS', KEYS[at])) do
    local facts = {}
    for field = 1, #group, 2 do facts[group[field]] = group[field + 1] end
    local upto = tonumber(string.match(facts['last-delivered-id'], '%-(%d+)$'))
    if facts.pending > 0 then
      local first = redis.call('XPENDING', KEYS[at], facts.name)[2]
      upto = tonumber(string.match(first, '%-(%d+)$')) - 1
    end
    if not settled or upto < settled then settled = upto end
    if facts.name == ARGV[1] then
      for _, each in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[at], ARGV[1])) do
        local consumer = {}
        for field = 1, #each, 2 do consumer[each[field]] = each[field + 1] end
        if consumer.pending == 0 and not redis.call('ZSCORE', KEYS[1], consumer.name) then
          redis.call('XGROUP', 'DELCONSUMER', KEYS[at], ARGV[1], consumer.name)
        end
      end
    end
  end
  local limit = (settled or 0) - ARGV[2]
  if limit > 0 then redis.call('XTRIM', KEYS[at], 'MINID', '~', '0-' .. (limit + 1)) end
  if tonumber(ARGV[3]) > 0 then
    dropped = dropped + redis.call('XTRIM', KEYS[at], 'MAXLEN', '~', ARGV[3])
  end
end
return dropped`);
