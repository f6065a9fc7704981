-- All scripts and commands that the edge sends to Redis. For phases that can
-- yield.
--
-- Of the table edges only read. What belongs together is read by one script,
-- because a script sees the table at one moment.

local connection = require("pointsman.redis.connection")
local servers = require("pointsman.redis.server")

local cjson = require("cjson.safe")

local byte = string.byte
local decode = cjson.decode
local find = string.find
local format = string.format
local gsub = string.gsub
local ipairs = ipairs
local match = string.match
local max = math.max
local ngx = ngx
local null = ngx.null
local setmetatable = setmetatable
local sub = string.sub
local tonumber = tonumber
local type = type

-- How long Redis holds back an answer when there is no news, and how long we
-- wait for it. nginx quits when both have passed: shutting down takes as long.
local BLOCK_MS = 1000
local READ_MS = 2000
-- Entries for each read: of up to 500 records each, and worker 0 has requests
-- to serve in between.
local BATCH = 16
-- For lookups, of which a worker has one under way.
local IDLE_MS, POOL_SIZE = 60000, 2

-- What both look-ups begin with. A value of another type than it should be is
-- an error in a list. They answer in JSON, as one string: to read each value of
-- a nested reply by itself costs an edge more than all the rest.
local COMMON = [[
local prefix = ARGV[1]
local meta = redis.call('HMGET', prefix .. 'meta',
                        'format', 'epoch', 'rev', 'state', 'claim')
local defaults = false
local function get(key)
    local value = redis.pcall('GET', key)
    return type(value) == 'table' and {value.err} or value
end
local function policy_of(name)
    local policy = get(prefix .. 'app:' .. name)
    if not policy then
        defaults = defaults or get(prefix .. 'app:*')
    end
    return policy
end
]]

