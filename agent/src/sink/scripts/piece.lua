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
local changes = cjson.decode(body)
for i = 1, #changes do
    local key = prefix .. changes[i][1]
    local kind = type_of(key)
    if kind ~= "none" and kind ~= wanted_type(changes[i][1]) then
        redis.call("DEL", key)
    end
    write(changes[i])
end
redis.call("HSET", meta, "next", following)
return { "done", "" }
