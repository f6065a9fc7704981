-- Ends a rebuild: the table is whole, at this revision.
-- ARGV: prefix, token, number of pieces, revision, length of the stream.
local token, n, revision, length = ARGV[2], ARGV[3], ARGV[4], ARGV[5]

if type_of(meta) ~= "hash" then
    return { "refused", "meta is gone" }
end
local now = state()
if now.claim ~= tonumber(token) then
    return { "refused", "the claim is not ours any more" }
end
if now.state == "ready" then
    return { "done", "again" }
end
if now.next ~= n then
    return { "refused", "piece " .. tostring(now.next) .. " is next" }
end
redis.call("XADD", stream, "MAXLEN", "~", length, revision .. "-*",
           "epoch", now.epoch, "from", revision, "kind", "reset",
           "changes", "[]")
redis.call("HSET", meta, "rev", revision, "state", "ready")
return { "done", "" }
