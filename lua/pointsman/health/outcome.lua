-- What became of the last attempt of a request, by nginx's variables. Pure Lua,
-- all phases.

local find = string.find
local match = string.match
local sub = string.sub
local tonumber = tonumber


-- nginx lists attempts as "a, b : c, d", a pass through an upstream before each
-- colon. The list ends in " : " as long as the attempt under way has no address
-- yet. Returns the last pass, and its last element.
local function last_of(list)
    if sub(list, -3) == " : " then
        list = sub(list, 1, -4)
    end
    list = match(list, ".* : (.*)$") or list
    return list, match(list, "([^, ]+)$")
end


local _M = {}


-- syntax: pass, last = outcome.last(list)
_M.last = last_of


-- syntax: kind, timed_out = outcome.of(policy, addr, seen)
-- Of the attempt at `addr`; `seen` has nginx's $upstream_addr, _connect_time,
-- _header_time, _status and _bytes_received. Kinds:
--   ok, 5xx    it answered
--   connect    it was refused, or timed out before there was a connection
--   timeout    it was connected, and its answer did not come in time
--   closed     it was connected, and closed before a byte of the answer came
--   nil        none of these, as when the client went away or the header of the
--              answer was malformed
function _M.of(policy, addr, seen)
    local pass, last = last_of(seen.addr)
    if last ~= addr then
        return nil
    end
    local _, connect_time = last_of(seen.connect_time)
    local _, header_time = last_of(seen.header_time)
    local _, status = last_of(seen.status)
    if header_time ~= "-" then
        return (tonumber(status) or 0) >= 500 and "5xx" or "ok"
    elseif status ~= "502" and status ~= "504" then
        return nil
    end

    local timed_out = status == "504"
    if connect_time == "-" then
        -- The time includes the handshake, and without a server name of the
        -- app's own the client chooses the name that is verified.
        if policy.scheme == "https" and not policy.server_name then
            return nil
        end
        -- If a retry finds no instance, nginx lists an attempt that was never
        -- made, at the address of the one before.
        local twice = ", " .. addr .. ", " .. addr
        if find(", " .. pass, twice, -#twice, true) then
            return nil
        end
        return "connect", timed_out
    elseif timed_out then
        return "timeout", true
    end
    local _, received = last_of(seen.received)
    return received == "0" and "closed" or nil
end


return _M
