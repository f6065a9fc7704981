-- The board: the numbers by which workers know whether what they have is still
-- so. All phases.
--
--   generation   moves after any change: the one thing that a hit looks at
--   touch        moves before the feed touches anything
--   topology     moves when a route may have appeared or gone
--   reval        moves when all cached records must be asked for anew
--   ejections    the newest entry in the log of ejections, see ejection.lua
--   live         1 while the feed follows the table
--   grace        until when records in doubt will do, see doubt.lua
--   stripes      count the changes of all apps, or routes, that hash to them
--   sheets       show the number of a large app's sheet, see apps.lua
--
-- Who read a stripe and then a record knows by the same count, later, that the
-- record is still the one. Every change is counted before the record is touched
-- (so that who fills the cache sees that a change came in between) and again
-- afterwards (so that who read the old record after the first count does not
-- keep it).
--
-- The numbers are counted in the shared dict, and shown in memory that the
-- workers share as well: there one is read by a load instead of a lock, a hash
-- and a copy (some 400 instructions), and no request waits for a worker that
-- lost its core while it held that lock. The memory is mapped by the master, in
-- init_by_lua, and inherited by its workers. Where that cannot be (the module
-- is first loaded in a worker, or this is not Linux), the dict is read.
--
-- Each count is shown once, after the dict has it: so who sees the same number
-- as before has missed no change, as if it had read the dict. (Two workers that
-- count at once may show theirs in the other order. Both are new.)
--
-- A reload runs init_by_lua anew in the same process, and workers of before and
-- after it count in the same dict. So they need the same memory, and the dict
-- knows where it is, and in which process. Should a number ever be counted and
-- not shown (a worker died in between), the next worker that starts shows it;
-- the generation, by which all else is looked at, each worker within a second.
--
-- The sheets' numbers are only shown, and only where memory is shared. Several
-- sheets may have one place: who does not find its sheet under the number that
-- is there looks for it in the app's list.

local dicts = require("pointsman.cache.dicts")

local ffi = require("ffi")

local crc32 = ngx.crc32_short
local dict_add = dicts.add
local dict_count = dicts.count
local dict_get = dicts.get
local dict_peek = dicts.peek
local dict_set = dicts.set
local format = string.format
local match = string.match
local ngx = ngx
local pairs = pairs
local tonumber = tonumber

local GENERATION, TOUCH, TOPOLOGY, REVAL, EJECTIONS, LIVE, GRACE =
    0, 1, 2, 3, 4, 5, 6
-- Apps and routes have their own: apps change much more often.
local APP_STRIPES, FIRST_APP = 1024, 8
local ROUTE_STRIPES, FIRST_ROUTE = 1016, FIRST_APP + APP_STRIPES
local LAST = FIRST_ROUTE + ROUTE_STRIPES - 1
local BYTES = 16384
local LISTS, SHEETS = 1024, 65536
local READ_WRITE = 3            -- PROT_READ | PROT_WRITE
local SHARED_ANONYMOUS = 0x21   -- MAP_SHARED | MAP_ANONYMOUS, on Linux
-- x86 loads in the order of the program.
local ORDERED = ffi.arch == "x64" or ffi.arch == "x86"

-- What the dict calls them.
local names = {
    [GENERATION] = "gen", [TOUCH] = "touch", [TOPOLOGY] = "topology",
    [REVAL] = "reval", [EJECTIONS] = "ejection_log", [LIVE] = "live",
    [GRACE] = "grace",
    [FIRST_APP - 1] = "spare",
}
for at = FIRST_APP, LAST do
    names[at] = "s" .. at - FIRST_APP
end

ffi.cdef [[
void *pointsman_mmap(void *addr, size_t length, int prot, int flags, int fd,
                     long offset) __asm__("mmap");
int pointsman_getppid(void) __asm__("getppid");
]]

local C = ffi.C

-- Doubles: exact up to 2^53, as all numbers of the dict.
local page, sheets
-- By the name under which the dict knows of it: where the memory is.
local places = {}


local function remember(name, process, place)
    dict_set(name, format("%.0f %.0f", process, place))
end


local function map(name, bytes)
    local address = C.pointsman_mmap(nil, bytes, READ_WRITE, SHARED_ANONYMOUS,
                                     -1, 0)
    local place = tonumber(ffi.cast("intptr_t", address))
    if place == -1 then
        return nil
    end
    remember(name, ngx.worker.pid(), place)
    return place
end


-- Where this process has mapped the memory before, if it has.
local function mapped(name)
    local process, place = match(dict_get(name) or "", "^(%d+) (%d+)$")
    return tonumber(process) == ngx.worker.pid() and tonumber(place) or nil
end


