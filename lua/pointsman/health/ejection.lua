-- Passive health: instances that fail are set aside for a while, in all
-- workers. Judging is for the balancer and log phases.
--
-- What counts is for the app to say: connections that are refused or time out,
-- answers that do not come in time, answers of 5xx. A connection that breaks
-- never does: it may be an idle one that the instance has closed.
--
-- When its time is over, an instance is on trial: one request at a time goes to
-- it. An answer ends the trial, another failure sets it aside again.
--
-- What one worker sees goes into a log in the shared dict; the others read the
-- new entries when the generation has moved.

local dicts = require("pointsman.cache.dicts")
local metrics = require("pointsman.metrics")
local versions = require("pointsman.cache.versions")

local advance = versions.advance
local count = dicts.count
local count_for = dicts.count_for
local dict_add = dicts.add
local dict_drop = dicts.drop
local dict_get = dicts.get
local dict_set = dicts.set
local find = string.find
local format = string.format
local gsub = string.gsub
local ipairs = ipairs
local match = string.match
local max = math.max
local next = next
local ngx_log = ngx.log
local now = ngx.now
local pairs = pairs
local sub = string.sub
local tonumber = tonumber
local var = ngx.var
local watched = metrics.watched

local WORDS = {
    connect = "does not accept connections",
    timeout = "does not answer in time",
    ["5xx"] = "answers with server errors",
}

-- The log is a ring: a burst longer than it loses the oldest entries, which
-- costs the other workers a refused connection each.
local RING = 1024
-- An entry has its number before it has its text. A reader waits for the text,
-- unless so much came after it that its writer must have died.
local PATIENCE = 8

-- A request on trial that has not ended after so many seconds does not keep
-- others from trying.
local TRIAL_SECONDS = 1
-- An instance that nobody tried, or whose answers nobody sees (no log_by_lua),
-- is as good as any other after so many seconds more.
local TRIAL_LIMIT = 60

-- App name -> { app =, of = { instance id -> { till =, rev = } } }: until when,
-- and of which revision of the instance.
local asides = {}
local last_read = 0
-- Until when a request of this worker may be on trial.
local trial_till = 0


local function trial_key(app, id)
    return "t " .. app .. " " .. id
end


-- An instance that was registered anew since is given another chance.
local function is_aside(list, peer, time)
    local aside = list.of[peer.id]
    if not aside or aside.rev ~= peer.rev then
        return false
    end
    return aside.till > time
           or dict_get(trial_key(list.app, peer.id)) ~= nil
end


local function ring_key(number)
    return "h" .. number % RING
end


-- A `till` of 0 is the end of it.
local function note(app, id, rev, till)
    local list = asides[app]
    if till == 0 then
        if list then
            list.of[id] = nil
        end
        return
    end
    if not list then
        list = { app = app, of = {} }
        asides[app] = list
    end
    list.of[id] = { till = till, rev = rev }
end


local function publish(app, peer, till)
    local number = versions.count(versions.EJECTIONS)
    dict_set(ring_key(number),
             format("%.0f %s %s %.0f %.3f", number, app.name, peer.id,
                    peer.rev, till))
    advance()
    note(app.name, peer.id, peer.rev, till)
    app.ejected = asides[app.name]
end


-- Whether this failure is one too many.
local function is_enough(app, peer)
    local policy = app.policy
    local aside = app.ejected and app.ejected.of[peer.id]
    if policy.max_fails < 2 or aside and aside.rev == peer.rev then
        return true
    end
    local fails = count_for(format("f %s %s %.0f", app.name, peer.id, peer.rev),
                            policy.fail_timeout)
    return not fails or fails >= policy.max_fails
end


local function set_aside(app, peer, kind)
    local time, seconds = now(), app.policy.fail_timeout
    local list = asides[app.name]
    local aside = list and list.of[peer.id]
    if seconds == 0 or aside and aside.rev == peer.rev and aside.till > time
            or not is_enough(app, peer) then
        return
    end
    dict_drop(trial_key(app.name, peer.id))
    publish(app, peer, time + seconds)
    count("set_aside")
    ngx_log(ngx.WARN, "instance ", peer.id, " of ", app.name, " at ",
            peer.addr, " ", WORDS[kind], ", set aside for ", seconds, " s")
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
    local newest = versions.read(versions.EJECTIONS)
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
_M.is_out = is_aside


-- syntax: list = health.of(app_name)
-- For is_aside; nil if none of the app's instances is set aside.
function _M.of(app)
    return asides[app]
