-- Common to all scripts.
-- KEYS[1] meta, KEYS[2] changes; ARGV[1] the prefix. Numbers stay strings
-- wherever they are stored: Lua would print 1e+14.
local meta, stream, prefix = KEYS[1], KEYS[2], ARGV[1]

local function type_of(key)
    return redis.call("TYPE", key).ok
end

local function state()
    local m = redis.call("HMGET", meta, "format", "epoch", "rev", "state",
                         "claim", "next", "from")
    return {
        format = m[1], epoch = m[2], rev = tonumber(m[3] or nil),
        state = m[4], claim = tonumber(m[5] or nil) or 0, next = m[6],
        rev_text = m[3], from = m[7],
    }
end

local function wanted_type(key)
    return string.sub(key, 1, 5) == "inst:" and "hash" or "string"
end

-- A change is [key, value] or, for a hash, [key, field, value]; a null value
-- (cjson.null) means "gone".
local function write(change)
    local key = prefix .. change[1]
    if #change == 3 then
        if change[3] == cjson.null then
            redis.call("HDEL", key, change[2])
        else
            redis.call("HSET", key, change[2], change[3])
        end
    elseif change[2] == cjson.null then
        redis.call("DEL", key)
    else
        redis.call("SET", key, change[2])
    end
end
