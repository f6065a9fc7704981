-- Scale from zero: a request that finds no instance of an app whose policy has
-- `wake` calls that URL, and waits until there is one. For phases that can
-- yield.
--
-- The URL is called once for all requests of the edge, and again every five
-- seconds while requests wait and there is still no instance.

local cache = require("pointsman.cache.routes")
local dicts = require("pointsman.cache.dicts")
local waiting = require("pointsman.request.waiting")

local find = string.find
local flights = dicts.flights
local format = string.format
local match = string.match
local ngx_log = ngx.log
local now = ngx.now
local pcall = pcall
local renew = cache.renew
local tcp = ngx.socket.tcp
local timer_at = ngx.timer.at
local tonumber = tonumber
local wait = waiting.wait

-- How far apart the calls for an app are, on this edge. A call takes less.
local CALL_SECONDS = 5
-- How often a worker asks whether another call is due.
local ASK_SECONDS = 1
local CONNECT_MS, SEND_MS, READ_MS = 1500, 1000, 2000
local PORTS = { http = 80, https = 443 }


-- Waits for the status line alone.
local function post(url, app, host)
    local scheme, authority, target = match(url, "^(https?)://([^/?]+)(.*)$")
    local name, port = match(authority, "^(.-):(%d+)$")
    name, port = name or authority, tonumber(port) or PORTS[scheme]
    if not find(target, "^/") then
        target = "/" .. target
    end

    local sock = tcp()
    sock:settimeouts(CONNECT_MS, SEND_MS, READ_MS)
    local ok, err = sock:connect(name, port)
    if ok and scheme == "https" then
        -- See redis/connection.lua: a refused certificate may raise an error.
        local called, _, refused = pcall(sock.sslhandshake, sock, nil, name,
                                         true)
        ok, err = called and not refused, refused or "TLS failed, see above"
    end
    if ok then
        ok, err = sock:send(format(
            "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\n"
            .. "Connection: close\r\nX-Pointsman-App: %s\r\n"
            .. "X-Pointsman-Host: %s\r\n\r\n", target, authority, app, host))
    end
    local line
    if ok then
        line, err = sock:receive()
    end
    sock:close()
    if not line then
        return nil, err
    elseif not find(line, "^HTTP/1%.%d 2%d%d") then
        return nil, "the answer is " .. line
    end
    return true
end


local function call(premature, url, app, host)
    if premature then
        return
    end
    local ok, err = post(url, app, host)
    if not ok then
        ngx_log(ngx.ERR, "failed to wake app ", app, " by a POST to ", url,
                ": ", err)
    end
end


-- Single flight: the key expires.
local function call_once(about)
    local app = about.app
    if flights.claim("wake " .. app.name, true, CALL_SECONDS) then
        local ok, err = timer_at(0, call, app.policy.wake.url, app.name,
                                 about.host)
        if not ok then
            ngx_log(ngx.ERR, "failed to wake app ", app.name, ": ", err)
        end
    end
end


local function is_over(about, has_moved)
    local is_current = true
    if has_moved then
        about.app, is_current = renew(about.app)
        if about.app.live > 0 then
            return true
        end
    end
    local wake, time = about.app.policy.wake, now()
    if not wake then
        return true
    elseif time - about.asked >= ASK_SECONDS then
        about.asked = time
        call_once(about)
    end
    if not is_current then
        return nil
    end
    return false
end


local _M = {}


-- syntax: is_awake = wake.wait(app, host, since)
-- In rewrite_by_lua, of an app without instances whose policy has `wake`.
-- False: the time since `since` is over, or too many wait.
function _M.wait(app, host, since)
    local wake, name = app.policy.wake, app.name
    return wait("waking " .. name, "waking " .. name, wake.max,
                since + wake.timeout - now(), is_over,
                { app = app, host = host, asked = 0 })
end


return _M
