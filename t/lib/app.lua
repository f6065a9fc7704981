-- The instances of the tests: plays one app's answer, by address and path.
-- For content_by_lua. What it saw is counted in the shared dict testkit.

local counts = ngx.shared.testkit

local NAMES = {
    ["127.0.0.2"] = "a", ["127.0.0.3"] = "b", ["127.0.0.4"] = "c",
    ["127.0.0.5"] = "closing", ["127.0.0.6"] = "resetting",
    ["127.0.0.7"] = "hanging", ["127.0.0.8"] = "stale", ["127.0.0.9"] = "tls",
    ["::1"] = "six",
}


local function read_body()
    ngx.req.read_body()
    local body = ngx.req.get_body_data()
    local file = not body and ngx.req.get_body_file()
    if file then
        local handle = assert(io.open(file, "rb"))
        body = handle:read("*a")
        handle:close()
    end
    return body or ""
end


-- Answers by hand, then ends the connection in a way nginx itself never would.
local function raw(answer, reset)
    local sock = assert(ngx.req.socket(true))
    if answer then
        assert(sock:send(answer))
    end
    if reset then
        -- unread bytes at close make the kernel send RST
        ngx.sleep(0.05)
    end
    return sock
end


local PATHS = {}


function PATHS.echo()
    local body = read_body()
    local names, headers = {}, ngx.req.get_headers(0)
    for name in pairs(headers) do
        names[#names + 1] = name
    end
    table.sort(names)
    ngx.say(ngx.req.get_method(), " ", ngx.var.request_uri, " ",
            ngx.var.server_protocol)
    for _, name in ipairs(names) do
        local value = headers[name]
        ngx.say(name, ": ", type(value) == "table"
                and table.concat(value, " | ") or value)
    end
    ngx.say("body ", #body, " ", ngx.md5(body))
end


-- Which connection of the edge's this is.
function PATHS.port()
    ngx.say(ngx.var.remote_port)
end


-- An answer like no other.
function PATHS.count()
    ngx.say(ngx.header["X-Instance"], " ", counts:incr("count", 1, 0))
end


function PATHS.status(rest)
    ngx.status = tonumber(rest)
    ngx.header["X-App"] = "said so"
    ngx.say("the app says ", rest)
end


-- fail_if/<instance>/<status>: the others answer.
function PATHS.fail_if(rest)
    local name, status = rest:match("^([^/]+)/(%d+)$")
    local body = read_body()
    if ngx.header["X-Instance"] == name then
        ngx.status = tonumber(status)
    end
    ngx.say(#body)
end


-- close_if/<instance>: that one reads the request and ends the connection.
function PATHS.close_if(rest)
    read_body()
    if ngx.header["X-Instance"] == rest then
        return ngx.exit(444)
    end
    ngx.say("answered")
end


-- Longer than the edge accepts.
function PATHS.long_header()
    ngx.header["X-Long"] = ("x"):rep(100000)
    ngx.say("answered")
end


-- slow_if/<instance>/<seconds>
function PATHS.slow_if(rest)
    local name, seconds = rest:match("^([^/]+)/([%d.]+)$")
    if ngx.header["X-Instance"] == name then
        ngx.sleep(tonumber(seconds))
    end
    ngx.say("answered")
end


-- Begins a session of the app's own.
function PATHS.login()
    ngx.header["Set-Cookie"] = "JSESSIONID=1; Path=/"
    ngx.say("welcome")
end


function PATHS.sleep(rest)
    ngx.sleep(tonumber(rest))
    ngx.say("slept")
end


-- An answer of so many bytes, in pieces: "0123456789" again and again.
function PATHS.big(rest)
    local left = tonumber(rest)
    ngx.header["Content-Length"] = left
    local piece = ("0123456789"):rep(6554)
    while left > 0 do
        ngx.print(piece:sub(1, left))
        left = left - #piece
        ngx.flush(true)
    end
end


-- Hands on to another location of the edge, or tries to.
function PATHS.accel()
    ngx.header["X-Accel-Redirect"] = "/secret"
    ngx.say("the app's own words")
end


-- Offers HTTP/2 as Apache does.
function PATHS.offers()
    ngx.header["Upgrade"] = "h2,h2c"
    ngx.say("offered")
end


-- A header of so many bytes.
function PATHS.large(rest)
    ngx.header["X-Large"] = ("x"):rep(tonumber(rest))
    ngx.say("large")
end


-- Sends the request back to where it came from, or tries to.
function PATHS.accelself()
    ngx.header["X-Accel-Redirect"] = "/accelself"
    ngx.say("the app's own words")
end


-- Claims to be one of Pointsman's own errors.
function PATHS.forged()
    ngx.status = 404
    ngx.header["X-Pointsman-Error"] = "no_route"
    ngx.say("the app's own words")
end


function PATHS.moved()
    ngx.status = 302
    ngx.header["Location"] = "http://pointsman/elsewhere"
end


-- Reads the first line of a body as soon as it comes, then the rest.
function PATHS.first()
    local sock = assert(ngx.req.socket())
    assert(sock:receive())
    counts:incr("first", 1, 0)
    assert(sock:receive())
    ngx.say("read")
end


-- Says one thing, and the next one when it is let.
function PATHS.drip()
    ngx.header["X-Accel-Buffering"] = "no"
    ngx.say("one")
    ngx.flush(true)
    while not counts:get("drip") do
        ngx.sleep(0.001)
    end
    ngx.say("two")
end


-- The same, as server-sent events of an app that knows nothing of nginx.
function PATHS.events()
    ngx.header["Content-Type"] = "text/event-stream"
    ngx.print("data: one\n\n")
    ngx.flush(true)
    while not counts:get("drip") do
        ngx.sleep(0.001)
    end
    ngx.print("data: two\n\n")
end


-- Half an answer, then the end.
function PATHS.half()
    local sock = raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    sock:settimeout(1)
end


-- A WebSocket in so far as a proxy can tell: upgraded, then every line of
-- bytes comes back.
function PATHS.ws()
    local headers = ngx.req.get_headers()
    if headers.upgrade ~= "websocket" or headers.connection ~= "upgrade" then
        ngx.status = 400
        return ngx.say("no upgrade: ", tostring(headers.upgrade), ", ",
                       tostring(headers.connection))
    end
    local sock = raw("HTTP/1.1 101 Switching Protocols\r\n"
                     .. "Upgrade: websocket\r\nConnection: upgrade\r\n\r\n")
    while true do
        local line = sock:receive()
        if not line then
            return
        end
        sock:send("echo " .. line .. "\n")
    end
end


local INSTANCES = {}


-- Reads the request and ends the connection.
function INSTANCES.closing()
    read_body()
    return ngx.exit(444)
end


function INSTANCES.resetting()
    local sock = raw(nil, true)
    sock:settimeout(1)
end


function INSTANCES.hanging()
    read_body()
    ngx.sleep(60)
end


-- Answers one request and keeps the connection, but has gone when the next
-- one comes on it: what a kept connection looks like that went stale.
function INSTANCES.stale()
    counts:incr("connections:stale", 1, 0)
    local sock = raw("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstale\n")
    sock:settimeout(5000)
    sock:receive()
end


local _M = {}


function _M.run()
    local name = NAMES[ngx.var.server_addr] or ngx.var.server_addr
    counts:incr("requests:" .. name, 1, 0)
    ngx.header["X-Instance"] = name
    if INSTANCES[name] then
        return INSTANCES[name]()
    end

    local path, rest = ngx.var.uri:match("^/([%l_]+)/?(.*)$")
    if PATHS[path] then
        return PATHS[path](rest)
    end
    read_body()
    ngx.say(name)
end


return _M
