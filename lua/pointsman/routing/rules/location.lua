-- Where a redirect leads to. Pure Lua; see rules.lua.

local _M = {}


-- syntax: yes = location.leads_elsewhere(redirect, req)
function _M.leads_elsewhere(redirect, req)
    local scheme, host, path = redirect.scheme, redirect.host, redirect.path
    return scheme and scheme ~= req.scheme()
           or host and host ~= req.authority()
           or path and path ~= req.uri()
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
