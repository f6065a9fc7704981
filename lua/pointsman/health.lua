-- Passive health: instances that refuse connections are set aside for a while,
-- in all workers. Judging is for the balancer, access and log phases.
--
-- Only a refusal (or a connect that timed out) counts: nothing listens there.
-- A connection that breaks may be an idle one that the instance has closed,
-- and an answer of 502 is the app's own.
--
-- What one worker sees goes into a log in the shared dict; the others read the
-- new entries when the generation has moved.

local dicts = require("pointsman.dicts")

local count = dicts.count
local dict_get = dicts.get
local dict_set = dicts.set
local find = string.find
local format = string.format
local ipairs = ipairs
local match = string.match
local max = math.max
local next = next
local ngx_log = ngx.log
local now = ngx.now
local pairs = pairs
local sub = string.sub
local tonumber = tonumber

-- The log is a ring: a burst longer than it loses the oldest entries, which
-- costs the other workers a refused connection each.
local RING = 1024
-- An entry has its number before it has its text. A reader waits for the text,
-- unless so much came after it that its writer must have died.
local PATIENCE = 8

-- App name -> instance id -> until when, and of which revision of the instance:
-- { till =, rev = }.
local asides = {}
local last_read = 0


-- An instance that was registered anew since is given another chance.
local function is_aside(list, peer, time)
    local aside = list[peer.id]
    return aside and aside.till > time and aside.rev == peer.rev
end


local function ring_key(number)
    return "h" .. number % RING
end


local function note(app, id, rev, till)
    local list = asides[app]
    if not list then
        list = {}
        asides[app] = list
    end
    list[id] = { till = till, rev = rev }
    return list
end


local function set_aside(app, peer)
    local time, seconds = now(), app.policy.fail_timeout
    local list = asides[app.name]
    if seconds == 0 or list and is_aside(list, peer, time) then
        return
    end

    local till = time + seconds
    local number = count("asides")
    dict_set(ring_key(number),
             format("%.0f %s %s %.0f %.3f", number, app.name, peer.id,
                    peer.rev, till))
    count("gen")
    count("set_aside")
    app.asides = note(app.name, peer.id, peer.rev, till)
    ngx_log(ngx.WARN, "instance ", peer.id, " of ", app.name, " at ",
            peer.addr, " does not accept connections, set aside for ",
            seconds, " s")
end


-- Of a list such as `$upstream_addr` has it ("a, b : c, d"): the part of the
-- last pass, and its last element. A pass ends in " : "; so does the list as
-- long as the attempt that is under way has no address yet.
local function last_of(list)
    if sub(list, -3) == " : " then
        list = sub(list, 1, -4)
    end
    list = match(list, ".* : (.*)$") or list
    return list, match(list, "([^, ]+)$")
end


local _M = {}


-- syntax: health.sync()
-- Reads what other workers (and this one) have noted since the last time.
function _M.sync()
    local newest = dict_get("asides")
    if newest == last_read then
        return
    end
    for number = max(last_read, newest - RING) + 1, newest do
        local seq, app, id, rev, till =
            match(dict_get(ring_key(number)) or "",
                  "^(%d+) (%S+) (%S+) (%d+) (%S+)$")
        if tonumber(seq) == number then
            note(app, id, tonumber(rev), tonumber(till))
        elseif newest - number < PATIENCE then
            return
        end
        last_read = number
    end
end


-- syntax: yes = health.is_aside(list, peer, time)
_M.is_aside = is_aside


-- syntax: list = health.asides_of(app_name)
-- For is_aside; nil if none of the app's instances is set aside.
function _M.asides_of(app)
    return asides[app]
end


-- syntax: health.purge()
-- Forgets what has passed. From a timer.
function _M.purge()
    local time = now()
    for app, list in pairs(asides) do
        for id, aside in pairs(list) do
            if aside.till <= time then
                list[id] = nil
            end
        end
        if not next(list) then
            asides[app] = nil
        end
    end
end


-- syntax: all = health.list()
-- App name -> instance id -> until when, for the status page.
function _M.list()
    _M.purge()
    local all = {}
    for app, list in pairs(asides) do
        all[app] = {}
        for id, aside in pairs(list) do
            all[app][id] = aside.till
        end
    end
    return all
end


-- syntax: tried, last = health.attempts(upstream_addr)
-- The addresses tried in this pass as text, and the last one of them.
_M.attempts = last_of


-- syntax: tried = health.was_tried(attempts, addr)
function _M.was_tried(attempts, addr)
    return find(", " .. attempts .. ",", ", " .. addr .. ",", 1, true) ~= nil
end


-- syntax: health.judge(app, upstream_addr, upstream_connect_time)
-- Judges the last attempt of a request, which is known to have failed. The
-- only instance of an app is never set aside.
function _M.judge(app, addrs, connect_times)
    local _, addr = last_of(addrs)
    local _, connect_time = last_of(connect_times)
    if not addr or connect_time ~= "-" or app.live < 2 then
        return
    end
    for _, peer in ipairs(app.peers) do
        if peer.addr == addr then
            return set_aside(app, peer)
        end
    end
end


return _M
