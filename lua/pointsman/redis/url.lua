-- Where Redis is: reads the setting `redis`. Pure Lua.

local byte = string.byte
local char = string.char
local find = string.find
local gmatch = string.gmatch
local gsub = string.gsub
local match = string.match
local sub = string.sub
local tonumber = tonumber

local ACCEPTED = 'must be like "redis://127.0.0.1:6379", '
                 .. '"redis+sentinel://10.0.0.1:26379,10.0.0.2:26379/master" '
                 .. 'or "unix:/path"'
local COMMA = byte(",")
local PORT, SENTINEL_PORT = 6379, 26379


local function unescape(text)
    return (gsub(text, "%%(%x%x)", function(hex)
        return char(tonumber(hex, 16))
    end))
end


local function parse_place(text, default_port)
    local host, port = match(text, "^(%[[%x:.]+%]):?(%d*)$")
    if not host then
        host, port = match(text, "^([^:%[%]]+):?(%d*)$")
    end
    port = tonumber(port ~= "" and port or default_port)
    if not host or not port or port < 1 or port > 65535 then
        return nil, "must name a host and a port"
    end
    return { host = host, port = port }
end


-- [user][:password]
local function parse_login(text)
    local user, password = match(text, "^([^:]*):?(.*)$")
    return {
        user = user ~= "" and unescape(user) or nil,
        password = password ~= "" and unescape(password) or nil,
    }
end


local function parse_db(text)
    if text == "" then
        return 0
    end
    local db = match(text, "^/(%d*)$")
    return db and (tonumber(db) or 0)
end


local function parse_sentinels(authority, path)
    if byte(authority, -1) == COMMA then
        return nil, "must name a host and a port"
    end
    local sentinels = {}
    for text in gmatch(authority, "[^,]*") do
        if text ~= "" then
            local place, err = parse_place(text, SENTINEL_PORT)
            if not place then
                return nil, err
            end
            sentinels[#sentinels + 1] = place
        end
    end
    local name, rest = match(path, "^/([%w._-]+)(.*)$")
    if not name or not sentinels[1] then
        return nil, "must name the master, as Sentinel knows it, behind the "
                    .. "hosts"
    end
    return { sentinels = sentinels, master = name }, parse_db(rest)
end


local _M = {}


-- syntax: place, err = url.parse(text)
-- place = { path = } or { host =, port =, tls = } or { sentinels =
-- { { host =, port = }, ... }, master = name }, with `db` and `login` =
-- { user =, password = }, both of which may be nil.
function _M.parse(text)
    local path, query = match(text, "^unix:(/[^?]*)(.*)$")
    if path then
        local db = query == "" and "0" or match(query, "^%?db=(%d+)$")
        if not db then
            return nil, 'must be like "unix:/path" or "unix:/path?db=1"'
        end
        return { path = "unix:" .. path, db = tonumber(db), login = {} }
    end

    local scheme, rest = match(text, "^([%l+]+)://(.+)$")
    if scheme ~= "redis" and scheme ~= "rediss"
            and scheme ~= "redis+sentinel" then
        return nil, ACCEPTED
    end
    local login, behind = match(rest, "^(.*)@([^@]*)$")
    rest = behind or rest
    local slash = find(rest, "/", 1, true) or #rest + 1
    local authority, tail = sub(rest, 1, slash - 1), sub(rest, slash)

    local place, db, err
    if scheme == "redis+sentinel" then
        place, db = parse_sentinels(authority, tail)
        err = db
    else
        place, err = parse_place(authority, PORT)
        db = parse_db(tail)
    end
    if not place then
        return nil, err
    elseif not db then
        return nil, "must end in a host, a port and a database number"
    end
    place.tls = scheme == "rediss"
    place.db = db
    place.login = parse_login(login or "")
    return place
end


return _M
