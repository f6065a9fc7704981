-- Doubt: where the feed cannot know what it missed, all cached records must be
-- asked for anew. All phases.
--
-- For a moment after that they are still good for an answer, while Redis is
-- being asked: it holds up no request. For as long this edge does not say that
-- it has applied what the table has: whoever waits for that may rely on it.

local board = require("pointsman.cache.versions")
local dicts = require("pointsman.cache.dicts")

local dict_get = dicts.get
local dict_set = dicts.set
local min = math.min
local ngx_now = ngx.now

-- Most hosts that are asked for at all are asked for within that time.
local GRACE_SECONDS = 0.5
-- Another worker's time may be that of before a long piece of work.
local MARGIN_SECONDS = 0.1

local GRACE = board.GRACE


local _M = {}


-- syntax: doubt.tolerate(applied)
-- From the feed, before it takes up another place in the table of the same
-- epoch. `applied` is what the cached records are known to have.
function _M.tolerate(applied)
    if dict_get("held") then
        -- The grace of the last time is not over yet, and is not made longer.
        return
    end
    dict_set("held", applied, GRACE_SECONDS + MARGIN_SECONDS)
    board.set(GRACE, ngx_now() + GRACE_SECONDS)
end


-- syntax: doubt.end_grace()
-- Before it takes up a place in the table of another epoch.
function _M.end_grace()
    board.set(GRACE, 0)
    dicts.drop("held")
end


-- syntax: time = doubt.grace()
-- Until when records in doubt will do, for doubt.is_over.
function _M.grace()
    return board.read(GRACE)
end


-- syntax: yes = doubt.is_over(grace)
function _M.is_over(grace)
    local left = grace - ngx_now()
    -- More can only be left after the clock was set back.
    return left <= 0 or left > GRACE_SECONDS + MARGIN_SECONDS
end


-- syntax: revision = doubt.applied()
-- Up to which revision of etcd no request goes by anything older.
function _M.applied()
    local applied = dict_get("applied") or 0
    -- In this order: it is held before it moves.
    return min(applied, dict_get("held") or applied)
end


return _M
