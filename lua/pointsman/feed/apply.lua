-- Brings the entries of the change stream into the shared dict (L2). For the
-- feed's timer.
--
-- Entries that were read together are applied together: an instance list that
-- changes ten times is written once. The order matters: touch and stripes move
-- first (so that a worker that is about to fill L2 notices), then the records,
-- then the stripes once more (so that a worker that read an old record in
-- between lets it go), topology, and last, by the feed, the generation.
--
-- A large app is copied, and read by each worker, whole. So its changes are
-- batched: those that come within LARGE_SECONDS after it was written wait in
-- the plan until then. One that was left alone changes at once.
--
-- The worker has requests to serve: after so many records it turns to them.

local codec = require("pointsman.codec.records")
local dicts = require("pointsman.cache.dicts")
local draining = require("pointsman.cache.draining")
local known_apps = require("pointsman.cache.apps")
local versions = require("pointsman.cache.versions")

local cjson = require("cjson.safe")

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
local sleep = ngx.sleep
local type = type

-- Of some 400 instances.
local LARGE_BYTES = 20000
local LARGE_SECONDS = 0.1
local NO_REVALIDATION = 0
-- Records take some microseconds each; together a millisecond or less.
local RECORDS, PAUSE_SECONDS = 200, 0.001

-- The apps that were large when they were last changed, and when one was.
local large, last_large = {}, 0
-- Since when apps have no instance.
local empty = {}
local done = 0


local function pause_after(records)
    done = done + records
    if done >= RECORDS then
        done = 0
        sleep(PAUSE_SECONDS)
    end
end


local function complain(err, ...)
    count("bad_records")
    ngx_log(ngx.WARN, "failed to use a change of ", concat({ ... }, " "), ": ",
            err)
end


local function move(stripes)
    for stripe in pairs(stripes) do
        versions.count(stripe)
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
    -- A lookup that has brought it in already has not said that it is new.
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
    elseif route.ignored then
        complain(route.ignored, "route", host)
    end
    if old then
        dicts.routes:put(host, codec.pack_route(route, to, reval))
    end
    dicts.negatives:drop(host)
    return not old or asof == to
end


-- An app that loses its policy has the defaults, which Redis knows. Until that
-- was asked, the record is of no revalidation: it serves only if Redis cannot
-- be asked, and the feed keeps its instances up to date.
local function loses_policy(changes)
    for _, change in ipairs(changes) do
        if not change.id and change.value == null then
            return true
        end
    end
    return false
end


-- What a change is to: a policy, or an instance's line, or false for one that
-- is gone; nil if it cannot be used.
local function judge(name, change)
    local id, value = change.id, change.value
    local read, err
    if not id and value == null then
        return nil
    elseif not id then
        read, err = codec.policy(decode, value)
        err = err or read.ignored
    elseif value == null then
        read = false
    else
        read, err = codec.line(decode, id, value)
    end
    if err then
        complain(err, id and "instance " .. id .. " of" or "app", name)
    end
    return read
end


local function forget(name)
    large[name], empty[name] = nil, nil
    dicts.apps:drop(name)
end


-- At which address an instance is draining by a change, if it is. Nearly all
-- are not, and their JSON need not be read for that.
local function judge_draining(changes)
    for _, change in ipairs(changes) do
        local value = change.value
        if change.id and type(value) == "string"
                and find(value, "draining", 1, true) then
            local peer = codec.instance(decode, change.id, value)
            change.drains = peer and peer.draining and peer.addr or nil
            pause_after(1)
        end
    end
end


local function note_draining(name, changes)
    for _, change in ipairs(changes) do
        if change.id then
            draining.set(name, change.id, change.drains)
        end
    end
end


