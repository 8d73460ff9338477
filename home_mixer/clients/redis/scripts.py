"""The few Lua scripts, each of one key, so that each is one atomic step on Redis Cluster too.

They are sent with EVAL: a few hundred bytes, and nothing to load again after a restart.
"""

# KEYS 1: value. ARGV: SHA-1 of the value that was read, new value, time to live in ms.
# 1: replaced; 0: somebody else has changed it meanwhile.
REPLACE = """
local old = redis.call('GET', KEYS[1])
if not old or redis.sha1hex(old) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""

# KEYS 1: sorted set. ARGV: members kept at least, time to live in ms, then score, member, ….
# The greater score of a member stays; a quarter above the bound the lowest scores go.
ADD_MEMBERS = """
redis.call('ZADD', KEYS[1], 'GT', unpack(ARGV, 3))
local most = tonumber(ARGV[1])
if redis.call('ZCARD', KEYS[1]) > most * 5 / 4 then
  redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -(most + 1))
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""

# KEYS 1: value that begins with its time, little endian. ARGV: time, value, time to live in ms.
PUT_NEWER = """
local old = redis.call('GET', KEYS[1])
if old and struct.unpack('<i8', old) > tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""

# KEYS 1: the ingesters' state, a hash. ARGV: the generation that is over, the new one, ttl in ms.
# The generation that is in force afterwards.
BEGIN = """
local now = redis.call('HGET', KEYS[1], 'generation')
if now and now ~= ARGV[1] then return now end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'generation', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return ARGV[2]
"""

# KEYS 1: a bucket's marker. ARGV: generation, ttl in ms. What survived stays filled.
MARK = """
local old = redis.call('GET', KEYS[1])
local word = 'filling'
if old and string.sub(old, 1, 5) == 'ready' then word = 'ready' end
redis.call('SET', KEYS[1], word .. ':' .. ARGV[1], 'PX', ARGV[2])
return 1
"""

# KEYS 1: the state. ARGV: generation, ttl in ms, then field, offset thought to be stored, offset.
# 1: stored; -1: another generation; -2: Redis has gone back behind what it had acknowledged.
ADVANCE = """
if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[1] then return -1 end
for i = 3, #ARGV, 3 do
  local stored = tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or '-1')
  if stored < tonumber(ARGV[i + 1]) then return -2 end
  if stored < tonumber(ARGV[i + 2]) then redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2]) end
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""
