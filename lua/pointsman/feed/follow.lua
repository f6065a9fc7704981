-- The feed: follows the change stream and keeps the shared dict in step with
-- Redis. A timer of worker 0.
--
-- One feed at a time: after a reload the worker of before still has one for up
-- to a second, and two would overwrite each other's newer records. The lease, a
-- key in the state dict that expires, says which worker it is.
--
-- A connection lives in one run of a timer (to connect again and again in one
-- would leak a little each time); when it ends, the next run begins a moment
-- later or, if all went well, at once. No timer here is due in 0 seconds:
-- OpenResty and stock nginx do not agree on when such a timer runs.
--
-- Where the feed cannot know what it missed, nothing is thrown away: all cached
-- records need revalidation, and stay in use until each has been replaced.

local apply = require("pointsman.feed.apply")
local dicts = require("pointsman.cache.dicts")
local known_apps = require("pointsman.cache.apps")
local redis = require("pointsman.redis.client")
local report = require("pointsman.feed.report")
local revalidation = require("pointsman.cache.revalidation")
local versions = require("pointsman.cache.versions")
local workers = require("pointsman.request.workers")

local advance = versions.advance
local count = dicts.count
local dict_get = dicts.get
local dict_set = dicts.set
local exiting = ngx.worker.exiting
local is_alive = workers.is_alive
local ipairs = ipairs
local max = math.max
local next = next
local ngx_log = ngx.log
local ngx_now = ngx.now
local pairs = pairs
local pcall = pcall
local sleep = ngx.sleep
local timer_at = ngx.timer.at
local timer_every = ngx.timer.every

local WATCH_SECONDS = 1
local EMPTY_SECONDS = known_apps.EMPTY_SECONDS
-- nginx's timers have whole milliseconds; to sleep for 0 of them is a warning
-- in the log, where nginx lacks OpenResty's patches.
local SHORTEST = 0.001
-- How often to look at a table that cannot be followed yet, or at a Redis that
-- has failed: what is deregistered meanwhile still gets requests.
local POLL_SECONDS = 0.2
-- A run of a timer takes a little memory for each read; it is given back at
-- the end.
local MAX_READS = 10000
-- Each read costs the worker as much as several requests, however little it
-- brings. So where an entry comes so soon after the one before was applied,
-- what comes within a pause is read together.
local STORM_SECONDS = 0.005
local PAUSE_SECONDS = 0.0025
-- While changes of a large app wait: how often to look what else has come.
local GATHER_SECONDS = 0.01
-- A read takes up to two seconds, if Redis does not answer.
local LEASE_SECONDS, LEASE_POLL_SECONDS = 3, 0.05

local running, has_lease = false, false
local last_log
local reads = 0


-- Says what changed, once: an edge that waits for an hour logs one line.
local function set_state(state, level, ...)
    if dict_get("feed") ~= state then
        dict_set("feed", state)
    end
    local live = state == "live" and 1 or 0
    if versions.read(versions.LIVE) ~= live then
        versions.set(versions.LIVE, live)
        advance()
    end
    local text = table.concat({ ... })
    if text ~= last_log then
        last_log = text
        ngx_log(level, "feed ", text)
    end
end


local function hold_lease()
    local pid, holder = ngx.worker.pid(), dict_get("feed_lease")
    -- A worker that was killed cannot give it back.
    if holder == pid or holder and not is_alive(holder) then
        dict_set("feed_lease", pid, LEASE_SECONDS)
    elseif not dicts.add("feed_lease", pid, LEASE_SECONDS) then
        has_lease = false
        return false
    end
    if not has_lease then
        has_lease = true
        report.begin()
    end
    return true
end


local function end_lease()
    report.finish()
    if dict_get("feed_lease") == ngx.worker.pid() then
        dicts.drop("feed_lease")
    end
end


-- Whether nginx quits, and no request depends on the feed any more.
local function must_stop()
    return exiting() and not report.is_leaving()
end


-- When an agent was heard last, which may be `silence` seconds ago.
local function note_agent(silence)
    if silence then
        dict_set("heard", ngx_now() - silence)
    end
end


-- Where the last feed stopped. `applied` may be ahead of `last_id`: changes
-- that were read and had to wait are read again.
local function read_place()
    return {
        epoch = dict_get("epoch"), applied = dict_get("applied"),
        last_id = dict_get("last_id"), claim = dict_get("claim"),
    }
end


-- What the cache holds must be asked for again. To be called after the epoch
-- and the revision were stored; see fill.prepare.
local function revalidate_all(why)
    versions.count(versions.REVAL)
    advance()
    count("revalidations")
    ngx_log(ngx.NOTICE, "feed asks for all cached records again: ", why)
end


-- Takes up the table's place. What the cache holds must be asked for again,
-- unless there cannot be anything in it.
local function adopt(table, place, why)
    local is_first = place.epoch == nil
    if place.epoch == table.epoch then
        revalidation.open_window()
    else
        revalidation.close_window()
    end
    place.epoch, place.applied = table.epoch, table.rev
    place.last_id, place.claim = table.last_id or "0-0", table.claim or ""
    for name, value in pairs(place) do
        dict_set(name, value)
    end
    dicts.drop("waiting")
    if not is_first then
        revalidate_all(why)
    end
    report.wake()
end


local function id_parts(id)
    local ms, seq = id:match("^(%d+)-(%d+)$")
    return tonumber(ms), tonumber(seq)
end


local function is_later(a, b)
    local a_ms, a_seq = id_parts(a)
    local b_ms, b_seq = id_parts(b)
    return a_ms > b_ms or a_ms == b_ms and a_seq > b_seq
end


