-- Brings the entries of the change stream into the shared dict (L2). For the
-- feed's timer.
--
-- Entries that were read together are applied together: an instance list that
-- changes ten times is written once. The order is all: touch and stripes move
-- first (who is about to fill L2 notices), then the records, then the stripes
-- once more (who read an old record in between lets it go), topology, and last,
-- by the feed, the generation.
--
-- The worker may have requests to serve: it turns to them again and again. To
-- them that is as if another worker applied the entries.

local apps = require("pointsman.cache.shared_apps")
local board = require("pointsman.cache.versions")
local codec = require("pointsman.codec.records")
local dicts = require("pointsman.cache.dicts")
local slices = require("pointsman.feed.slices")

local cjson = require("cjson.safe")

local byte = string.byte
local concat = table.concat
local count = dicts.count
local decode = cjson.decode
local find = string.find
local ipairs = ipairs
local max = math.max
local next = next
local ngx_log = ngx.log
local ngx_now = ngx.now
local null = cjson.null
local pairs = pairs
local sub = string.sub
local type = type

-- For so many seconds a large app is left alone once it was changed: changes of
-- it that come together cost less, here and in each worker.
local REST = 0.01
-- A longer rest comes of a clock that was set back.
local MAX_REST = 1
-- So many bytes of changes are decoded at a time, and the rest of a line.
local PIECE = 300
local OPEN, FIRST = byte("["), 2
-- How often an app is changed anew because its record was written meanwhile.
local MAX_TRIES = 3

-- Until when the large apps rest that were changed last.
local rests = {}


local function complain(err, ...)
    count("bad_records")
    ngx_log(ngx.WARN, "failed to use a change of ", concat({ ... }, " "), ": ",
            err)
end


local function move(stripes)
    for stripe in pairs(stripes) do
        board.count(stripe)
        slices.turn()
    end
end


-- Returns whether the set of routes may have changed.
local function apply_route(host, to, value, reval)
    local old = dicts.routes:get(host)
    local absent = not old and dicts.negatives:get(host)
    local asof
    if old or absent then
        asof = codec.stamp(old or absent)
    end
    -- A look-up that has brought it in already has not said that it is new.
    if asof and to < asof then
        return old ~= nil
    end

    if value == null then
        dicts.negatives:put(host, codec.pack_negative(to, reval))
        dicts.routes:drop(host)
        return true
    end
    local route, err = codec.route(decode, value)
    if not route then
        complain(err, "route", host)
        return false
    end
    if old then
        dicts.routes:put(host, codec.pack_route(route, to, reval))
    end
    dicts.negatives:drop(host)
    return not old or asof == to
end


-- An app that loses its policy has the defaults, which Redis knows.
local function loses_policy(changes)
    for _, change in ipairs(changes) do
        if not change[2] and change[3] == null then
            return true
        end
    end
    return false
end


