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
local rows = {}
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
    local out = { tostring(plan.defaults) }
    for host, change in pairs(plan.routes) do
        out[#out + 1] = host .. change[1] .. cjson.encode(change[2])
    end
    for _, change in ipairs(plan.apps.shop or {}) do
        out[#out + 1] = change.to .. tostring(change.id) .. change.value
    end
    return table.concat(out, "\n")
end
local plain = read("[" .. table.concat(rows, ",") .. "]")
t.say(select(2, plain:gsub("\n", "\n")), " ", plain:sub(1, 40))
t.say(read("[" .. table.concat(rows, ",\n") .. "]") == plain)
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
--- response_body
199 true
a.test7null
7i001["1","127.0.0.1:80
true
true
true
true
true
nil 7i001["1","127.0.0.1:80",1]
nil
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



=== a long change is applied in parts, and nothing waits for a timer of 0
--- without: setup
--- http_config
    init_by_lua_block {
        -- Before any module has taken these for itself.
        local at, sleep, kit = ngx.timer.at, ngx.sleep, ngx.shared.testkit
        ngx.timer.at = function(delay, ...)
            kit:incr("zero", delay == 0 and 1 or 0, 0)
            return at(delay, ...)
        end
        ngx.sleep = function(seconds)
            kit:incr(seconds == 0 and "zero" or "pauses", 1, 0)
            return sleep(seconds)
        end
        require("pointsman").setup {
            redis = "redis://127.0.0.1:$TEST_NGINX_REDIS_PORT",
            prefix = "test:",
        }
        require("between")
    }
--- lua
local function lines(rest)
    local list = {}
    for i = 1, 3000 do
        list[i] = ("inst shop i%05d "):format(i) .. rest
    end
    return table.concat(list, "\n")
end
t.say(t.show("shop.test"))
t.counts:set("zero", 0)
t.counts:set("pauses", 0)
local revision = t.publish(lines("@b"))
while t.status().applied < revision do
    -- Each request is a turn of the worker, between two parts of the work.
    t.counts:incr("turns", 1, 0)
end
t.say(t.counts:get("pauses") > 10, " ", t.counts:get("turns") > 5)
t.say(t.counts:get("zero"))
t.change("inst shop a @c\n" .. lines("@c"))
t.say(t.show("shop.test"))
--- response_body
200 a
true true
0
200 c
