import { createHash } from 'node:crypto';

/** A script, and the name under which the server remembers it. */
export interface RedisScript {
  readonly lua: string;
  readonly sha: string;
}

function script(lua: string): RedisScript {
  return { lua, sha: createHash('sha1').update(lua).digest('hex') };
}

/** Version of the layout. A store with a higher one is refused. */
export const FORMAT = 1;

/** Digits of the count that begins a version, padded so that versions sort. */
export const COUNT_DIGITS = 16;
/** Length of the token that ends it. */
export const TOKEN_LENGTH = 20;
/** Every value is stored behind the version of its write: count, a dot, token. */
export const VERSION_BYTES = COUNT_DIGITS + 1 + TOKEN_LENGTH;

/** What is remembered of a writer, as a Lua pattern: number of its last group, its deadline, the answers. */
const WRITER_RECORD = '^(%d+) (%d+) (.*)$';

/** The names of a store's keys, and of the channel on which its changes are told. */
export interface RedisLayout {
  readonly meta: string;
  readonly order: string;
  readonly channel: string;
  entry(key: string): string;
}

/**
 * Where a store is. All keys carry one hash tag, so that they lie on one shard of a cluster.
 *
 * - `{prefix}:meta` (hash): `format`, `id` (made at random with the store), `writes` (the counter of versions), `entries`
 *   (how many there are), `clockMs` (the server's time at the last write), `era` (how often that time was set back), and
 *   for each writer `writer/…`: its last group, until when that was to be written, and the answers.
 * - `{prefix}:order` (sorted set, all scores 0): the keys, in byte order.
 * - `{prefix}:entry:<key>` (string): the version, 37 bytes, and the value behind it.
 */
export function layoutOf(prefix: string): RedisLayout {
  const tag = `{${prefix}}`;
  return {
    meta: `${tag}:meta`,
    order: `${tag}:order`,
    entry: (key: string) => `${tag}:entry:${key}`,
    channel: `${tag}:changed`,
  };
}

/** The server's wall time as `nowMs`. It may jump: see `WRITE`. */
const READ_CLOCK = `
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
`;

/** Ends unless the store is the one that was opened: it may have been emptied, or restored from elsewhere, meanwhile. */
const REQUIRE_STORE = `
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then return { 'gone' } end
`;

/**
 * KEYS meta, order, probe; ARGV id for a new store, format, channel. Makes the store if it is new, forgets writers whose
 * last words can no longer arrive, and tries every command of the other scripts once: rights that are missing would
 * otherwise show in the middle of a write, which a script cannot take back.
 * Replies `opened` nowMs era id writes, `format` number, or `damaged`.
 */
export const OPEN = script(`
local meta, order, probe = KEYS[1], KEYS[2], KEYS[3]
local format = redis.call('HGET', meta, 'format')
if format and tonumber(format) > tonumber(ARGV[2]) then return { 'format', format } end
if not format then
  if redis.call('EXISTS', order, meta) > 0 then return { 'damaged' } end
  redis.call('HSET', meta, 'format', ARGV[2], 'id', ARGV[1], 'era', 1, 'clockMs', 0, 'writes', 0, 'entries', 0)
end
for _, command in ipairs({
  { 'SET', probe, '' }, { 'GET', probe }, { 'GETRANGE', probe, 0, 0 }, { 'SETRANGE', probe, 0, 'probe' }, { 'STRLEN', probe }, { 'DEL', probe },
  { 'ZADD', probe, 0, 'probe' }, { 'ZSCORE', probe, 'probe' }, { 'ZCARD', probe }, { 'ZREM', probe, 'probe' },
  { 'ZRANGEBYLEX', order, '-', '+', 'LIMIT', 0, 1 }, { 'ZREVRANGEBYLEX', order, '+', '-', 'LIMIT', 0, 1 },
  { 'HSET', probe, 'probe', 0 }, { 'DEL', probe }, { 'HMGET', meta, 'id' }, { 'PUBLISH', ARGV[3], '' },
}) do
  local reply = redis.pcall(unpack(command))
  local failure = type(reply) == 'table' and reply.err
  -- Only rights are asked for here: a server without space, or one that may only be read, can still be read.
  if failure and (string.find(failure, 'NOPERM') or string.find(failure, 'user executing the script')) then
    return redis.error_reply('NOPERM ' .. command[1] .. ': ' .. failure)
  end
end
${READ_CLOCK}
local state = redis.call('HGETALL', meta)
for at = 1, #state, 2 do
  if string.sub(state[at], 1, 7) == 'writer/' then
    local _, deadlineMs = string.match(state[at + 1], '${WRITER_RECORD}')
    if tonumber(deadlineMs) + 60000 < nowMs then redis.pcall('HDEL', meta, state[at]) end
  end
end
local known = redis.call('HMGET', meta, 'era', 'id', 'writes')
if not (known[1] and known[2] and known[3]) then return { 'damaged' } end
return { 'opened', nowMs, tonumber(known[1]), known[2], tonumber(known[3]) }
`);

