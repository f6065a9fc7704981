-- HTTP by hand, so that a test can send what no client library would, and see
-- each connection. For phases that can yield.

local Connection = {}
Connection.__index = Connection


local function read_body(sock, status, headers, method)
    if method == "HEAD" or status == 204 or status == 304 or status < 200 then
        return ""
    end
    if headers["transfer-encoding"] == "chunked" then
        local parts = {}
        while true do
            local size = tonumber(assert(sock:receive()), 16)
            if size > 0 then
                parts[#parts + 1] = assert(sock:receive(size))
            end
            assert(sock:receive())
            if size == 0 then
                return table.concat(parts)
            end
        end
    end
    local length = tonumber(headers["content-length"])
    if length then
        return length > 0 and assert(sock:receive(length)) or ""
    end
    local body, _, partial = sock:receive("*a")
    return body or partial or ""
end


-- Sends the pieces that `chunks` yields.
local function send_chunks(sock, chunks)
    local thread = coroutine.create(chunks)
    while true do
        local ok, piece = coroutine.resume(thread)
        assert(ok, piece)
        if not piece then
            break
        end
        assert(sock:send(string.format("%x\r\n%s\r\n", #piece, piece)))
    end
    return sock:send("0\r\n\r\n")
end


-- One request on this connection. `options`: method, body or chunks, headers (a
-- list of lines), version. Returns { status, headers, body }, or nil and an
-- error.
function Connection:request(host, path, options)
    options = options or {}
    local method = options.method
                   or (options.body or options.chunks) and "POST" or "GET"
    local lines = { method .. " " .. (path or "/") .. " HTTP/"
                    .. (options.version or "1.1") }
    if host then
        lines[2] = "Host: " .. host
    end
    if self.last then
        lines[#lines + 1] = "Connection: close"
    end
    for _, line in ipairs(options.headers or {}) do
        lines[#lines + 1] = line
    end
    if options.body then
        lines[#lines + 1] = "Content-Length: " .. #options.body
    end
    if options.chunks then
        lines[#lines + 1] = "Transfer-Encoding: chunked"
    end
    lines[#lines + 1] = "\r\n"
    local sock = self.sock
    local sent, err = sock:send { table.concat(lines, "\r\n"),
                                  options.body or "" }
    if sent and options.chunks then
        sent, err = send_chunks(sock, options.chunks)
    end
    if not sent then
        return nil, err
    end
    return self:response(method)
end


function Connection:response(method)
    local sock = self.sock
    local line, err = sock:receive()
    if not line then
        return nil, err
    end
    local status = tonumber(line:match("^HTTP/1%.[01] (%d+)"))
    local headers, cookies = {}, {}
    while true do
        line = assert(sock:receive())
        if line == "" then
            break
        end
        local name, value = line:match("^([^:]+):%s*(.*)$")
        headers[name:lower()] = value
        if name:lower() == "set-cookie" then
            cookies[#cookies + 1] = value
        end
    end
    return { status = status, headers = headers, cookies = cookies,
             body = read_body(sock, status, headers, method) }
end


function Connection:close()
    return self.sock:close()
end


local _M = {}


-- A connection that is kept for several requests. Errors if there is none.
function _M.connect(host, port, seconds)
    local sock = ngx.socket.tcp()
    sock:settimeout((seconds or 10) * 1000)
    assert(sock:connect(host, port))
    return setmetatable({ sock = sock }, Connection)
end


return _M
