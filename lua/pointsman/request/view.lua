-- What rules and pickers may ask of the request under way, or of one that is
-- explained. For all phases that have one. One object for all requests of a
-- worker: nothing of it may be kept.
--
-- X-Request-Id is the one that the edge logs and tells the app: its own if the
-- client sent none. So what was decided by it can be explained from the log.

local values = require("pointsman.routing.values")

local error = error
local get_headers = ngx.req.get_headers
local gsub = string.gsub
local lower = string.lower
local match = string.match
local ngx = ngx
local pcall = pcall
local random = math.random
local type = type

local REQUEST_ID = "pointsman_request_id"

-- What nginx's variables are read from, and headers of several lines.
local var, lines_of = ngx.var, get_headers

-- Header names as nginx's variables spell them.
local header_variables = {}


local function header_variable(name)
    local variable = "http_" .. gsub(lower(name), "-", "_")
    if variable == "http_x_request_id" then
        variable = REQUEST_ID
    end
    header_variables[name] = variable
    return variable
end


local _M = {
    -- For pickers: seconds, and what a consistent hash goes by.
    now = 0, key = nil,
    -- Of [0, 1).
    random = random,
}


-- syntax: path = view.path()
-- Decoded and normalised.
function _M.path()
    return var.uri
end


-- syntax: method = view.method()
function _M.method()
    return var.request_method
end


-- syntax: value = view.header(name, accept?, by?)
-- The first value for which `accept(value, by)` is true; without `accept`, the
-- first one; nil if there is none. The same for cookies and queries.
--
-- Most requests do not have the header, or the first value will do: a table of
-- all headers is made for the others only. (From nginx 1.23 on, the variable
-- has all values, joined by commas.)
function _M.header(name, accept, by)
    local variable = header_variables[name] or header_variable(name)
    local value = var[variable]
    if not value or not accept or accept(value, by) then
        return value
    elseif variable == REQUEST_ID then
        return nil
    end
    local lines = lines_of(0)[lower(name)]
    if type(lines) == "table" then
        for i = 1, #lines do
            if accept(lines[i], by) then
                return lines[i]
            end
        end
    end
    return nil
end


-- syntax: value = view.cookie(name, accept?, by?)
function _M.cookie(name, accept, by)
    local cookies = var.http_cookie
    return cookies and values.cookie(cookies, name, accept, by)
end


-- syntax: value = view.query(name, accept?, by?)
-- Decoded. One without a "=" is empty.
function _M.query(name, accept, by)
    local args = var.args
    return args and values.query(args, name, accept, by)
end


-- syntax: addr = view.client()
-- The client's address; what realip has made of it, if that is in use.
function _M.client()
    return var.remote_addr
end


-- syntax: scheme = view.scheme()
-- The client's: what a trusted proxy says, otherwise nginx's own.
function _M.scheme()
    return var.pointsman_scheme
end


-- syntax: host = view.host()
-- Lower case, no port.
function _M.host()
    return var.host
end


-- syntax: authority = view.authority()
-- The host and port that the client asked for: what a trusted proxy says, or
-- the Host header as it came, or the host of the request line.
function _M.authority()
    return var.pointsman_forwarded_host
end


-- syntax: path = view.uri()
-- The path as it came.
function _M.uri()
    return match(var.request_uri, "^[^?]*")
end


-- syntax: args = view.args()
-- The query as it came; nil if there is none.
function _M.args()
    return var.args
end


-- syntax: uri = view.request_uri()
-- Path and query as they came.
function _M.request_uri()
    return var.request_uri
end


local function first()
    return 0
end


-- syntax: value = view.of(request, call)
-- What `call()` returns, where the view shows that request instead: { vars =
-- nginx's variables, lines = { header = its value or a list } }. It must not
-- yield. random() is 0 meanwhile: what is left to chance is not drawn.
function _M.of(request, call)
    var, _M.random = request.vars, first
    lines_of = function() return request.lines end
    local ok, value = pcall(call)
    var, lines_of, _M.random = ngx.var, get_headers, random
    if not ok then
        error(value, 0)
    end
    return value
end


return _M
