-- The text form of large apps: a list of sheets, each of which has some of the
-- instances. Pure Lua; see codec.lua.
--
--     l <asof> <v> <name> ...      as an app's other form, see head.lua
--       <number> <id>\n ...    the number of each sheet, its first instance
--
-- A sheet is the lines of these, see lines.lua. It is never changed; another
-- one takes its place, under a number of its own. So who has read a sheet need
-- not read it again.

local bytes_of = require("pointsman.codec.bytes")
local head = require("pointsman.codec.head")
local lines = require("pointsman.codec.lines")

local byte = string.byte
local concat = table.concat
local edit_lines = lines.edit
local find = string.find
local floor = math.floor
local gmatch = string.gmatch
local match = string.match
local max = math.max
local pairs = pairs
local read_lines = lines.read
local same_bytes = bytes_of.same
local sub = string.sub
local tonumber = tonumber

local KIND = "l"
local ENTRY = "^(%d+) (%S+)\n()"
local NO_SHEETS = {}
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
    for id, peer in pairs(edits) do
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
        sorted[low][id] = peer
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
    local _, from = head.renew(text, "a", nil, 0, 0)
    if not from then
        return nil
    end
    local list = {}
    add(list, text, from, next_number)
    return text_of(KIND .. sub(text, 2, from - 1), list), list
end


-- syntax: numbers = sheets.numbers(text)
function _M.numbers(text)
    local _, from = head.renew(text, KIND, nil, 0, 0)
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
    local front, from = head.renew(text, KIND, policy, asof, v)
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
    return text_of(front, list), made, gone
end


-- The sheet whose entry begins at a place in a list, and the place behind it.
-- `old` is what was read of the one that may still be there, or nil.
local function entry_at(text, at, old)
    if old then
        local behind = at + #old.entry
        if behind <= #text + 1
                and same_bytes(text, at, old.entry, 1, #old.entry) then
            return old, behind
        end
    end
    local number, first, behind = match(text, ENTRY, at)
    if number then
        return { number = tonumber(number), first = first,
                 entry = sub(text, at, behind - 1) }, behind
    end
end


-- Returns whether the instances are those of `old`, one and all; nil if the
-- sheet cannot be had.
local function fill(sheet, text, old, in_place)
    local peers, _, starts, as_before
    if text then
        peers, _, starts, as_before = read_lines(text, 1, old, in_place)
    end
    if not peers then
        return nil
    end
    sheet.text, sheet.starts = text, starts
    sheet.peers = as_before and old.peers or peers
    return as_before
end


-- syntax: app, asof, v, bytes = sheets.read(text, get, json, before?)
-- As pack.read_app does, and how many bytes of sheets were read.
function _M.read(text, get, json, before)
    local its, err = head.read(text, KIND, json, before and before.policy)
    if not its then
        return nil, err
    end
    local policy = its.policy
    local old = before and before.sheets or NO_SHEETS
    local is_same = old ~= NO_SHEETS and before.policy == policy
    local in_place = is_same and policy.plain
    local list, n, bytes, i, at = {}, 0, 0, 1, its.at
    while at <= #text do
        local sheet
        sheet, at = entry_at(text, at, old[i])
        if not sheet then
            return nil, "not a packed app"
        end
        -- To the one whose place it has taken.
        while old[i] and old[i].first < sheet.first do
            i = i + 1
        end
        if old[i] and old[i].number == sheet.number then
            sheet = old[i]
        else
            local its_text = get(sheet.number)
            local as_before = fill(sheet, its_text, old[i], in_place)
            if as_before == nil then
                return nil, "a sheet is missing, or is none"
            end
            bytes = bytes + #its_text
            is_same = is_same and as_before
        end
        n = n + 1
        list[n] = sheet
        if old[i] and old[i].first == sheet.first then
            i = i + 1
        end
    end
    if is_same and n == #old then
        before.sheets = list
        return before, its.asof, its.v, bytes
    end

    local all, all_n = {}, 0
    for j = 1, n do
        local peers = list[j].peers
        for k = 1, #peers do
            all_n = all_n + 1
            all[all_n] = peers[k]
        end
    end
    return { name = its.name, policy = policy, peers = all, sheets = list },
           its.asof, its.v, bytes
end


return _M
