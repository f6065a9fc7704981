-- Writes one piece of a rebuild.
-- ARGV: prefix, token, number of the piece, number of the next one; then the
-- commands that write it, each behind the number of its words.
local token, n, following = ARGV[2], ARGV[3], ARGV[4]

if type_of(meta) ~= "hash" then
    return { "refused", "meta is gone" }
end
local now = state()
if now.claim ~= tonumber(token) or now.state ~= "building" then
    return { "refused", "the claim is not ours any more" }
end
-- Pieces are sent ahead, so later ones may be in as well.
if tonumber(now.next) > tonumber(n) then
    return { "done", "again" }
end
if now.next ~= n then
    return { "refused", "piece " .. tostring(now.next) .. " is next" }
end

-- SET and DEL do not care what was there before; a hash needs a hash. What is
-- of another type goes, unless only what changed is written: the rest of that
-- hash would be missing.
local at = 5
if now.from and now.from ~= "" then
    while at <= #ARGV do
        local command, key = ARGV[at + 1], ARGV[at + 2]
        local kind = type_of(key)
        if kind ~= "none" and kind ~= "hash"
            and (command == "HSET" or command == "HDEL") then
            return { "refused", key .. " is " .. kind }
        end
        at = at + tonumber(ARGV[at]) + 1
    end
    at = 5
end
while at <= #ARGV do
    local last = at + tonumber(ARGV[at])
    local command, key = ARGV[at + 1], ARGV[at + 2]
    if command == "HSET" or command == "HDEL" then
        local kind = type_of(key)
        if kind ~= "none" and kind ~= "hash" then
            redis.call("DEL", key)
        end
    end
    redis.call(unpack(ARGV, at + 1, last))
    at = last + 1
end
redis.call("HSET", meta, "next", following)
return { "done", "" }
