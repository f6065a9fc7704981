-- The generation: the one number that a hit looks at. It moves after any
-- change. All phases.
--
-- It is counted in the shared dict, and shown in a page of memory that the
-- workers share as well: there, a hit reads it by one load instead of a lock, a
-- hash and a copy (some 400 instructions of 41,000). The page is mapped by the
-- master, in init_by_lua, and inherited by its workers. Where that cannot be
-- (the module is first loaded in a worker, or this is not Linux), the number is
-- read from the dict.
--
-- A reload runs init_by_lua anew in the same process, and workers of before and
-- after it count in the same dict. So they need the same page, and the dict
-- knows where it is, and in which process. Should a number ever be counted and
-- not shown (a worker died in between, or there are two pages after all), the
-- timer of each worker shows it within a second.

local dicts = require("pointsman.dicts")

local ffi = require("ffi")

local count = dicts.count
local dict_get = dicts.get
local dict_peek = dicts.peek
local dict_set = dicts.set
local format = string.format
local match = string.match
local ngx = ngx
local tonumber = tonumber

local NAME = "gen"
local PAGE_BYTES = 4096
local READ_WRITE = 3            -- PROT_READ | PROT_WRITE
local SHARED_ANONYMOUS = 0x21   -- MAP_SHARED | MAP_ANONYMOUS, on Linux

ffi.cdef [[
void *pointsman_mmap(void *addr, size_t length, int prot, int flags, int fd,
                     long offset) __asm__("mmap");
int pointsman_getppid(void) __asm__("getppid");
]]

local C = ffi.C

-- A double: exact up to 2^53, as all numbers of the dict.
local page


local function remember(process, place)
    dict_set("page", format("%.0f %.0f", process, place))
end


local function map()
    local address = C.pointsman_mmap(nil, PAGE_BYTES, READ_WRITE,
                                     SHARED_ANONYMOUS, -1, 0)
    local place = tonumber(ffi.cast("intptr_t", address))
    if place == -1 then
        return nil
    end
    remember(ngx.worker.pid(), place)
    return place
end


-- Where this process has mapped the page before, if it has.
local function mapped()
    local process, place = match(dict_get("page") or "", "^(%d+) (%d+)$")
    return tonumber(process) == ngx.worker.pid() and tonumber(place) or nil
end


local place
if ffi.os == "Linux" and ngx.get_phase() == "init" and dicts.are_there() then
    place = mapped() or map()
    page = place and ffi.cast("double *", ffi.cast("intptr_t", place))
end


local _M = {}


-- syntax: generation.init()
-- In init_worker_by_lua.
function _M.init()
    if not page then
        return
    end
    -- A master that became a daemon has another process id than the one that
    -- mapped the page, and is the one that runs init_by_lua at a reload. (With
    -- master_process off there is no master, and nothing to be done.)
    if not mapped() then
        remember(C.pointsman_getppid(), place)
    end
    _M.show()
end


-- syntax: generation.show()
-- From a timer of each worker: shows what was counted and not shown.
function _M.show()
    if page then
        page[0] = dict_peek(NAME)
    end
end


-- syntax: number = generation.read()
-- The hot path.
function _M.read()
    if page then
        return page[0]
    end
    return dict_peek(NAME)
end


-- syntax: generation.advance()
-- After a change.
function _M.advance()
    local number = count(NAME)
    if page and number then
        page[0] = number
    end
end


return _M
