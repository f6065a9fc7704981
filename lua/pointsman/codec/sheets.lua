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
local ipairs = ipairs
local is_less = bytes.less
local join = bytes.join
local match = string.match
local max = math.max
local pairs = pairs
local read_number = bytes.number
local read_peer = lines.peer
local scan_lines = lines.scan
local setmetatable = setmetatable
local skip = bytes.skip
local sort = table.sort
local sub = string.sub

local KIND = "l"
local ENTRY = "^%d+ (%S+)\n()"
local NEWLINE = byte("\n")
local SPACE = byte(" ")
local NOTHING = {}
local NO_SHEETS = { sheets = NOTHING }
-- What is to be done with the sheet at a place: others may be read before it,
-- or it has instances that another one had.
local MAY_WAIT, MUST_BE_READ = 1, 2
-- Sheets have so many bytes when they are made, a line has about 60; they grow
-- up to MAX_BYTES. With its key, a shared dict has half a page of memory for
-- the former, and a page for the latter.
local BYTES, MAX_BYTES = 1800, 3500
-- From so many bytes on, an app has sheets.
local MIN_LARGE = 20000


local _Sheet = {}
local SHEET = { __index = _Sheet }


-- syntax: peer = sheet:peer(number)
-- One of its instances; its line is read when it is first asked for.
function _Sheet:peer(number)
    local peer = self.peers[number]
    if not peer then
        peer = read_peer(self.text, self.starts[number])
        self.peers[number] = peer
    end
    return peer
end


-- syntax: peer = sheet:known(addr)
-- The instance of this address among those that were read, or nil.
function _Sheet:known(addr)
    local peers = self.peers
    for number = 1, self.n do
        local peer = peers[number]
        if peer and peer.addr == addr then
            return peer
        end
    end
end


-- syntax: peer = sheet:search(addr)
-- The same among all.
function _Sheet:search(addr)
    local host, port = match(addr, "^(.+):(%d+)$")
    local starts, place = self.starts, nil
    if host then
        place = find(self.text, " " .. host .. " " .. port .. " ", 1, true)
    end
    if not place then
        return nil
    end
    local low, high = 1, self.n
    while low < high do
        local middle = floor((low + high + 1) / 2)
        if starts[middle] <= place then
            low = middle
        else
            high = middle - 1
        end
    end
    return self:peer(low)
end


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


-- The entries of sheets from the `from`th on.
local function text_of(list, from)
    local out, n = {}, 0
    for i = from, #list do
        n = n + 1
        out[n] = list[i].number .. " " .. list[i].first .. "\n"
    end
    return concat(out)
end


-- Where the entries of a list begin, where the first instance of each stands in
-- it, and how many there are.
local function entries_of(text, at)
    local starts, firsts, n, last = {}, {}, 0, #text
    while at <= last do
        local _, blank = read_number(text, at)
        n = n + 1
        starts[n], firsts[n] = at, blank + 1
        at = find(text, "\n", blank, true) + 1
    end
    starts[n + 1] = at
    return starts, firsts, n
end


local function no_pause() end


