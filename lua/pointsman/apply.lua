-- Brings the entries of the change stream into the shared dict (L2). For the
-- feed's timer; nothing here yields.
--
-- Entries that were read together are applied together: an instance list that
-- changes ten times is written once. The order is all: touch and stripes move
-- first (who is about to fill L2 notices), then the records, then the stripes
-- once more (who read an old record in between lets it go), topology, and last,
-- by the feed, the generation.

local codec = require("pointsman.codec")
local dicts = require("pointsman.dicts")

local cjson = require("cjson.safe")

local concat = table.concat
local count = dicts.count
local decode = cjson.decode
local ipairs = ipairs
local max = math.max
local next = next
local ngx_log = ngx.log
local null = cjson.null
local pairs = pairs
local type = type


local function complain(err, ...)
    count("bad_records")
    ngx_log(ngx.WARN, "failed to use a change of ", concat({ ... }, " "), ": ",
            err)
end


-- Sorts the changes of all entries: { routes = { host = { to, value } },
-- apps = { name = { { to, id or false, value }, ... } }, stripes = set,
-- defaults = whether those of all apps changed }.
local function plan_of(entries)
    local plan = { routes = {}, apps = {}, stripes = {} }
    for _, entry in ipairs(entries) do
        local changes, err = decode(entry.changes)
        if type(changes) ~= "table" then
            return nil, "failed to decode entry " .. entry.id .. ": "
                        .. (err or "no list")
        end
        for _, change in ipairs(changes) do
            local key = type(change) == "table" and change[1]
            local kind, name
            if type(key) == "string" then
                kind, name = key:match("^(%l+):(.+)$")
            end
            if key == "app:*" then
                plan.defaults = true
            elseif kind == "route" then
                plan.routes[name] = { entry.to, change[2] }
                plan.stripes[dicts.route_stripe(name)] = true
            elseif kind == "app" or kind == "inst" then
                local list = plan.apps[name] or {}
                plan.apps[name] = list
                if kind == "app" then
                    list[#list + 1] = { entry.to, false, change[2] }
                elseif type(change[2]) == "string" then
                    list[#list + 1] = { entry.to, change[2], change[3] }
                end
                plan.stripes[dicts.app_stripe(name)] = true
            end
        end
    end
    return plan
end


-- Returns whether the set of routes may have changed.
local function apply_route(host, to, value, reval)
    local old = dicts.routes:get(host)
    local absent = not old and dicts.negatives:get(host)
    local asof
    if old or absent then
        asof = codec.stamp(old or absent)
    end
    if asof and to < asof then
        return false
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
    return not old
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


local function apply_app(name, changes)
    if loses_policy(changes) then
        dicts.apps:drop(name)
        return
    end
    local text = dicts.apps:get(name)
    local asof, reval
    if text then
        asof, reval = codec.stamp(text)
    end
    if not asof then
        return
    end

    local policy, edits, newest = nil, {}, asof
    for _, change in ipairs(changes) do
        local to, id, value = change[1], change[2], change[3]
        if to >= asof then
            local read, err
            if not id then
                read, err = codec.policy(decode, value)
                policy = read or policy
            elseif value == null then
                read, edits[id] = true, false
            else
                read, err = codec.instance(decode, id, value)
                if read then
                    edits[id] = read
                end
            end
            if not read then
                complain(err, id and "instance " .. id .. " of" or "app", name)
            end
            newest = max(newest, to)
        end
    end

    local err
    text, err = codec.edit_app(text, policy, edits, newest, reval)
    if text then
        dicts.apps:put(name, text)
    else
        dicts.apps:drop(name)
        complain(err, "app", name)
    end
end


local _M = {}


-- syntax: changed, err, all = apply.entries(entries, reval)
-- Whether any record changed, and whether all records must come under suspicion
-- besides; nil and an error if nothing was applied.
function _M.entries(entries, reval)
    local plan, err = plan_of(entries)
    if not plan then
        return nil, err
    end

    count("feed_entries", #entries)
    if not next(plan.stripes) then
        return false, nil, plan.defaults
    end

    count("touch")
    for stripe in pairs(plan.stripes) do
        count(stripe)
    end
    local rerouted = false
    for host, change in pairs(plan.routes) do
        local moved = apply_route(host, change[1], change[2], reval)
        rerouted = rerouted or moved
    end
    for name, changes in pairs(plan.apps) do
        apply_app(name, changes)
    end
    for stripe in pairs(plan.stripes) do
        count(stripe)
    end
    if rerouted then
        count("topology")
    end
    return true, nil, plan.defaults
end


return _M
