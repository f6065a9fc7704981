-- Where a redirect leads to. Pure Lua; see rules.lua.

local byte = string.byte
local char = string.char
local concat = table.concat
local find = string.find
local format = string.format
local gmatch = string.gmatch
local gsub = string.gsub
local lower = string.lower
local match = string.match
local tonumber = tonumber

local DEFAULT_PORTS = { http = ":80", https = ":443" }
-- What a browser encodes in a path (WHATWG URL: the path percent-encode set),
-- but for ? and #, which end a path.
local ENCODED = "[%z\1-\32\"<>^`{}\127-\255]"


local function encode(c)
    return format("%%%02X", byte(c))
end


-- RFC 3986, section 6.2.2: unreserved characters are not encoded.
local function normalise_escape(digits)
    local c = char(tonumber(digits, 16))
    return find(c, "^[%w._~-]") and c or encode(c)
end


local function remove_dot_segments(path)
    local segments, n = {}, 0
    local is_open
    for segment in gmatch(path, "/([^/]*)") do
        is_open = segment == "." or segment == ".."
        if segment == ".." then
            n = n > 0 and n - 1 or 0
        elseif segment ~= "." then
            n = n + 1
            segments[n] = segment
        end
    end
    return "/" .. concat(segments, "/", 1, n)
           .. (is_open and n > 0 and "/" or "")
end


-- Without the port that browsers leave out.
local function bare(authority, scheme)
    return match(authority, "^(.*)" .. DEFAULT_PORTS[scheme] .. "$")
           or authority
end


local _M = {}


-- syntax: path = location.canonical(path)
-- The path as a browser would send it: two paths that it spells alike are equal
-- in this form.
function _M.canonical(path)
    if find(path, "[\\%%]") then
        path = gsub(path, "\\", "/")
        path = gsub(path, "%%(%x%x)", normalise_escape)
    end
    path = gsub(path, ENCODED, encode)
    if find(path, "/.", 1, true) then
        path = remove_dot_segments(path)
    end
    return path
end


-- syntax: yes = location.leads_elsewhere(redirect, req)
-- `redirect.path` is canonical.
function _M.leads_elsewhere(redirect, req)
    local scheme, host, path = redirect.scheme, redirect.host, redirect.path
    local own = req.scheme()
    return scheme and scheme ~= own
           or host and bare(host, scheme or own)
                       ~= bare(lower(req.authority()), own)
           or path and path ~= _M.canonical(req.uri())
           or false
end


-- syntax: url = location.url(redirect, req)
-- What the redirect does not name is as in the request. A port belongs to a
-- scheme: with another one it is left out.
function _M.url(redirect, req)
    local own = req.scheme()
    local scheme = redirect.scheme or own
    local host = redirect.host
                 or (scheme == own and req.authority() or req.host())
    local args = req.args()
    return scheme .. "://" .. host .. (redirect.path or req.uri())
           .. (args and "?" .. args or "")
end


return _M
