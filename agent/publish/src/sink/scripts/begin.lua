-- Begins a rebuild: from here on batches wait, and only the pieces of this
-- claim are written.
-- ARGV: prefix, format, epoch, token, revision that the table will be at,
-- epoch that may be replaced (or ""), revision (or "") after which all that
-- changed is written, and nothing else.
local format, epoch, token, revision = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local replaces, from = ARGV[6], ARGV[7]

local kind = type_of(meta)
local now = { claim = 0 }
if kind == "hash" then
    now = state()
elseif kind ~= "none" then
    redis.call("DEL", meta)
end
if now.epoch and now.epoch ~= epoch then
    if now.epoch ~= replaces then
        return { "refused", "redis holds epoch " .. now.epoch }
    end
    -- Another epoch's revisions, claims and stream say nothing about ours.
    redis.call("DEL", meta, stream)
    now = { claim = 0 }
end
if now.format and (tonumber(now.format) or 0) > tonumber(format) then
    return { "refused", "redis holds records of format " .. now.format }
end
if now.claim == tonumber(token) and now.state == "building"
    and now.next == "0" then
    return { "done", "again" }
end
if now.claim >= tonumber(token) then
    return { "refused", "a claim with token " .. now.claim .. " is there" }
end
if now.epoch and now.rev and now.rev > tonumber(revision) then
    return { "refused", "redis is at revision " .. now.rev_text }
end
if from ~= "" and (now.state ~= "ready" or now.format ~= format
                   or not now.rev or now.rev < tonumber(from)) then
    return { "refused", "redis does not hold all up to revision " .. from }
end

-- The stream stays, for readers to go on, unless its next ID could not be
-- that of this rebuild.
kind = type_of(stream)
if kind == "stream" then
    local last = redis.call("XREVRANGE", stream, "+", "-", "COUNT", 1)[1]
    local at = last and tonumber(string.match(last[1], "^%d+"))
    if at and at > tonumber(revision) then
        redis.call("DEL", stream)
        redis.call("HDEL", meta, "mark", "bytes")
    end
elseif kind ~= "none" then
    redis.call("DEL", stream)
end
redis.call("HSET", meta, "format", format, "epoch", epoch,
           "rev", now.rev and now.rev_text or "0", "state", "building",
           "claim", token, "next", "0", "from", from)
return { "done", "" }