/** KEYS meta; ARGV id. Replies `time` nowMs era, or `gone`. */
export const TIME = script(`
${REQUIRE_STORE}
${READ_CLOCK}
return { 'time', nowMs, tonumber(redis.call('HGET', KEYS[1], 'era')) }
`);

/** KEYS meta, order, entry; ARGV id, key. Replies `found` with version and value, `absent`, `damaged` key, or `gone`. */
export const GET = script(`
${REQUIRE_STORE}
local stored = redis.call('GET', KEYS[3])
local isListed = redis.call('ZSCORE', KEYS[2], ARGV[2])
if not stored and not isListed then return { 'absent' } end
if not stored or not isListed or #stored < ${VERSION_BYTES} then return { 'damaged', ARGV[2] } end
return { 'found', stored }
`);

/**
 * KEYS meta, order; ARGV id, ZRANGEBYLEX or ZREVRANGEBYLEX, from, to, limit. Replies `page` with key, version, size for
 * each, `damaged` with the key if there is one to name, or `gone`.
 */
export const LIST = script(`
${REQUIRE_STORE}
if redis.call('ZCARD', KEYS[2]) ~= tonumber(redis.call('HGET', KEYS[1], 'entries')) then return { 'damaged' } end
local stem = string.sub(KEYS[1], 1, -5) .. 'entry:'
local page = {}
for at, key in ipairs(redis.call(ARGV[2], KEYS[2], ARGV[3], ARGV[4], 'LIMIT', 0, ARGV[5])) do
  local size = redis.call('STRLEN', stem .. key) - ${VERSION_BYTES}
  if size < 0 then return { 'damaged', key } end
  page[at * 3 - 2] = key
  page[at * 3 - 1] = redis.call('GETRANGE', stem .. key, 0, ${VERSION_BYTES - 1})
  page[at * 3] = size
end
return { 'page', page }
`);

/**
 * A group of writes, each of them whole or not at all, in order.
 *
 * KEYS meta, order, and the entry of each operation. ARGV id, writer, number of the group, era, sent-after, deadline,
 * least count, token, channel; then for each write its number of operations, and for each of them what to do (`p`ut,
 * `d`elete, `c`heck) with its condition behind it (nothing, `-` for absent, `=` and the version), and what a put stores: the
 * value, with room for the version before it. (To put the two together here would copy a large value twice more.)
 *
 * A copy of a group that was done (a client sends again what was in flight when its connection was lost) finds the
 * answers of the first one. A copy that arrives after its deadline does nothing: whoever waited was told by then that
 * the outcome is unknown. The deadline is in the server's time; when that is found to have been set back, below the last
 * write or below what the sender knows it must be, a new era begins, and groups of an older era do nothing either.
 *
 * Replies `done` or `repeated` nowMs era answers, `late` nowMs era, `damaged`, or `gone`. An answer is 0, count, existed;
 * or 1, operation, current version (a condition does not hold); or 2, operation (its entry is damaged).
 */
