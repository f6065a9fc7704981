-- The text form of large apps: a list of sheets, each of which has some of the
-- instances. Pure Lua; see codec.lua.
--
--     l <asof> <v> <name> ...      as an app's other form, see head.lua
--       <number> <id>\n ...    the number of each sheet, its first instance
--
-- A sheet is the lines of these, see lines.lua. It is never changed; another
-- one takes its place, under a number of its own. So who has read a sheet need
-- not read it again.

local bytes = require("pointsman.codec.bytes")
local head = require("pointsman.codec.head")
local lines = require("pointsman.codec.lines")

local new_table = require("table.new")

local byte = string.byte
local concat = table.concat
local edit_lines = lines.edit
local find = string.find
local floor = math.floor
local gmatch = string.gmatch
local ipairs = ipairs
local match = string.match
local max = math.max
local pairs = pairs
local read_lines = lines.read
local same_bytes = bytes.same
local sub = string.sub
local tonumber = tonumber

local KIND = "l"
local ENTRY = "^(%d+) (%S+)\n()"
local NOTHING = {}
local NO_SHEETS = { sheets = NOTHING }
-- Sheets have so many bytes when they are made, a line has about 60; they grow
-- up to MAX_BYTES.
local BYTES, MAX_BYTES = 6000, 10000
-- From so many bytes on, an app has sheets.
local MIN_LARGE = 20000


-- Adds the lines from `at` on to a list of sheets, as one or several.
local function add(list, text, at, next_number)
    local whole = #text - at + 1 <= MAX_BYTES
    while at <= #text do
        local stop = #text
        if not whole and #text - at > BYTES then
            stop = find(text, "\n", at + BYTES, true)
        end
        list[#list + 1] = {
            number = next_number(), first = match(text, "^%S+", at),
            text = sub(text, at, stop),
        }
        at = stop + 1
    end
end


local function text_of(front, list)
    local out = { front }
    for i = 1, #list do
        out[i + 1] = list[i].number .. " " .. list[i].first .. "\n"
    end
    return concat(out)
end


