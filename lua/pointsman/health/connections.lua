-- What a worker knows of its connections to one address: whether one that was
-- closed without an answer can have been an idle one. Pure Lua, all phases.
--
-- nginx keeps idle connections, and does not tell Lua whether an attempt went
-- over one of them. An instance may close an idle connection at any time, which
-- says nothing about its health. If it closes a fresh one, it has failed.
--
-- A connection becomes idle when an answer has come over it, at most once for
-- each answer, and each attempt that fails over an idle one uses it up. So
-- `kept` goes up with each answer and down with each connection that was
-- closed. Requests under way count as if they had answered: nginx may keep the
-- connection long before the log phase, while a slow client reads. When none of
-- these is left, the connection was fresh.
--
-- `kept` need not be higher than `open`, which is at least the number of
-- connections that exist: a new one is only made when none is idle, so there
-- are never more than there were requests at once, less those that broke.
--
-- The failures that count are never more than those of fresh connections. It is
-- not always the same attempt that counts: of three failures with two idle
-- connections, the third one counts, whichever the fresh one was.

local _M = {}


-- syntax: c = connections.new()
function _M.new()
    return { busy = 0, open = 0, kept = 0, is_hidden = false }
end


-- syntax: connections.begin(c)
-- An attempt begins.
function _M.begin(c)
    local busy = c.busy + 1
    c.busy = busy
    if busy > c.open then
        c.open = busy
    end
end


-- syntax: connections.finish(c)
-- It has ended, after one of the functions below was told how.
function _M.finish(c)
    c.busy = c.busy - 1
end


-- syntax: connections.answered(c)
function _M.answered(c)
    if c.kept < c.open then
        c.kept = c.kept + 1
    end
end


-- syntax: connections.lost(c)
-- The attempt came to no answer for another reason than being closed.
function _M.lost(c)
    c.open = c.open - 1
end


-- syntax: was_fresh = connections.closed(c)
-- The connection was closed before a byte of the answer came.
function _M.closed(c)
    c.open = c.open - 1
    if c.is_hidden then
        return false
    elseif c.kept + c.busy - 1 > 0 then
        c.kept = c.kept - 1
        return false
    end
    return true
end


-- syntax: connections.hide(c)
-- Attempts go there whose end nobody sees (those of subrequests): from now on
-- it cannot be known how many connections are idle.
function _M.hide(c)
    c.is_hidden = true
end


return _M
