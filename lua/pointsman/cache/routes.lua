-- What the worker itself keeps of routes and apps, decoded (L1), over the
-- shared dicts (L2). All phases; nothing here yields.
--
-- A hit compares one number, the generation. When it has moved, a route and
-- its app (apps.lua) are checked against their stripes, and only what did
-- change is read from L2 again. Not being in L2 is no change: it may have been
-- evicted.
--
-- L1 is bounded by use: hosts that nobody asks for leave it, and then the apps
-- that no host leads to (see sweep).

local codec = require("pointsman.codec.records")
local dicts = require("pointsman.cache.dicts")
local ejection = require("pointsman.health.ejection")
local hosts = require("pointsman.cache.hosts")
local known_apps = require("pointsman.cache.apps")
local match = require("pointsman.routing.match")
local rules = require("pointsman.routing.rules")
local versions = require("pointsman.cache.versions")

local bit = require("bit")
local cjson = require("cjson.safe")
local ffi = require("ffi")

local band = bit.band
local byte = string.byte
local candidates = match.candidates
local decode = cjson.decode
local ejected_of = ejection.of
local ffi_string = ffi.string
local fill_app = known_apps.fill
local find_host = hosts.find
local get_app = known_apps.get
local ipairs = ipairs
local is_expired = known_apps.is_expired
local is_host = match.is_host
local is_stale = known_apps.is_stale
local min = math.min
local pairs = pairs
local read = versions.read
local read_generation = versions.generation
local resolve = match.resolve
local stamp = codec.stamp
local targets = hosts.targets
local type = type
local valid_app = known_apps.is_valid

-- A name beneath a wildcard is kept when it is looked up for the third time: a
-- request that waits looks it up twice, in the rewrite and in the balancer
-- phase. So many names a worker remembers until then.
local LOOKUPS, MAX_NEW = 3, 16384
local ASTERISK = byte("*")
-- Of a route that is the best match whatever else the table has.
local ANY_TOPOLOGY = -1
local STALE = known_apps.STALE
local TOPOLOGY = versions.TOPOLOGY

local wildcards = {}
-- Of names beneath wildcards that are not kept: the hash, at the place that it
-- gives, and how often one of it was looked up.
local new_hashes = ffi.new("int32_t[?]", MAX_NEW)
local lookups = ffi.new("uint8_t[?]", MAX_NEW)

-- What the version counters were when the generation last moved.
local gen, topology = -1, 0

ffi.cdef [[
int32_t pointsman_murmur_hash2(const void *data, size_t len)
    __asm__("ngx_murmur_hash2");
]]

local C = ffi.C


local function advance(moved)
    gen = moved
    versions.fence()
    topology = read(TOPOLOGY)
    known_apps.advance(moved)
    ejection.sync()
end


-- Whether a route is as it was, by what it was read under.
local function is_current(facts)
    return not is_stale(facts.reval)
           and (facts.topology == ANY_TOPOLOGY or facts.topology == topology)
           and read(facts.stripe) == facts.seen
end


-- As of when all of these were valid.
local function oldest(all)
    local least = gen
    for _, app in pairs(all) do
        least = min(least, app.gen or gen)
    end
    return least
end


-- Where a route leads to: an app, or rules and the apps that they name. Nil if
-- one of these cannot be had.
local function target_of(record, pattern, app_of)
    if record.plain then
        return app_of(record.rules[1].to[1].app)
    end
    local all = {}
    for _, name in ipairs(rules.apps(record.rules)) do
        local app = app_of(name)
        if not app then
            return nil
        end
        all[name] = app
    end
    return {
        plain = false, live = 1, rules = rules.compile(record.rules),
        has_paths = rules.have_paths(record.rules),
        apps = all, gen = oldest(all), pause = record.pause,
        pattern = pattern,
        is_usable = function(name) return all[name].live > 0 end,
    }
end


local function valid_target(target)
    if not target.rules then
        return valid_app(target)
    end
    for _, app in pairs(target.apps) do
        if not valid_app(app) then
            return false
        end
    end
    target.gen = oldest(target.apps)
    return true
