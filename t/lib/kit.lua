-- What the scenario of a test sees as `t`: Redis, the edge, and waiting.
-- For content_by_lua; every failure is an error with the last state seen.

local cjson = require "cjson.safe"
local http_client = require "http_client"

local PORT = os.getenv("TEST_NGINX_SERVER_PORT")
local LIB = os.getenv("POINTSMAN_TEST_LIB")
local DIR = os.getenv("POINTSMAN_TEST_DIR")
local PREFIX = os.getenv("POINTSMAN_TEST_PREFIX")
local REDIS_PORT = os.getenv("POINTSMAN_TEST_REDIS_PORT")
local DEADLINE = 8

local _M = { port = PORT, prefix = PREFIX, counts = ngx.shared.testkit,
             redis_port = REDIS_PORT }

_M.say = ngx.say
_M.sleep = ngx.sleep


local function read_file(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read("*a")
    file:close()
    return text
end


local function read_reply(sock)
    local line = assert(sock:receive())
    local kind, rest = line:sub(1, 1), line:sub(2)
    if kind == "-" then
        return nil, rest
    elseif kind == "+" then
        return rest
    elseif kind == ":" then
        return tonumber(rest)
    elseif kind == "$" then
        if rest == "-1" then
            return ngx.null
        end
        local data = assert(sock:receive(tonumber(rest)))
        assert(sock:receive(2))
        return data
    elseif kind == "*" then
        local list = {}
        for i = 1, tonumber(rest) do
            list[i] = read_reply(sock)
        end
        return list
    end
    error("Redis said: " .. line)
end


local function command(sock, ...)
    local parts = { "*" .. select("#", ...) .. "\r\n" }
    for _, word in ipairs { ... } do
        word = tostring(word)
        parts[#parts + 1] = "$" .. #word .. "\r\n" .. word .. "\r\n"
    end
    assert(sock:send(parts))
    return read_reply(sock)
end


-- t.redis("SET", key, value): one command; raises what Redis complains about.
-- t.login = { password, database } is for a Redis that asks for it, and
-- t.redis_port for one beside the file's own.
function _M.redis(...)
    local sock = ngx.socket.tcp()
    sock:settimeout(5000)
    assert(sock:connect("127.0.0.1", _M.redis_port))
    if _M.login then
        assert(command(sock, "AUTH", _M.login[1]))
        assert(command(sock, "SELECT", _M.login[2]))
    end
    local reply, err = command(sock, ...)
    sock:close()
    if reply == nil then
        error("Redis refused " .. tostring((...)) .. ": " .. err, 2)
    end
    return reply
end


-- Changes records as an agent would; see redis_agent.lua. Returns the revision.
function _M.publish(text, kind)
    return tonumber(_M.redis("EVAL", read_file(LIB .. "/redis_agent.lua"), 0,
                             PREFIX, PORT, kind or "batch", text))
end


-- Puts an entry with these changes into the stream, at the next revision, and
-- waits until the edge has it: for what no agent would write.
function _M.entry(changes)
    local meta = PREFIX .. "meta"
    local from = _M.redis("HGET", meta, "rev")
    local to = string.format("%.0f", tonumber(from) + 1)
    _M.redis("XADD", PREFIX .. "changes", to .. "-*",
             "epoch", _M.redis("HGET", meta, "epoch"), "from", from,
             "kind", "batch", "changes", cjson.encode(changes))
    _M.redis("HSET", meta, "rev", to)
    return _M.applied(tonumber(to))
end


-- The golden records.
function _M.golden()
    return assert(cjson.decode(read_file(LIB .. "/../fixtures/records.json")))
end


-- Calls `probe` until it returns a true value, and returns that. `probe` may
-- return a second value, the state that a failure shows.
function _M.wait(about, probe, seconds)
    local deadline = ngx.now() + (seconds or DEADLINE)
    while true do
        local value, state = probe()
        if value then
            return value
        end
        ngx.update_time()
        if ngx.now() > deadline then
            error("waited in vain for: " .. about .. "; last state: "
                  .. (type(state) == "table" and cjson.encode(state)
                      or tostring(state)), 2)
        end
        ngx.sleep(0.005)
    end
end


-- A connection to the edge that is kept for several requests; see
-- http_client.lua.
function _M.connect(seconds, address)
    return http_client.connect(address or "127.0.0.1", PORT, seconds)
end


-- One request on a connection of its own; options.address is that of another
-- server of the edge's.
function _M.get(host, path, options)
    local connection = _M.connect(nil, options and options.address)
    connection.last = true
    local response, err = connection:request(host, path, options)
    connection:close()
    if not response then
        error("the edge closed the connection: " .. err, 2)
    end
    return response
end


-- Status and body (or reason of a refusal) in one line.
function _M.show(host, path, options)
    local response = _M.get(host, path, options)
    local reason = response.headers["x-pointsman-error"]
    return response.status .. " "
           .. (reason or (response.body:gsub("%s+$", "")))
end


-- The edge's own status, decoded.
function _M.status()
    local response = _M.get("localhost", "/pointsman/status")
    assert(response.status == 200, "status answers " .. response.status)
    return assert(cjson.decode(response.body))
end


-- What the edge explains of a URL, decoded; options: method, headers (a list of
-- lines), client, connection.
function _M.explain(url, options)
    options = options or {}
    local args = { "url=" .. ngx.escape_uri(url) }
    for _, line in ipairs(options.headers or {}) do
        args[#args + 1] = "header=" .. ngx.escape_uri(line)
    end
    for _, name in ipairs { "method", "client" } do
        args[#args + 1] = options[name]
                          and name .. "=" .. ngx.escape_uri(options[name])
    end
    local path = "/pointsman/explain?" .. table.concat(args, "&")
    local response = options.connection
                     and options.connection:request("localhost", path)
                     or _M.get("localhost", path)
    local body = cjson.decode(response.body)
    if response.status ~= 200 then
        error(response.status .. " " .. (body and body.detail or "?"), 2)
    end
    -- A JSON null reads as nil.
    local function strip(value)
        for name, field in pairs(value) do
            if field == cjson.null then
                value[name] = nil
            elseif type(field) == "table" then
                strip(field)
            end
        end
        return value
    end
    return strip(body), response.body
end


-- Waits until the edge has applied `revision` (default: that of Redis).
function _M.applied(revision)
    revision = revision or tonumber(_M.redis("HGET", PREFIX .. "meta", "rev"))
    local state = _M.wait("revision " .. revision .. " applied", function()
        local status = _M.status()
        return (status.applied or 0) >= revision and status, status
    end)
    -- The generation, by which workers see it, moves a moment after that.
    ngx.sleep(0.002)
    return state
end


-- Changes records and waits until the edge has them.
function _M.change(text, kind)
    return _M.applied(_M.publish(text, kind))
end


-- The report of an edge, once `probe(report)` is true.
function _M.wait_report(name, probe, seconds)
    return _M.wait("the report of " .. name, function()
        local fields = _M.redis("HGETALL", PREFIX .. "edge:" .. name)
        local report = {}
        for i = 1, #fields, 2 do
            report[fields[i]] = fields[i + 1]
        end
        return fields[1] and probe(report) and report, report
    end, seconds)
end


-- The same as soon as there is one.
function _M.report(name)
    return _M.wait_report(name, function() return true end)
end


-- Starts an edge of this name beside this one, at a port of its own. Returns a
-- function that signals it, and one that says whether it is there.
function _M.start_beside(name, port, redis_port)
    local dir = DIR .. "/" .. name
    local conf = read_file(DIR .. "/nginx/conf/nginx.conf")
    local head = {}
    for line in conf:gmatch("[^\n]+") do
        head[#head + 1] = line:match("^%s*load_module .*")
    end
    local text = table.concat(head, "\n") .. "\nuser root;\npid " .. dir
        .. "/pid;\nerror_log " .. dir .. "/log info;\n"
        .. "events { worker_connections 256; }\nhttp {\naccess_log off;\n"
        .. conf:match("lua_package_path[^;]+;[^\n]*\n")
        .. "include pointsman/http.conf;\ninclude pointsman/start.conf;\n"
        .. "include pointsman/log.conf;\ninit_by_lua_block {\n"
        .. 'require("pointsman").setup { prefix = "' .. PREFIX
        .. '", redis = "redis://127.0.0.1:'
        .. (redis_port or REDIS_PORT) .. '", edge = "'
        .. name .. '" }\n}\nserver {\nlisten 127.0.0.1:' .. port
        .. ";\nlocation / { include pointsman/location.conf; }\n"
        .. "include pointsman/status.conf;\n}\n}\n"
    _M.shell("mkdir -p " .. dir .. "/conf " .. dir .. "/logs && ln -sfn "
             .. "$(readlink -f " .. DIR .. "/nginx/conf/pointsman) " .. dir
             .. "/conf/pointsman")
    local file = assert(io.open(dir .. "/conf/nginx.conf", "w"))
    file:write(text)
    file:close()
    _M.shell("perl -MPOSIX -e 'POSIX::close($_) for 3 .. 9999; "
             .. "exec @ARGV' $(readlink /proc/" .. ngx.worker.pid()
             .. "/exe) -p " .. dir .. " -c conf/nginx.conf")
    return function(signal)
        _M.shell("kill -" .. signal .. " $(cat " .. dir .. "/pid)")
    end, function()
        return pcall(read_file, dir .. "/pid")
    end
end


-- A kept connection to each of `n` workers.
function _M.connect_each(n)
    local list, seen, pids = {}, {}, 0
    _M.wait(n .. " workers to accept", function()
        local connection = _M.connect()
        local response = connection:request("localhost", "/worker")
        local pid = response.headers["x-worker"]
        if seen[pid] then
            connection:close()
        else
            seen[pid], pids = true, pids + 1
            list[pids] = connection
        end
        return pids == n, pids
    end)
    return list
end


-- Of two workers, a kept connection to the one in which this does not run, and
-- its process id.
function _M.other_worker()
    for _, connection in ipairs(_M.connect_each(2)) do
        local response = connection:request("localhost", "/worker")
        local pid = response.headers["x-worker"]
        if tonumber(pid) ~= ngx.worker.pid() then
            return connection, pid
        end
    end
end


-- A value of the edge's page for Prometheus, by name and labels.
function _M.metric(name)
    local page = _M.get("localhost", "/pointsman/metrics").body
    for line in page:gmatch("[^\n]+") do
        if line:sub(1, #name + 1) == name .. " " then
            return tonumber(line:sub(#name + 2))
        end
    end
    error("no metric " .. name, 2)
end


-- Runs functions side by side; returns what each of them returns (one value).
function _M.together(...)
    local threads, results = {}, {}
    for i, call in ipairs { ... } do
        threads[i] = assert(ngx.thread.spawn(call))
    end
    for i, thread in ipairs(threads) do
        local ok, result = ngx.thread.wait(thread)
        assert(ok, result)
        results[i] = result
    end
    return results
end


-- How many requests wait at a place, see request/waiting.lua.
function _M.waiting(place)
    local total, flights = 0, ngx.shared.pointsman_flights
    for _, key in ipairs(flights:get_keys(0)) do
        if key:match("^%d+ (.*)$") == place then
            total = total + flights:get(key)
        end
    end
    return total
end


-- Waits until so many do.
function _M.wait_waiting(place, n)
    return _M.wait(n .. " requests at " .. place, function()
        local total = _M.waiting(place)
        return total == n, total
    end)
end


-- What shop.test answers to a request that waits at a place until records are
-- changed.
function _M.show_after(place, change)
    return _M.together(function()
        return _M.show("shop.test")
    end, function()
        _M.wait_waiting(place, 1)
        _M.publish(change)
        return "-"
    end)[1]
end


-- How often the edge asked Redis about a host since the test began.
function _M.lookups()
    return _M.counts:get("lookups") or 0
end


-- How often Redis ran a command since CONFIG RESETSTAT, by scripts too.
function _M.calls(name)
    local stats = _M.redis("INFO", "commandstats")
    return tonumber(stats:match("cmdstat_" .. name .. ":calls=(%d+)") or 0)
end


-- Asks for `host` and lets `text` be applied before Redis's answer to that is
-- used. Returns what the request got.
function _M.race(host, text)
    local before = _M.lookups()
    _M.counts:set("hold_lookups", true)
    return _M.together(
        function()
            return _M.show(host)
        end,
        function()
            _M.wait("the look-up", function()
                return _M.lookups() > before
            end)
            _M.change(text)
            _M.counts:delete("hold_lookups")
        end)[1]
end


-- How often an instance was asked since the test began.
function _M.requests(name)
    return _M.counts:get("requests:" .. name) or 0
end


-- Runs a command. os.execute() returns its status; a LuaJIT that is built with
-- Lua 5.2's behaviour (OpenResty's) returns true or nil instead.
function _M.shell(text)
    local status = os.execute(text)
    if status ~= 0 and status ~= true then
        error("failed to run: " .. text, 2)
    end
end


-- What a command writes. io.popen() would block the worker meanwhile, and what
-- the command asks for may need it: another worker's idle connection to an
-- instance ends here. (ngx.pipe needs a patched nginx.)
function _M.output(text)
    local path = DIR .. "/output"
    os.remove(path)
    _M.shell("{ { " .. text .. "; } >" .. path .. ".part 2>&1; mv "
             .. path .. ".part " .. path .. "; } &")
    return _M.wait("the end of " .. text, function()
        local ok, written = pcall(read_file, path)
        return ok and written, written
    end)
end


-- Makes nginx read its configuration again, and waits until a new worker
-- answers.
function _M.reload()
    local before = _M.status().worker.pid
    _M.shell("kill -HUP $(cat " .. DIR .. "/nginx/logs/nginx.pid)")
    _M.wait("a new worker", function()
        local pid = _M.status().worker.pid
        return pid ~= before, pid
    end)
end


function _M.redis_stop()
    pcall(_M.redis, "SHUTDOWN", "NOSAVE")
    _M.wait("Redis to be gone", function()
        local sock = ngx.socket.tcp()
        local up = sock:connect("127.0.0.1", REDIS_PORT)
        sock:close()
        return not up
    end)
end


function _M.redis_start()
    -- without the sockets that nginx listens on, which it would hold open
    _M.shell("perl -MPOSIX -e 'POSIX::close($_) for 3 .. 9999; "
             .. "exec @ARGV' redis-server " .. DIR .. "/redis.conf")
    _M.wait("Redis to answer", function()
        return pcall(_M.redis, "PING")
    end)
end


-- Runs a scenario; what it raises becomes a line of the answer.
function _M.run(scenario)
    local ok, err = pcall(scenario, _M)
    if not ok then
        ngx.say("FAILED: ", tostring(err))
    end
end


return _M
