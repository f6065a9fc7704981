use TestPointsman;

run_edge_tests();

__DATA__

=== a large app that changes again and again is read now and then, to the last
--- lua
local list = { 'rules rules.test [{"path":"/x","to":[{"app":"shop"}]},'
               .. '{"path":"/","to":[{"app":"shop"}]}]' }
for i = 1, 6000 do
    list[i + 1] = string.format("inst shop large-%05d @refused weight=0", i)
end
t.change(table.concat(list, "\n"))
local late = 0
for round = 1, 20 do
    local name = round % 2 == 0 and "a" or "b"
    t.say(t.show("shop.test"), " ", t.show("rules.test"))
    -- Instances of all its sheets; two weights, so no round over these.
    local changes = { "inst shop a @" .. name,
                      "inst shop b @" .. name .. " weight=50" }
    for i = round, 6000, 60 do
        changes[#changes + 1] = list[i + 1]
    end
    t.change(table.concat(changes, "\n"))
    if t.show("shop.test") ~= "200 " .. name then
        late = late + 1
        t.say(round > 4 and "rests" or "rests too soon")
    end
    -- Nothing moves any more: these requests must look again by themselves.
    t.wait("both to see the change", function()
        local shown = t.show("shop.test") .. t.show("rules.test")
        return shown == "200 " .. name .. "200 " .. name, shown
    end)
end
t.say(late > 0)
--- response_body_like eval
"^" . join("(?:rests\\n)?", map { "200 $_ 200 $_\\n" } ("a", "b") x 10)
    . "(?:rests\\n)?true\n\$"



=== a round over a large app reads a sheet that has changed when its turn comes
--- timeout: 20
--- lua
local cache = require("pointsman.cache.routes")
local dicts = require("pointsman.cache.dicts")
local reads = 0
local get = dicts.apps.get
function dicts.apps.get(zone, key)
    reads = reads + (key:find("\n", 1, true) and 1 or 0)
    return get(zone, key)
end
local function change(first, step, line)
    local list = {}
    for i = first, 3000, step do
        list[#list + 1] = line:format(i)
    end
    t.change(table.concat(list, "\n"))
end
local function pick()
    return cache.find("shop.test").picker:pick()
end
-- One turn of all, from the first one on: those of `first`, `first` + `step`, ...
-- by their port.
local function turn(first, step, port, others)
    local last, n, wrong = nil, 0, 0
    reads = 0
    while cache.find("shop.test").picker:last().id ~= "i03000" do
        pick()
    end
    repeat
        local peer = pick()
        local number = tonumber(peer.id:sub(2))
        local expected = (number - first) % step == 0 and port or others
        if peer.port ~= expected or last and peer.id <= last then
            wrong = wrong + 1
        end
        last, n = peer.id, n + 1
    until last == "i03000"
    return n .. " picked, " .. wrong .. " wrong"
end

t.say(t.show("shop.test"))
change(1, 1, "inst shop i%05d 127.0.0.1:1")
t.change("del inst shop a")
pick()
local sheets = #cache.find("shop.test").parts
t.say(sheets > 10, " ", turn(1, 1, 1), ", ", reads, " read")
change(7, 20, "inst shop i%05d 127.0.0.1:2")
reads = 0
for _ = 1, 10 do
    pick()
end
t.say(reads, " read")
t.say(turn(7, 20, 2, 1), ", ", reads == sheets - 1)
t.say(turn(7, 20, 2, 1), ", ", reads, " read")

-- Who failed is found by the address, read or not.
local first = cache.find("shop.test").parts[1]
t.say(first:known("127.0.0.1:2").id, " ", first:search("127.0.0.1:2").id, " ",
      first:known("127.0.0.1:3"), first:search("127.0.0.1:3"),
      first:search("nonsense"))
change(7, 20, "inst shop i%05d 127.0.0.1:3")
pick()
local last = cache.find("shop.test").parts[sheets]
t.say(last:known("127.0.0.1:3"), " ", last:known("127.0.0.1:2").id >= last.first)

-- They go, and come back.
change(7, 20, "del inst shop i%05d")
t.say(turn(7, 20, 0, 1))
change(7, 20, "inst shop i%05d 127.0.0.1:4")
t.say(turn(7, 20, 4, 1))
-- All of some sheets: who gets requests again is found, though their turn
-- would not come.
change(1000, 1, "inst shop i%05d 127.0.0.1:5 weight=0")
for _ = 1, 4000 do
    pick()
end
t.say(cache.find("shop.test").live)
change(1000, 1, "inst shop i%05d 127.0.0.1:6")
t.wait("all to be there", function()
    for _ = 1, 1000 do
        pick()
    end
    return cache.find("shop.test").live == 3000
end)
-- One after the other of a weight that is another one for all.
change(1, 1, "inst shop i%05d 127.0.0.1:7 weight=9")
t.say(turn(1, 1, 7))
-- The instances of one version go, while those of the next are to be used.
change(1, 1, "inst shop i%05d 127.0.0.1:8")
local next_version = tonumber(cache.find("shop.test").parts[6].first:sub(2))
change(next_version, 1, "inst shop i%05d 127.0.0.1:8 weight=0")
for _ = 1, 4000 do
    pick()
end
local changes = {}
for i = 1, 3000 do
    changes[i] = (i < next_version and "inst shop i%05d 127.0.0.1:8 weight=0"
                  or "inst shop i%05d 127.0.0.1:9"):format(i)
end
t.change(table.concat(changes, "\n"))
for _ = 1, 3 do
    t.say(pick().port)
end
t.wait("all of them", function()
    for _ = 1, 1000 do
        pick()
    end
    return cache.find("shop.test").live == 3001 - next_version
end)

-- A pick that passes over some does not take one from a sheet that has changed.
change(1, 1, "inst shop i%05d 127.0.0.1:10")
t.wait("all to be used again", function()
    for _ = 1, 1000 do
        pick()
    end
    return cache.find("shop.test").live == 3000
end)
t.say(turn(1, 1, 10))
change(1, 1, "inst shop i%05d 127.0.0.1:11")
pick()
local parts, n = cache.find("shop.test").parts, 0
local function skip(peer)
    return peer.id < parts[3].first
end
for i = 1, 300 do
    -- Alone, as an attempt after another one does.
    local peer = cache.find("shop.test").picker:pick(skip)
    n = n + (peer.port == 11 and peer.id >= parts[3].first and 1 or 0)
end
t.say(n)

-- Nothing waits any more when it is not a round over them that is asked for.
change(1, 1, "inst shop i%05d 127.0.0.1:12")
pick()
t.change("app shop balance=random")
n = 0
for i = 1, 300 do
    local peer = cache.find("shop.test").picker:pick(nil, { now = i })
    n = n + (peer.port == 12 and 1 or 0)
end
t.say(n)

change(1, 1, "del inst shop i%05d")
t.say(t.show("shop.test"))
dicts.apps.get = nil
--- response_body
200 a
true 3000 picked, 0 wrong, 0 read
1 read
3000 picked, 0 wrong, true
3000 picked, 0 wrong, 0 read
i00007 i00007 nilnilnil
nil true
2850 picked, 0 wrong
3000 picked, 0 wrong
999
3000 picked, 0 wrong
9
9
9
3000 picked, 0 wrong
300
300
503 no_instance



=== what changes in all parts of a large app is read part by part
--- lua
local cache = require("pointsman.cache.routes")
-- Every so many of the instances.
local function change(step, rest)
    local lines = {}
    for i = step, 6000, step do
        lines[#lines + 1] = ("inst shop large-%05d "):format(i) .. rest
    end
    t.change(table.concat(lines, "\n"))
end
local function count(zone)
    local n = 0
    for _, peer in ipairs(cache.find("shop.test").peers) do
        n = n + (peer.zone == zone and 1 or 0)
    end
    return n
end
-- Changes it so often that a reading does not bring all at once, and waits for
-- the rest of it: no change comes after it.
local function follow()
    for i = 1, 200 do
        local zone = i % 2 == 0 and "y" or "z"
        change(50, "127.0.0.1:1 weight=0 zone=" .. zone)
        if count(zone) < 120 then
            t.wait("the rest", function()
                local now = count(zone)
                return now == 120, now
            end)
            return "in parts"
        end
    end
    return "all at once"
end
change(1, "127.0.0.1:1 weight=0")
-- Two weights, so no round over its parts.
t.change("inst shop b @a weight=50")
t.say(t.show("shop.test"))
t.say(follow())
t.say(t.show("shop.test"))
--- response_body
200 a
in parts
200 a



=== a large app of which a little changes is read at once
--- lua
local list = {}
for i = 1, 6000 do
    list[i] = string.format("inst shop large-%05d @refused weight=0", i)
end
t.change(table.concat(list, "\n"))
local late = 0
for round = 1, 40 do
    local name = round % 2 == 0 and "a" or "b"
    t.change("inst shop a @" .. name)
    if t.show("shop.test") ~= "200 " .. name then
        late = late + 1
    end
end
t.say(late)
--- response_body
0



=== instances come and go in all parts of a large app, and all leave
--- lua
local function all(line, step)
    local list = {}
    for i = 1, 3000, step do
        list[#list + 1] = line:format(i)
    end
    return table.concat(list, "\n")
end
local function answers()
    local seen = {}
    for _ = 1, 12 do
        seen[t.show("shop.test")] = true
    end
    local names = {}
    for name in pairs(seen) do
        names[#names + 1] = name
    end
    table.sort(names)
    return table.concat(names, ", ")
end
t.change(all("inst shop i%05d @refused weight=0", 1))
t.say(answers())
local sheets = t.status().dicts.pointsman_apps.entries
t.say(sheets > 10)
-- Sheets are cut in two; others end up empty.
for i = 1, 20 do
    t.change(all("inst shop i%05d-" .. i .. " @refused weight=0", 30))
end
t.change("inst shop i01000-x @b\ninst shop z @c\ninst shop 0 @a\ndel inst shop a")
-- They come to be used where nobody of their sheets was.
t.wait("all three to answer", function()
    local names = answers()
    return names == "200 a, 200 b, 200 c", names
end)
t.say(answers())
t.say(t.status().dicts.pointsman_apps.entries > sheets)
t.change(all("del inst shop i%05d", 1))
for i = 1, 20 do
    t.change(all("del inst shop i%05d-" .. i, 30))
end
t.say(answers())
t.change("del inst shop 0\ndel inst shop z\ndel inst shop i01000-x")
t.say(answers(), " ", t.status().dicts.pointsman_apps.entries)
t.change("inst shop new @b")
t.say(answers(), " ", t.status().dicts.pointsman_apps.entries)
t.say(t.counts:get("app_lookups"))
--- response_body
200 a
true
200 a, 200 b, 200 c
true
200 a, 200 b, 200 c
503 no_instance 1
200 b 2
1



=== an app that becomes large and empty between two requests has no instances
--- lua
t.say(t.show("shop.test"))
local list, gone = {}, { "del inst shop a" }
for i = 1, 1000 do
    list[i] = ("inst shop i%05d @refused weight=0"):format(i)
    gone[i + 1] = ("del inst shop i%05d"):format(i)
end
t.change(table.concat(list, "\n"))
t.change(table.concat(gone, "\n"))
t.say(t.show("shop.test"))
--- response_body
200 a
503 no_instance



=== two workers that fill in a large app leave no sheet behind
--- lua
local apps, codec = require("pointsman.cache.shared_apps"), require("pointsman.codec.records")
local decode = require("cjson.safe").decode
local function app_of(n)
    local peers = {}
    for i = 1, n do
        peers[i] = codec.instance(decode, ("i%05d"):format(i),
                                  '["5","127.0.0.1:80",0]')
    end
    return codec.pack_app({ name = "twice", policy = codec.policy(decode),
                            peers = peers }, 5, 0)
end
local function entries()
    return t.status().dicts.pointsman_apps.entries
end
local before = entries()
local cut_app = codec.cut_app
codec.cut_app = function(text, next_number)
    codec.cut_app = cut_app
    local list, sheets = cut_app(text, next_number)
    -- Another worker, in between.
    apps.put("twice", app_of(2000))
    return list, sheets
end
t.say(apps.put("twice", app_of(3000)))
t.say(entries() - before == 1 + #codec.sheet_numbers(apps.get("twice")))
local dicts = require("pointsman.cache.dicts")
local add = dicts.add
dicts.add = function(...)
    dicts.add = add
    -- And once more, while this one is about to lock.
    apps.put("twice", app_of(2500))
    return add(...)
end
t.say(apps.put("twice", app_of(3000)))
t.say(entries() - before == 1 + #codec.sheet_numbers(apps.get("twice")))
local edit_sheets = codec.edit_sheets
codec.edit_sheets = function(...)
    codec.edit_sheets = edit_sheets
    apps.put("twice", app_of(1000))
    return edit_sheets(...)
end
t.say(apps.edit("twice", apps.get("twice"), nil, { i00001 = false }, 6, 0))
local stale = apps.get("twice")
codec.edit_sheets = function(...)
    codec.edit_sheets = edit_sheets
    local list, made, gone = edit_sheets(...)
    apps.put("twice", app_of(1500))
    return list, made, gone
end
t.say(apps.edit("twice", stale, nil, { i00001 = false }, 6, 0))
t.say(entries() - before == 1 + #codec.sheet_numbers(apps.get("twice")))
t.say(#codec.peers_of(apps.read("twice", decode)))
t.say(apps.edit("twice", apps.get("twice"), nil, { i00001 = false }, 6, 0))
t.say(#codec.peers_of(apps.read("twice", decode)))
-- Others come in while the new sheets are put there, one after the other, and
-- while the old ones are taken away.
local function others(at, n)
    local pauses = 0
    return function()
        pauses = pauses + 1
        if pauses == at and n then
            apps.put("twice", app_of(n))
        elseif pauses == at then
            apps.drop("twice")
        end
    end
end
local edits, results = {}, {}
for i = 1, 1499, 100 do
    edits[("i%05d"):format(i)] = false
end
for at = 1, 120 do
    apps.put("twice", app_of(1500))
    local n = at % 3 > 0 and 500 * (at % 3) or nil
    local result = apps.edit("twice", apps.get("twice"), nil, edits, 6, 0,
                             others(at, n))
    local text = apps.get("twice")
    local listed = not text and 0
                   or codec.is_list(text) and 1 + #codec.sheet_numbers(text) or 1
    assert(entries() - before == listed, "at " .. at)
    assert(result or not text
           or #codec.peers_of(apps.read("twice", decode)) == n)
    results[tostring(result)] = true
end
t.say(results["false"], " ", results["true"])
apps.drop("twice")
t.say(entries() - before)
--- response_body
true
true
true
true
falsea sheet is missing
false
true
1500
true
1499
true true
0