end


-- What is known of a pattern: a record, false, or nil.
local function known(pattern)
    local text = dicts.routes:get(pattern)
    if text then
        local record, _, record_reval = codec.unpack_route(text, decode)
        if record and not is_expired(record_reval) then
            return record
        end
        return nil
    end
    text = dicts.negatives:get(pattern)
    if text then
        local _, record_reval = stamp(text)
        if record_reval and not is_stale(record_reval) then
            return false
        end
    end
    return nil
end


-- A route as it was read: where it leads, and what must still hold for that.
-- One object serves all hosts of a wildcard, until another route might fit them
-- better.
local function load_route(pattern)
    local wild = byte(pattern) == ASTERISK
    local stripe = versions.route_stripe(pattern)
    local seen = read(stripe)
    local text = dicts.routes:get(pattern)
    if not text then
        return nil
    end
    local _, record_reval = stamp(text)
    local route = wild and wildcards[pattern]
    if route and route.topology == topology and route.seen == seen
            and route.reval == record_reval and valid_target(route.target) then
        return route
    end

    local record = codec.unpack_route(text, decode)
    local target = record and target_of(record, pattern, get_app)
    if not target then
        return nil
    end
    route = {
        target = target, stripe = stripe, seen = seen, reval = record_reval,
        topology = wild and topology or ANY_TOPOLOGY,
    }
    if wild then
        wildcards[pattern] = route
    end
    return route
end


