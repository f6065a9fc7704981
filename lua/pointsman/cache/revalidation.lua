-- Revalidation: where the feed cannot know what it missed, all cached records
-- must be asked for again. All phases.
--
-- For a moment requests may still use them while Redis is asked
-- (stale-while-revalidate): no request waits. Meanwhile this edge does not say
-- that it has applied what the table has: others may rely on that.

local dicts = require("pointsman.cache.dicts")
local versions = require("pointsman.cache.versions")

local dict_get = dicts.get
local dict_set = dicts.set
local min = math.min
local ngx_now = ngx.now

-- Most hosts that are asked for at all are asked for within that time.
local WINDOW_SECONDS = 0.5
-- Another worker's time may be that of before a long piece of work.
local MARGIN_SECONDS = 0.1

local WINDOW = versions.WINDOW


local _M = {}


-- syntax: revision = revalidation.applied()
-- Up to which revision of etcd no request uses anything older.
function _M.applied()
    local applied = dict_get("applied") or 0
    -- In this order: the feed sets these two before `applied` moves.
    applied = min(applied, dict_get("held") or applied)
    return min(applied, dict_get("waiting") or applied)
end


-- syntax: revalidation.open_window()
-- From the feed, before it takes up another place in the table of the same
-- epoch.
function _M.open_window()
    if dict_get("held") then
        -- The last window is still open, and does not get longer.
        return
    end
    dict_set("held", _M.applied(), WINDOW_SECONDS + MARGIN_SECONDS)
    versions.set(WINDOW, ngx_now() + WINDOW_SECONDS)
end


-- syntax: revalidation.close_window()
-- Before it takes up a place in the table of another epoch.
function _M.close_window()
    versions.set(WINDOW, 0)
    dicts.drop("held")
end


-- syntax: is_closed = revalidation.settle()
-- In the feed's worker, before anybody is told what has been applied: whether
-- the window is over. If it is, the other workers are shown that: by their own
-- clocks they may not have noticed.
function _M.settle()
    local window = versions.read(WINDOW)
    if window == 0 then
        return true
    elseif not _M.is_over(window) or dict_get("held") then
        return false
    end
    versions.set(WINDOW, 0)
    versions.advance()
    return true
end


-- syntax: time = revalidation.window()
-- Until when records that need revalidation may be used.
function _M.window()
    return versions.read(WINDOW)
end


-- syntax: yes = revalidation.is_over(window)
function _M.is_over(window)
    local left = window - ngx_now()
    -- More can only be left after the clock was set back.
    return left <= 0 or left > WINDOW_SECONDS + MARGIN_SECONDS
end


return _M
