-- The apps that the worker itself keeps, decoded (part of L1, see cache.lua),
-- and the round over each. All phases; nothing here yields.
--
-- An app is checked against its stripe when the generation has moved, and read
-- from L2 again if that has. One that is large, and changes again and again,
-- rests between two readings.
--
-- A round that goes over the sheets of a large app does without that: each
-- sheet is checked against its own number when its turn comes, and the list of
-- sheets is read when it has changed in more than these.

local l2 = require("pointsman.cache.shared_apps")
local board = require("pointsman.cache.versions")
local codec = require("pointsman.codec.records")
local compose = require("pointsman.balance.compose")
local doubt = require("pointsman.cache.revalidation")
local flight = require("pointsman.request.in_flight")
local health = require("pointsman.health.ejection")

local cjson = require("cjson.safe")

local ejected_of = health.of
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
local renew = l2.renew
local shown = board.sheet

local MAX_APPS = 65536
local REVAL, LIVE = board.REVAL, board.LIVE
-- The generation of what was found while a record of it is in doubt: never the
-- one of now, so that the next request looks again.
local DOUBTED = -1
-- To read a large app takes up to a millisecond. Its list, and each of its
-- sheets, costs so many seconds of rest when it is read, all of them MAX_REST
-- at most. Of what has changed as much is read as MAX_OWED of them allow, or as
-- concerns the round; until the rest is read, the app is used as it is.
local REST, MAX_REST = 0.0008, 0.1
local MAX_OWED = 0.4
-- A sheet from which nobody can be picked has no turn: it is looked after as
-- the round passes it, so many seconds after the last time at the earliest; all
-- of these together so often.
local EMPTY_REST = 0.1

-- Where rounds begin: each worker at another instance.
local seed = ""
local picker_options = {
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


-- How many instances a round over an app's sheets has; nil if there is none.
local function count_even(record)
    if record.sheets and record.policy.plain and board.has_sheets() then
        return compose.even(record.sheets)
    end
end


local function is_long_ago(looked, seconds)
    local since = ngx_now() - looked
    return since >= seconds or since < 0
end


-- Whether a sheet is to be looked after before the round goes on in it. One
-- without a turn that had to wait for others is the next one of these.
local function is_due(app, sheet)
    if shown(sheet.place) == sheet.seen then
        return false
    elseif #sheet.live > 0 then
        return true
    end
    local next_one = app.next_empty
    if not is_long_ago(sheet.looked, EMPTY_REST)
            or next_one and next_one ~= sheet
               and shown(next_one.place) ~= next_one.seen then
        return false
    elseif is_long_ago(app.looked, EMPTY_REST / #app.parts) then
        return true
    end
    app.next_empty = sheet
    return false
end


local enter


-- Its picker, and how many instances it picks among. The round of a plain app
-- in sheets takes these as they are: a change of one costs no more.
local function fill_picker(app, record)
    local policy = record.policy
    local previous = app.picker or picker_options.seed
    local n = count_even(record)
    if n then
        record.parted = true
        for _, sheet in ipairs(record.sheets) do
            if not sheet.place then
                sheet.place = board.sheet_place(record.name, sheet.first)
                sheet.seen, sheet.looked = sheet.number, picker_options.now
            end
        end
        app.peers, app.parts, app.live = nil, record.sheets, n
        app.looked, app.next_empty = app.looked or 0, false
        local picker = compose.in_parts(record.sheets, n, previous,
                                        picker_options)
        picker.app, picker.is_due, picker.enter = app, is_due, enter
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
        app.flight = app.flight
                     or { of = function(peer) return flight.of(app, peer) end }
    end
    picker_options.flight = app.flight
    app.picker = compose.new(policy, pickable, previous, picker_options)
end


local function fill_app(app, record)
    local policy = record.policy
    app.record, app.policy = record, policy
    app.plain = policy.plain
    app.requests = app.requests or 0
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


-- What the board shows for the sheets of a round is noted before the list is
-- read, and holds for all that it has not found to be old.
local function note(parts)
    for i = 1, #parts do
        parts[i].noted = shown(parts[i].place)
    end
end


local function mark_seen(parts)
    for i = 1, #parts do
        local sheet = parts[i]
        if sheet.is_old then
            sheet.seen = false
        elseif sheet.noted then
            sheet.seen, sheet.noted = sheet.noted, false
        end
    end
end


-- Reads an app from L2, into `app` if there is one: all routes that lead to it
-- see the change, and its picker goes on where it was.
local function load_app(name, app, limit, wanted)
    local stripe = board.app_stripe(name)
    local list = board.has_sheets() and board.list_place(name)
    local seen, seen_list = read(stripe), list and shown(list)
    if app and app.parts then
        note(app.parts)
    end
    board.fence()
    local record, _, record_reval, count, is_whole =
        read_app(name, decode, app and app.record, is_suspect, limit, wanted)
    -- If there is no round over the sheets any more, none of them may wait.
    if record and not is_whole and app.parts and not count_even(record) then
        record, _, record_reval, count, is_whole =
            read_app(name, decode, record, is_suspect)
    end
    if not record then
        return nil
    end

    -- Another app of its stripe may have changed instead.
    if not app or app.record ~= record then
        app = fill_app(app or { name = name }, record)
    end
    app.reval = record_reval
    local time = ngx_now()
    app.rested_at = max(app.rested_at or 0, time)
    if record.sheets then
        local rest = (1 + count) * rest_of(record.sheets)
        app.rested_at = min(app.rested_at + rest, time + MAX_OWED + MAX_REST)
    end
    app.ejected = ejected_of(name)
    app.stripe, app.list = stripe, app.parts and list
    -- Else the next request goes on reading.
    if app.parts then
        mark_seen(app.parts)
        app.seen, app.gen = seen_list, gen
    elseif is_whole then
        app.seen, app.gen = seen, gen
    end
    if is_doubted(record_reval) then
        app.gen = DOUBTED
    end
    return app
end


-- Of a round over sheets, brings one up to date. Returns the picker and, if the
-- app has come to be balanced otherwise, a request to pick for.
function enter(app, part)
    local sheet, record = app.parts[part], nil
    local number = shown(sheet.place)
    board.fence()
    sheet.looked = ngx_now()
    if #sheet.live == 0 then
        app.looked, app.next_empty = sheet.looked, false
    end
    if number == sheet.number and not sheet.is_old then
        record = app.record
    elseif number > sheet.number and not is_doubted(app.reval) then
        record = renew(app.record, part, number)
    end
    if not record or record ~= app.record and not count_even(record) then
        -- It may have gone, another one may have its place on the board, or
        -- the list may be newer than the board.
        load_app(app.name, app, 0, sheet)
    else
        sheet.seen = number
        if record ~= app.record then
            fill_app(app, record)
        end
    end
    return app.picker, not app.parts and { now = ngx_now() } or nil
end


-- An app that may be used although it has changed keeps an older `gen`: so the
-- next request looks again.
local function valid_app(app)
    if app.gen == gen then
        return true
    end
    local seen = false
    if not is_doubted(app.reval) then
        seen = app.list and shown(app.list) or read(app.stripe)
    end
    if seen and seen == app.seen then
        app.gen = gen
    elseif seen and app.list then
        return load_app(app.name, app, 0)
    else
        local limit = allowance(app)
        if limit > 0 or is_suspect(app.reval) then
            return load_app(app.name, app, app.list and 0 or limit)
        end
    end
    app.ejected = ejected_of(app.name)
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
