-- What the hot path reads of a request. All phases that have one.
--
-- `ngx.var.host` gives the same. But it is a metamethod, and LuaJIT cannot
-- compile a return from one that was called by interpreted code, as any
-- handler of the user is. After a few tries it gives the function up, and with
-- it every trace that would call it: the whole balancer would be interpreted.
--
-- nginx itself is asked, by the function that the Lua module asks, too: its
-- detour costs a hundred instructions.

local base = require("resty.core.base")
local bit = require("bit")
local ffi = require("ffi")

local C = ffi.C
local band = bit.band
local get_request = base.get_request

-- nginx's ngx_str_t, and what it has of a variable: on processors that LuaJIT
-- and nginx share, `bits` begins with the length. (LuaJIT does not compile bit
-- fields.)
ffi.cdef [[
typedef struct { size_t len; const char *data; } pointsman_name_t;
typedef struct { int32_t bits; const char *data; } pointsman_variable_t;
pointsman_variable_t *pointsman_get_variable(void *request,
                                             pointsman_name_t *name,
                                             uintptr_t hash)
    __asm__("ngx_http_get_variable");
]]

local LEN = 0x0fffffff
local NOT_FOUND = 0x40000000


-- nginx's hash of a name.
local function hash_of(text)
    local hash = 0
    for i = 1, #text do
        hash = hash * 31 + text:byte(i)
    end
    return hash
end


local HOST = "host"
local HASH = hash_of(HOST)
local name = ffi.new("pointsman_name_t", #HOST, HOST)


local _M = {
    -- For the collector to see: `name` points into it.
    HOST = HOST,
}


-- syntax: host, len = request.host()
-- $host: lower case, no port, no trailing dot. A pointer into nginx's memory
-- and the number of bytes, or "" and 0 if there is none: to make a string of it
-- costs as much as to look it up.
function _M.host()
    local value = C.pointsman_get_variable(get_request(), name, HASH)
    if value == nil or band(value.bits, NOT_FOUND) ~= 0 then
        return "", 0
    end
    return value.data, band(value.bits, LEN)
end


return _M
