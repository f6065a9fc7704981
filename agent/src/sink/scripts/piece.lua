-- Writes one piece of a rebuild.
-- ARGV: prefix, token, number of the piece, number of the next one, changes.
local token, n, following, body = ARGV[2], ARGV[3], ARGV[4], ARGV[5]

if type_of(meta) ~= "hash" then
    return { "refused", "meta is gone" }
end
local now = state()
if now.claim ~= tonumber(token) or now.state ~= "building" then
    return { "refused", "the claim is not ours any more" }
end
if now.next == following then
    return { "done", "again" }
end
if now.next ~= n then
    return { "refused", "piece " .. tostring(now.next) .. " is next" }
end

-- Strings go in by one MSET, the fields of a hash by one HSET: a command for
-- each record would take twice as long. SET and DEL do not care what was there
-- before.
local strings, hashes = {}, {}
local changes = cjson.decode(body)
for i = 1, #changes do
    local change = changes[i]
    local key, field = prefix .. change[1], change[3] and change[2]
    local value = field and change[3] or change[2]
    if field then
        if not hashes[key] then
            hashes[key] = {}
            local kind = type_of(key)
            if kind ~= "none" and kind ~= "hash" then
                redis.call("DEL", key)
            end
        end
        if value == cjson.null then
            redis.call("HDEL", key, field)
        else
            local pairs_of = hashes[key]
            pairs_of[#pairs_of + 1] = field
            pairs_of[#pairs_of + 1] = value
        end
    elseif value == cjson.null then
        redis.call("DEL", key)
    else
        strings[#strings + 1] = key
        strings[#strings + 1] = value
    end
end
if #strings > 0 then
    redis.call("MSET", unpack(strings))
end
for key, pairs_of in pairs(hashes) do
    if #pairs_of > 0 then
        redis.call("HSET", key, unpack(pairs_of))
    end
end
redis.call("HSET", meta, "next", following)
return { "done", "" }