-- Whether a name beneath a wildcard is asked for again and again. A flood of
-- random names, each asked for once, does not fill the table.
local function is_repeated(host)
    local hash = C.pointsman_murmur_hash2(host, #host)
    local at = band(hash, MAX_NEW - 1)
    if new_hashes[at] ~= hash then
        new_hashes[at], lookups[at] = hash, 0
    end
    lookups[at] = min(LOOKUPS, lookups[at] + 1)
    return lookups[at] == LOOKUPS
end


local function keep(host, route, found_gen)
    local slot, facts = hosts.put(host, route.target)
    slot.gen = found_gen
    facts.stripe, facts.seen = route.stripe, route.seen
    facts.reval, facts.topology = route.reval, route.topology
end


local function find_in_l2(host)
    if not is_host(host) then
        return nil, "bad_host"
    end
    local record, pattern = resolve(candidates(host), known)
    if record == false then
        return nil, "no_route"
    end
    local route = record and load_route(pattern)
    if not route then
        return nil, "miss"
    end
    local found_gen = is_stale(route.reval) and STALE or route.target.gen
    if pattern == host or is_repeated(host) then
        keep(host, route, found_gen)
    end
    return route.target, found_gen == STALE and "stale" or "l2"
end


local function is_valid(slot, facts)
    if slot.gen == gen then
        return true
    end
    if not is_current(facts) or not valid_target(targets[slot.target]) then
        return false
    end
    slot.gen = targets[slot.target].gen
    return true
end


-- All that is not a hit of the plainest kind.
local function find_beyond(slot, facts, host, len)
    if slot and is_valid(slot, facts) then
        return targets[slot.target], slot.gen == STALE and "stale" or "l1"
    end
    return find_in_l2(type(host) == "string" and host or ffi_string(host, len))
end


local _M = {}


-- syntax: cache.init(settings)
-- In init_worker_by_lua.
function _M.init(settings)
    hosts.init(settings.max_hosts, C.pointsman_murmur_hash2)
    known_apps.init(settings)
end


-- syntax: app, how = cache.find_at(text, len)
-- The host: a string, or a pointer to so many bytes.
-- app = { name =, policy =, peers =, live =, tries =, picker =, ejected =,
-- requests =, plain = } and "l1", "l2" or "stale": Redis must be asked again
-- (refresh.lua), but no request need wait for that; or nil and "no_route",
-- "bad_host" (nobody can have that name) or "miss": Redis must be asked.
-- Unless it is `plain`, it takes more than the picker's next instance: an app
-- with such a policy, or { rules =, apps =, has_paths =, is_usable =,
-- pattern =, pause = { max = } if its requests wait, plain = false }.
-- The hot path.
function _M.find_at(host, len)
    local moved = read_generation()
    if moved ~= gen then
        advance(moved)
    end
    local slot, facts = find_host(host, len)
    if slot and slot.gen == gen then
        return targets[slot.target], "l1"
    end
    return find_beyond(slot, facts, host, len)
end


-- syntax: app, how = cache.find(host)
function _M.find(host)
    return _M.find_at(host, #host)
end


-- syntax: app, is_current = cache.renew(app)
-- Brings an app that was found earlier up to date: in place, or it returns what
-- has been cached since. Not current: nothing newer is cached, though it may
-- have changed; it stays as it was.
-- The hot path.
function _M.renew(app)
    local moved = read_generation()
    if moved ~= gen then
        advance(moved)
    end
    if app.stripe then
        return app, valid_app(app)
    end
    local cached = get_app(app.name)
    return cached or app, cached ~= nil
end


-- What L2 has of a pattern, however old; false if it was deleted.
local function known_at_all(pattern)
    local text = dicts.routes:get(pattern)
    if text then
        return (codec.unpack_route(text, decode))
    elseif dicts.negatives:get(pattern) then
        return false
    end
end


-- syntax: app = cache.find_stale(host)
-- What there is, however old, for when Redis cannot be asked. Nothing that was
-- deleted: of that, L2 has a negative entry or nothing, and its stripe has
-- moved.
function _M.find_stale(host)
    local record, pattern = resolve(candidates(host), known_at_all)
    if record == nil then
        -- It may have been evicted.
        local slot, facts = find_host(host, #host)
        return slot and read(facts.stripe) == facts.seen
               and targets[slot.target] or nil
    elseif not record then
        return nil
    end
    local found = {}
    for _, name in ipairs(rules.apps(record.rules)) do
        local app = codec.unpack_app(dicts.apps:get(name) or "", decode)
        if not app then
            return nil
        end
        found[#found + 1] = app
    end
    return _M.transient(record, pattern, found)
end


-- syntax: app = cache.transient(route, pattern, apps)
-- What cache.find would give, of records that cannot be cached: for one
-- request. Of the apps, those that are not cached.
function _M.transient(route, pattern, records)
    local by_name = {}
    for _, record in ipairs(records) do
        local app = fill_app({ name = record.name }, record)
        app.ejected = ejected_of(record.name)
        by_name[record.name] = app
    end
    return target_of(route, pattern, function(name)
        return by_name[name] or known_apps.peek(name)
    end)
end


-- syntax: found, how = cache.peek(host, is_any?)
-- What cache.find would give, for a dry run: { target =, record =, pattern =,
-- asof = the revision, how = "l1" or "l2" }, or nil and "no_route" or "miss".
-- No host is kept, nor counts as asked for. With `is_any`, records will do that
-- Redis should be asked for again.
function _M.peek(host, is_any)
    local moved = read_generation()
    if moved ~= gen then
        advance(moved)
    end
    local record, pattern = resolve(candidates(host),
                                    is_any and known_at_all or known)
    if record == false then
        return nil, "no_route"
    end
    local target = record and target_of(record, pattern, known_apps.peek)
    if not target then
        return nil, "miss"
    end
    local facts = hosts.peek(host)
    return {
        target = target, record = record, pattern = pattern,
        asof = stamp(dicts.routes:get(pattern)),
        how = facts and is_current(facts) and "l1" or "l2",
    }
end


-- What no host leads to any more.
local function prune()
    for pattern, route in pairs(wildcards) do
        if not route.target.number then
            wildcards[pattern] = nil
        end
    end
    local used = {}
    for _, target in ipairs(targets) do
        if target and target.apps then
            for name in pairs(target.apps) do
                used[name] = true
            end
        elseif target then
            used[target.name] = true
        end
    end
    known_apps.prune(used)
end


-- syntax: cache.sweep()
-- From a timer, each second: lets go of what was not used for minutes.
function _M.sweep()
    if hosts.sweep() then
        prune()
    end
end


return _M
