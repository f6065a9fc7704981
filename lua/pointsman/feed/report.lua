-- The edge's report: tells the agents which revision this edge has applied, and
-- what is in flight to each draining instance. A timer of the worker that has
-- the feed, beside the feed, over a connection of its own: it holds up neither
-- the feed nor any request.
--
-- What is reported is exact. Before a revision counts as applied, every pass
-- that began before it has ended in every worker (see request/workers.lua), so
-- from then on no request goes to an instance that drains in it, except where
-- its policy keeps sessions there or the request asks for it by name; and all
-- that has gone there is counted. The counts are read after that.
--
-- An nginx that quits reports until its last request has ended, and then says
-- goodbye. After a reload the worker of before stops when it gives up the feed.

local dicts = require("pointsman.cache.dicts")
local drains = require("pointsman.feed.drains")
local reports = require("pointsman.redis.report")
local revalidation = require("pointsman.cache.revalidation")
local version = require("pointsman.version")
local versions = require("pointsman.cache.versions")
local workers = require("pointsman.request.workers")

local cjson = require("cjson.safe")
local semaphore = require("ngx.semaphore")

local concat = table.concat
local dict_get = dicts.get
local dict_set = dicts.set
local exiting = ngx.worker.exiting
local flights = dicts.flights
local floor = math.floor
local format = string.format
local max = math.max
local min = math.min
local next = next
local ngx_log = ngx.log
local ngx_now = ngx.now
local pcall = pcall
local sleep = ngx.sleep
local timer_at = ngx.timer.at
local update_time = ngx.update_time

-- How far apart reports are, at least and at most.
local LEAST_SECONDS, MOST_SECONDS = 0.02, 2
-- After a failure.
local RETRY_SECONDS = 1
-- How often to look whether nginx quits; nothing wakes a timer then.
local QUIT_POLL_SECONDS = 0.5
-- nginx's timers have whole milliseconds; see request/workers.lua for why not
-- to look at once.
local SHORTEST = 0.001
-- A pass lasts microseconds. One that lasts longer is of a worker that is
-- stopped, or has no core.
local LONG_PASS_SECONDS = 0.1
-- A run of a timer takes a little memory for each report.
local MAX_ROUNDS = 10000
-- How long another edge that was seen to have this one's name counts.
local CONFLICT_SECONDS = 15
-- Where init_by_lua does not load Pointsman: how long new workers may take to
-- say that this is a reload.
local RELOAD_SECONDS = 0.5

-- The same for all workers of one configuration: each reload has init_by_lua
-- run again before the workers of before are told to exit.
-- In two dicts, one of which may be new after a reload.
if ngx.get_phase() == "init" and dicts.are_there() then
    flights.add("configurations", 1)
    dicts.count("configurations")
end

local name, former, status_url, via, is_off
local pid, in_flights, in_state
local wakeup
local running, stopping, is_gone = false, false, false
-- { epoch =, applied = } that may be reported, and that is about to be.
local confirmed, pending
local conflict_until = 0


local function is_reload()
    return flights.get("first_worker") ~= pid
           or dict_get("first_worker") ~= pid
           or flights.get("configurations") ~= in_flights
           or dict_get("configurations") ~= in_state
end


-- Says what has changed, once.
local function set_state(state, err)
    if dict_get("report") == state and dict_get("report_error") == err then
        return
    end
    if dict_get("report") ~= state then
        dict_set("report_since", ngx_now())
    end
    dict_set("report", state)
    dict_set("report_error", err)
    if err then
        ngx_log(ngx.ERR, "report ", state, ": ", err)
    else
        ngx_log(ngx.NOTICE, "reports to agents as edge ", name)
    end
end


local function random_id()
    local file = io.open("/dev/urandom", "rb")
    local bytes = file and file:read(16)
    if file then
        file:close()
    end
    return ngx.md5(bytes or pid .. " " .. ngx_now() .. tostring(wakeup))
end


