-- What the hot path reads of a request. All phases that have one.
--
-- `ngx.var.host` gives the same. But it is a metamethod, and LuaJIT cannot
-- compile a return from one that was called by interpreted code, as any
-- handler of the user is. After a few tries it gives the function up, and with
-- it every trace that would call it: the whole balancer would be interpreted.

local base = require("resty.core.base")
local ffi = require("ffi")

local C = ffi.C
local errmsg = base.get_errmsg_ptr()
local get_request = base.get_request
local tonumber = tonumber

local NAME = "host"
local lowercase = ffi.new("char[?]", #NAME)
local value = ffi.new("unsigned char *[1]")
local value_len = ffi.new("size_t[1]")


local _M = {}


-- syntax: host, len = request.host()
-- $host: lower case, no port, no trailing dot. A pointer into nginx's memory
-- and the number of bytes, or "" and 0 if there is none: to make a string of it
-- costs as much as to look it up.
function _M.host()
    local rc = C.ngx_http_lua_ffi_var_get(get_request(), NAME, #NAME,
                                          lowercase, 0, value, value_len,
                                          errmsg)
    if rc ~= 0 then
        return "", 0
    end
    return value[0], tonumber(value_len[0])
end


return _M
