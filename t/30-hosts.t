use TestPointsman;

run_edge_tests();

__DATA__

=== each name leads to what it was put with last, however many there are
--- without: start
--- at_once
--- lua
local hosts = require("pointsman.cache.hosts")
hosts.init(1048576, function(name)
    return bit.tobit(ngx.crc32_short(name))
end)

local targets, model = {}, {}
for i = 1, 50 do
    targets[i] = { name = "app-" .. i }
end
math.randomseed(7)
for step = 1, 200000 do
    local name = "h" .. math.random(60000)
                 .. (".long"):rep(step % 7 == 0 and 40 or 1) .. ".test"
    local target = targets[math.random(50)]
    local slot = hosts.put(name, target)
    slot.gen = step
    model[name] = { target, step }
end
local n, wrong, lost = 0, 0, 0
for name, want in pairs(model) do
    n = n + 1
    local slot = hosts.find(name, #name)
    if not slot then
        lost = lost + 1
    elseif hosts.targets[slot.target] ~= want[1] or slot.gen ~= want[2] then
        wrong = wrong + 1
    end
end
t.say(n > 60000, " ", wrong, " ", lost < n / 200 or lost)
t.say(hosts.find("h0.test", 7), hosts.find("", 0))
--- response_body
true 0 true
nilnil



=== names of one hash push each other out, and never stand for each other
--- without: start
--- at_once
--- lua
local hosts = require("pointsman.cache.hosts")
hosts.init(1048576, function() return 42 end)
local function found(n)
    local right = 0
    for i = 1, n do
        local name = ("%04d.test"):format(i)
        local slot = hosts.find(name, #name)
        if slot then
            assert(hosts.targets[slot.target].name == i)
            right = right + 1
        end
    end
    return right
end
for i = 1, 10 do
    hosts.put(("%04d.test"):format(i), { name = i })
end
t.say(found(10))
for i = 11, 1000 do
    hosts.put(("%04d.test"):format(i), { name = i })
end
t.say(found(1000))
--- response_body
10
32



=== who is asked for stays, who is not makes room
--- without: start
--- at_once
--- lua
local hosts = require("pointsman.cache.hosts")
hosts.init(4096, function(name)
    return bit.tobit(ngx.crc32_short(name))
end)
local app, other = { name = "app" }, { name = "other" }
local kept = { "www.test", "api.test", "shop.test" }
for _, name in ipairs(kept) do
    hosts.put(name, app)
end
for i = 1, 100000 do
    hosts.put("random-" .. i .. ".test", other)
    for _, name in ipairs(kept) do
        assert(hosts.find(name, #name), name .. " was pushed out")
    end
end
local n = 0
for i = 1, 100000 do
    local name = "random-" .. i .. ".test"
    n = n + (hosts.find(name, #name) and 1 or 0)
end
t.say(n > 2000 and n <= 256 * 33)
--- response_body
true



=== a target is forgotten with the last name that leads to it
--- without: start
--- at_once
--- lua
local hosts = require("pointsman.cache.hosts")
hosts.init(1048576, function(name)
    return bit.tobit(ngx.crc32_short(name))
end)
local first, second = { name = "first" }, { name = "second" }
for i = 1, 1000 do
    hosts.put("h" .. i, first)
end
local function known()
    local names = {}
    for _, target in ipairs(hosts.targets) do
        names[#names + 1] = target and target.name or "-"
    end
    return table.concat(names, " ")
end
t.say(known())
for i = 1, 1000 do
    hosts.put("h" .. i, second)
    hosts.put("h" .. i, second)
end
t.say(known(), " ", first.number, " ", second.number)
hosts.put("h1", first)
t.say(known())
--- response_body
first
- second nil 2
first second



=== a name of no length is a name
--- without: start
--- at_once
--- lua
local hosts = require("pointsman.cache.hosts")
hosts.init(20000, function(name) return bit.tobit(ngx.crc32_short(name)) end)
local any, app = { name = "any" }, { name = "app" }
hosts.put("", any)
for i = 1, 100000 do
    local name = "h" .. i .. ".test"
    hosts.put(name, app)
    hosts.find(name, #name)
    assert(hosts.targets[hosts.find("", 0).target] == any)
end
t.say(any.number, " ", app.number)
--- response_body
1 2
