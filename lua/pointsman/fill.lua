-- Fills the shared dict (L2) with what Redis answered. For the miss path;
-- nothing here yields.
--
-- The fill rule. While the answer is on its way, the feed may apply a change
-- that the answer does not have, and find nothing in L2 to apply it to. So the
-- stripes are read before Redis is asked; if a stripe has moved by the time
-- that the record is in L2, it is taken out and asked for again.

local codec = require("pointsman.codec")
local dicts = require("pointsman.dicts")
local generation = require("pointsman.generation")

local advance = generation.advance
local app_stripe = dicts.app_stripe
local apps = dicts.apps
local count = dicts.count
local dict_get = dicts.get
local ipairs = ipairs
local negatives = dicts.negatives
local route_stripe = dicts.route_stripe
local routes = dicts.routes


local function has(zone, key, reval)
    local text = zone:get(key)
    if not text then
        return false
    end
    local _, its_reval = codec.stamp(text)
    return its_reval == reval
end


local _M = {}


-- syntax: before = fill.prepare(patterns, apps?)
-- Before Redis is asked. `apps` are those that it is known to answer with.
function _M.prepare(patterns, known_apps)
    local before = {
        -- Read before, and written after, the epoch and the revision: so a
        -- fill by what was known before a revalidation is suspect after it.
        reval = dict_get("reval"),
        epoch = dict_get("epoch"),
        applied = dict_get("applied") or 0,
        touch = dict_get("touch"),
        stripes = {},
        app_stripes = {},
    }
    for i, pattern in ipairs(patterns) do
        before.stripes[i] = dict_get(route_stripe(pattern))
    end
    for _, app in ipairs(known_apps or {}) do
        before.app_stripes[app.name] = dict_get(app_stripe(app.name))
    end
    return before
end


local function put_all(before, patterns, found)
    local asof, reval = found.rev, before.reval
    local n_absent, route = found.n_absent, found.route
    local put = {}
    for i = 1, n_absent do
        local pattern = patterns[i]
        if not has(negatives, pattern, reval) then
            negatives:put(pattern, codec.pack_negative(asof, reval))
        end
        routes:drop(pattern)
        put[#put + 1] = { negatives, pattern, route_stripe(pattern),
                          before.stripes[i] }
    end
    if not route then
        return put
    end

    -- An app of many instances that another route has brought in already, and
    -- that the feed keeps up to date, is not written again for each route.
    for _, app in ipairs(found.apps) do
        if not has(apps, app.name, reval) then
            apps:put(app.name, codec.pack_app(app, asof, reval))
            put[#put + 1] = { apps, app.name, app_stripe(app.name),
                              before.app_stripes[app.name] }
        end
    end
    local pattern = patterns[n_absent + 1]
    negatives:drop(pattern)
    routes:put(pattern, codec.pack_route(route, asof, reval))
    put[#put + 1] = { routes, pattern, route_stripe(pattern),
                      before.stripes[n_absent + 1] }
    return put
end


-- syntax: stands = fill.store(before, patterns, found)
-- found = { rev =, n_absent = how many of the first patterns have no route,
-- route =, apps = }, the last two if there is a route. An app whose stripe was
-- not read before, as it was not known which app it would be, counts as changed
-- if anything was. False: a change came in between, and Redis must be asked
-- again.
function _M.store(before, patterns, found)
    local put = put_all(before, patterns, found)
    if dict_get("touch") == before.touch then
        return true
    end

    local undone = false
    for _, entry in ipairs(put) do
        local zone, key, stripe, seen = entry[1], entry[2], entry[3], entry[4]
        if dict_get(stripe) ~= seen then
            -- Another worker may have read it by now: the stripe tells it.
            zone:drop(key)
            count(stripe)
            undone = true
        end
    end
    if undone then
        count("topology")
        advance()
        count("refills")
    end
    return not undone
end


return _M
