-- What every request is asked: some of nginx's variables, and whether it is a
-- subrequest. All phases that have a request.
--
-- `ngx.var.host` and `ngx.is_subrequest` give the same. But these are
-- metamethods, and LuaJIT cannot compile a return from one that was called by
-- interpreted code, as any handler is. After a few tries it gives the function
-- up, and with it every trace that would call it: the whole handler would be
-- interpreted. And a pointer need not be made a string to be looked up.

local base = require("resty.core.base")
local bit = require("bit")
local ffi = require("ffi")

local C = ffi.C
local band = bit.band
local get_request = base.get_request

-- nginx's ngx_str_t and ngx_variable_value_t: on processors that LuaJIT and
-- nginx share, `bits` begins with the length. (LuaJIT does not compile bit
-- fields.)
ffi.cdef [[
typedef struct { size_t len; const char *data; } pointsman_name_t;
typedef struct { int32_t bits; const char *data; } pointsman_variable_t;
pointsman_variable_t *pointsman_get_variable(void *request,
                                             pointsman_name_t *name,
                                             uintptr_t hash)
    __asm__("ngx_http_get_variable");
int pointsman_is_subrequest(void *request)
    __asm__("ngx_http_lua_ffi_is_subrequest");
]]

local LEN = 0x0fffffff
local NOT_FOUND = 0x40000000


-- nginx's hash of a name.
local function hash_of(text)
    local hash = 0ULL
    for i = 1, #text do
        hash = hash * 31 + text:byte(i)
    end
    return hash
end


-- `name` is a constant: what points into a string must not outlive it.
local function reader(name)
    local hash = hash_of(name)
    local nginx_name = ffi.new("pointsman_name_t", #name, name)
    return function()
        local value = C.pointsman_get_variable(get_request(), nginx_name, hash)
        if value == nil or band(value.bits, NOT_FOUND) ~= 0 then
            return "", 0
        end
        return value.data, band(value.bits, LEN)
    end
end


-- Each of these returns a pointer into nginx's memory and a number of bytes, or
-- "" and 0 if there is no such value.
local HOST, HTTP_HOST, UPGRADE = "host", "http_host", "pointsman_upgrade"


return {
    -- For the collector to see.
    NAMES = { HOST, HTTP_HOST, UPGRADE },
    -- syntax: data, len = variables.host()
    -- $host: lower case, no port, no trailing dot; of the request line if that
    -- names one, otherwise of the Host header.
    host = reader(HOST),
    -- syntax: data, len = variables.http_host()
    -- The Host header as it came.
    http_host = reader(HTTP_HOST),
    -- syntax: yes = variables.is_subrequest()
    is_subrequest = function()
        return C.pointsman_is_subrequest(get_request()) == 1
    end,
    -- syntax: data, len = variables.upgrade()
    -- "websocket" in a WebSocket handshake, otherwise empty.
    upgrade = reader(UPGRADE),
}