export const WRITE = script(`
local call, sub = redis.call, string.sub
local meta, order = KEYS[1], KEYS[2]
local state = call('HMGET', meta, 'id', 'era', 'clockMs', 'writes', 'entries', ARGV[2])
if state[1] ~= ARGV[1] then return { 'gone' } end
${READ_CLOCK}
local era, clockMs, writes, entries = tonumber(state[2]), tonumber(state[3]), tonumber(state[4]), tonumber(state[5])
if not (era and clockMs and writes and entries) then return { 'damaged' } end
local number, last = tonumber(ARGV[3]), 0
if state[6] then
  local known, _, answers = string.match(state[6], '${WRITER_RECORD}')
  last = tonumber(known)
  if last == number then return { 'repeated', nowMs, era, cmsgpack.unpack(answers) } end
end
if nowMs < clockMs or nowMs < tonumber(ARGV[5]) then
  era = era + 1
  call('HSET', meta, 'era', era, 'clockMs', nowMs)
end
if last > number or era ~= tonumber(ARGV[4]) or nowMs > tonumber(ARGV[6]) then return { 'late', nowMs, era } end

local stem = #meta - 4 + #'entry:' + 1
writes = math.max(writes, tonumber(ARGV[7]))
local answers, changed = {}, {}
local at, entry = 10, 3
while ARGV[at] do
  local count = tonumber(ARGV[at])
  local first, isThere, refusal = at + 1, {}, nil
  at = first
  for index = 1, count do
    local act, condition, name = sub(ARGV[at], 1, 1), sub(ARGV[at], 2), KEYS[entry + index - 1]
    local current = redis.pcall('GETRANGE', name, 0, ${VERSION_BYTES - 1})
    isThere[index] = current ~= ''
    if refusal then
      -- The first one counts.
    elseif type(current) == 'table' or isThere[index] ~= (call('ZSCORE', order, sub(name, stem)) ~= false)
      or (isThere[index] and #current < ${VERSION_BYTES}) then
      refusal = { 2, index }
    elseif condition ~= '' then
      local isMet = condition == '-' and not isThere[index] or condition == '=' .. current
      if not isMet then refusal = { 1, index, current } end
    end
    at = at + (act == 'p' and 2 or 1)
  end
  if not refusal then
    writes = writes + 1
    local version = string.format('%0${COUNT_DIGITS}.0f.', writes) .. ARGV[8]
    local word = first
    for index = 1, count do
      local act, name = sub(ARGV[word], 1, 1), KEYS[entry + index - 1]
      if act == 'p' then
        call('SET', name, ARGV[word + 1])
        call('SETRANGE', name, 0, version)
        word = word + 1
        if not isThere[index] then
          call('ZADD', order, 0, sub(name, stem))
          entries = entries + 1
        end
        changed[#changed + 1] = sub(name, stem)
      elseif act == 'd' and isThere[index] then
        call('DEL', name)
        call('ZREM', order, sub(name, stem))
        entries = entries - 1
        changed[#changed + 1] = sub(name, stem)
      end
      word = word + 1
    end
  end
  entry = entry + count
  answers[#answers + 1] = refusal or { 0, writes, isThere[1] and 1 or 0 }
end
if #changed > 0 then
  -- What changed nothing need not be remembered: a copy of it does no harm.
  local record = ARGV[3] .. ' ' .. ARGV[6] .. ' ' .. cmsgpack.pack(answers)
  call('HSET', meta, 'clockMs', nowMs, 'writes', writes, 'entries', entries, ARGV[2], record)
  redis.pcall('PUBLISH', ARGV[9], table.concat(changed, '\\n'))
end
return { 'done', nowMs, era, answers }
`);