end


-- syntax: health.purge()
-- Forgets what has passed. From a timer.
function _M.purge()
    local time = now()
    for app, list in pairs(asides) do
        for id, aside in pairs(list.of) do
            if aside.till + TRIAL_LIMIT <= time then
                list.of[id] = nil
            end
        end
        if not next(list.of) then
            asides[app] = nil
        end
    end
end


-- syntax: all = health.list()
-- App name -> instance id -> until when, for the status page.
function _M.list()
    _M.purge()
    local all, time = {}, now()
    for app, list in pairs(asides) do
        local left = {}
        for id, aside in pairs(list.of) do
            left[id] = aside.till > time and aside.till or nil
        end
        all[app] = next(left) and left or nil
    end
    return all
end


-- syntax: tried, last = health.attempts(upstream_addr)
-- The addresses tried in this pass as text, and the last one of them.
_M.attempts = last_of


-- syntax: n = health.count(attempts)
function _M.count(attempts)
    local _, n = gsub(attempts, ", ", "")
    return n + 1
end


-- syntax: tried = health.was_tried(attempts, addr)
function _M.was_tried(attempts, addr)
    return find(", " .. attempts .. ",", ", " .. addr .. ",", 1, true) ~= nil
end


-- syntax: health.picked(app, peer)
-- After a pick from an app that has instances set aside: one that may be tried
-- is on trial now.
function _M.picked(app, peer)
    -- The pick may have read the app anew.
    local aside = app.ejected and app.ejected.of[peer.id]
    local time = now()
    if aside and aside.rev == peer.rev and aside.till <= time
            and dict_add(trial_key(app.name, peer.id), 1, TRIAL_SECONDS) then
        if trial_till == 0 then
            watched.n = watched.n + 1
        end
        trial_till = time + TRIAL_LIMIT
    end
end


-- "connect", "timeout", "5xx", "ok"; nil: it cannot be told, as when an idle
-- connection was closed.
local function kind_of(policy, connect_time, header_time, status)
    if connect_time == "-" then
        -- The time has the handshake in it, and without a name of the app's own
        -- the client chooses the one that is verified.
        if policy.scheme == "https" and not policy.server_name then
            return nil
        end
        return "connect"
    elseif header_time ~= "-" then
        return (tonumber(status) or 0) >= 500 and "5xx" or "ok"
    end
    return status == "504" and "timeout" or nil
end


local function peer_at(app, addr)
    for _, peer in ipairs(app.peers) do
        if peer.addr == addr then
            return peer
        end
    end
end


-- What became of the last attempt: the instance, and a word of kind_of's.
local function last_attempt(app)
    local attempts, addr = last_of(var.upstream_addr or "")
    if not addr then
        return nil
    end
    local _, connect_time = last_of(var.upstream_connect_time or "-")
    local _, header_time = last_of(var.upstream_header_time or "-")
    local _, status = last_of(var.upstream_status or "")
    -- When no instance is left to be tried, nginx adds an attempt that never
    -- was, at the address of the one before.
    if connect_time == "-" then
        local twice = addr .. ", " .. addr
        if sub(attempts, -#twice) == twice then
            return nil
        end
    end
    local peer = peer_at(app, addr)
    if peer then
        return peer, kind_of(app.policy, connect_time, header_time, status),
               status == "504"
    end
end


-- syntax: health.judge(app, cut?)
-- Judges the last attempt of a request, by what nginx's variables say of it.
-- The only instance of an app is never set aside. `cut` is a set of the
-- time-outs ("connect", "timeout") that were shorter than the app's own, so
-- that running into them is no failure.
function _M.judge(app, cut)
    local peer, kind, timed_out = last_attempt(app)
    if kind and app.live > 1 and app.policy.fail_on[kind]
            and not (timed_out and cut and cut[kind]) then
        set_aside(app, peer, kind)
    end
end


-- syntax: health.settle(app)
-- In log_by_lua: the answer may have ended a trial.
function _M.settle(app)
    if trial_till == 0 then
        return
    elseif now() > trial_till then
        trial_till = 0
        watched.n = watched.n - 1
    end
    local peer, kind = last_attempt(app)
    local aside = peer and app.ejected and app.ejected.of[peer.id]
    if aside and aside.rev == peer.rev and aside.till <= now()
            and (kind == "ok" or kind == "5xx"
                 and not app.policy.fail_on[kind]) then
        dict_drop(trial_key(app.name, peer.id))
        publish(app, peer, 0)
    end
end


return _M
