use TestPointsman;

run_edge_tests();

__DATA__

=== the two ways of reading the stream find the same in it
--- lua
local feed = assert(require("pointsman.redis").follow())
local stream = t.prefix .. "changes"
local function text(entries)
    for i, entry in ipairs(entries) do
        entries[i] = table.concat({
            entry.id, tostring(entry.epoch), tostring(entry.from),
            tostring(entry.to), tostring(entry.kind), entry.changes }, "|")
    end
    return table.concat(entries, "\n")
end
local function put(...)
    t.redis("XADD", stream, "5-*", ...)
end
t.redis("DEL", stream)
t.say("[", text(feed:read("0-0", true)), "]")
put("epoch", "e", "from", "4", "kind", "batch", "changes", '[["inst:a","b",null]]')
put("kind", "reset", "from", "4", "epoch", "e", "changes", "[]")
put("epoch", "e", "from", "x", "kind", "batch", "changes", '[["inst:a"')
put("changes", '[]],["999-0","e","0","batch",[]', "epoch", 'a"b\\\n', "from", "4")
put("changes", "[]],[1", "more", "")
put("changes", "", "kind", "\1\2\127")
put("changes", "null")
put("none", "of ours")
put("epoch", "", "from", "", "kind", "", "changes", ("[7],"):rep(50000))
local by_script, waiting = text(feed:read("0-0", true)), text(feed:read("0-0"))
t.say(by_script == waiting, " ", #by_script > 200000)
t.say((by_script:sub(1, by_script:find("[7]", 1, true) - 1)
       :gsub("[\1\2\127]", "?")))
t.say(text(feed:read("5-7", true)):sub(1, 12))
for i = 1, 2 * feed.BATCH do
    t.redis("XADD", stream, "6-*", "changes", i)
end
t.say(#feed:read("5-8", true), " ", #feed:read("5-8"))
feed:close()
--- response_body
[]
true true
5-0|e|4|5|batch|[["inst:a","b",null]]
5-1|e|4|5|reset|[]
5-2|e|nil|5|batch|[["inst:a"
5-3|a"b\
|4|5|nil|[]],["999-0","e","0","batch",[]
5-4|nil|nil|5|nil|[]],[1
5-5|nil|nil|5|???|
5-6|nil|nil|5|nil|null
5-7|nil|nil|5|nil|
5-8||nil|5||
5-8||nil|5||
16 16



=== while changes pour in, the stream is read by a script
--- lua
local function calls(command)
    local pattern = "cmdstat_" .. command .. ":calls=(%d+)"
    return tonumber(t.redis("INFO", "commandstats"):match(pattern)) or 0
end
t.redis("CONFIG", "RESETSTAT")
t.publish("inst shop a @a")
t.sleep(0.05)
t.publish("inst shop a @b")
t.applied()
t.say(t.show("shop.test"), " ", calls("xrange"))
for i = 1, 200 do
    t.publish("inst shop a @" .. (i % 2 == 0 and "a" or "b"))
end
t.applied()
t.say(t.show("shop.test"), " ", calls("xrange") > 20)
-- Nor does the feed look at the whole table each time that there is a pause.
for _ = 1, 20 do
    t.publish("inst shop a @b")
    t.publish("inst shop a @c")
    t.sleep(0.02)
end
t.applied()
t.say(t.show("shop.test"), " ", calls("xrevrange") < 10)
--- response_body
200 b 0
200 a true
200 c true



=== long work of the feed is cut into slices, between which the worker does all else
--- lua
local slices = require("pointsman.slices")
-- How often the worker has done something else meanwhile.
local function work(milliseconds, turn)
    local rounds, going = 0, true
    ngx.timer.at(0, function()
        while going do
            rounds = rounds + 1
            ngx.sleep(0.001)
        end
    end)
    slices.begin()
    ngx.update_time()
    local stop = ngx.now() + milliseconds / 1000
    repeat
        turn()
        ngx.update_time()
    until ngx.now() >= stop
    going = false
    local before = rounds
    t.sleep(0.01)
    return before
end
t.say(work(20, function() end), " ", work(20, slices.turn) > 10)
-- What is short is not cut.
t.say(work(0, slices.turn))
--- response_body
0 true
0



=== where nginx takes no more timers, or forgets one, the work goes on
--- lua
local timer_at = ngx.timer.at
local function with_timers(at)
    package.loaded["pointsman.slices"] = nil
    ngx.timer.at = at
    local slices = require("pointsman.slices")
    ngx.timer.at = timer_at
    return function()
        slices.begin()
        ngx.update_time()
        local begin = ngx.now()
        repeat ngx.update_time() until ngx.now() > begin
        begin = ngx.now()
        slices.turn()
        ngx.update_time()
        return ngx.now() - begin
    end
end
t.say(with_timers(function() return nil, "too many pending timers" end)() < 0.5)
t.say(with_timers(function() return true end)() >= 0.9)
-- One that is late is not taken for the next one.
local late, done = 1.2, false
local turn = with_timers(function(_, run, semaphore)
    return timer_at(late, function()
        done = true
        run(false, semaphore)
    end)
end)
t.say(turn() >= 0.9, " ", done)
t.sleep(0.5)
late = 0.05
t.say(turn() >= 0.04, " ", turn() >= 0.04)
--- response_body
true
true
true false
true true