-- What the changes are to: policies and instances' lines, or false for one that
-- is gone. Those that cannot be used are left out. Yields.
local function judge(name, changes)
    local judged = {}
    for _, change in ipairs(changes) do
        local to, id, value = change[1], change[2], change[3]
        local read, err
        if not id then
            read, err = codec.policy(decode, value)
        elseif value == null then
            read = false
        else
            read, err = codec.line(decode, id, value)
        end
        if err then
            complain(err, id and "instance " .. id .. " of" or "app", name)
        else
            judged[#judged + 1] = { to, id, read }
        end
        slices.turn()
    end
    return judged
end


-- The changes that are not older, as policy and edits, and the newest revision
-- of them.
local function choose(judged, asof, pause)
    local policy, edits, newest = nil, {}, asof
    for _, change in ipairs(judged) do
        local to, id, read = change[1], change[2], change[3]
        if to >= asof then
            if id then
                edits[id] = read
            else
                policy = read
            end
            newest = max(newest, to)
        end
        if pause then
            pause()
        end
    end
    return policy, edits, newest
end


local function apply_app(name, changes)
    if loses_policy(changes) then
        apps.drop(name)
        return
    end
    local judged
    for try = 1, MAX_TRIES do
        local text = apps.get(name)
        local asof, reval
        if text then
            asof, reval = codec.stamp(text)
        end
        if not asof then
            return
        end
        judged = judged or judge(name, changes)
        -- Look-ups write, too, and so does, at a reload, the feed of a worker
        -- that has not quit yet or has just begun. The last try does not let
        -- anybody come in between.
        local pause = try < MAX_TRIES and slices.turn or nil
        local policy, edits, newest = choose(judged, asof, pause)
        local ok, err = apps.edit(name, text, policy, edits, newest, reval,
                                  pause)
        if ok then
            if codec.is_list(text) then
                rests[name] = ngx_now() + REST
            end
            return
        elseif ok == nil then
            apps.drop(name)
            if err then
                complain(err, "app", name)
            end
            return
        end
    end
    -- Whoever needs it asks Redis.
    apps.drop(name)
end


local _M = {}


-- syntax: plan = apply.plan()
-- Of no changes yet: { routes = { host = { to, value } }, apps = { name = {
-- { to, id or false, value }, ... } }, stripes = set, defaults = whether those
-- of all apps changed, entries = how many }.
function _M.plan()
    return { routes = {}, apps = {}, stripes = {}, entries = 0 }
end


local function add_changes(plan, to, changes)
    for _, change in ipairs(changes) do
        local key = type(change) == "table" and change[1]
        local kind, name
        if type(key) == "string" then
            kind, name = key:match("^(%l+):(.+)$")
        end
        if key == "app:*" then
            plan.defaults = true
        elseif kind == "route" then
            plan.routes[name] = { to, change[2] }
            plan.stripes[board.route_stripe(name)] = true
        elseif kind == "app" or kind == "inst" then
            local list = plan.apps[name] or {}
            plan.apps[name] = list
            if kind == "app" then
                list[#list + 1] = { to, false, change[2] }
            elseif type(change[2]) == "string" then
                list[#list + 1] = { to, change[2], change[3] }
            end
            plan.stripes[board.app_stripe(name)] = true
        end
        slices.turn()
    end
end


-- Some changes of a JSON text, from `at` on, which is the place behind the
-- bracket at first; and the place behind them. All that are left where they are
-- not written a line each. (There is no bare newline within a JSON string.)
local function decode_piece(text, at)
    local stop = find(text, "],\n[", at + PIECE, true)
    if stop and byte(text) == OPEN then
        local changes = decode("[" .. sub(text, at, stop) .. "]")
        if changes then
            return changes, stop + #"],\n"
        end
    end
    local changes, err = decode(at == FIRST and text or "[" .. sub(text, at))
    if type(changes) ~= "table" then
        return nil, err or "no list"
    end
    return changes, #text + 1
end


-- syntax: ok, err = apply.add(plan, entries)
-- Sorts in the changes of more entries. Yields.
function _M.add(plan, entries)
    for _, entry in ipairs(entries) do
        local text, at = entry.changes, FIRST
        repeat
            local changes, behind = decode_piece(text, at)
            if not changes then
                return nil, "failed to decode entry " .. entry.id .. ": "
                            .. behind
            end
            slices.turn()
            add_changes(plan, entry.to, changes)
            at = behind
        until at > #text
    end
    plan.entries = plan.entries + #entries
    return true
end


-- syntax: seconds = apply.rest(plan)
-- For how long to go on gathering changes before the plan is run, as it changes
-- a large app again.
function _M.rest(plan)
    local now, longest = ngx_now(), 0
    for name, till in pairs(rests) do
        if till <= now or till - now > MAX_REST then
            rests[name] = nil
        elseif plan.apps[name] then
            longest = max(longest, till - now)
        end
    end
    return longest
end


-- syntax: changed = apply.run(plan, reval)
-- Whether any record changed. Yields.
function _M.run(plan, reval)
    count("feed_entries", plan.entries)
    if not next(plan.stripes) then
        return false
    end

    board.count(board.TOUCH)
    move(plan.stripes)
    local rerouted = false
    for host, change in pairs(plan.routes) do
        local moved = apply_route(host, change[1], change[2], reval)
        rerouted = rerouted or moved
        slices.turn()
    end
    for name, changes in pairs(plan.apps) do
        apply_app(name, changes)
        slices.turn()
    end
    move(plan.stripes)
    if rerouted then
        board.count(board.TOPOLOGY)
    end
    return true
end


return _M
