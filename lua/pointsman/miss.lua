-- The miss path: asks Redis about a host. For phases that can yield
-- (access_by_lua).
--
-- What comes back is judged before it is believed: an answer that is older than
-- what the feed has applied, one from a table that is being rebuilt, or from
-- another epoch, is neither cached nor good for "no such route".

local cache = require("pointsman.cache")
local codec = require("pointsman.codec")
local dicts = require("pointsman.dicts")
local fill = require("pointsman.fill")
local match = require("pointsman.match")
local redis = require("pointsman.redis")

local cjson = require("cjson.safe")
local semaphore = require("ngx.semaphore")

local count = dicts.count
local decode = cjson.decode
local ipairs = ipairs
local ngx_log = ngx.log
local now = ngx.now
local pcall = pcall
local sleep = ngx.sleep
local type = type

local MAX_FILLS = 4
local MAX_WAITS = 3
-- How long a replica that is behind is given to catch up.
local CATCH_UP = 0.05

local pending, pending_n = {}, 0
local max_misses, patience = 512, 5
local last_complaint = 0


local function decode_app(found, defaults)
    local policy, err = codec.policy(decode, found.policy, defaults)
    if not policy then
        return nil, err
    end
    if type(found.instances) ~= "table" then
        return nil, "bad instances: " .. found.instances
    end

    local peers = {}
    for i = 1, #found.instances, 2 do
        local peer = codec.instance(decode, found.instances[i],
                                    found.instances[i + 1])
        if peer then
            peers[#peers + 1] = peer
        else
            count("bad_records")
        end
    end
    codec.sort_peers(peers)
    return { name = found.name, policy = policy, peers = peers }
end


-- The apps of an answer, or an error: of a table that is not ours to read
-- nothing is guessed. One bad instance is only left out.
local function decode_apps(answer)
    local apps = {}
    for i, found in ipairs(answer.apps) do
        local app, err = decode_app(found, answer.defaults)
        if not app then
            return nil, err
        end
        apps[i] = app
    end
    return apps
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


local function unusable(host, err)
    return complain("bad_records", "failed to use what Redis has for ", host,
                    ": ", err)
end


-- What the answer says for the host: whether it may be kept, how many of the
-- most specific patterns have no route, and the route and its apps if there is
-- one.
-- Or nil and the reason of an error.
local function judge(host, before, patterns, answer)
    if not answer.epoch then
        return nil, "unavailable"
    end
    local known = before.epoch ~= nil
    local same = answer.epoch == before.epoch
    local keep = answer.ready and known and same
    if keep and answer.rev < before.applied then
        return nil, "behind"
    end

    local n_absent = 0
    while answer.routes[n_absent + 1] == false do
        n_absent = n_absent + 1
    end
    if n_absent == #patterns then
        -- A table that is half built, or of another registry than the one that
        -- is cached, does not say that there is no such route.
        if not answer.ready or known and not same then
            return nil, "unavailable"
        end
        return { keep = keep, rev = answer.rev, n_absent = n_absent }
    end

    local route, apps, err
    route, err = codec.route(decode, answer.routes[n_absent + 1])
    if not route then
        return unusable(host, err)
    end
    apps, err = decode_apps(answer)
    if not apps then
        return unusable(host, err)
    end
    return { keep = keep, rev = answer.rev, n_absent = n_absent, route = route,
             apps = apps }
end


-- Returns what cache.find gives, or nil and the reason.
local function ask(host)
    local patterns = match.candidates(host)
    local found, reason
    for _ = 1, MAX_FILLS do
        local before = fill.prepare(patterns, found and found.apps)

        local answer, err = redis.lookup(patterns)
        if not answer then
            return complain("redis_errors", "failed to ask Redis about ", host,
                            ": ", err)
        end

        found, reason = judge(host, before, patterns, answer)
        if found then
            if not found.keep or fill.store(before, patterns, found) then
                break
            end
        elseif reason ~= "behind" then
            return nil, reason
        else
            sleep(CATCH_UP)
        end
    end

    if not found then
        return nil, "unavailable"
    end
    if not found.route then
        return nil, "no_route"
    end
    return cache.find(host) or cache.transient(found.route, found.apps)
end


local function lead(host)
    local wait, err = semaphore.new(0)
    if not wait then
        ngx_log(ngx.ERR, "failed to create a semaphore: ", err)
        return ask(host)
    end
    local flight = { wait = wait, waiters = 0 }
    pending[host], pending_n = flight, pending_n + 1

    local ok, app, reason = pcall(ask, host)
    if pending[host] == flight then
        pending[host], pending_n = nil, pending_n - 1
    end
    if not ok then
        ngx_log(ngx.ERR, "failed to look up ", host, ": ", app)
        app, reason = nil, "unavailable"
    end
    flight.done, flight.app, flight.reason = true, app, reason
    if flight.waiters > 0 then
        wait:post(flight.waiters)
    end
    return app, reason
end


local _M = {}


-- syntax: err = miss.init(settings)
function _M.init(settings)
    max_misses = settings.max_misses
    patience = 2 * settings.redis_timeout + 1
end


-- syntax: app, reason = miss.fetch(host)
-- One look-up for a host at a time; whoever comes meanwhile waits for it.
-- Reasons: "no_route", "unavailable", "busy".
function _M.fetch(host)
    for _ = 1, MAX_WAITS do
        local flight = pending[host]
        if not flight then
            break
        end
        flight.waiters = flight.waiters + 1
        flight.wait:wait(patience)
        if flight.done then
            return flight.app, flight.reason
        end
        -- Its request was aborted. One of those who wait goes first.
        if pending[host] == flight then
            pending[host], pending_n = nil, pending_n - 1
        end
    end

    if pending_n >= max_misses then
        return nil, "busy"
    end
    return lead(host)
end


return _M