local function list_of(text, at)
    local list = {}
    for number, first in gmatch(sub(text, at), "(%d+) (%S+)\n") do
        list[#list + 1] = { number = tonumber(number), first = first }
    end
    return list
end


-- The edits by the sheet that they concern.
local function sort_out(edits, list)
    local sorted = {}
    for id, line in pairs(edits) do
        local low, high = 1, max(1, #list)
        while low < high do
            local middle = floor((low + high + 1) / 2)
            if list[middle].first <= id then
                low = middle
            else
                high = middle - 1
            end
        end
        sorted[low] = sorted[low] or {}
        sorted[low][id] = line
    end
    return sorted
end


local _M = {}


-- syntax: yes = sheets.is_list(text)
function _M.is_list(text)
    return byte(text) == byte(KIND)
end


-- syntax: text, list = sheets.cut(text, next_number)
-- Of the text of pack.app: that with sheets, and the sheets = { { number =,
-- text = }, ... }. Nil if it is not large. `next_number()` gives a number that
-- none had before.
function _M.cut(text, next_number)
    if #text < MIN_LARGE then
        return nil
    end
    local _, _, from = head.renew(text, "a", nil, 0, 0)
    if not from then
        return nil
    end
    local list = {}
    add(list, text, from, next_number)
    return text_of(KIND .. sub(text, 2, from - 1), list), list
end


-- syntax: numbers = sheets.numbers(text)
function _M.numbers(text)
    local _, _, from = head.renew(text, KIND, nil, 0, 0)
    local numbers = {}
    for i, sheet in pairs(list_of(text, from)) do
        numbers[i] = sheet.number
    end
    return numbers
end


-- syntax: text, made, gone = sheets.edit(text, get, next_number, policy?,
--                                        edits, asof, v, pause?)
-- As pack.edit_app does; `get(number)` returns the text of a sheet. `made` are
-- the sheets that are new, `gone` the numbers of those that are not in the text
-- any more. Nil and an error if a sheet cannot be had. It costs as much as
-- there are edits, and a copy of the sheets that they concern; `pause` is
-- called after each of these.
function _M.edit(text, get, next_number, policy, edits, asof, v, pause)
    local front, kept, from = head.renew(text, KIND, policy, asof, v)
    if not front then
        return nil, "not a large app"
    end
    local old = list_of(text, from)
    local sorted = sort_out(edits, old)
    local list, made, gone = {}, {}, {}
    for i = 1, max(1, #old) do
        local sheet, its_edits = old[i], sorted[i]
        if its_edits then
            local its_text = sheet and get(sheet.number) or not sheet and ""
            if not its_text then
                return nil, "a sheet is missing"
            end
            local n = #list
            add(list, edit_lines(its_text, 1, "", its_edits), 1, next_number)
            for j = n + 1, #list do
                made[#made + 1] = list[j]
            end
            gone[#gone + 1] = sheet and sheet.number
            if pause then
                pause()
            end
        else
            list[#list + 1] = sheet
        end
    end
    return text_of(front .. sub(text, kept, from - 1), list), made, gone
end


-- The first sheet from `i` on that does not begin with less.
local function place_among(sheets, i, first)
    while sheets[i] and sheets[i].first < first do
        i = i + 1
    end
    return i
end


-- The sheets of a list, and where the entry of each begins. Those that were
-- read before, and do not wait, are the ones of `before`; for the others
-- `places` has the one whose place each has taken. If all are in the places of
-- all that were there before, no instance has gone from one to another.
local function match_up(text, at, before)
    local old, old_text, old_starts = before.sheets, before.list, before.starts
    local waiting = before.waiting or NOTHING
    local old_n, last = #old, #text
    local list, places = new_table(old_n, 0), new_table(old_n, 0)
    local starts = new_table(old_n + 1, 0)
    local n, i, all_in_place = 0, 1, true
    while at <= last do
        local sheet, behind = old[i], nil
        if sheet then
            local from = old_starts[i]
            local size = old_starts[i + 1] - from
            if not waiting[i] and at + size <= last + 1
                    and same_bytes(text, at, old_text, from, size) then
                behind = at + size
            end
        end
        n = n + 1
        if behind then
            all_in_place = all_in_place and i == n
            places[n] = sheet
            i = i + 1
        else
            local number, first
            number, first, behind = match(text, ENTRY, at)
            if not number then
                return nil
            end
            number = tonumber(number)
            i = place_among(old, i, first)
            local place = old[i]
            sheet = place
            if not place or place.number ~= number then
                sheet = { number = number, first = first }
            end
            places[n] = place
            if place and place.first == first then
                all_in_place = all_in_place and i == n
                i = i + 1
            else
                all_in_place = false
            end
        end
        list[n], starts[n] = sheet, at
        at = behind
    end
    starts[n + 1] = at
    return list, starts, places, all_in_place and n == old_n
end


-- Reads a sheet that has taken the place of `old`, if there is one: returns
-- that one if it has the same instances, one and all. Nil if it cannot be had.
local function fill(sheet, text, old, in_place)
    if not text then
        return nil
    end
    local peers, _, starts, as_before = read_lines(text, 1, old, in_place)
    if not peers then
        return nil
    elseif as_before then
        old.number, old.text, old.starts = sheet.number, text, starts
        return old
    end
    sheet.peers, sheet.text, sheet.starts = peers, text, starts
    return sheet
end


-- syntax: app, asof, v, count, is_whole = sheets.read(text, get, json, before?,
--                                                     limit?)
-- As pack.read_app does, but that the instances are in app.sheets; and how many
-- of these were read. With a limit no more are read than that, if what they
-- change does not concern a round over the instances, or the caller says that
-- his takes them as they are (before.parted), and if the sheets of the same
-- reading of the table have the same instances' places as before. Then
-- `is_whole` is false, and the next reading goes on with those that wait.
-- Instances of `before` may be brought up to date even if it fails.
function _M.read(text, get, json, before, limit)
    local its, err = head.read(text, KIND, json, before and before.policy)
    if not its then
        return nil, err
    end
    local policy, v = its.policy, its.v
    local is_first = not (before and before.sheets)
    local list, starts, places, all_in_place =
        match_up(text, its.at, is_first and NO_SHEETS or before)
    if not list then
        return nil, "not a packed app"
    end

    local n, count, waiting = #list, 0, nil
    local is_same = not is_first and before.policy == policy
    local in_place = is_same and policy.plain
    -- What was asked for anew must not stand beside what was not.
    local may_wait = limit and all_in_place and not is_first and before.v == v
    local first = may_wait and before.waiting and before.waiting.first or 1
    for i = first, first + n - 1 do
        local at = i > n and i - n or i
        local sheet, place = list[at], places[at]
        local is_new = sheet ~= place
        if is_new and may_wait and count >= limit
                and (is_same or before.parted) then
            list[at] = place
            waiting = waiting or { first = at }
            waiting[at] = true
        elseif is_new then
            sheet = fill(sheet, get(sheet.number), place, in_place)
            if not sheet then
                return nil, "a sheet is missing, or is none"
            end
            list[at] = sheet
            count = count + 1
            is_same = is_same and sheet == place
        end
    end
    local app = before
    if not is_same or n ~= #before.sheets then
        app = { name = its.name, policy = policy }
    end
    app.sheets, app.list, app.starts = list, text, starts
    app.v, app.waiting = v, waiting
    return app, its.asof, v, count, not waiting
end


-- syntax: peers = sheets.peers(app)
-- All of what sheets.read returned, sorted by id.
function _M.peers(app)
    local all, n = {}, 0
    for _, sheet in ipairs(app.sheets) do
        for _, peer in ipairs(sheet.peers) do
            n = n + 1
            all[n] = peer
        end
    end
    return all
end


return _M
