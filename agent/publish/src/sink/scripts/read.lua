-- Reads elements and where Redis stands, at one point in time.
-- ARGV: prefix, elements as a JSON array of [key] or [key, field].
-- A key of a wrong type reads as if it were not there.
local values = {}
for i, element in ipairs(cjson.decode(ARGV[2])) do
    local key = prefix .. element[1]
    local value = false
    if type_of(key) == wanted_type(element[1]) then
        if element[2] then
            value = redis.call("HGET", key, element[2])
        else
            value = redis.call("GET", key)
        end
    end
    values[i] = value
end
local fields = {}
local kind = type_of(meta)
if kind == "hash" or kind == "none" then
    fields = redis.call("HMGET", meta, "format", "epoch", "rev", "state",
                        "claim", "next")
end
return { fields, values }
