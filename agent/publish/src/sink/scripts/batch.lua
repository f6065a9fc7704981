-- Applies the changes of the revisions in (from, to]; or, where from equals
-- to, puts elements right at that very revision.
-- ARGV: prefix, format, epoch, from, to, entries and bytes that the stream
-- keeps, changes.
local format, epoch, from, to = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
-- What an entry takes beside its changes, in bytes.
local OVERHEAD = 200
local length, most, body = ARGV[6], tonumber(ARGV[7]), ARGV[8]

-- 1. Does it fit onto what is here?
local kind = type_of(meta)
if kind ~= "hash" then
    return { "broken", "meta is " .. kind }
end
local now = state()
if not now.rev or not now.epoch then
    return { "broken", "meta lacks its fields" }
end
if now.format ~= format then
    return { "format", now.format or "none" }
end
if now.epoch ~= epoch then
    return { "epoch", now.epoch }
end
if now.state ~= "ready" then
    return { "building", "" }
end
local repair = from == to
if now.rev > tonumber(to) or now.rev == tonumber(to) and not repair then
    return { "stale", now.rev_text }
end
if now.rev < tonumber(from) then
    return { "gap", now.rev_text }
end

-- 2. Nothing of a wrong type may be in the way: a script that breaks off is
-- not rolled back.
local changes = cjson.decode(body)
kind = type_of(stream)
if kind ~= "none" and kind ~= "stream" then
    return { "broken", "changes is " .. kind }
end
for i = 1, #changes do
    kind = type_of(prefix .. changes[i][1])
    if kind ~= "none" and kind ~= wanted_type(changes[i][1]) then
        return { "broken", changes[i][1] .. " is " .. kind }
    end
end

-- 3. Announce, write, and only then move the revision.
local added = redis.pcall("XADD", stream, "MAXLEN", "~", length, to .. "-*",
                          "epoch", epoch, "from", from,
                          "kind", repair and "repair" or "batch",
                          "changes", body)
if type(added) == "table" and added.err then
    -- Read-only, out of memory: that passes, and nothing was written.
    if not string.find(added.err, "ERR ", 1, true) then
        return added
    end
    return { "broken", "changes: " .. added.err }
end
for i = 1, #changes do
    write(changes[i])
end

-- 4. The stream is two halves. When the newer one is full, the older one goes.
local half = redis.call("HMGET", meta, "mark", "bytes")
local mark, bytes = half[1], (tonumber(half[2] or nil) or 0) + #body + OVERHEAD
if bytes > most / 2 then
    if mark then
        redis.pcall("XTRIM", stream, "MINID", "~", mark)
    end
    mark, bytes = added, 0
end
redis.call("HSET", meta, "rev", to, "mark", mark or "0-0", "bytes", bytes)
return { "applied", to }
