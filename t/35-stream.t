use TestPointsman;

run_edge_tests();

__DATA__

=== the two ways of reading the stream find the same in it
--- lua
local feed = assert(require("pointsman.redis.client").follow())
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



=== changes are the same, however the JSON of an entry is written
--- lua
local apply = require("pointsman.feed.apply")
local cjson = require("cjson")
local slices = require("pointsman.feed.slices")
local rows, turns = {}, 0
local turn = slices.turn
function slices.turn()
    turns = turns + 1
    turn()
end
for i = 1, 200 do
    rows[i] = ('["inst:shop","i%03d","[\\"%d\\",\\"127.0.0.1:80\\",1]"]'):format(i, i)
end
rows[50] = '["route:a.test",null]'
rows[60] = '["app:shop", "{\\"rev\\":\\"7\\"}"]'
rows[70] = '["app:*",null]'
local function read(text)
    local plan = apply.plan()
    local ok, err = apply.add(plan, { { id = "7-0", to = 7, changes = text } })
    if not ok then
        return err
    end
    local out = { tostring(plan.defaults), plan.entries }
    for host, change in pairs(plan.routes) do
        out[#out + 1] = host .. change[1] .. cjson.encode(change[2])
    end
    for _, change in ipairs(plan.apps.shop or {}) do
        out[#out + 1] = change[1] .. tostring(change[2]) .. change[3]
    end
    return table.concat(out, "\n")
end
local plain = read("[" .. table.concat(rows, ",") .. "]")
t.say(select(2, plain:gsub("\n", "\n")), " ", plain:sub(1, 40))
-- One of the list, and one of each of its changes; the same in pieces.
t.say(turns)
turns = 0
t.say(read("[" .. table.concat(rows, ",\n") .. "]") == plain)
t.say(turns > 220)
t.say(read(" [" .. table.concat(rows, ",\n") .. "] ") == plain)
t.say(read("[" .. table.concat(rows, "\n,") .. "]") == plain)
t.say(read("[" .. table.concat(rows, ",\n"):gsub('","', '"\n,\n  "') .. "]") == plain)
t.say(read(cjson.encode(cjson.decode("[" .. table.concat(rows, ",") .. "]"))) == plain)
-- One of them alone, and none.
t.say((read("[" .. rows[1] .. "]"):gsub("\n", " ")))
t.say((read("[]"):gsub("\n", " ")))
for _, text in ipairs { "", "[", "]", "[]]", "null", "7", '"[]"', "[" .. rows[1] .. ",\n",
                        "[" .. table.concat(rows, ",\n") .. ",\n]" } do
    t.say((read(text):gsub(": .*", "")))
end
slices.turn = turn
--- response_body
200 true
1
a.test7null
7i001["1","127.0.0.1:
201
true
true
true
true
true
true
nil 1 7i001["1","127.0.0.1:80",1]
nil 1
failed to decode entry 7-0
failed to decode entry 7-0
failed to decode entry 7-0
failed to decode entry 7-0
failed to decode entry 7-0
failed to decode entry 7-0
failed to decode entry 7-0
failed to decode entry 7-0
failed to decode entry 7-0



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



=== long work is cut into slices, between which the worker does all else
--- lua
local real = { at = ngx.timer.at, sleep = ngx.sleep }
-- With these in place of nginx's own. Counts how often there was a pause, or one
-- was tried, and how often the work looked whether it is time for one.
local function slices_with(at, sleep)
    local pauses = 0
    local function counted(pause)
        return function(...)
            pauses = pauses + 1
            return pause(...)
        end
    end
    package.loaded["pointsman.feed.slices"] = nil
    ngx.timer.at, ngx.sleep = counted(at), counted(sleep)
    local slices = require("pointsman.feed.slices")
    ngx.timer.at, ngx.sleep = real.at, real.sleep
    return function(milliseconds)
        pauses = 0
        local turns = 0
        ngx.update_time()
        local stop = ngx.now() + milliseconds / 1000
        slices.begin()
        repeat
            slices.turn()
            turns = turns + 1
            ngx.update_time()
        until ngx.now() >= stop
        return pauses, turns
    end
end
-- What else the worker did while such work went on for 0.1 s.
local function meanwhile(work)
    local rounds, going = 0, true
    ngx.timer.at(0, function()
        while going do
            rounds = rounds + 1
            real.sleep(0.001)
        end
    end)
    local pauses, turns = work(100)
    going = false
    return rounds, pauses, turns
end
local function none()
    return nil, "too many pending timers"
end

local work = slices_with(real.at, real.sleep)
-- Forty slices, if it were cut.
t.say("after a while: ", work(1) < 5)
local rounds, pauses, most = meanwhile(work)
t.say("pauses: ", pauses > 100, ", others ran: ", rounds > 10)

-- What was read is a slice, too. (It was there before timers are due, so it takes
-- two turns for others to be served.)
t.say("reading: ", (work(0)) >= 2)

-- The answer to a request that was sent on meanwhile comes before the work, which
-- waits one turn for it, and no longer.
local counts = require("pointsman.metrics").counts
local function turns_to_begin(requests)
    local work = slices_with(function(...)
        counts.hits_l1 = counts.hits_l1 + requests
        return real.at(...)
    end, real.sleep)
    work(20)
    local least = math.huge
    for _ = 1, 20 do
        local turns = work(0)
        -- After a long stall it is not cut.
        least = turns > 0 and math.min(least, turns) or least
    end
    return least
end
t.say("no request: ", turns_to_begin(0), ", requests: ", turns_to_begin(1))

-- Where nginx takes no timers, forgets them, or is late with one.
t.say("none: ", meanwhile(slices_with(none, real.sleep)) > 5)
t.say("forgotten: ", meanwhile(slices_with(function() return true end,
                                           real.sleep)) > 1)
local waits, asked = {}, 0
work = slices_with(function(_, post, semaphore)
    asked = asked + 1
    waits[semaphore] = true
    return real.at(0.1, post, semaphore)
end, real.sleep)
work(200)
local distinct = 0
for _ in pairs(waits) do
    distinct = distinct + 1
end
t.say("late: ", asked > 2, ", one for each: ", distinct == asked)
t.sleep(0.2)

-- A worker that is long with its requests is given longer slices. (What is not
-- cut after a while is used up first.)
work = slices_with(none, function() real.sleep(0.02) end)
work(50)
local _, turns = work(100)
t.say("busy: ", turns > most / 50)
--- response_body
after a while: true
pauses: true, others ran: true
reading: true
no request: 2, requests: 3
none: true
forgotten: true
late: true, one for each: true
busy: true



=== the feed's work is cut so
--- hook
    local slices = require("pointsman.feed.slices")
    local turn = slices.turn
    slices.turn = function()
        ngx.shared.testkit:incr("turns", 1, 0)
        return turn()
    end
--- lua
local function turns_of(changes)
    ngx.shared.testkit:set("turns", 0)
    t.change(table.concat(changes, "\n"))
    return ngx.shared.testkit:get("turns")
end
t.show("shop.test")
local changes = {}
for i = 1, 800 do
    changes[i] = ("inst shop a%03d @a"):format(i)
end
-- At each change of the entry, at the line that is made of it, and when that is
-- chosen.
t.say(turns_of(changes) > 3 * #changes)
-- Now the app is in sheets: at each line that is looked up, and put in, too.
t.say(turns_of(changes) > 5 * #changes)
--- response_body
true
true
