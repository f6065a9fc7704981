-- What the worker itself keeps of routes and apps, decoded (L1), over the
-- shared dicts (L2). All phases; nothing here yields.
--
-- A hit compares one number, the generation. When it has moved, a route and
-- its app are checked against their stripes, and only what did change is read
-- from L2 again. Not being in L2 is no change: it may have been evicted. An app
-- that is large, and changes again and again, rests between two readings.

local l2 = require("pointsman.apps")
local board = require("pointsman.board")
local codec = require("pointsman.codec")
local compose = require("pointsman.picker.compose")
local dicts = require("pointsman.dicts")
local doubt = require("pointsman.doubt")
local flight = require("pointsman.flight")
local health = require("pointsman.health")
local hosts = require("pointsman.hosts")
local match = require("pointsman.match")
local rules = require("pointsman.rules")

local cjson = require("cjson.safe")
local ffi = require("ffi")

local asides_of = health.asides_of
local byte = string.byte
local candidates = match.candidates
local ceil = math.ceil
local crc32 = ngx.crc32_short
local decode = cjson.decode
local ffi_string = ffi.string
local find_host = hosts.find
local huge = math.huge
local ipairs = ipairs
local is_over = doubt.is_over
local max = math.max
local min = math.min
local ngx_now = ngx.now
local pairs = pairs
local peers_of = codec.peers_of
local read = board.read
local read_app = l2.read
local read_generation = board.generation
local resolve = match.resolve
local targets = hosts.targets
local type = type

local MAX_HOST = 253
local MAX_WILDCARDS = 4096
local MAX_APPS = 65536
local ASTERISK = byte("*")
-- Of a route that is the best match whatever else the table has.
local ANY_TOPOLOGY = -1
local TOPOLOGY, REVAL, LIVE = board.TOPOLOGY, board.REVAL, board.LIVE
-- The generation of what was found while a record of it is in doubt: never the
-- one of now, so that the next request looks again.
local DOUBTED = -1
-- To read a large app takes up to a millisecond. Its list, and each of its
-- sheets, costs so many seconds of rest when it is read, all of them MAX_REST
-- at most. Of what has changed as much is read as MAX_OWED of them allow, or as
-- concerns the round; until the rest is read, the app is used as it is. Where
-- the round goes over the sheets, one that has changed is read in its turn.
local REST, MAX_REST = 0.0025, 0.1
local MAX_OWED = 0.4

local NOTHING = {}
-- Where rounds begin: each worker at another instance.
local seed = ""
local picker_options = {
    flight = { of = function(peer) return flight.of(peer.key) end },
}
local wildcards, wildcards_n = {}, 0
local apps, apps_n = {}, 0

-- What the board said when the generation last moved.
local gen, topology, reval, live = -1, 0, 0, false
-- Until when records in doubt will do.
local grace = 0

ffi.cdef [[
int32_t pointsman_murmur_hash2(const void *data, size_t len)
    __asm__("ngx_murmur_hash2");
]]

local C = ffi.C


local function advance(moved)
    gen = moved
    board.fence()
    topology = read(TOPOLOGY)
    reval = read(REVAL)
    live = read(LIVE) == 1
    grace = doubt.grace()
    health.sync()
end


-- A record of an older revalidation may have missed a change. While the feed
-- follows the table Redis can be asked; else it is the best that there is.
local function is_doubted(record_reval)
    return live and record_reval ~= reval
end


-- The same once requests must wait until Redis was asked.
local function is_suspect(record_reval)
    return is_doubted(record_reval) and is_over(grace)
end


local enter


-- Its picker, and how many instances it picks among. The round of a plain app
-- in sheets takes these as they are: a change of one costs no more.
local function fill_picker(app, record)
    local policy = record.policy
    local previous = app.picker or picker_options.seed
    local n
    if policy.plain and record.sheets then
        n = compose.even(record.sheets)
    end
    if n then
        record.parted = true
        app.peers, app.parts, app.live = nil, record.sheets, n
        local picker = compose.in_parts(record.sheets, n, previous,
                                        picker_options)
        picker.waiting, picker.app, picker.enter = record.waiting, app, enter
        app.picker = picker
        return
    end
    local peers = peers_of(record)
    local pickable
    pickable, app.live = compose.live(peers)
    app.peers = peers
    -- (To set a field to nil would make room for it.)
    if app.parts then
        app.parts = nil
    end
    if flight.is_needed(policy) then
        for _, peer in ipairs(peers) do
            peer.key = flight.key(record.name, peer.id)
        end
    end
    app.picker = compose.new(policy, pickable, previous, picker_options)
end


