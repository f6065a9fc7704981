-- The Sentinel of t/38-sentinel.t. For content_by_lua.

local found, client = pcall(require, "resty.redis")
if not found then
    client = require("nginx.redis")
end

local PASSWORD = "sesame"

local _M = {}
local SENTINEL = { __index = _M }


-- `t`: see kit.lua.
function _M.new(t, port)
    return setmetatable({ t = t, port = port }, SENTINEL)
end


function _M:command(...)
    local red = client:new()
    assert(red:connect("127.0.0.1", self.port))
    assert(red:auth(PASSWORD))
    local words = { ... }
    local reply, err = red[words[1]:lower()](red, unpack(words, 2))
    red:close()
    return reply or error("Sentinel refused: " .. tostring(err), 2)
end


-- Sends the process a signal.
function _M.signal(_, name)
    local dir = os.getenv("POINTSMAN_TEST_DIR")
    local file = assert(io.open(dir .. "/sentinel/redis.pid"))
    os.execute("kill -" .. name .. " " .. file:read("*l"))
    file:close()
end


-- Has it watch the master at this port, and nothing else.
function _M:monitor(port)
    pcall(self.command, self, "SENTINEL", "REMOVE", "table")
    self:command("SENTINEL", "MONITOR", "table", "127.0.0.1", port, 1)
    self:command("SENTINEL", "SET", "table", "down-after-milliseconds", 500)
    -- Otherwise it looks every ten seconds. New in Redis 7.0.
    pcall(self.command, self, "SENTINEL", "DEBUG", "info-period", 100)
end


-- The same with a replica, which it can promote when this returns. The edge
-- follows the master then.
function _M:watch(master, replica)
    local t = self.t
    pcall(self.command, self, "SENTINEL", "REMOVE", "table")
    t.redis_port = replica
    t.redis("REPLICAOF", "127.0.0.1", master)
    t.redis_port = master
    self:monitor(master)
    t.wait("Sentinel to know the replica", function()
        local all = self:command("SENTINEL", "REPLICAS", "table")
        local facts = {}
        for i = 1, #(all[1] or {}), 2 do
            facts[all[1][i]] = all[1][i + 1]
        end
        return facts.port == tostring(replica) and facts.flags == "slave"
               and facts["master-link-status"] == "ok", facts
    end, 30)
    t.applied()
end


-- Waits until the server at this port is a master. Sentinel closes all of its
-- connections as it promotes it; one that asks for the role may be among them.
function _M:promoted(port)
    local t = self.t
    local before = t.redis_port
    t.redis_port = port
    t.wait("the promotion", function()
        local answered, role = pcall(t.redis, "ROLE")
        return answered and role[1] == "master", role
    end, 20)
    t.redis_port = before
end


return _M