local function apply_app(name, changes)
    if not dicts.apps:get(name) then
        large[name] = nil
        return
    end
    for _, change in ipairs(changes) do
        change.read = judge(name, change)
        pause_after(1)
    end

    -- From here on nothing yields.
    local text = dicts.apps:get(name)
    local asof, reval = codec.stamp(text or "")
    if not asof then
        return forget(name)
    end
    if loses_policy(changes) then
        reval = NO_REVALIDATION
    end
    local policy, edits, newest = nil, {}, asof
    for _, change in ipairs(changes) do
        local to, id, read = change.to, change.id, change.read
        if to >= asof and read ~= nil then
            if id then
                edits[id] = read
            else
                policy = read
            end
            newest = max(newest, to)
        end
    end
    local edited, err = codec.edit_app(text, policy, edits, newest, reval)
    if not edited then
        complain(err, "app", name)
        return forget(name)
    end
    known_apps.put(name, edited)
    empty[name] = codec.is_empty(edited) and ngx_now() or nil
    large[name] = #edited > LARGE_BYTES or nil
    if large[name] then
        last_large = ngx_now()
    end
end


local function add_change(plan, to, change)
    local key = type(change) == "table" and change[1]
    local kind, name
    if type(key) == "string" then
        kind, name = key:match("^(%l+):(.+)$")
    end
    if key == "app:*" then
        plan.defaults = true
    elseif kind == "route" then
        plan.routes[name] = { to, change[2] }
    elseif kind == "app" or kind == "inst" and type(change[2]) == "string" then
        local list = plan.apps[name] or {}
        plan.apps[name] = list
        list[#list + 1] = {
            to = to, id = kind == "inst" and change[2] or nil,
            value = change[kind == "inst" and 3 or 2],
        }
    end
end


local _M = {}


-- syntax: plan = apply.plan()
-- Of no changes yet: { routes = { host = { to, value } }, apps = { name = {
-- { to =, id = nil for a policy, value = }, ... } }, defaults = whether those
-- of all apps changed }.
function _M.plan()
    return { routes = {}, apps = {} }
end


-- syntax: ok, err = apply.add(plan, entries)
-- Sorts in the changes of more entries. Yields.
function _M.add(plan, entries)
    for _, entry in ipairs(entries) do
        local changes, err = decode(entry.changes)
        if type(changes) ~= "table" then
            return nil, "failed to decode entry " .. entry.id .. ": "
                        .. (err or "no list")
        end
        for _, change in ipairs(changes) do
            add_change(plan, entry.to, change)
        end
        pause_after(#changes / 4)
    end
    return true
end


-- syntax: changed = apply.run(plan, reval)
-- Whether any record changed. What must wait stays in plan.apps: those changes
-- are applied by a later run. Yields.
function _M.run(plan, reval)
    local routes, apps, stripes = plan.routes, {}, {}
    local since = ngx_now() - last_large
    -- Before 0: the clock was set back.
    local is_rested = since >= LARGE_SECONDS or since < 0
    for host in pairs(routes) do
        stripes[versions.route_stripe(host)] = true
    end
    for name, changes in pairs(plan.apps) do
        if is_rested or not large[name] then
            apps[name] = changes
            stripes[versions.app_stripe(name)] = true
        end
    end
    if not next(stripes) then
        return false
    end
    plan.routes = {}
    for name in pairs(apps) do
        plan.apps[name] = nil
    end

    versions.count(versions.TOUCH)
    move(stripes)
    local is_rerouted = false
    for host, change in pairs(routes) do
        local has_moved = apply_route(host, change[1], change[2], reval)
        is_rerouted = is_rerouted or has_moved
        pause_after(1)
    end
    for name, changes in pairs(apps) do
        apply_app(name, changes)
        judge_draining(changes)
    end
    -- From here until the feed has said what is applied, nothing yields.
    for name, changes in pairs(apps) do
        note_draining(name, changes)
    end
    draining.show()
    move(stripes)
    if is_rerouted then
        versions.count(versions.TOPOLOGY)
    end
    return true
end


-- syntax: apply.purge(seconds)
-- Forgets apps that have had no instance for so long: they may be gone for
-- good. (They expire in the shared dict, but would keep their memory there.)
function _M.purge(seconds)
    local now = ngx_now()
    for name, since in pairs(empty) do
        if now - since >= seconds or now < since then
            empty[name] = nil
            if codec.is_empty(dicts.apps:get(name) or "") then
                forget(name)
            end
        end
    end
end


return _M
