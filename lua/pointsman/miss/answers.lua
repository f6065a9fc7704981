-- What Redis says of hosts and apps: judged, and cached if it may be. For
-- phases that can yield.
--
-- An answer that is older than what the feed has applied, one from a table that
-- is being rebuilt, or from another epoch, is neither cached nor good for "no
-- such route".

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


-- One bad instance is only left out.
local function decode_app(record, defaults)
    local policy, err = codec.policy(decode, record.policy, defaults)
    if not policy then
        return nil, err
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


-- Trouble with Redis is met by each request: one line in a second will do.
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


-- Whether the answer may be kept, and whether what it has not is not there; or
-- nil and why it is good for nothing.
local function judge(before, answer)
    if not answer.epoch then
        return nil, "unavailable"
    end
    local is_ours = answer.epoch == before.epoch
    local keep = answer.ready and is_ours
    if keep and answer.rev < before.applied then
        return nil, "behind"
    end
    -- A table that is half built, or of another registry than the one that is
    -- cached, does not say that there is no such route.
    return keep, answer.ready and (is_ours or before.epoch == nil)
end


-- All patterns once, and the place of each.
local function gather(flights)
    local patterns, places, n = {}, {}, 0
    for _, flight in ipairs(flights) do
        for _, pattern in ipairs(flight.patterns) do
            if not places[pattern] then
                n = n + 1
                patterns[n], places[pattern] = pattern, n
            end
        end
    end
    return patterns, places
end


-- The most specific route. What was learned of the patterns goes into `facts`.
local function find_route(flight, answer, places, facts)
    local patterns = flight.patterns
    for n = 1, #patterns do
        local i = places[patterns[n]]
        local raw = answer.routes[i]
        if raw then
            if not facts[i] then
                local route, err = codec.route(decode, raw)
                if not route then
                    return unusable(flight.name, err)
                end
                facts[i] = route
            end
            return { route = facts[i], pattern = patterns[n], n = n }
        end
        facts[i] = false
    end
    return { n = #patterns }
end


-- Those that came along, and are not there already. With a record that cannot
-- be used they are left out: whoever needs it asks for it, and says so.
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


local function is_undone(flight, undone)
    for n = 1, flight.found.n do
        if undone[flight.patterns[n]] then
            return true
        end
    end
    return false
end


local function store(before, patterns, facts, apps, rev, flights)
    for name, app in pairs(apps) do
        if not fill.store_app(before, app, rev) then
            apps[name] = nil
        end
    end
    local undone = fill.store_routes(before, patterns, facts, rev)
    if undone then
        for _, flight in ipairs(flights) do
            if flight.found then
                flight.found.again = is_undone(flight, undone)
            end
        end
    end
end


local function refuse(flights, reason)
    for _, flight in ipairs(flights) do
        flight.reason = reason
    end
    return true
end


local _M = {}


-- syntax: reached = answers.hosts(flights)
-- Each flight = { name =, patterns = } gets what it has found, or the reason
-- why not; see lookups.host. False: Redis did not answer.
function _M.hosts(flights)
    local patterns, places = gather(flights)
    local before = fill.prepare(patterns)
    local answer, err = redis.lookup(patterns, #flights > 1)
    if not answer then
        complain("redis_errors", "failed to ask Redis about ",
                 flights[1].name, ": ", err)
        return false
    end

    local keep, is_whole = judge(before, answer)
    if keep == nil then
        return refuse(flights, is_whole)
    end
    local apps, facts = read_apps(answer, keep), {}
    for _, flight in ipairs(flights) do
        local found, reason = find_route(flight, answer, places, facts)
        if found and not found.route and not is_whole then
            found, reason = nil, "unavailable"
        end
        if found then
            found.keep, found.apps = keep, apps
        end
        flight.found, flight.reason = found, reason
    end
    if keep then
        store(before, patterns, facts, apps, answer.rev, flights)
    end
    return true
end


-- syntax: reached = answers.app({ flight })
-- flight = { name = }; see lookups.app.
function _M.app(flights)
    local flight = flights[1]
    local name = flight.name
    local before = fill.prepare(NO_PATTERNS, name)
    local answer, err = redis.read_app(name)
    if not answer then
        complain("redis_errors", "failed to ask Redis about ", name, ": ", err)
        return false
    end

    local keep, why = judge(before, answer)
    if keep == nil then
        return refuse(flights, why)
    end
    local app
    app, err = decode_app(answer.apps[1], answer.defaults)
    if not app then
        unusable("app " .. name, err)
        return refuse(flights, "unavailable")
    end
    flight.found = {
        app = app,
        again = keep and not fill.store_app(before, app, answer.rev),
    }
    return true
end


return _M
