use TestPointsman;

run_edge_tests();

__DATA__

=== after a storm of changes, some of them lost, every worker is right
--- workers: 4
--- lua
ngx.update_time()
local seed = math.floor(ngx.now() * 1000) % 1000000
math.randomseed(seed)
local random = math.random

local function one_change()
    local app, host = "app" .. random(8), "h" .. random(30) .. ".test"
    local at = " @" .. ("abc"):sub(random(3)):sub(1, 1)
    return ({
        "route " .. host .. " " .. app,
        "del route " .. host,
        "inst " .. app .. " x" .. at,
        "inst " .. app .. " y" .. at,
        "del inst " .. app .. " y",
    })[random(5)]
end

local done = false
local function change()
    for i = 1, 500 do
        local text = {}
        for j = 1, 3 do
            text[j] = one_change()
        end
        -- more of them towards the end, where no later change mends it
        local lost = random(i > 480 and 2 or 30) == 1
        t.publish(table.concat(text, "\n"), lost and "lost" or nil)
    end
    done = true
end
local function load()
    while not done do
        t.get("h" .. random(30) .. ".test")
    end
end
t.together(change, load, load, load, load)
t.change("route end.test app1")

-- what Redis says: the status, and the instances that may answer
local NAMES = { ["2"] = "a", ["3"] = "b", ["4"] = "c" }
local function expected(host)
    local route = t.redis("GET", t.prefix .. "route:" .. host)
    if route == ngx.null then
        return 404
    end
    local list = t.redis("HVALS", t.prefix .. "inst:"
                                  .. route:match('"app":"([^"]+)"'))
    local names = {}
    for _, value in ipairs(list) do
        names[NAMES[value:match("127%.0%.0%.(%d)")]] = true
    end
    return next(names) and 200 or 503, names
end

local wrong = 0
for _, worker in ipairs(t.connect_each(4)) do
    for i = 1, 30 do
        local host = "h" .. i .. ".test"
        local status, names = expected(host)
        for _ = 1, 2 do
            local response = worker:request(host)
            local by = response.headers["x-instance"]
            if response.status ~= status or status == 200 and not names[by] then
                wrong = wrong + 1
                t.say("seed ", seed, ": ", host, " ", response.status, " by ",
                      by, ", not ", status)
            end
        end
    end
end
t.say(wrong, " wrong")
--- response_body
0 wrong