-- The edits by the number of the entry that they concern, and these numbers,
-- sorted.
local function sort_out(edits, text, starts, firsts, n, pause)
    local sorted, places = {}, {}
    for id, line in pairs(edits) do
        local low, high = 1, max(1, n)
        while low < high do
            local middle = floor((low + high + 1) / 2)
            local first, stop = firsts[middle], starts[middle + 1] - 1
            if is_less(text, first, stop, id)
                    or stop - first == #id and skip(text, first, id) then
                low = middle
            else
                high = middle - 1
            end
        end
        if not sorted[low] then
            sorted[low] = {}
            places[#places + 1] = low
        end
        sorted[low][id] = line
        pause()
    end
    sort(places)
    return sorted, places
end


-- Whether it is the entry of a sheet that begins with this instance, whose ID
-- would stand at `at`.
local function is_entry_of(text, at, first)
    local behind = skip(text, at, first)
    return behind and byte(text, behind) == NEWLINE
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
    return KIND .. sub(text, 2, from - 1) .. text_of(list, 1), list
end


-- syntax: numbers = sheets.numbers(text)
function _M.numbers(text)
    local _, _, from = head.renew(text, KIND, nil, 0, 0)
    local starts, _, n = entries_of(text, from)
    local numbers = {}
    for i = 1, n do
        numbers[i] = read_number(text, starts[i])
    end
    return numbers
end


-- syntax: text, made, gone, is_reshaped =
--         sheets.edit(text, get, next_number, policy?, edits, asof, v,
--                     pause?)
-- As pack.edit_app does; `get(number)` returns the text of a sheet. `made` are
-- the sheets that are new, `gone` the numbers of those that are not in the text
-- any more; unless `is_reshaped`, all that they change is that each of those
-- has another number. Nil and an error if a sheet cannot be had. It costs as
-- much as there are edits, and a copy of the sheets that they concern; `pause`
-- is called again and again meanwhile.
function _M.edit(text, get, next_number, policy, edits, asof, v, pause)
    pause = pause or no_pause
    local front, kept, from = head.renew(text, KIND, policy, asof, v)
    if not front then
        return nil, "not a large app"
    end
    pause()
    local starts, firsts, n = entries_of(text, from)
    pause()
    local sorted, places = sort_out(edits, text, starts, firsts, n, pause)
    local made, gone = {}, {}
    local is_reshaped = policy ~= nil
    local parts, at = { 1, 0, front }, kept
    for _, place in ipairs(places) do
        local is_there = place <= n
        local number = is_there and read_number(text, starts[place])
        local its_text = number and get(number) or not number and ""
        if not its_text then
            return nil, "a sheet is missing"
        end
        local before = #made
        local edited = edit_lines(its_text, 1, "", sorted[place], nil, pause)
        add(made, edited, 1, next_number)
        pause()
        gone[#gone + 1] = number or nil
        is_reshaped = is_reshaped or not number or #made ~= before + 1
                      or not is_entry_of(text, firsts[place], made[#made].first)
        local m = #parts
        parts[m + 1], parts[m + 2] = at, starts[place] - 1
        parts[m + 3] = text_of(made, before + 1)
        at = is_there and starts[place + 1] or starts[place]
    end
    local m = #parts
    parts[m + 1], parts[m + 2], parts[m + 3] = at, #text, ""
    return join(text, parts, m + 3), made, gone, is_reshaped
end


-- The first sheet from `i` on that does not begin with less.
local function place_among(sheets, i, first)
    while sheets[i] and sheets[i].first < first do
        i = i + 1
    end
    return i
end


-- For each sheet of a list the one of `before` that it is, or whose place it
-- has taken; where its entry begins; and which ones are still to be read.
-- Nearly all begin with the same instance as the one at the same place before:
-- for these no string is made.
local function match_up(text, at, before)
    local old, old_n, last = before.sheets, #before.sheets, #text
    local places, starts = new_table(old_n, 0), new_table(old_n + 1, 0)
    local due, n, i = new_table(old_n, 0), 0, 1
    while at <= last do
        local number, blank = read_number(text, at)
        local place = old[i]
        local behind = place and skip(text, blank + 1, place.first)
        n = n + 1
        if not behind or byte(text, behind) ~= NEWLINE then
            local first
            first, behind = match(text, ENTRY, at)
            if not first then
                return nil
            end
            local next_place = place_among(old, i, first)
            place = old[next_place]
            if not place or place.first ~= first then
                -- A part of the sheet before it. What is at its place is as
                -- good as any to compare with.
                due[n], due[n - 1] = MUST_BE_READ, due[n - 1] and MUST_BE_READ
                next_place = next_place - 1
            elseif next_place > i then
                -- The sheet before it may have the range of those that went.
                due[n - 1] = due[n - 1] and MUST_BE_READ
            end
            i = next_place
            behind = behind - 1
        end
        if not due[n] then
            due[n] = place.number ~= number and MAY_WAIT or nil
        end
        places[n], starts[n] = place or false, at
        i, at = i + 1, behind + 1
    end
    starts[n + 1] = at
    return places, starts, due, n
end


-- Reads a sheet, which has taken the place of `old`, if there is one: returns
-- that one if it has the same instances, one and all. Nil if it is none.
local function take(text, number, first, old, in_place, by_line)
    local sheet, as_before = scan_lines(text, old, in_place, by_line)
    if not sheet then
        return nil
    elseif as_before and old then
        old.text, old.starts, old.peers = text, sheet.starts, sheet.peers
        old.number, old.is_old = number, false
        return old
    end
    sheet.number, sheet.first = number, first
    return setmetatable(sheet, SHEET)
end


-- The same for an entry of a list. Nil if the sheet cannot be had.
local function fill(list, at, get, old, in_place, by_line)
    local number = read_number(list, at)
    local text = get(number)
    return text and take(text, number, match(list, ENTRY, at), old or nil,
                         in_place, by_line)
end


-- syntax: app, asof, v, count, is_whole = sheets.read(text, get, json, before?,
--                                                     limit?, wanted?)
-- As pack.read_app does, but that the instances are in app.sheets, each of
-- which is a sheet of lines.scan and has the methods above; and how many of
-- these were read. With a limit no more are read than that and the one that
-- takes the place of the sheet `wanted`, if what they change does not concern a
-- round over the instances, or the caller says that his takes them as they are
-- (before.parted). Sheets of another reading of the table are read, one and
-- all. If some wait, they have `is_old`, app.waits is the place of the first of
-- them, `is_whole` is false, and the next reading goes on with it. Instances of
-- `before` may be brought up to date even if it fails.
function _M.read(text, get, json, before, limit, wanted)
    local is_first = not (before and before.sheets)
    local name, policy, asof, v, rest, at
    if not is_first then
        name, policy = before.name, before.policy
        asof, v, rest, at = head.again(text, KIND, before.list, before.rest,
                                       before.starts[1])
    end
    if not asof then
        local its, err = head.read(text, KIND, json, before and before.policy)
        if not its then
            return nil, err
        end
        name, policy, asof, v = its.name, its.policy, its.asof, its.v
        rest, at = its.rest, its.at
    end
    local list, starts, due, n =
        match_up(text, at, is_first and NO_SHEETS or before)
    if not list then
        return nil, "not a packed app"
    end

    local count, waits = 0, nil
    local is_same = not is_first and before.policy == policy
                    and n == #before.sheets
    local by_line = is_same and before.parted
    local in_place = is_same and policy.plain and not by_line
    -- What was asked for anew must not stand beside what was not.
    local may_wait = limit and not is_first and before.v == v
    local first = may_wait and before.waits or 1
    if first > n then
        first = 1
    end
    for i = first, first + n - 1 do
        local place = i > n and i - n or i
        local its_due, old = due[place], list[place]
        if its_due == MAY_WAIT and may_wait and count >= limit
                and old ~= wanted and (is_same or before.parted) then
            waits = waits or place
            old.is_old = true
        elseif its_due then
            local sheet = fill(text, starts[place], get, old, in_place, by_line)
            if not sheet then
                return nil, "a sheet is missing, or is none"
            end
            count = count + 1
            is_same = is_same and sheet == old
            list[place] = sheet
        end
    end
    local app = before
    if not is_same then
        app = { name = name, policy = policy }
    end
    app.sheets, app.list, app.starts, app.rest = list, text, starts, rest
    app.v, app.waits = v, waits
    return app, asof, v, count, not waits
end


-- syntax: app = sheets.renew(app, place, text, number)
-- What sheets.read returned, with another text and number of the sheet at this
-- place: the same one if the sheet has the instances that it had, but for their
-- addresses, zones and revisions. Nil if this is the text of another sheet.
function _M.renew(app, place, text, number)
    local old = app.sheets[place]
    local behind = skip(text, 1, old.first)
    if not behind or byte(text, behind) ~= SPACE then
        return nil
    end
    local sheet = take(text, number, old.first, old, false, true)
    if not sheet or sheet == old then
        return sheet and app
    end
    local list = {}
    for i = 1, #app.sheets do
        list[i] = app.sheets[i]
    end
    list[place] = sheet
    return {
        name = app.name, policy = app.policy, sheets = list, list = app.list,
        starts = app.starts, rest = app.rest, v = app.v, waits = app.waits,
    }
end


-- syntax: peers = sheets.peers(app)
-- All of what sheets.read returned, sorted by id.
function _M.peers(app)
    local all, n = {}, 0
    for _, sheet in ipairs(app.sheets) do
        for number = 1, sheet.n do
            n = n + 1
            all[n] = sheet:peer(number)
        end
    end
    return all
end


return _M
