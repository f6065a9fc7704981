-- Outlier ejection: which instances are ejected or half-open. All phases.
--
-- An ejected instance gets no requests for the app's `fail_timeout`. Then it is
-- half-open: it gets one request at a time, the probe, over all workers, until
-- a probe is answered or fails. No lapse of time gives an instance its share
-- back.
--
-- A probe holds a lease in the shared dict. The log phase releases it. Should
-- its worker die, the others find out within a second; should nobody see its
-- end, the lease runs out when the attempt must have come to an end.
--
-- Ejections by one worker go into a log in the shared dict; the others read the
-- new entries when the generation has moved.

local dicts = require("pointsman.cache.dicts")
local versions = require("pointsman.cache.versions")
local workers = require("pointsman.request.workers")

local advance = versions.advance
local dict_add = dicts.add
local dict_drop = dicts.drop
local dict_get = dicts.get
local dict_set = dicts.set
local format = string.format
local is_alive = workers.is_alive
local match = string.match
local max = math.max
local next = next
local now = ngx.now
local pairs = pairs
local pid = ngx.worker.pid
local tonumber = tonumber

-- The log is a ring: a burst longer than it loses the oldest entries, which
-- costs the other workers a failed attempt each.
local RING = 1024
-- An entry has its number before it has its text. A reader waits for the text,
-- unless so much came after it that its writer must have died.
local PATIENCE = 8
-- An instance that is half-open and that no request has considered for so many
-- seconds is forgotten: it, or its app, is gone.
local LINGER = 3600

-- App name -> { app =, of = { instance id -> entry } }; an entry is
-- { till = until when it is ejected, rev = the instance's revision, lease =
-- the key of the probe's lease, asked = when a request considered it last,
-- unseen = when a probe whose end nobody sees must have failed or not }.
local ejected = {}
local last_read = 0
local claims = 0


local function ring_key(number)
    return "h" .. number % RING
end


-- An instance that has been registered again since starts fresh.
local function entry_of(list, peer)
    local entry = list and list.of[peer.id]
    return entry and entry.rev == peer.rev and entry or nil
end


-- A `till` of 0 is the end of it.
local function note(app, id, rev, till)
    local list = ejected[app]
    if till == 0 then
        if list then
            list.of[id] = nil
        end
        return
    end
    if not list then
        list = { app = app, of = {} }
        ejected[app] = list
    end
    list.of[id] = { till = till, rev = rev, asked = till,
                    lease = format("p %s %s %.0f", app, id, rev) }
end


local function publish(app, id, rev, till)
    local number = versions.count(versions.EJECTIONS)
    dict_set(ring_key(number), format("%.0f %s %s %.0f %.3f", number, app, id,
                                      rev, till))
    advance()
    note(app, id, rev, till)
end


-- A probe whose worker has died has no end; one of a subrequest has none that
-- is seen, but would have been seen to fail by now.
local function settle_leases(app, id, entry, time)
    if entry.unseen and entry.unseen <= time then
        publish(app, id, entry.rev, 0)
        return
    end
    local owner = match(dict_get(entry.lease) or "", "^%d+")
    if owner and not is_alive(tonumber(owner)) then
        dict_drop(entry.lease)
    end
end


local _M = {}


-- syntax: list = ejection.of(app_name)
-- For is_out; nil if none of the app's instances is ejected or half-open.
function _M.of(app)
    return ejected[app]
end


-- syntax: yes = ejection.is_out(list, peer, time, is_dry?)
-- Whether the instance must not be picked now: it is ejected, or half-open and
-- being probed. `is_dry`: no request asks.
function _M.is_out(list, peer, time, is_dry)
    local entry = entry_of(list, peer)
    if not entry then
        return false
    elseif not is_dry then
        entry.asked = time
    end
    return entry.till > time or dict_get(entry.lease) ~= nil
end


-- syntax: is_known, is_ejected = ejection.state(app, peer)
-- is_known: it is ejected or half-open.
function _M.state(app, peer)
    local entry = entry_of(ejected[app.name], peer)
    return entry ~= nil, entry ~= nil and entry.till > now()
end


-- syntax: ok, token = ejection.claim(app, peer, seconds, is_unseen?)
-- Before a request goes to an instance. If that is half-open, the request is
-- its probe, for so many seconds at most, and gets a token; not ok if there is
-- another probe. With `is_unseen`, nobody will see an answer: no failure until
-- the lease runs out is as good as one.
function _M.claim(app, peer, seconds, is_unseen)
    local entry = entry_of(ejected[app.name], peer)
    if not entry or entry.till > now() then
        return true, false
    end
    claims = claims + 1
    local token = pid() .. " " .. claims
    local ok, err = dict_add(entry.lease, token, seconds)
    if not ok then
        -- A dict without room must not keep the instance out.
        return err ~= "exists", false
    elseif is_unseen then
        entry.unseen = entry.unseen or now() + seconds
    end
    return true, token
end


-- syntax: ejection.release(app, peer, token, seconds?)
-- The probe has ended. With `seconds`, the next one has to wait so long.
function _M.release(app, peer, token, seconds)
    local entry = entry_of(ejected[app.name], peer)
    if not entry or dict_get(entry.lease) ~= token then
        return
    elseif seconds then
        dict_set(entry.lease, token, seconds)
    else
        dict_drop(entry.lease)
    end
end


-- syntax: ejection.eject(app, peer)
function _M.eject(app, peer)
    publish(app.name, peer.id, peer.rev, now() + app.policy.fail_timeout)
    app.ejected = ejected[app.name]
end


-- syntax: ejection.restore(app, peer)
-- A probe was answered.
function _M.restore(app, peer)
    publish(app.name, peer.id, peer.rev, 0)
end


-- syntax: ejection.sync()
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


-- syntax: ejection.purge()
-- From a timer, each second: forgets what is gone.
function _M.purge()
    local time = now()
    for app, list in pairs(ejected) do
        for id, entry in pairs(list.of) do
            if entry.asked + LINGER <= time then
                list.of[id] = nil
            elseif entry.till <= time then
                settle_leases(app, id, entry, time)
            end
        end
        if not next(list.of) then
            ejected[app] = nil
        end
    end
end


-- syntax: all = ejection.list()
-- App name -> instance id -> { state = "ejected" or "half-open", till = }, for
-- the status page; nil if there is none.
function _M.list()
    _M.sync()
    local all, time = {}, now()
    for app, list in pairs(ejected) do
        local states = {}
        for id, entry in pairs(list.of) do
            states[id] = {
                state = entry.till > time and "ejected" or "half-open",
                till = entry.till,
            }
        end
        all[app] = next(states) and states or nil
    end
    return next(all) and all or nil
end


return _M