local function fill_app(app, record)
    local policy = record.policy
    app.policy = policy
    app.lane = not policy.plain
    app.requests = app.requests or 0
    app.counts_flights = flight.is_needed(policy)
    picker_options.now = ngx_now()
    picker_options.seed = crc32(seed .. record.name)
    fill_picker(app, record)
    -- No instance is tried twice. (nginx adds a try of its own when an idle
    -- connection turns out to have been closed.)
    app.tries = max(1, min(1 + policy.retries, app.live))
    return app
end


-- Seconds, for each of its sheets that is read.
local function rest_of(sheets)
    return min(REST, MAX_REST / #sheets)
end


-- How many sheets may be read now; 0 while it rests.
local function allowance(app)
    local sheets = app.record.sheets
    local owed = app.rested_at - ngx_now()
    -- More can only be owed after the clock was set back.
    if not sheets or owed > MAX_OWED + 2 * MAX_REST then
        return huge
    end
    return max(0, ceil((MAX_OWED - owed) / rest_of(sheets)))
end


-- Of a round over sheets: whether the one that the next instance comes from is
-- still to be read, and whether another one is before that, which had none.
local function turn(app)
    local waiting = app.parts and app.record.waiting
    if not waiting then
        return false, false
    end
    local part, passed = app.picker:ahead(waiting)
    return waiting[part], passed
end


-- How many sheets are read now, beside which one, for a round over them.
local function choose(app, limit)
    local waiting = app.record.waiting or NOTHING
    local wanted, passed = app.picker:ahead(waiting)
    if passed and limit > 0 then
        waiting.first = passed
        return 1, wanted
    end
    return 0, wanted
end


-- Reads an app from L2, into `app` if there is one: all routes that lead to it
-- see the change, and its picker goes on where it was.
local function load_app(name, app, limit, wanted)
    local stripe = board.app_stripe(name)
    local seen = read(stripe)
    if app and app.parts and not wanted then
        limit, wanted = choose(app, limit)
    end
    local record, _, record_reval, count, is_whole =
        read_app(name, decode, app and app.record, is_suspect, limit, wanted)
    -- If there is no round over the sheets any more, none of them may wait.
    if record and record.waiting and app.parts and record ~= app.record
            and not (record.policy.plain and compose.even(record.sheets)) then
        record, _, record_reval, count, is_whole =
            read_app(name, decode, record, is_suspect)
    end
    if not record then
        if app and app.parts then
            app.picker.waiting = app.record.waiting
        end
        return nil
    end

    -- Another app of its stripe may have changed instead.
    if not app or app.record ~= record then
        app = fill_app(app or { name = name }, record)
        app.record = record
    end
    app.stripe = stripe
    app.reval = record_reval
    local time = ngx_now()
    app.rested_at = max(app.rested_at or 0, time)
    if record.sheets then
        local rest = (1 + count) * rest_of(record.sheets)
        app.rested_at = min(app.rested_at + rest, time + MAX_OWED + MAX_REST)
    end
    app.asides = asides_of(name)
    -- Else the next request goes on reading.
    if is_whole then
        app.seen, app.gen = seen, gen
    end
    app.listed = app.parts and seen
    if app.parts then
        app.picker.waiting = record.waiting
    end
    if is_doubted(record_reval) then
        app.gen = DOUBTED
    end
    return app
end


-- Of a round over sheets, brings one up to date. Returns the picker and, if the
-- app has come to be balanced otherwise, a request to pick for.
function enter(app, part)
    load_app(app.name, app, 0, part)
    return app.picker, not app.parts and { now = ngx_now() } or nil
end


-- The same for one that is there, up to a sheet that has an instance for the
-- round.
local function load_turn(app, limit)
    repeat
        if not load_app(app.name, app, limit) then
            return false
        end
    until not turn(app)
    return true
end


-- An app that may be used although it has changed keeps an older `gen`: so the
-- next request looks again.
local function valid_app(app)
    if app.gen == gen then
        return true
    end
    local seen = not is_doubted(app.reval) and read(app.stripe)
    if seen and seen == app.seen then
        app.gen = gen
    else
        local is_due, passes = turn(app)
        if is_due or passes or seen ~= app.listed then
            local limit = allowance(app)
            if is_due or limit > 0 or is_suspect(app.reval) then
                return load_turn(app, limit)
            end
        end
    end
    app.asides = asides_of(app.name)
    return true
end


local function get_app(name)
    local app = apps[name]
    if app then
        return valid_app(app) and app or nil
    end

    app = load_app(name)
    if app then
        if apps_n >= MAX_APPS then
            apps, apps_n = {}, 0
        end
        apps[name], apps_n = app, apps_n + 1
    end
    return app
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
local function target_of(record, app_of)
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
        lane = true, live = 1, rules = rules.compile(record.rules), apps = all,
        gen = oldest(all),
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
        if record and not is_suspect(record_reval) then
            return record
        end
        return nil
    end
    text = dicts.negatives:get(pattern)
    if text then
        local _, record_reval = codec.unpack_negative(text)
        if record_reval and not is_doubted(record_reval) then
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
    local stripe = board.route_stripe(pattern)
    local seen = read(stripe)
    local text = dicts.routes:get(pattern)
    if not text then
        return nil
    end
    local _, record_reval = codec.stamp(text)
    local route = wild and wildcards[pattern]
    if route and route.topology == topology and route.seen == seen
            and route.reval == record_reval and valid_target(route.target) then
        return route
    end

    local record = codec.unpack_route(text, decode)
    local target = record and target_of(record, get_app)
    if not target then
        return nil
    end
    route = {
        target = target, stripe = stripe, seen = seen, reval = record_reval,
        topology = wild and topology or ANY_TOPOLOGY,
    }
    if wild then
        if not wildcards[pattern] then
            if wildcards_n >= MAX_WILDCARDS then
                wildcards, wildcards_n = {}, 0
            end
            wildcards_n = wildcards_n + 1
        end
        wildcards[pattern] = route
    end
    return route
end


local function keep(host, route, found_gen)
    local slot, facts = hosts.put(host, route.target)
    slot.gen = found_gen
    facts.stripe, facts.seen = route.stripe, route.seen
    facts.reval, facts.topology = route.reval, route.topology
end


local function find_in_l2(host)
    local record, pattern = resolve(candidates(host), known)
    if record == false then
        return nil, "no_route"
    end
    local route = record and load_route(pattern)
    if not route then
        return nil, "miss"
    end
    local found_gen = is_doubted(route.reval) and DOUBTED or route.target.gen
    if #host <= MAX_HOST then
        keep(host, route, found_gen)
    end
    return route.target, found_gen == DOUBTED and "doubt" or "l2"
end


local function is_valid(slot, facts)
    if slot.gen == gen then
        return true
    end
    if is_doubted(facts.reval)
            or facts.topology ~= ANY_TOPOLOGY and facts.topology ~= topology
            or read(facts.stripe) ~= facts.seen
            or not valid_target(targets[slot.target]) then
        return false
    end
    slot.gen = targets[slot.target].gen
    return true
end


-- All that is not a hit of the plainest kind.
local function find_beyond(slot, facts, host, len)
    if slot and is_valid(slot, facts) then
        return targets[slot.target], slot.gen == DOUBTED and "doubt" or "l1"
    end
    return find_in_l2(type(host) == "string" and host or ffi_string(host, len))
end


local _M = {}


-- syntax: cache.init(settings)
-- In init_worker_by_lua.
function _M.init(settings)
    hosts.init(settings.max_hosts, C.pointsman_murmur_hash2)
    seed = ngx.worker.pid() .. " " .. ngx_now() .. " "
    picker_options.zone = settings.zone
end


-- syntax: app, how = cache.find_at(text, len)
-- The host: a string, or a pointer to so many bytes.
-- app = { name =, policy =, peers =, live =, tries =, picker =, asides =,
-- requests =, lane = false } and "l1", "l2" or "doubt": Redis is to be asked
-- anew (refresh.lua), but no request need wait for that; or nil and "no_route"
-- or "miss": Redis must be asked. With `lane` set it takes more than the
-- picker's next instance: an app with such a policy, or { rules =, apps =,
-- is_usable = }. A large app with a plain policy, that is without sessions or
-- pinned instances, may have parts = { sheet, ... } in place of `peers`.
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


-- syntax: app = cache.find_stale(host)
-- What there is, however old, for when Redis cannot be asked.
function _M.find_stale(host)
    local slot = find_host(host, #host)
    if slot then
        return targets[slot.target]
    end

    local record = resolve(candidates(host), function(pattern)
        local text = dicts.routes:get(pattern)
        return text and codec.unpack_route(text, decode)
               or dicts.negatives:get(pattern) and false or nil
    end)
    if not record then
        return nil
    end
    local found = {}
    for _, name in ipairs(rules.apps(record.rules)) do
        local app = read_app(name, decode)
        if not app then
            return nil
        end
        found[#found + 1] = app
    end
    return _M.transient(record, found)
end


-- syntax: app = cache.transient(route, apps)
-- What cache.find would give, of records that cannot be cached: for one
-- request.
function _M.transient(route, records)
    local by_name = {}
    for _, record in ipairs(records) do
        local app = fill_app({ name = record.name }, record)
        app.asides = asides_of(record.name)
        by_name[record.name] = app
    end
    return target_of(route, function(name) return by_name[name] end)
end


return _M
