-- Fills the shared dict (L2) with what Redis answered. For the miss path;
-- nothing here yields.
--
-- The fill rule. While the answer is on its way, the feed may apply a change
-- that the answer lacks, and find nothing in L2 to apply it to. So the stripes
-- are read before Redis is asked; if a stripe has moved by the time the record
-- is in L2, the record is taken out and looked up again.

local codec = require("pointsman.codec.records")
local dicts = require("pointsman.cache.dicts")
local known_apps = require("pointsman.cache.apps")
local versions = require("pointsman.cache.versions")

local advance = versions.advance
local app_stripe = versions.app_stripe
local apps = dicts.apps
local count = dicts.count
local dict_get = dicts.get
local ipairs = ipairs
local negatives = dicts.negatives
local read = versions.read
local route_stripe = versions.route_stripe
local routes = dicts.routes

local TOUCH, TOPOLOGY, REVAL = versions.TOUCH, versions.TOPOLOGY, versions.REVAL


-- Whether a cached text is of this revalidation, so that it can stay.
local function is_of(text, reval)
    if not text then
        return false
    end
    local _, its_reval = codec.stamp(text)
    return its_reval == reval
end


-- Puts a record that is not there yet, and notes it in `put`.
local function put_route(put, before, i, pattern, route, asof)
    local zone = negatives
    if route then
        zone = routes
        negatives:drop(pattern)
        routes:put(pattern, codec.pack_route(route, asof, before.reval))
    else
        routes:drop(pattern)
        if is_of(negatives:get(pattern), before.reval) then
            return
        end
        negatives:put(pattern, codec.pack_negative(asof, before.reval))
    end
    put[#put + 1] = { zone, pattern, route_stripe(pattern), before.stripes[i] }
end


-- Takes out the records that may have changed. Returns their keys, or nil.
local function undo(put)
    local undone, rerouted
    for _, entry in ipairs(put) do
        local zone, key, stripe, seen = entry[1], entry[2], entry[3], entry[4]
        if read(stripe) ~= seen then
            -- Another worker may have read it by now; the stripe tells it so.
            zone:drop(key)
            versions.count(stripe)
            undone = undone or {}
            undone[key] = true
            rerouted = rerouted or zone ~= apps
        end
    end
    if rerouted then
        versions.count(TOPOLOGY)
    end
    if undone then
        advance()
        count("refills")
    end
    return undone
end


local _M = {}


-- syntax: before = fill.prepare(patterns, app?)
-- Before Redis is asked for patterns, or for an app.
function _M.prepare(patterns, app)
    local before = {
        -- Read before the epoch and the revision, and written after them: a
        -- fill that began before a revalidation is stale after it.
        reval = read(REVAL),
        epoch = dict_get("epoch"),
        applied = dict_get("applied") or 0,
        touch = read(TOUCH),
        stripes = {},
        app_stripe = app and read(app_stripe(app)),
    }
    for i = 1, #patterns do
        before.stripes[i] = read(route_stripe(patterns[i]))
    end
    return before
end


-- syntax: yes = fill.knows(pattern)
-- Whether a route is cached, stale or not.
function _M.knows(pattern)
    return routes:get(pattern) ~= nil
end


-- syntax: yes = fill.has_app(name)
-- Whether an app is cached and not stale. The feed keeps it up to date.
function _M.has_app(name)
    return is_of(apps:get(name), read(REVAL))
end


-- syntax: undone = fill.store_routes(before, patterns, facts, asof)
-- facts[i] = the route of the pattern, or false if there is none; nil: not to
-- be stored. If changes came in between, the set of patterns that must be
-- looked up again is returned.
function _M.store_routes(before, patterns, facts, asof)
    local put = {}
    for i = 1, #patterns do
        if facts[i] ~= nil then
            put_route(put, before, i, patterns[i], facts[i], asof)
        end
    end
    if read(TOUCH) ~= before.touch then
        return undo(put)
    end
end


-- syntax: stands = fill.store_app(before, app, asof)
-- False: the app changed in between and must be looked up again. An app that
-- came along with a route counts as changed if anything has changed: its stripe
-- was not read before, because its name was not known.
function _M.store_app(before, app, asof)
    -- The feed keeps a cached app up to date. It may have many instances, and
    -- is not written again for each route.
    if is_of(apps:get(app.name), before.reval) then
        return true
    end
    known_apps.put(app.name, codec.pack_app(app, asof, before.reval))
    if read(TOUCH) == before.touch then
        return true
    end
    return not undo({ { apps, app.name, app_stripe(app.name),
                        before.app_stripe } })
end


return _M
