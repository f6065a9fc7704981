-- Asks Redis about hosts and apps, judges the answers, and caches them where
-- that is allowed. For phases that can yield.
--
-- An answer that is older than what the feed has applied, from a table that is
-- being rebuilt, or from another epoch is not cached, and does not prove that a
-- route is absent.

local codec = require("pointsman.codec.records")
local dicts = require("pointsman.cache.dicts")
local fill = require("pointsman.miss.fill")
local redis = require("pointsman.redis.client")

local cjson = require("cjson.safe")

local count = dicts.count
local decode = cjson.decode
local ipairs = ipairs
local ngx_log = ngx.log
local now = ngx.now
local pairs = pairs
local type = type

local NO_PATTERNS = {}

local last_complaint = 0


-- Each lookup meets the same error: one line a second is enough.
local function complain(counter, ...)
    count(counter)
    local time = now()
    if time - last_complaint >= 1 or time < last_complaint then
        last_complaint = time
        ngx_log(ngx.ERR, ...)
    end
    return nil, "unavailable"
end


local function unusable(name, err)
    return complain("bad_records", "failed to use what Redis has for ", name,
                    ": ", err)
end


local function ignored(name, what)
    complain("bad_records", "used what Redis has for ", name, " without its ",
             what)
end


-- A bad instance is left out; the others are used.
local function decode_app(record, defaults)
    local policy, err = codec.policy(decode, record.policy, defaults)
    if not policy then
        return nil, err
    elseif policy.ignored then
        ignored("app " .. record.name, policy.ignored)
    end
    local instances = record.instances
    if type(instances) ~= "table" then
        return nil, "bad instances: " .. (instances or "none")
    end

    local peers = {}
    for i = 1, #instances, 2 do
        local peer = codec.instance(decode, instances[i], instances[i + 1])
        if peer then
            peers[#peers + 1] = peer
        else
            count("bad_records")
        end
    end
    codec.sort_peers(peers)
    return { name = record.name, policy = policy, peers = peers }
end


-- Whether the answer may be cached, and whether what it lacks is absent; or nil
-- and the reason why it cannot be used.
local function judge(before, answer)
    if not answer.epoch then
        return nil, "unavailable"
    end
    local is_ours = answer.epoch == before.epoch
    local keep = answer.ready and is_ours
    if keep and answer.rev < before.applied then
        return nil, "behind"
    end
    -- A table that is half built, or of another registry than the cached one,
    -- does not prove that a route is absent.
    return keep, answer.ready and (is_ours or before.epoch == nil)
end


-- All patterns once, and the place of each.
local function gather(lookups)
    local patterns, places, n = {}, {}, 0
    for _, lookup in ipairs(lookups) do
        for _, pattern in ipairs(lookup.patterns) do
            if not places[pattern] then
                n = n + 1
                patterns[n], places[pattern] = pattern, n
            end
        end
    end
    return patterns, places
end


-- The most specific route. What the answer says about each pattern goes into
-- `facts`.
local function find_route(lookup, answer, places, facts)
    local patterns = lookup.patterns
    for n = 1, #patterns do
        local i = places[patterns[n]]
        local raw = answer.routes[i]
        if raw then
            if not facts[i] then
                local route, err = codec.route(decode, raw)
                if not route then
                    return unusable(lookup.name, err)
                elseif route.ignored then
                    ignored(lookup.name, route.ignored)
                end
                facts[i] = route
            end
            return { route = facts[i], pattern = patterns[n], n = n }
        end
        facts[i] = false
    end
    return { n = #patterns }
end


-- The apps that came along and are not cached already. One with a bad record is
-- left out: a lookup of the app itself reports it.
local function read_apps(answer, keep)
    local apps = {}
    for _, record in ipairs(answer.apps) do
        local name = record.name
        if record.instances and not (keep and fill.has_app(name)) then
            apps[name] = decode_app(record, answer.defaults)
        end
    end
    return apps
end


local function is_undone(lookup, undone)
    for n = 1, lookup.found.n do
        if undone[lookup.patterns[n]] then
            return true
        end
    end
    return false
end


local function store(before, patterns, facts, apps, rev, lookups)
    for name, app in pairs(apps) do
        if not fill.store_app(before, app, rev) then
            apps[name] = nil
        end
    end
    local undone = fill.store_routes(before, patterns, facts, rev)
    if undone then
        for _, lookup in ipairs(lookups) do
            if lookup.found then
                lookup.found.again = is_undone(lookup, undone)
            end
        end
    end
end


local function refuse(lookups, reason)
    for _, lookup in ipairs(lookups) do
        lookup.reason = reason
    end
end


local _M = {}


-- syntax: answers.hosts(lookups, is_dry?)
-- Each lookup = { name =, patterns = } gets `found` or `reason`, see
-- lookups.host. `is_dry`: nothing is cached.
function _M.hosts(lookups, is_dry)
    local patterns, places = gather(lookups)
    local before = fill.prepare(patterns)
    local answer, err = redis.lookup(patterns, #lookups > 1)
    if not answer then
        complain("redis_errors", "failed to ask Redis about ",
                 lookups[1].name, ": ", err)
        return
    end

    local keep, is_whole = judge(before, answer)
    if keep == nil then
        return refuse(lookups, is_whole)
    end
    local apps, facts = read_apps(answer, keep), {}
    for _, lookup in ipairs(lookups) do
        local found, reason = find_route(lookup, answer, places, facts)
        if found and not found.route and not is_whole then
            found, reason = nil, "unavailable"
        end
        if found then
            found.keep, found.apps, found.asof = keep, apps, answer.rev
        end
        lookup.found, lookup.reason = found, reason
    end
    if keep and not is_dry then
        store(before, patterns, facts, apps, answer.rev, lookups)
    end
end


-- syntax: answers.app({ lookup }, is_dry?)
-- lookup = { name = }; see lookups.app.
function _M.app(lookups, is_dry)
    local lookup = lookups[1]
    local name = lookup.name
    local before = fill.prepare(NO_PATTERNS, name)
    local answer, err = redis.read_app(name)
    if not answer then
        complain("redis_errors", "failed to ask Redis about ", name, ": ", err)
        return
    end

    local keep, why = judge(before, answer)
    if keep == nil then
        return refuse(lookups, why)
    end
    local app
    app, err = decode_app(answer.apps[1], answer.defaults)
    if not app then
        unusable("app " .. name, err)
        return refuse(lookups, "unavailable")
    end
    lookup.found = {
        app = app,
        again = keep and not is_dry
                and not fill.store_app(before, app, answer.rev),
    }
end


return _M
