-- The apps in the shared dict (L2): as one text, or a large one as a list of
-- sheets and each sheet by itself. All phases.
--
-- What is under an app's name changes at once: new sheets are there before, old
-- ones go afterwards. Who reads meanwhile finds one missing, and begins anew.
--
-- The board shows the number of each sheet, so who has the others need not read
-- the list to find the one that has taken a sheet's place.

local board = require("pointsman.cache.versions")
local codec = require("pointsman.codec.records")
local dicts = require("pointsman.cache.dicts")

local ipairs = ipairs
local next_number = board.sheet_number
local select = select
local show_sheet = board.show_sheet
local stamp = codec.stamp
local zone = dicts.apps

local NONE = {}
local MAX_TRIES = 4
local LOCK, LOCK_SECONDS, MAX_SPINS = "lock ", 1, 1000


-- Names have no control characters.
local function sheet_key(name, number)
    return name .. "\n" .. number
end


local function sheets_of(name)
    return function(number)
        return zone:get(sheet_key(name, number))
    end
end


local function drop_sheets(name, text)
    if text and codec.is_list(text) then
        for _, number in ipairs(codec.sheet_numbers(text)) do
            zone:drop(sheet_key(name, number))
        end
    end
end


local function no_pause() end


local function put_sheets(name, sheets, pause)
    for _, sheet in ipairs(sheets) do
        if not zone:put(sheet_key(name, sheet.number), sheet.text) then
            return false
        end
        pause()
    end
    return true
end


-- Lists are replaced by one worker at a time: each takes away the sheets of the
-- one that it replaces, and no others. Who has died holds the lock for a second
-- at most; nobody waits for it for long.
local function lock(name)
    for _ = 1, MAX_SPINS do
        if dicts.add(LOCK .. name, 1, LOCK_SECONDS) then
            return true
        end
    end
    return false
end


local function unlock(name, is_locked)
    if is_locked then
        dicts.drop(LOCK .. name)
    end
end


-- Of the list that is there now: the sheets whose places others have had, and
-- whether it has changed in more than these.
local function show(name, sheets, is_reshaped)
    for _, sheet in ipairs(sheets) do
        show_sheet(board.sheet_place(name, sheet.first), sheet.number)
    end
    if is_reshaped then
        show_sheet(board.list_place(name), next_number())
    end
end


-- Puts a text under a name, if `expected` is there or was not given. Returns
-- whether it did, and what was there.
local function replace(name, text, sheets, is_reshaped, expected)
    local before = zone:get(name)
    local is_locked = false
    local is_large = codec.is_list(text) or before and codec.is_list(before)
    if is_large then
        is_locked = lock(name)
        before = zone:get(name)
    end
    local is_put = false
    if not expected or before == expected then
        is_put = zone:put(name, text)
        -- Who could not lock, and who was locked past, may show an older number
        -- after a newer one: no reader goes back by a number alone.
        if is_large then
            show(name, sheets, is_reshaped or not is_put or not is_locked)
            if is_put and zone:get(name) ~= text then
                show(name, NONE, true)
            end
        end
    end
    unlock(name, is_locked)
    return is_put, before
end


local _M = {}


-- syntax: text = apps.get(name)
-- What is under its name: for codec.stamp, apps.read and apps.edit.
function _M.get(name)
    return zone:get(name)
end


-- syntax: apps.drop(name)
function _M.drop(name)
    local is_locked = lock(name)
    local text = zone:get(name)
    zone:drop(name)
    show(name, NONE, true)
    unlock(name, is_locked)
    drop_sheets(name, text)
end


-- syntax: ok = apps.put(name, text)
-- The text of codec.pack_app. If there is no room, the app is not there at all.
function _M.put(name, text)
    local list, sheets = codec.cut_app(text, next_number)
    if list and not put_sheets(name, sheets, no_pause) then
        _M.drop(name)
        drop_sheets(name, list)
        return false
    end
    local is_put, before = replace(name, list or text, sheets or NONE, true)
    drop_sheets(name, before)
    if not is_put then
        drop_sheets(name, list)
    end
    return is_put
end


-- syntax: ok, err = apps.edit(name, text, policy?, edits, asof, v, pause?)
-- Puts other instances, and another policy if one is given, into what apps.get
-- returned; see codec.edit_app. False if the app was changed meanwhile: it must
-- be read again. Nil if there is no room for it, nil and an error if it cannot
-- be done; the app is as it was then, or not there. `pause` is called now and
-- then, and may yield.
function _M.edit(name, text, policy, edits, asof, v, pause)
    pause = pause or no_pause
    local list, made, gone, is_reshaped
    if codec.is_list(text) then
        list, made, gone, is_reshaped =
            codec.edit_sheets(text, sheets_of(name), next_number, policy, edits,
                              asof, v, pause)
        if not list then
            -- Or a sheet is missing as somebody else has changed the app.
            return zone:get(name) == text and nil, made
        end
    else
        local edited, err = codec.edit_app(text, policy, edits, asof, v)
        if not edited then
            return nil, err
        end
        list, made = codec.cut_app(edited, next_number)
        list, made, gone, is_reshaped = list or edited, made or NONE, NONE, true
    end

    local is_put, before
    if put_sheets(name, made, pause) then
        is_put, before = replace(name, list, made, is_reshaped, text)
    end
    if is_put then
        for _, number in ipairs(gone) do
            zone:drop(sheet_key(name, number))
            pause()
        end
        return true
    end
    for _, sheet in ipairs(made) do
        zone:drop(sheet_key(name, sheet.number))
    end
    if is_put == nil or before ~= text then
        return is_put
    end
    -- It had no room, and is not there any more.
    drop_sheets(name, text)
    return nil
end


-- syntax: app, asof, v, count, is_whole = apps.read(name, json, before?,
--                                                   refuse?, limit?, wanted?)
-- See codec.unpack_app and, for a large app, codec.unpack_sheets. Nil if it is
-- not there, or `refuse(v)`.
function _M.read(name, json, before, refuse, limit, wanted)
    for _ = 1, MAX_TRIES do
        local text = zone:get(name)
        -- Who has read it before will hardly be refused.
        if not text
                or not before and refuse and refuse(select(2, stamp(text))) then
            return nil
        end
        local is_list = codec.is_list(text)
        local app, asof, v, read, is_whole
        if is_list then
            app, asof, v, read, is_whole =
                codec.unpack_sheets(text, sheets_of(name), json, before, limit,
                                    wanted)
        else
            app, asof, v = codec.unpack_app(text, json, before)
            read, is_whole = 0, true
        end
        if app and refuse and refuse(v) then
            return nil
        elseif app then
            return app, asof, v, read, is_whole
        elseif not is_list then
            return nil, asof
        end
    end
end


-- syntax: app = apps.renew(app, place, number)
-- What apps.read returned for a large app, with the sheet that the board shows
-- for the one at that place; see codec.renew_sheet. Nil if there is none: the
-- number is another sheet's, or the list has another one yet.
function _M.renew(app, place, number)
    local text = zone:get(sheet_key(app.name, number))
    return text and codec.renew_sheet(app, place, text, number)
end


return _M
