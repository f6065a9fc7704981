-- The apps that the worker itself keeps, decoded (part of L1, see cache.lua),
-- and the round over each. All phases; nothing here yields.
--
-- An app is checked against its stripe when the generation has moved, and read
-- from L2 again if that has. One that is large, and changes again and again,
-- rests between two readings.

local l2 = require("pointsman.apps")
local board = require("pointsman.board")
local codec = require("pointsman.codec")
local compose = require("pointsman.picker.compose")
local doubt = require("pointsman.doubt")
local flight = require("pointsman.flight")
local health = require("pointsman.health")

local cjson = require("cjson.safe")

local asides_of = health.asides_of
local ceil = math.ceil
local crc32 = ngx.crc32_short
local decode = cjson.decode
local huge = math.huge
local ipairs = ipairs
local is_over = doubt.is_over
local max = math.max
local min = math.min
local ngx_now = ngx.now
local peers_of = codec.peers_of
local read = board.read
local read_app = l2.read

local MAX_APPS = 65536
local REVAL, LIVE = board.REVAL, board.LIVE
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
local apps, apps_n = {}, 0

-- What the board said when the generation last moved.
local gen, reval, live = -1, 0, false
-- Until when records in doubt will do.
local grace = 0


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


local _M = {
    -- The generation of what is in doubt.
    DOUBTED = DOUBTED,
    -- syntax: yes = known_apps.is_doubted(reval)
    is_doubted = is_doubted,
    -- syntax: yes = known_apps.is_suspect(reval)
    is_suspect = is_suspect,
    -- syntax: app = known_apps.get(name)
    -- As cache.find describes it. Nil if it is not in L2, or suspect there.
    get = get_app,
    -- syntax: yes = known_apps.is_valid(app)
    -- Whether it may be used; it is read again if need be.
    is_valid = valid_app,
    -- syntax: app = known_apps.fill(app, record)
    -- Of a record of codec.unpack_app or unpack_sheets. The app is not kept.
    fill = fill_app,
}


-- syntax: known_apps.init(settings)
-- In init_worker_by_lua.
function _M.init(settings)
    seed = ngx.worker.pid() .. " " .. ngx_now() .. " "
    picker_options.zone = settings.zone
end


-- syntax: known_apps.advance(generation)
-- The generation has moved.
function _M.advance(moved)
    gen = moved
    reval = read(REVAL)
    live = read(LIVE) == 1
    grace = doubt.grace()
end


return _M
