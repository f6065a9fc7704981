-- The feed: follows the change stream and keeps the shared dict in step with
-- Redis. A timer of worker 0.
--
-- After a reload two workers run a feed for up to a second, which is harmless:
-- a change that was applied twice is there once. A connection lives in one run
-- of a timer (to connect again and again in one would leak a little each time);
-- when it ends, the next run begins a second later or, if all went well, at
-- once.
--
-- Where the feed cannot know what it missed, nothing is thrown away: all cached
-- records come under suspicion, and stay in use until each has been replaced.

local apply = require("pointsman.feed.apply")
local board = require("pointsman.cache.versions")
local dicts = require("pointsman.cache.dicts")
local doubt = require("pointsman.cache.revalidation")
local redis = require("pointsman.redis.client")
local slices = require("pointsman.feed.slices")

local advance = board.advance
local count = dicts.count
local dict_get = dicts.get
local dict_set = dicts.set
local exiting = ngx.worker.exiting
local ipairs = ipairs
local max = math.max
local min = math.min
local ngx_log = ngx.log
local ngx_now = ngx.now
local pcall = pcall
local sleep = ngx.sleep
local timer_at = ngx.timer.at
local timer_every = ngx.timer.every

local WATCH_SECONDS = 1
-- How often to look at a table that cannot be followed yet.
local POLL_SECONDS = 0.2
-- A run of a timer takes a little memory for each read; it is given back at
-- the end.
local MAX_READS = 10000
-- How many reads a second are made while each brings something, and for how
-- long to wait when there were more.
local READ_RATE = 400
local READ_BURST = 20
local READ_SECONDS = 0.0025
-- Where two reads that brought something lie so close together, the next one
-- probably need not wait.
local STORM_SECONDS = 0.005
-- While a large app rests: how often to look what else has come, and how many
-- entries are gathered at most.
local GATHER_SECONDS = 0.01
-- nginx's timers have whole milliseconds; to sleep for 0 of them is a warning
-- in the log, where nginx lacks OpenResty's patches.
local SHORTEST_SLEEP = 0.001
local MAX_GATHERED = 1000
-- After a reload the feed of before it ends within so many seconds.
local UPGRADE_SECONDS = 3

local running = false
local last_log


-- Says what changed, once: an edge that waits for an hour logs one line.
local function set_state(state, level, ...)
    if dict_get("feed") ~= state then
        dict_set("feed", state)
    end
    local live = state == "live" and 1 or 0
    if board.read(board.LIVE) ~= live then
        board.set(board.LIVE, live)
        advance()
    end
    local text = table.concat({ ... })
    if text ~= last_log then
        last_log = text
        ngx_log(level, "feed ", text)
    end
end


-- When an agent was heard last, which may be `silence` seconds ago.
local function note_agent(silence)
    if silence then
        dict_set("heard", ngx_now() - silence)
    end
end


-- Where we are. Read before Redis is asked: meanwhile another feed may go on.
local function read_place()
    return {
        epoch = dict_get("epoch"),
        applied = dict_get("applied"),
        last_id = dict_get("last_id"),
        claim = dict_get("claim"),
    }
end


-- What the cache holds must be asked for anew. To be called after the epoch and
-- the revision were stored; see the miss path's snapshot.
local function suspect_all(why)
    board.count(board.REVAL)
    advance()
    count("revalidations")
    ngx_log(ngx.NOTICE, "feed asks for all cached records anew: ", why)
end


-- Takes up the table's place. What the cache holds must be asked for anew,
-- unless there cannot be anything in it.
local function adopt(table, why)
    local epoch = dict_get("epoch")
    local first = epoch == nil
    if epoch == table.epoch then
        doubt.tolerate(dict_get("applied"))
    else
        doubt.end_grace()
    end
    dict_set("epoch", table.epoch)
    dict_set("applied", table.rev)
    dict_set("last_id", table.last_id or "0-0")
    dict_set("claim", table.claim or "")
    if not first then
        suspect_all(why)
    end
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
-- on from where we are.
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
        adopt(table, why)
        dict_set("went_back", 0)
    end
    set_state("live", ngx.NOTICE, "follows the table")
    return true
end


-- The reason why the entries do not follow on what was applied, if so; else the
-- revision that they lead to.
local function broken_at(entries, epoch, applied)
    for _, entry in ipairs(entries) do
        if entry.epoch ~= epoch then
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