-- Goes on with what has been applied. Returns whether more may be reported.
local function confirm()
    local time = ngx_now()
    local next_one = pending
    if not next_one then
        local is_closed = revalidation.settle()
        local epoch, applied = dict_get("epoch"), revalidation.applied()
        if not epoch or confirmed and confirmed.epoch == epoch
                and confirmed.applied == applied then
            return false
        end
        update_time()
        pending = {
            epoch = epoch, applied = applied, since = ngx_now(),
            reval = versions.read(versions.REVAL), is_closed = is_closed,
        }
        return false
    elseif versions.read(versions.REVAL) ~= next_one.reval then
        -- The feed has missed something meanwhile.
        pending = nil
        return false
    elseif time == next_one.since or time < (next_one.again or 0) then
        return false
    end
    next_one.passes = next_one.passes or workers.passes()
    if not workers.have_ended(next_one.passes) then
        return false
    end
    -- (If Redis cannot be asked, the feed says so.)
    if not drains.complete(next_one.reval, next_one.is_closed) then
        next_one.again = ngx_now() + LEAST_SECONDS
        return false
    elseif next_one ~= pending then
        return false
    end
    confirmed, pending = next_one, nil
    return true
end


-- Whether another nginx writes reports under this name. One that this edge has
-- replaced writes no more.
local function note_writer(id, time)
    local is_other = id and id ~= dict_get("edge_id")
    if is_other and dict_get("has_reported") then
        conflict_until = time + CONFLICT_SECONDS
    end
    dict_set("has_reported", 1)
    local left = conflict_until - time
    -- More can only be left after the clock was set back.
    if left > 0 and left <= CONFLICT_SECONDS then
        set_state("conflict", "another edge reports as " .. name .. ", too, so "
                  .. "agents take neither to be up to date; give each edge "
                  .. "a name of its own (setting `edge`)")
    else
        set_state("ok")
    end
end


local function write(reporter, counts, time)
    local is_conflict = dict_get("report") == "conflict"
    local ok, before = reporter:write(name, {
        "epoch", confirmed.epoch,
        "applied", format("%.0f", is_conflict and 0 or confirmed.applied),
        "version", version,
        "started", format("%.0f", dict_get("started")),
        "workers", format("%.0f", ngx.worker.count()),
        "status", status_url,
        "draining", counts,
        "seq", format("%.0f", dicts.count("report_seq")),
        "via", via,
        "id", dict_get("edge_id"),
    })
    if not ok then
        return nil, before
    end
    note_writer(before, time)
    if former then
        -- Before a reload this edge had another name.
        reporter:goodbye(former, dict_get("edge_id"))
        former = nil
    end
    return true
end


-- When nginx quits, or after a reload: returns whether nothing is in flight any
-- more. Then this edge is gone, and says so.
local function quit(self)
    -- Nobody else looks who has died.
    workers.tick()
    local sums, _, unnamed = workers.in_flight()
    if sums and (next(sums) or unnamed > 0) then
        return false
    end
    is_gone = true
    if not in_flights then
        sleep(RELOAD_SECONDS)
    end
    if is_reload() or not confirmed then
        return true
    end
    local reporter, err = self.reporter, nil
    if not reporter then
        reporter, err = reports.open()
    end
    local ok = reporter
    if reporter then
        ok, err = reporter:goodbye(name, dict_get("edge_id"))
    end
    if not ok then
        set_state("failing", err)
    end
    return true
end


