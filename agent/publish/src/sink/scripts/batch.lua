-- Applies the changes of the revisions in (from, to]; or, where from equals
-- to, puts elements right at that very revision.
-- ARGV: prefix, format, epoch, from, to, length of the stream, changes.
local format, epoch, from, to = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local length, body = ARGV[6], ARGV[7]

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
redis.call("HSET", meta, "rev", to)
return { "applied", to }
