-- What is asked of the explain page: a request that is not made, as nginx would
-- see it, for view.of(). Pure Lua.

local char = string.char
local concat = table.concat
local find = string.find
local gmatch = string.gmatch
local gsub = string.gsub
local ipairs = ipairs
local lower = string.lower
local match = string.match
local pairs = pairs
local sub = string.sub
local tonumber = tonumber
local tostring = tostring
local type = type

local KNOWN = { url = true, method = true, header = true, client = true }
-- See $pointsman_request_id in nginx/pointsman/http.conf.
local REQUEST_ID = "^[A-Za-z0-9._:/+=@,-]+$"
local LONGEST_ID = 128


local function decode(digits)
    return char(tonumber(digits, 16))
end


-- nginx's $uri of a path as it came: decoded, no dot segments, no double
-- slashes; nil for one that it answers 400.
local function normalise(raw)
    local text = gsub(raw, "%%(%x%x)", "")
    if find(text, "%", 1, true) or find(raw, "%%00") then
        return nil
    end
    local out, n, is_open = {}, 0, false
    for segment in gmatch(gsub(raw, "%%(%x%x)", decode), "/([^/]*)") do
        is_open = segment == "" or segment == "." or segment == ".."
        if segment == ".." then
            if n == 0 then
                return nil
            end
            n = n - 1
        elseif not is_open then
            n = n + 1
            out[n] = segment
        end
    end
    return "/" .. concat(out, "/", 1, n) .. (is_open and n > 0 and "/" or "")
end


local function read_url(vars, url)
    if type(url) ~= "string" then
        return "url must be given once, like http://shop.example/path?query"
    elseif find(url, "[^!-~\128-\255]") then
        return "url must not have blanks or control characters; escape them "
               .. "twice: %2520"
    end
    local scheme, authority, path, query =
        match(url, "^(%a+)://([^/?#]*)([^?#]*)(%??[^#]*)")
    scheme = scheme and lower(scheme)
    if scheme ~= "http" and scheme ~= "https" then
        return "url must begin with http:// or https://"
    end
    local host, port = match(authority, "^(.-):?(%d*)$")
    if find(authority, "^%[") then
        host, port = match(authority, "^(%[[%x:.]+%]):?(%d*)$")
    end
    host = host and gsub(lower(host), "%.$", "")
    if not host or host == "" or find(host, "[@:]") and sub(host, 1, 1) ~= "["
            or (tonumber(port) or 1) > 65535 then
        return 'url must have a host, and perhaps a port; "' .. authority
               .. '" is none'
    end
    path = path == "" and "/" or path
    vars.uri = normalise(path)
    if not vars.uri then
        return "url must have a path that nginx accepts: escapes of two hex "
               .. 'digits but %00, and no ".." beyond its root'
    end
    vars.pointsman_scheme, vars.scheme = scheme, scheme
    vars.host, vars.pointsman_forwarded_host = host, authority
    vars.request_uri = path .. query
    vars.args = query ~= "" and sub(query, 2) or nil
end


local function add_header(request, text)
    local name, value = match(text, "^([^:]+):[ \t]*(.-)[ \t]*$")
    if not name or not find(name, "^[%w!#$%%&'*+.^_`|~-]+$") then
        return 'header must be like "Name: value"; "' .. text .. '" is not'
    end
    -- nginx drops others.
    if not find(name, "^[%w-]+$") then
        return
    end
    name = lower(name)
    local vars, lines = request.vars, request.lines
    local variable = "http_" .. gsub(name, "-", "_")
    local before = vars[variable]
    if not before then
        vars[variable], lines[name] = value, value
    elseif name == "cookie" then
        vars[variable] = before .. "; " .. value
    else
        local list = lines[name]
        if type(list) ~= "table" then
            list = { list }
            lines[name] = list
        end
        list[#list + 1] = value
    end
end


local _M = {}


-- syntax: request, err = question.read(args)
-- `args` as ngx.req.get_uri_args() returns them: `url`, absolute, and if they
-- are given `method` (GET), `header` ("Name: value", any number), and `client`,
-- an address. The host is that of the URL, whatever a Host header says.
function _M.read(args)
    for name in pairs(args) do
        if not KNOWN[name] then
            return nil, "there is no parameter " .. tostring(name)
                        .. ": url, method, header and client are known"
        end
    end
    local vars = {}
    local request = { vars = vars, lines = {} }
    local err = read_url(vars, args.url)
    if err then
        return nil, err
    end

    local method, client = args.method or "GET", args.client
    if type(method) ~= "string" or not find(method, "^[A-Z_-]+$") then
        return nil, "method must be given once, in upper case, like GET"
    elseif client ~= nil and (type(client) ~= "string"
            or not find(client, "^[%x.:]+$")) then
        return nil, "client must be given once, an IP address"
    end
    vars.request_method, vars.remote_addr = method, client

    local given = args.header
    if given ~= nil and type(given) ~= "table" then
        given = { given }
    end
    for _, text in ipairs(given or {}) do
        err = add_header(request, type(text) == "string" and text or "")
        if err then
            return nil, err
        end
    end
    local id = vars.http_x_request_id
    if id and #id <= LONGEST_ID and find(id, REQUEST_ID) then
        vars.pointsman_request_id = id
    end
    return request
end


return _M