-- A plan of the entries and, as long as a large app among them rests, of those
-- that come after them. Returns nil, and an error of the connection or the
-- reason to look at the whole table; or the plan, the revision that it leads to
-- and the ID of the last entry.
local function gather(source, entries, place)
    local plan = apply.plan()
    local applied = place.applied
    while true do
        local why, to = broken_at(entries, place.epoch, applied)
        if why then
            return nil, nil, why
        end
        local ok, err = apply.add(plan, entries)
        if not ok then
            ngx_log(ngx.ERR, "failed to apply the stream: ", err)
            return nil, nil, "an entry of the stream is broken"
        end
        applied = to
        local last_id = entries[#entries].id

        repeat
            local rest = apply.rest(plan)
            if rest <= 0 or plan.entries >= MAX_GATHERED or exiting() then
                return plan, applied, last_id
            end
            if #entries < source.BATCH then
                sleep(max(SHORTEST_SLEEP, min(rest, GATHER_SECONDS)))
            end
            entries, err = source:read(last_id, true)
            slices.begin()
            if not entries then
                return nil, err
            end
        until #entries > 0
    end
end


-- Returns true, or false and the reason to look at the whole table, or nil and
-- an error of the connection.
local function take(source, entries, place)
    local plan, applied, last_id = gather(source, entries, place)
    if not plan then
        if applied then
            return nil, applied
        end
        return false, last_id
    end
    local changed = apply.run(plan, board.read(board.REVAL))

    if dict_get("epoch") == place.epoch
            and is_later(last_id, dict_get("last_id")) then
        dict_set("applied", max(applied, dict_get("applied")))
        dict_set("last_id", last_id)
    end
    if plan.defaults then
        suspect_all("the defaults of all apps changed")
    elseif changed then
        advance()
    end
    return true
end


-- Spaces reads while changes pour in: each costs the worker as much as several
-- requests, however little it brings. `credit` is how many may follow at once.
-- To be called after what each has brought, which came at `came`, was taken;
-- returns whether it came soon after the one before was taken.
local function new_pace()
    local credit, last = READ_BURST, 0
    return function(came)
        local now = ngx_now()
        local waited = came - last
        credit = min(READ_BURST, credit + max(0, now - last) * READ_RATE) - 1
        last = now
        if credit < 0 then
            sleep(READ_SECONDS)
        end
        return waited < STORM_SECONDS
    end
end


local function follow(source)
    local place, table, entries, ok, err
    local reads, forced, is_storm = 0, nil, false
    local pace = new_pace()
    while not exiting() and reads < MAX_READS do
        reads = reads + 1
        place = read_place()
        table, err = source:probe()
        if not table then
            return nil, err
        end
        note_agent(table.silence)
        if not check(table, place, forced) then
            sleep(POLL_SECONDS)
        else
            forced = nil
            local waited
            repeat
                reads = reads + 1
                place = read_place()
                waited = not is_storm
                local came
                entries, came = source:read(place.last_id, is_storm)
                slices.begin()
                if not entries then
                    return nil, came
                end
                if #entries > 0 then
                    note_agent(0)
                    ok, err = take(source, entries, place)
                    if ok == nil then
                        return nil, err
                    end
                    forced = not ok and err or nil
                end
                if #entries < source.BATCH then
                    is_storm = #entries > 0 and pace(came)
                else
                    is_storm = true
                end
            until #entries == 0 and waited or forced or exiting()
                  or reads > MAX_READS
        end
    end
    return true
end


local function run_once()
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
    if premature or running then
        return
    end
    running = true
    local fine, ok, err = pcall(run_once)
    running = false
    if not fine then
        ok, err = nil, ok
    end
    if ok and not exiting() then
        timer_at(0, run)
    elseif not ok then
        count("feed_errors")
        set_state("down", ngx.ERR, "failed: ", err)
    end
end


-- A feed of a version with another board, or none, which a reload has ended,
-- has counted where nobody of this one looks. And some worker may have ended
-- before it has shown its sheets.
local function leave_old_version(premature)
    if premature then
        return
    end
    board.doubt_sheets()
    advance()
    if dict_get("page") then
        dicts.drop("page")
        suspect_all("another version has filled the cache")
    end
end


local _M = {}


-- syntax: feed.start()
-- In init_worker_by_lua of worker 0.
function _M.start()
    timer_at(UPGRADE_SECONDS, leave_old_version)
    timer_at(0, run)
    timer_every(WATCH_SECONDS, run)
end


return _M