-- One report, if there is anything to tell. Returns for how long there will be
-- nothing, or nil and an error.
local function step(self)
    self.is_due = confirm() or self.is_due
    local time = ngx_now()
    if self.looked > time then
        -- The clock was set back.
        self.looked, self.wrote = 0, 0
    end
    if pending and time - pending.since < LONG_PASS_SECONDS then
        -- What is in flight is told together with the revision.
        return SHORTEST
    end
    local left = self.looked + LEAST_SECONDS - time
    if confirmed and (self.is_due or left <= 0) then
        self.looked = time
        local counts, is_busy = drains.count()
        if not counts then
            return nil, is_busy
        end
        self.is_busy = is_busy or exiting()
        local text = concat({ confirmed.epoch, confirmed.applied, counts,
                              dict_get("report") == "conflict" and "?" or "" },
                            " ")
        self.is_due = text ~= self.text or time - self.wrote >= MOST_SECONDS
        if self.is_due then
            left = self.wrote + LEAST_SECONDS - time
            if left > 0 then
                -- As a report was just written.
                return left
            end
            local ok, err
            if not self.reporter then
                self.reporter, err = reports.open()
            end
            if self.reporter then
                ok, err = write(self.reporter, counts, time)
            end
            if not ok then
                self.reporter = nil
                return nil, err
            end
            self.text, self.wrote, self.is_due = text, time, false
        end
        left = LEAST_SECONDS
    end
    if pending then
        return LEAST_SECONDS
    elseif self.is_busy or dict_get("held") then
        return left
    end
    return min(QUIT_POLL_SECONDS, self.wrote + MOST_SECONDS - time)
end


local function must_stop()
    local holder = dict_get("feed_lease")
    return stopping or is_gone or holder and holder ~= pid
end


local function report_on()
    local self = { looked = 0, wrote = 0 }
    for _ = 1, MAX_ROUNDS do
        if must_stop() or exiting() and quit(self) then
            break
        end
        local seconds, err = step(self)
        if seconds then
            wakeup:wait(max(SHORTEST, seconds))
        else
            set_state("failing", err)
            sleep(RETRY_SECONDS)
        end
    end
    if self.reporter then
        self.reporter:close()
    end
end


local function run(premature)
    if premature or running or must_stop() then
        return
    end
    running = true
    local ok, err = pcall(report_on)
    running = false
    if not ok then
        set_state("failing", err)
    end
    if not must_stop() and not exiting() then
        timer_at(ok and SHORTEST or RETRY_SECONDS, run)
    end
end


local _M = {}


-- syntax: report.init(settings)
-- In init_worker_by_lua of worker 0.
function _M.init(settings)
    pid = ngx.worker.pid()
    name, status_url = settings.edge, settings.status_url or ""
    is_off = settings.report == "off"
    via = settings.report and not is_off and "replica" or ""
    in_flights = flights.get("configurations")
    in_state = dict_get("configurations")
    flights.set("first_worker", pid)
    dict_set("first_worker", pid)
    wakeup = semaphore.new()
    dicts.add("started", ngx.time())
    dicts.add("report_seq", floor(ngx_now() * 1000))
    dicts.add("edge_id", random_id())
    former = dict_get("edge_name")
    former = former ~= name and former or nil
    dict_set("edge_name", name)
    if is_off then
        dict_set("report", "off")
        dict_set("report_error", nil)
    else
        reports.init(settings)
    end
end


-- syntax: report.begin()
-- From the feed, when it has got the lease.
function _M.begin()
    drains.begin()
    confirmed, pending = nil, nil
    if not is_off then
        stopping = false
        timer_at(SHORTEST, run)
    end
end


-- syntax: report.wake()
-- From the feed, after a change.
function _M.wake()
    if running and wakeup:count() <= 0 then
        wakeup:post()
    end
end


-- syntax: report.finish()
-- From the feed, before it gives up the lease: returns when nothing more is
-- written.
function _M.finish()
    stopping = true
    while running do
        _M.wake()
        sleep(SHORTEST)
    end
end


-- syntax: yes = report.is_leaving()
-- Whether nginx quits and has requests in flight that it reports: the feed goes
-- on meanwhile.
function _M.is_leaving()
    return running and exiting() and not is_gone and not is_reload()
end


-- syntax: facts = report.facts()
-- For the status page.
function _M.facts()
    return {
        edge = dict_get("edge_name"), state = dict_get("report") or "starting",
        error = dict_get("report_error") or cjson.null,
        since = dict_get("report_since") or cjson.null,
    }
end


return _M
