use TestPointsman;

run_edge_tests();

__DATA__

=== a sheet whose place on the board another one has is found in the list
--- lua
local board = require("pointsman.cache.versions")
local cache = require("pointsman.cache.routes")
local dicts = require("pointsman.cache.dicts")
local lists, sheets = 0, 0
local get = dicts.apps.get
function dicts.apps.get(zone, key)
    local text = get(zone, key)
    if key == "shop" then
        lists = lists + 1
    elseif text and key:find("^shop\n") then
        sheets = sheets + 1
    end
    return text
end
local function change(port)
    local lines = {}
    for i = 1, 3000 do
        lines[i] = ("inst shop i%05d 127.0.0.1:%d"):format(i, port)
    end
    t.change(table.concat(lines, "\n"))
end
-- A turn of all: how many have another port, what was read.
local function turn(port)
    lists, sheets = 0, 0
    local wrong = 0
    for _ = 1, 3000 do
        local peer = cache.find("shop.test").picker:pick()
        wrong = wrong + (peer.port == port and 0 or 1)
    end
    return wrong .. " wrong, " .. lists .. " lists, " .. sheets .. " sheets"
end
local function say_turn(port)
    local n = #cache.find("shop.test").parts
    t.say((turn(port):gsub("%f[%d]" .. n .. "%f[%D]", "all")))
end
t.say(t.show("shop.test"))
change(1)
t.change("del inst shop a")
turn(1)
say_turn(1)
-- The board has the numbers of all that have changed: no list is read.
change(2)
say_turn(2)
say_turn(2)
-- It has others.
local function take_places()
    for _, part in ipairs(cache.find("shop.test").parts) do
        board.show_sheet(part.place, board.sheet_number())
    end
end
take_places()
say_turn(2)
say_turn(2)
change(3)
take_places()
say_turn(3)
say_turn(3)
-- All sheets of the app have the same place.
local sheet_place = board.sheet_place
function board.sheet_place()
    return 5000
end
for _, part in ipairs(cache.find("shop.test").parts) do
    part.place = board.sheet_place()
end
change(4)
t.say((turn(4):gsub(", .*", "")))
say_turn(4)
t.change("inst shop i01500 127.0.0.1:80")
t.say((turn(4):gsub(", .*", "")))
board.sheet_place = sheet_place
for _, part in ipairs(cache.find("shop.test").parts) do
    part.place = board.sheet_place("shop", part.first)
end
-- A worker that starts cannot know what one that died has not shown.
board.init()
say_turn(4)
say_turn(4)
function board.sheet_place()
    return 5000
end
change(6)
t.say((turn(6):gsub(", .*", "")))
board.doubt_sheets()
say_turn(6)
-- Who reads the list finds which ones he has not seen.
change(7)
t.say((turn(7):gsub(", .*", "")))
board.show_sheet(board.list_place("shop"), board.sheet_number())
board.advance()
t.say((turn(7):gsub(", .*", "")))
-- Though the board has the numbers of before.
change(8)
for _, part in ipairs(cache.find("shop.test").parts) do
    board.show_sheet(part.place, part.number)
end
board.show_sheet(board.list_place("shop"), board.sheet_number())
board.advance()
t.say((turn(8):gsub(", .*", "")))
-- An app for one request.
board.sheet_place = sheet_place
local decode = require("cjson.safe").decode
local app = require("pointsman.cache.apps").fill({ name = "shop" },
    require("pointsman.cache.shared_apps").read("shop", decode))
board.doubt_sheets()
t.say(app.picker:pick().port)
dicts.apps.get = nil
--- response_body
200 a
0 wrong, 0 lists, 0 sheets
0 wrong, 0 lists, all sheets
0 wrong, 0 lists, 0 sheets
0 wrong, 1 lists, 0 sheets
0 wrong, 0 lists, 0 sheets
0 wrong, all lists, all sheets
0 wrong, 0 lists, 0 sheets
0 wrong
0 wrong, 0 lists, 0 sheets
1 wrong
1 wrong, 1 lists, 0 sheets
1 wrong, 0 lists, 0 sheets
3000 wrong
0 wrong, all lists, all sheets
3000 wrong
0 wrong
0 wrong
8



=== a round that passes parts with nobody in them looks after these one by one
--- lua
local cache = require("pointsman.cache.routes")
local dicts = require("pointsman.cache.dicts")
local reads = 0
local get = dicts.apps.get
function dicts.apps.get(zone, key)
    reads = reads + (key:find("\n", 1, true) and 1 or 0)
    return get(zone, key)
end
local function change(rest)
    local lines = {}
    for i = 1, 3000 do
        lines[i] = ("inst shop large-%05d "):format(i) .. rest
    end
    t.change(table.concat(lines, "\n"))
end
local most = 0
local function pick()
    reads = 0
    cache.find("shop.test").picker:pick()
    most = math.max(most, reads)
end
local function count(port)
    local n = 0
    for _, part in ipairs(cache.find("shop.test").parts) do
        for number = 1, part.n do
            n = n + (part:peer(number).port == port and 1 or 0)
        end
    end
    return n
end
local function wait_for(port)
    t.wait("all of them", function()
        pick()
        return count(port) == 3000, count(port)
    end)
end
t.say(t.show("shop.test"))
change("127.0.0.1:1 weight=0")
local parts = cache.find("shop.test").parts
t.say(#parts > 10)
change("127.0.0.1:2 weight=0")
-- The one with the instance that is picked, and another one.
pick()
t.say(most <= 2, " ", count(2) < 3000)
wait_for(2)
t.say(cache.find("shop.test").parts == parts)
-- As of a clock that was set back since.
local app = cache.find("shop.test")
app.looked = ngx.now() + 100
for _, part in ipairs(parts) do
    part.looked = ngx.now() + 100
end
change("127.0.0.1:3 weight=0")
wait_for(3)
-- Each pick finds instances that have come to be used.
change("127.0.0.1:4")
t.wait("all to get requests", function()
    for _ = 1, 1000 do
        pick()
    end
    return cache.find("shop.test").live == 3001
end)
change("127.0.0.1:5 weight=0")
t.say(t.show("shop.test"), " ", most)
dicts.apps.get = nil
--- response_body
200 a
true
true true
true
200 a 2
