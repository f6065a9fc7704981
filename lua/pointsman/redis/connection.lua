-- Connections to Redis and to Sentinels: the one owner of the client library.
-- For phases that can yield.

local secret = require("pointsman.redis.secret")

local find = string.find
local format = string.format
local ngx_log = ngx.log
local pcall = pcall
local reread = secret.reread
local require = require

local ERR, NOTICE = ngx.ERR, ngx.NOTICE

local client
local timeout_ms


-- False and the error if Redis refused, nil and the error if the connection
-- broke.
local function try_login(red, login)
    if login.user then
        return red:auth(login.user, login.password)
    end
    return red:auth(login.password)
end


local function authenticate(red, login)
    if not login.password then
        return true
    end
    local ok, err = try_login(red, login)
    if ok == false and login.file then
        -- The password may have been rotated since the file was read.
        local changed, file_err = reread(login)
        if file_err then
            ngx_log(ERR, "failed to read the password again: ", file_err)
        elseif changed then
            ngx_log(NOTICE, "read a new password from ", login.file)
            ok, err = try_login(red, login)
        end
    end
    if not ok then
        return nil, "failed to authenticate: " .. err
    end
    return true
end


local function check_role(red)
    local info, err = red:info("replication")
    if not info then
        return nil, "failed to ask for the role: " .. err
    elseif not find(info, "role:master", 1, true) then
        return nil, "the server that Sentinel names is not the master"
    end
    return true
end


-- nginx verifies by lua_ssl_trusted_certificate. Both client libraries keep the
-- socket in `_sock`.
local function open_tls(red, place)
    local sock = red._sock
    -- A certificate that is refused at once fails an assertion in
    -- lua-resty-core (its issue 499); with `false` instead of nil, the refusal
    -- would go unnoticed.
    local ok, _, err = pcall(sock.sslhandshake, sock, nil,
                             place.tls_name or place.host, true)
    if not ok or err then
        return nil, "failed to open TLS: "
                    .. (err or "the certificate was refused, see above")
    end
    return true
end


-- What a new connection needs before its first command.
local function prepare(red, place)
    local ok, err
    if place.tls then
        ok, err = open_tls(red, place)
        if not ok then
            return nil, err
        end
    end
    ok, err = authenticate(red, place.login)
    if not ok then
        return nil, err
    end
    if place.db ~= 0 then
        ok, err = red:select(place.db)
        if not ok then
            return nil, "failed to select the database: " .. err
        end
    end
    if place.is_master then
        return check_role(red)
    end
    return true
end


local _M = {}


-- syntax: err = connection.init(settings)
-- In init_worker_by_lua. OpenResty's client, otherwise the one that Debian
-- packages.
function _M.init(settings)
    local ok
    ok, client = pcall(require, "resty.redis")
    if not ok then
        ok, client = pcall(require, "nginx.redis")
    end
    if not ok then
        return "there is no Redis client: install lua-resty-redis or, on "
               .. "Debian, lua-nginx-redis"
    end
    timeout_ms = settings.redis_timeout * 1000
end


-- syntax: red, err = connection.open(place)
-- place = what url.parse returns, but no Sentinels. With `is_master` the server
-- must be a master. Connections are kept apart by place and login.
function _M.open(place)
    local red, err = client:new()
    if not red then
        return nil, "failed to create a client: " .. err
    end
    place.opts = place.opts or { pool = format("pointsman:%s:%s:%d:%s:%s",
        place.path or place.host, place.port or "", place.db,
        place.login.user or "", place.is_master and "master" or "") }

    local ok
    red:set_timeout(timeout_ms)
    if place.path then
        ok, err = red:connect(place.path, place.opts)
    else
        ok, err = red:connect(place.host, place.port, place.opts)
    end
    if not ok then
        return nil, "failed to connect: " .. err
    end
    if red:get_reused_times() == 0 then
        ok, err = prepare(red, place)
        if not ok then
            red:close()
            return nil, err
        end
    end
    return red
end


return _M
