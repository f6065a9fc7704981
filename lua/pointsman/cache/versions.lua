-- Version counters: the numbers by which workers know whether what they have is
-- still so. All phases.
--
--   generation    moves after any change: the one number that a hit looks at
--   touch         moves before the feed touches anything
--   topology      moves when a route may have appeared or gone
--   revalidation  moves when all cached records must be asked for again
--   ejections     the newest entry in the log of ejections, see ejection.lua
--   live          1 while the feed follows the table
--   window        until when requests may use records that need revalidation,
--                 see revalidation.lua
--   stripes       count the changes of all apps, or routes, that hash to them
--
-- A worker that read a stripe and then a record knows by the same count, later,
-- that the record is current. Every change is counted before the record is
-- touched (so that a worker that fills the cache sees that a change came in
-- between) and again afterwards (so that a worker that read the old record
-- after the first count does not keep it).
--
-- The numbers are counted in the shared dict, and shown in memory that the
-- workers share as well: there one is read by a load instead of a lock, a hash
-- and a copy (some 400 instructions), and no request waits for a worker that
-- lost its core while it held that lock. The master maps the memory in
-- init_by_lua, and its workers inherit it. Where that cannot be (the module is
-- first loaded in a worker, or this is not Linux), the dict is read.
--
-- Each count is shown once, after the dict has it: a worker that sees the same
-- number as before has missed no change, as if it had read the dict. (Two
-- workers that count at once may show theirs in the other order. Both are new.)
--
-- A reload runs init_by_lua again in the same process, and workers of before
-- and after it count in the same dict. So they need the same memory, and the
-- dict knows its address, and in which process. Should a number ever be counted
-- and not shown (a worker died in between), the next worker that starts shows
-- it; the generation, by which all else is looked at, each worker shows within
-- a second.
--
-- Records carry the number of the revalidation that they were read under. It
-- starts at the time at which the dict was made, in milliseconds. So a dict
-- that is new (nginx makes a new one when its size changes at a reload) makes
-- all records in the other dicts count as old.

local dicts = require("pointsman.cache.dicts")

local ffi = require("ffi")

local crc32 = ngx.crc32_short
local dict_add = dicts.add
local dict_count = dicts.count
local dict_get = dicts.get
local dict_peek = dicts.peek
local dict_set = dicts.set
local floor = math.floor
local format = string.format
local match = string.match
local ngx = ngx
local tonumber = tonumber

local GENERATION, TOUCH, TOPOLOGY, REVAL, EJECTIONS, LIVE, WINDOW =
    0, 1, 2, 3, 4, 5, 6
-- Apps and routes have their own: apps change much more often.
local APP_STRIPES, FIRST_APP = 1024, 8
local ROUTE_STRIPES, FIRST_ROUTE = 1016, FIRST_APP + APP_STRIPES
local LAST = FIRST_ROUTE + ROUTE_STRIPES - 1
local BYTES = 16384
local READ_WRITE = 3            -- PROT_READ | PROT_WRITE
local SHARED_ANONYMOUS = 0x21   -- MAP_SHARED | MAP_ANONYMOUS, on Linux
-- x86 loads in the order of the program.
local ORDERED = ffi.arch == "x64" or ffi.arch == "x86"
-- Under which name the dict has the memory's address. Another name when the
-- layout changes.
local PAGE = "versions"

-- What the dict calls them.
local names = {
    [GENERATION] = "gen", [TOUCH] = "touch", [TOPOLOGY] = "topology",
    [REVAL] = "revalidation", [EJECTIONS] = "ejection_log", [LIVE] = "live",
    [WINDOW] = "window", [FIRST_APP - 1] = "spare",
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

local address
-- Doubles: exact up to 2^53, as all numbers of the dict.
local page


local function remember(process)
    dict_set(PAGE, format("%.0f %.0f", process, address))
end


-- Where this process has mapped the memory before, if it has.
local function mapped()
    local process, place = match(dict_get(PAGE) or "", "^(%d+) (%d+)$")
    return tonumber(process) == ngx.worker.pid() and tonumber(place) or nil
end


local function map()
    local memory = C.pointsman_mmap(nil, BYTES, READ_WRITE, SHARED_ANONYMOUS,
                                    -1, 0)
    address = tonumber(ffi.cast("intptr_t", memory))
    if address == -1 then
        address = nil
    else
        remember(ngx.worker.pid())
    end
    return address
end


if ffi.os == "Linux" and ngx.get_phase() == "init" and dicts.are_there() then
    address = mapped() or map()
    page = address and ffi.cast("double *", ffi.cast("intptr_t", address))
end


-- What was not shown by the worker that counted it. Others may count meanwhile.
local function show(at)
    local value = dict_peek(names[at])
    while value and page[at] ~= value do
        page[at] = value
        value = dict_peek(names[at])
    end
end


-- Ten digits are enough to tell one dict from the next, and short.
local function first_revalidation()
    return floor(ngx.now() * 1000) % 1e10
end


local _M = {
    TOUCH = TOUCH, TOPOLOGY = TOPOLOGY, REVAL = REVAL, EJECTIONS = EJECTIONS,
    LIVE = LIVE, WINDOW = WINDOW,
}


-- syntax: versions.init()
-- In init_worker_by_lua.
function _M.init()
    for at = 0, LAST do
        -- They must be there, so that counting never has to make room.
        dict_add(names[at], at == REVAL and first_revalidation() or 0)
    end
    if not page then
        return
    end
    -- A master that became a daemon has another process id than the one that
    -- mapped the memory, and is the one that runs init_by_lua at a reload.
    -- (With master_process off there is no master, and nothing to be done.)
    if not mapped() then
        remember(C.pointsman_getppid())
    end
    for at = 0, LAST do
        show(at)
    end
end


-- syntax: versions.show()
-- From a timer of each worker: the generation, if it was not shown.
function _M.show()
    if page then
        show(GENERATION)
    end
end


-- syntax: number = versions.generation()
-- The hot path.
function _M.generation()
    if page then
        return page[GENERATION]
    end
    return dict_peek(names[GENERATION])
end


-- syntax: versions.fence()
-- Between looking at the generation and at other numbers, which moved before
-- it: only where the CPU may load them in another order.
function _M.fence()
    if not ORDERED then
        -- Under the dict's lock.
        dict_peek(names[GENERATION])
    end
end


-- syntax: number = versions.read(place)
-- A place is one of versions.TOUCH and so on, or a stripe.
function _M.read(at)
    if page then
        return page[at]
    end
    return dict_peek(names[at])
end


-- syntax: number = versions.count(place)
function _M.count(at)
    local number = dict_count(names[at])
    if page and number then
        page[at] = number
    end
    return number
end


-- syntax: versions.set(place, number)
-- By one worker only.
function _M.set(at, number)
    dict_set(names[at], number)
    if page then
        page[at] = number
    end
end


-- syntax: versions.advance()
-- After a change.
function _M.advance()
    _M.count(GENERATION)
end


-- syntax: place = versions.route_stripe(pattern)
function _M.route_stripe(pattern)
    return FIRST_ROUTE + crc32(pattern) % ROUTE_STRIPES
end


-- syntax: place = versions.app_stripe(app)
function _M.app_stripe(app)
    return FIRST_APP + crc32(app) % APP_STRIPES
end


return _M
