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
local ffi_string = ffi.string
local get_request = base.get_request

local NAME = "host"
local lowercase = ffi.new("char[?]", #NAME)
local value = ffi.new("unsigned char *[1]")
local value_len = ffi.new("size_t[1]")


local _M = {}


-- syntax: host = request.host()
-- $host: lower case, no port, no trailing dot; "" if there is none.
function _M.host()
    local rc = C.ngx_http_lua_ffi_var_get(get_request(), NAME, #NAME,
                                          lowercase, 0, value, value_len,
                                          errmsg)
    if rc ~= 0 then
        return ""
    end
    return ffi_string(value[0], value_len[0])
end


return _M