-- Compares the table with what we know. Returns true if its stream can be read
-- on from `place`.
local function check(table, place, forced)
    if not table.epoch then
        set_state("waiting", table.format and ngx.ERR or ngx.NOTICE, "waits: ",
                  "there is no table that this edge can read (it has format ",
                  table.format or "none", ")")
        return false
    end
    if not table.ready then
        set_state("waiting", ngx.NOTICE, "waits: the table is being built")
        return false
    end

    local why = forced
    if table.epoch ~= place.epoch then
        why = "the registry has another epoch"
    elseif table.rev < place.applied then
        -- A replica that lags took over. What we hold is newer.
        set_state("waiting", ngx.WARN, "waits: the table went back")
        dict_set("went_back", 1)
        return false
    elseif dict_get("went_back") == 1 then
        why = "the table had gone back"
    elseif table.claim ~= place.claim then
        why = "the table was rebuilt"
    elseif table.rev > place.applied
            and not (table.last_id
                     and is_later(table.last_id, place.last_id)) then
        why = "the table changed, and the stream does not say how"
    end
    if why then
        adopt(table, place, why)
        dict_set("went_back", 0)
    end
    set_state("live", ngx.NOTICE, "follows the table")
    return true
end


-- The reason why the entries do not follow on what was applied, if so;
-- otherwise nil and the revision that they lead to.
local function broken_at(entries, place)
    local applied = place.applied
    for _, entry in ipairs(entries) do
        if entry.epoch ~= place.epoch then
            return "another epoch in the stream"
        elseif entry.kind == "reset" then
            return "the table was rebuilt"
        elseif not entry.from or entry.from > applied then
            return "entries of the stream are missing"
        end
        applied = max(applied, entry.to)
    end
    return nil, applied
end


-- Says how far this edge is. Changes that must wait are not applied yet:
-- `waiting` is the revision before the first of them, and should this worker
-- end, the next feed reads them again.
local function commit(place, plan, before)
    if next(plan.apps) then
        if not dict_get("waiting") then
            dict_set("waiting", before)
        end
    else
        dict_set("last_id", place.last_id)
    end
    dict_set("applied", place.applied)
    if not next(plan.apps) and dict_get("waiting") then
        dicts.drop("waiting")
    end
end


-- Applies entries, and what has waited in the plan. Returns the reason to look
-- at the whole table, if there is one.
local function take(entries, place, plan)
    local before = place.applied
    if #entries > 0 then
        local why, applied = broken_at(entries, place)
        if why then
            return why
        end
        local ok, err = apply.add(plan, entries)
        if not ok then
            ngx_log(ngx.ERR, "failed to apply the stream: ", err)
            return "an entry of the stream is broken"
        end
        count("feed_entries", #entries)
        place.applied, place.last_id = applied, entries[#entries].id
    end
    local changed = apply.run(plan, versions.read(versions.REVAL))
    if changed then
        advance()
    end
    commit(place, plan, before)
    report.wake()
    if plan.defaults then
        plan.defaults = nil
        revalidate_all("the defaults of all apps changed")
    end
end


-- Reads the stream until nothing comes for a second. Returns true, and the
-- reason to look at the whole table if there is one; or nil and an error of the
-- connection.
local function read_on(source, place)
    local plan, last, is_storm = apply.plan(), 0, false
    local entries, err, waits
    repeat
        local is_waiting = next(plan.apps) ~= nil
        if is_waiting then
            sleep(GATHER_SECONDS)
        elseif is_storm and #entries < source.BATCH then
            sleep(PAUSE_SECONDS)
        end
        reads = reads + 1
        waits = not is_waiting and not is_storm
        entries, err = source:read(place.last_id, not waits)
        if not entries then
            return nil, err
        elseif not hold_lease() then
            return true
        end
        is_storm = false
        if #entries > 0 then
            note_agent(0)
            is_storm = ngx_now() - last < STORM_SECONDS
                       or #entries == source.BATCH
        end
        if #entries > 0 or is_waiting then
            local why = take(entries, place, plan)
            if why then
                return true, why
            end
            last = ngx_now()
        end
    until #entries == 0 and waits or reads >= MAX_READS or must_stop()
    return true
end


local function follow(source)
    local place, forced = read_place(), nil
    reads = 0
    while reads < MAX_READS and not must_stop() do
        reads = reads + 1
        local table, err = source:probe()
        if not table then
            return nil, err
        elseif not hold_lease() then
            return true
        end
        note_agent(table.silence)
        if not check(table, place, forced) then
            sleep(POLL_SECONDS)
        else
            local ok
            ok, forced = read_on(source, place)
            if not ok then
                return nil, forced
            elseif not has_lease then
                -- What waited is lost: the next feed reads it again.
                return true
            end
        end
    end
    return true
end


local function run_once()
    while not hold_lease() do
        if exiting() then
            return true
        end
        sleep(LEASE_POLL_SECONDS)
    end
    local source, err = redis.follow()
    if not source then
        return nil, err
    end
    local ok
    ok, err = follow(source)
    source:close()
    return ok, err
end


local function run(premature)
    apply.purge(EMPTY_SECONDS)
    if premature or running then
        return
    end
    running = true
    local fine, ok, err = pcall(run_once)
    running = false
    if not fine then
        ok, err = nil, ok
    end
    if must_stop() then
        end_lease()
    elseif not exiting() then
        timer_at(ok and SHORTEST or POLL_SECONDS, run)
    end
    if not ok then
        count("feed_errors")
        set_state("down", ngx.ERR, "failed: ", err)
    end
end


local _M = {}


-- syntax: feed.start()
-- In init_worker_by_lua of worker 0.
function _M.start()
    timer_at(SHORTEST, run)
    timer_every(WATCH_SECONDS, run)
end


return _M