local function share(name, bytes)
    local place = mapped(name) or map(name, bytes)
    places[name] = place
    return place and ffi.cast("double *", ffi.cast("intptr_t", place))
end


if ffi.os == "Linux" and ngx.get_phase() == "init" and dicts.are_there() then
    local n = LISTS + SHEETS
    -- Another number where the layout is another one.
    local name = "board2_of_" .. n
    if mapped("board") and not mapped(name) then
        -- A reload has brought this version, see feed.lua.
        dict_set("page", 1)
    end
    page = share("board", BYTES)
    sheets = page and share(name, n * 8)
end


-- What was not shown by who counted it. It may be counted on meanwhile.
local function show(at)
    local value = dict_peek(names[at])
    while value and page[at] ~= value do
        page[at] = value
        value = dict_peek(names[at])
    end
end


local _M = {
    TOUCH = TOUCH, TOPOLOGY = TOPOLOGY, REVAL = REVAL, EJECTIONS = EJECTIONS,
    LIVE = LIVE, GRACE = GRACE,
}


-- syntax: board.init()
-- In init_worker_by_lua.
function _M.init()
    for at = 0, LAST do
        -- They must be there, so that counting never has to make room.
        dict_add(names[at], 0)
    end
    dict_add("sheets", 0)
    if not page then
        return
    end
    -- A master that became a daemon has another process id than the one that
    -- mapped the memory, and is the one that runs init_by_lua at a reload.
    -- (With master_process off there is no master, and nothing to be done.)
    for name, place in pairs(places) do
        if not mapped(name) then
            remember(name, C.pointsman_getppid(), place)
        end
    end
    for at = 0, LAST do
        show(at)
    end
    _M.doubt_sheets()
end


-- syntax: board.show()
-- From a timer of each worker: the generation, if it was not shown.
function _M.show()
    if page then
        show(GENERATION)
    end
end


-- syntax: number = board.generation()
-- The hot path.
function _M.generation()
    if page then
        return page[GENERATION]
    end
    return dict_peek(names[GENERATION])
end


-- syntax: board.fence()
-- Between looking at the generation and at other numbers, which moved before
-- it: only where the CPU may load them in another order.
function _M.fence()
    if not ORDERED then
        -- Under the dict's lock.
        dict_peek(names[GENERATION])
    end
end


-- syntax: number = board.read(place)
-- A place is one of board.TOUCH and so on, or a stripe.
function _M.read(at)
    if page then
        return page[at]
    end
    return dict_peek(names[at])
end


-- syntax: number = board.count(place)
function _M.count(at)
    local number = dict_count(names[at])
    if page and number then
        page[at] = number
    end
    return number
end


-- syntax: board.set(place, number)
-- By one worker only.
function _M.set(at, number)
    dict_set(names[at], number)
    if page then
        page[at] = number
    end
end


-- syntax: number = board.sheet_number()
-- One that no sheet or list had before. Nil if the dict has no room.
function _M.sheet_number()
    return dict_count("sheets")
end


-- syntax: board.doubt_sheets()
-- Shows a number that no sheet or list has, so that all look at their lists:
-- some worker may not have shown what it put there.
function _M.doubt_sheets()
    local number = sheets and _M.sheet_number()
    for at = 0, number and LISTS + SHEETS - 1 or -1 do
        sheets[at] = number
    end
end


-- syntax: yes = board.has_sheets()
-- Whether numbers of sheets are shown.
function _M.has_sheets()
    return sheets ~= nil
end


-- syntax: number = board.sheet(place)
-- What is shown at a place of sheet_place or list_place.
function _M.sheet(at)
    return sheets[at]
end


-- syntax: board.show_sheet(place, number)
-- To be called when the list has that sheet, and before it can have another one
-- in its place.
function _M.show_sheet(at, number)
    if sheets then
        sheets[at] = number
    end
end


-- syntax: place = board.sheet_place(app, first)
-- `first` is the ID of the sheet's first instance.
function _M.sheet_place(app, first)
    return LISTS + crc32("sheet:" .. app .. "\n" .. first) % SHEETS
end


-- syntax: place = board.list_place(app)
-- The number there changes when the list does in more than sheets' numbers.
function _M.list_place(app)
    return crc32("list:" .. app) % LISTS
end


-- syntax: board.advance()
-- After a change.
function _M.advance()
    _M.count(GENERATION)
end


-- syntax: place = board.route_stripe(pattern)
function _M.route_stripe(pattern)
    return FIRST_ROUTE + crc32(pattern) % ROUTE_STRIPES
end


-- syntax: place = board.app_stripe(app)
function _M.app_stripe(app)
    return FIRST_APP + crc32(app) % APP_STRIPES
end


return _M
