-- Headers of the request and of its response that the edge sets, other than by
-- nginx's directives (pointsman/headers.conf). For the rewrite and header
-- filter phases.

local variables = require("pointsman.request.variables")

local ffi = require("ffi")

local C = ffi.C
local byte = string.byte
local clear_header = ngx.req.clear_header
local ffi_string = ffi.string
local find = string.find
local ipairs = ipairs
local lower = string.lower
local match = string.match
local ngx = ngx
local read_http_host = variables.http_host
local read_upgrade = variables.upgrade
local set_header = ngx.req.set_header
local sub = string.sub
local var = ngx.var

ffi.cdef [[
int pointsman_compare(const void *a, const void *b, size_t n)
    __asm__("memcmp");
]]

local COLON, DOT, ZERO = byte(":"), byte("."), byte("0")
local MAX_PORT = 65535


-- Whether a header goes on from there as it may behind a host, with nothing or
-- with a port: nginx lets everything pass behind a colon. Nil: it is the header
-- of another host.
local function ends_well(header, from, header_len)
    if from == header_len then
        return true
    elseif header[from] ~= COLON then
        return nil
    end
    local port = 0
    for i = from + 1, header_len - 1 do
        local digit = header[i] - ZERO
        if digit < 0 or digit > 9 then
            return false
        end
        port = 10 * port + digit
    end
    return port <= MAX_PORT
end


-- Returns whether the Host header is good. The request line may name another
-- host: that one counts, and the app must be told so (RFC 9112, section 3.2.2).
local function compare_hosts(host, host_len, header, header_len)
    local name = ffi_string(host, host_len)
    local given = lower(ffi_string(header, header_len))
    if sub(given, 1, host_len) == name then
        local from = byte(given, host_len + 1) == DOT and host_len + 1
                     or host_len
        local ok = ends_well(header, from, header_len)
        if ok ~= nil then
            return ok
        end
    end
    var.pointsman_host =
        match(var.request or "", "^%S+ %w+://([^/?# ]+)") or name
    return true
end


-- Most requests have the same text in both, and perhaps a port.
local function check_host(host, host_len)
    local header, header_len = read_http_host()
    if header_len == 0 then
        return true
    elseif header_len >= host_len
            and C.pointsman_compare(host, header, host_len) == 0 then
        local ok = ends_well(header, host_len, header_len)
        if ok ~= nil then
            return ok
        end
    end
    return compare_hosts(host, host_len, header, header_len)
end


local _M = {}


-- syntax: is_upgrade = headers.begin(host, len)
-- In rewrite_by_lua, for each main request, with its $host: whether it is a
-- WebSocket handshake; nil if its Host header is bad. The hot path.
function _M.begin(host, host_len)
    if not check_host(host, host_len) then
        return nil
    end
    local _, len = read_upgrade()
    if len == 0 then
        return false
    end
    -- The answer has it; nginx hides the app's, since an HTTP/2 client must not
    -- see one (RFC 9113, section 8.2.2).
    ngx.header["Upgrade"] = "websocket"
    return true
end


-- syntax: headers.edit_request(edits)
-- edits = { set = { name, value, ... }, remove = { name, ... } }
function _M.edit_request(edits)
    for _, name in ipairs(edits.remove) do
        clear_header(name)
    end
    local set = edits.set
    for i = 1, #set, 2 do
        local name, value = set[i], set[i + 1]
        if lower(name) == "host" then
            var.pointsman_upstream_host = value
        else
            set_header(name, value)
        end
    end
end


-- syntax: headers.announce(edits)
-- In rewrite_by_lua: sets the response headers of a rule beforehand, for errors
-- that no app answers. What describes a body is the error page's own. (A name
-- with an underscore would come out with a hyphen here.)
function _M.announce(edits)
    local set = edits.set
    for i = 1, #set, 2 do
        local name = set[i]
        if not find(name, "_") and not find(lower(name), "^content%-") then
            ngx.header[name] = set[i + 1]
        end
    end
end


-- syntax: headers.edit_response(edits)
-- In header_filter_by_lua.
function _M.edit_response(edits)
    for _, name in ipairs(edits.remove) do
        ngx.header[name] = nil
    end
    local set = edits.set
    for i = 1, #set, 2 do
        ngx.header[set[i]] = set[i + 1]
    end
end


return _M