-- ARGV: prefix, whether more than one host is asked for, for how many instances
-- there is room, then the patterns that fit, of one host the most specific
-- first.
-- Answers what `meta` has, what each pattern has (a string or false), and for
-- each app that a route names (of one host: the first route): its name, its
-- record and its instances (a list of id and value, or an error), or false if
-- there is no room for them; and the record of the defaults if one needs it.
local LOOKUP = COMMON .. [[
local several, room = ARGV[2] == '1', tonumber(ARGV[3])
local keys = {}
for i = 4, #ARGV do
    keys[i - 3] = prefix .. 'route:' .. ARGV[i]
end
local routes = redis.call('MGET', unpack(keys))
local found = 0
for i = 1, #keys do
    found = found + (routes[i] and 1 or 0)
end
if redis.call('EXISTS', unpack(keys)) ~= found then
    for i = 1, #keys do
        routes[i] = get(keys[i])
    end
end
local apps, seen = {}, {}
local function add(name)
    if type(name) == 'string' and not seen[name] then
        seen[name] = true
        local key = prefix .. 'inst:' .. name
        local n = redis.pcall('HLEN', key)
        if type(n) == 'table' then
            apps[#apps + 1] = {name, false, n.err}
        elseif n > room then
            apps[#apps + 1] = {name, false, false}
        else
            room = room - n
            apps[#apps + 1] = {name, policy_of(name),
                               redis.call('HGETALL', key)}
        end
    end
end
for i = 1, #keys do
    if routes[i] then
        pcall(function()
            for _, rule in ipairs(cjson.decode(routes[i]).rules) do
                for _, to in ipairs(rule.to or {}) do
                    add(to.app)
                end
            end
        end)
        if not several then
            break
        end
    end
end
return cjson.encode({meta, routes, apps, defaults})
]]

-- ARGV: prefix, app. Answers the same for this app.
local READ_APP = COMMON .. [[
local instances = redis.pcall('HGETALL', prefix .. 'inst:' .. ARGV[2])
local app = {ARGV[2], policy_of(ARGV[2]), instances.err or instances}
return cjson.encode({meta, {}, {app}, defaults})
]]

-- ARGV: prefix, apps. Answers what `meta` has, and a flat list of app, id and
-- record of each instance that says anything of draining.
local DRAINING = COMMON .. [[
local found = {}
for i = 2, #ARGV do
    local instances = redis.pcall('HGETALL', prefix .. 'inst:' .. ARGV[i])
    for j = 1, #instances, 2 do
        if string.find(instances[j + 1], 'draining', 1, true) then
            found[#found + 1] = ARGV[i]
            found[#found + 1] = instances[j]
            found[#found + 1] = instances[j + 1]
        end
    end
end
return cjson.encode({meta, found})
]]

-- ARGV: prefix. Returns what `meta` has, the ID of the stream's last entry, and
-- for how many seconds `heard` will live.
local PROBE = [[
local prefix = ARGV[1]
local meta = redis.call('HMGET', prefix .. 'meta',
                        'format', 'epoch', 'rev', 'state', 'claim')
local last = redis.call('XREVRANGE', prefix .. 'changes', '+', '-', 'COUNT', 1)
return {meta, last[1] and last[1][1] or false,
        redis.call('TTL', prefix .. 'heard')}
]]

-- ARGV: prefix, the ID of an entry, and how many. Answers the entries after it:
-- a line of JSON with the ID, epoch, from, kind and the length of the changes
-- of each, and then the changes of all.
local READ = [[
local entries = redis.call('XRANGE', ARGV[1] .. 'changes', '(' .. ARGV[2], '+',
                           'COUNT', ARGV[3])
local changes = {}
for i, entry in ipairs(entries) do
    local fields, of = entry[2], {}
    for j = 1, #fields, 2 do
        local name = fields[j]
        of[name] = fields[j + 1]
    end
    changes[i] = of.changes or ''
    entries[i] = {entry[1], of.epoch or false, of.from or false,
                  of.kind or false, #changes[i]}
end
return cjson.encode(entries) .. '\n' .. table.concat(changes)
]]

-- An older agent's records are a part of what we can read.
local FORMATS = { ["1"] = true, ["2"] = true, ["3"] = true }
local MAX_REV = 2 ^ 53
-- An agent that follows etcd writes `heard` with this time to live each second.
local HEARD_SECONDS = 86400
-- Instances that a look-up of hosts brings along. An app of more is asked for
-- by itself, and only if it is not cached: see lookups.lua.
local ROOM = 128

local server
local prefix, timeout_ms
local shas = {}


local function present(value)
    if value == null or value == false then
        return nil
    end
    return value
end


-- What is not a table of ours, whole and in our format, has no revision.
local function read_meta(meta)
    local rev = present(meta[3])
    rev = rev and find(rev, "^%d+$") and tonumber(rev)
    local known = present(meta[2]) and rev and rev <= MAX_REV
                  and FORMATS[meta[1]] or false
    return {
        format = present(meta[1]),
        epoch = known and meta[2] or nil,
        rev = known and rev or nil,
        ready = known and meta[4] == "ready",
        claim = present(meta[5]),
    }
end


local function sha(script)
    local known = shas[script]
    if not known then
        known = gsub(ngx.sha1_bin(script), ".", function(char)
            return format("%02x", byte(char))
        end)
        shas[script] = known
    end
    return known
end


-- A reply of false is an error that Redis answered, nil one of the connection.
local function run(red, script, ...)
    local reply, err = red:evalsha(sha(script), 0, prefix, ...)
    if reply == false and sub(err, 1, 8) == "NOSCRIPT" then
        reply, err = red:eval(script, 0, prefix, ...)
    end
    if not reply or reply == null then
        return nil, err or "unexpected reply"
    end
    return reply
end


-- One script over a connection of the pool. Returns what `meta` has, and the
-- whole answer.
local function call(script, ...)
    local red, place = server:connect()
    if not red then
        return nil, place
    end

    local text, err = run(red, script, ...)
    if not text then
        red:close()
        server:forget()
        return nil, "failed to look up: " .. err
    end
    red:set_keepalive(IDLE_MS, POOL_SIZE)

    local reply
    reply, err = decode(text)
    if not reply then
        return nil, "failed to read the answer: " .. err
    end
    return read_meta(reply[1]), reply
end


local function ask(script, ...)
    local answer, reply = call(script, ...)
    if not answer then
        return nil, reply
    end
    answer.routes, answer.apps = reply[2], reply[3]
    answer.defaults = present(reply[4])
    for i, app in ipairs(answer.apps) do
        answer.apps[i] = {
            name = app[1], policy = present(app[2]), instances = app[3],
        }
    end
    return answer
end


local _Feed = { BATCH = BATCH }
local FEED = { __index = _Feed }


-- syntax: table, err = feed:probe()
-- { format =, epoch =, rev =, ready =, claim =, last_id =, silence = }; epoch
-- and rev are nil when there is no table that we can read. `silence`: seconds
-- since an agent was heard, nil if none was for a day.
function _Feed:probe()
    local place, err = server:find()
    if place ~= self.place then
        return nil, err or "another server is the master now"
    end
    local reply
    reply, err = run(self.red, PROBE)
    if not reply then
        return nil, "failed to read meta: " .. err
    end
    local table = read_meta(reply[1])
    table.last_id = present(reply[2])
    local left = reply[3]
    table.silence = left >= 0 and max(0, HEARD_SECONDS - left) or nil
    return table
end


local function entry_of(id, epoch, from, kind, changes)
    return {
        id = id, epoch = present(epoch), from = tonumber(present(from)),
        to = tonumber(match(id, "^%d+")), kind = present(kind),
        changes = changes,
    }
end


-- All of them in one string: parsing a nested reply costs an edge more than
-- everything else.
local function read_at_once(red, last_id)
    local text, err = run(red, READ, last_id, BATCH)
    if not text then
        return nil, err
    end
    local stop = find(text, "\n", 1, true)
    local entries
    entries, err = decode(sub(text, 1, stop - 1))
    if not entries then
        return nil, err
    end
    local at = stop + 1
    for i, entry in ipairs(entries) do
        local behind = at + entry[5]
        entries[i] = entry_of(entry[1], entry[2], entry[3], entry[4],
                              sub(text, at, behind - 1))
        at = behind
    end
    return entries
end


local function wait_for(red, last_id)
    local reply, err = red:xread("COUNT", BATCH, "BLOCK", BLOCK_MS, "STREAMS",
                                 prefix .. "changes", last_id)
    if reply == null then
        return {}
    elseif type(reply) ~= "table" then
        return nil, err or "no list"
    end
    local entries = reply[1][2]
    for i, entry in ipairs(entries) do
        local fields, of = entry[2], {}
        for j = 1, #fields, 2 do
            of[fields[j]] = fields[j + 1]
        end
        entries[i] = entry_of(entry[1], of.epoch, of.from, of.kind,
                              of.changes or "")
    end
    return entries
end


-- syntax: entries, err = feed:read(last_id, at_once?)
-- Waits for entries after `last_id`, about a second; then the list is empty.
-- With `at_once` it does not wait. There are feed.BATCH of them at most. Each
-- is { id =, epoch =, from =, to =, kind =, changes = JSON, undecoded }.
function _Feed:read(last_id, at_once)
    local read = at_once and read_at_once or wait_for
    local entries, err = read(self.red, last_id)
    if not entries then
        return nil, "failed to read the stream: " .. err
    end
    return entries
end


-- syntax: feed:close()
function _Feed:close()
    self.red:close()
end


local _M = {}


-- syntax: err = redis.init(settings)
-- In init_worker_by_lua.
function _M.init(settings)
    prefix = settings.prefix
    timeout_ms = settings.redis_timeout * 1000
    server = servers.new(settings.redis, settings.sentinel_login)
    return connection.init(settings)
end


-- syntax: answer, err = redis.lookup(patterns, several?)
-- What feed:probe() has but for last_id, and routes = { JSON, or an error in a
-- list, or false; ... }, defaults = JSON or nil, apps = { { name =, policy =,
-- instances = a list, or an error, or false: to be asked for }, ... }: those
-- that the routes name, or with patterns of one host only, the first of them.
function _M.lookup(patterns, several)
    return ask(LOOKUP, several and "1" or "0", ROOM, unpack(patterns))
end


-- syntax: answer, err = redis.read_app(name)
-- The same with one app and no routes.
function _M.read_app(name)
    return ask(READ_APP, name)
end


-- syntax: answer, found = redis.draining(names)
-- What feed:probe() has but for last_id, and the instances of these apps that
-- are draining: { app, id, record, ... }. Nil and an error if that fails.
function _M.draining(names)
    local answer, reply = call(DRAINING, unpack(names))
    return answer, answer and reply[2] or reply
end


-- syntax: feed, err = redis.follow()
-- A connection of its own: a read that blocks would hold up all others.
function _M.follow()
    local red, place = server:connect()
    if not red then
        return nil, place
    end
    red:set_timeout(max(READ_MS, timeout_ms))
    return setmetatable({ red = red, place = place }, FEED)
end


return _M
