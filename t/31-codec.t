use TestPointsman;

run_edge_tests();

__DATA__

=== a text that was edited is the text of what it is of, by FFI as by strings
--- without: start
--- at_once
--- timeout: 20
--- lua
local codec = require("pointsman.codec.records")
local decode = require("cjson.safe").decode
local line_of = require("pointsman.codec.lines").of

local function instance(id, rev)
    local extras = { "", "", "", ',{"zone":"a"}', ',{"draining":1}',
                     ',{"zone":"b","down":1}' }
    return assert(codec.instance(decode, id, ('["%d","10.1.%d.%d:%d",%d%s]')
        :format(rev, math.random(250), math.random(250), math.random(65535),
                math.random(100), extras[math.random(#extras)])))
end

-- Neighbours that look alike, and ids that begin like others.
local function random_id()
    return ("shop-%04d"):format(math.random(3000))
           .. (math.random(20) == 1 and "-x" or "")
end

math.randomseed(11)
local by_id = {}
for _ = 1, 2000 do
    local id = random_id()
    by_id[id] = instance(id, 1)
end
local function app_of_model()
    local peers = {}
    for _, peer in pairs(by_id) do
        peers[#peers + 1] = peer
    end
    return { name = "shop", policy = codec.policy(decode),
             peers = codec.sort_peers(peers) }
end

local text = codec.pack_app(app_of_model(), 1, 1)
local before, reused = codec.unpack_app(text, decode), 0
for round = 2, 300 do
    local edits = {}
    for _ = 1, math.random(8) == 1 and 200 or math.random(0, 4) do
        local id = random_id()
        by_id[id] = math.random(3) > 1 and instance(id, round) or nil
        edits[id] = by_id[id] and line_of(by_id[id]) or false
    end
    text = assert(codec.edit_app(text, nil, edits, round, 1))
    local fresh = codec.pack_app(app_of_model(), round, 1)
    assert(text == fresh, "another text in round " .. round)

    local old = {}
    for _, peer in ipairs(before.peers) do
        old[peer] = true
    end
    local app = assert(codec.unpack_app(text, decode, before))
    assert(codec.pack_app(app, round, 1) == fresh,
           "another app in round " .. round)
    for _, peer in ipairs(app.peers) do
        reused = reused + (old[peer] and 1 or 0)
    end
    before = app
end
t.say(reused > 300 * 1000)
--- response_body
true



=== a large app in sheets is the app that it would be in one text
--- without: start
--- at_once
--- timeout: 60
--- lua
local codec = require("pointsman.codec.records")
local decode = require("cjson.safe").decode
local line_of = require("pointsman.codec.lines").of

local function instance(id, rev)
    local extras = { "", "", "", ',{"zone":"a"}', ',{"zone":"a-12"}',
                     ',{"zone":"a-1"}', ',{"zone":"a-2"}', ',{"zone":"aa"}',
                     ',{"draining":1}', ',{"zone":"b","down":1}' }
    -- Often nothing changes that concerns a round.
    return assert(codec.instance(decode, id, ('["%d","10.1.2.3:80",%d%s]')
        :format(rev, math.random(9) == 1 and 2 or 1,
                extras[math.random(#extras)])))
end

math.randomseed(12)
local by_id, policy = {}, codec.policy(decode)
local function app_of_model()
    local peers = {}
    for _, peer in pairs(by_id) do
        peers[#peers + 1] = peer
    end
    return { name = "shop", policy = policy, peers = codec.sort_peers(peers) }
end

local sheets, count = {}, 0
local function get(number)
    return sheets[number]
end
local failed = 0
local function get_or_fail(number)
    if math.random(30) == 1 then
        failed = failed + 1
        return nil
    end
    return sheets[number]
end
local function next_number()
    count = count + 1
    return count
end
local function keep(made, gone)
    for _, sheet in ipairs(made) do
        sheets[sheet.number] = sheet.text
    end
    for _, number in ipairs(gone) do
        sheets[number] = nil
    end
end

t.say(codec.cut_app(codec.pack_app(app_of_model(), 1, 1), next_number))
for i = 1, 2000 do
    local id = ("shop-%05d"):format(i * 10)
    by_id[id] = instance(id, 1)
end
local text, made = codec.cut_app(codec.pack_app(app_of_model(), 1, 1),
                                 next_number)
keep(made, {})
local before, read, kept = codec.unpack_sheets(text, get, decode), 0, 0
local function pack(app, round)
    return codec.pack_app({ name = app.name, policy = app.policy,
                            peers = codec.peers_of(app) }, round, 1)
end
-- A sheet says which of its instances may get requests, and of what weight they
-- are. As long as it is the same one, they are.
local ids_of = setmetatable({}, { __mode = "k" })
local function check_sheets(app)
    for i, sheet in ipairs(app.sheets) do
        local ids, live, weight = {}, {}, nil
        for number = 1, sheet.n do
            local peer = sheet:peer(number)
            ids[number] = peer.id
            if peer.weight > 0 and not peer.draining and not peer.down then
                live[#live + 1] = number
                weight = (not weight or weight == peer.weight) and peer.weight
                         or 0
            end
        end
        assert(sheet.first == ids[1] and sheet.weight == weight)
        assert(table.concat(sheet.live, " ") == table.concat(live, " "))
        local all = table.concat(ids, " ")
        assert(not ids_of[sheet] or ids_of[sheet] == all)
        ids_of[sheet] = all
        local before = app.sheets[i - 1]
        assert(not before or before:peer(before.n).id < sheet.first)
    end
end

local another = codec.pack_app({ name = "another", peers = {},
                                 policy = codec.policy(decode) }, 1, 1)
local other_edits = { a = line_of(instance("a", 1)), b = false }
local edited = codec.edit_app(another, nil, other_edits, 7, 1)

-- Another reader takes its time; it may have instances as they were before.
local late, waited = codec.unpack_sheets(text, get, decode), 0
local function read_late(limit)
    local read, _, count, is_whole
    local wanted = limit > 0 and late.sheets[math.random(#late.sheets)] or nil
    repeat
        -- A reading that fails may have brought a part of it up to date.
        read, _, _, count, is_whole =
            codec.unpack_sheets(text, get_or_fail, decode, late, limit, wanted)
    until read
    late = read
    waited = waited + (is_whole and 0 or 1)
    assert(is_whole or count >= limit)
    assert(is_whole == not late.waits)
    if math.random(4) == 1 then
        check_sheets(late)
    end
    late.parted = late.policy.plain
    local peers = codec.peers_of(late)
    for i = 2, #peers do
        assert(peers[i - 1].id < peers[i].id)
    end
    return is_whole
end

-- What was asked for anew is not put off.
late.parted = true
for v = 1, 2 do
    local id = "shop-00010"
    by_id[id] = instance(id, 1)
    local made, gone
    text, made, gone = codec.edit_sheets(text, get, next_number, nil,
                                         { [id] = line_of(by_id[id]) }, 1, v)
    keep(made, gone)
    read_late(0)
    t.say(late.v, " ", late.waits and "waits" or "is whole")
end

-- A third one is told of each sheet that has another number, and reads the list
-- only when it is another one.
local told, renewed = codec.unpack_sheets(text, get, decode), 0
local function tell(made, is_reshaped)
    for _, sheet in ipairs(made) do
        for place, old in ipairs(told.sheets) do
            local now = codec.renew_sheet(told, place, sheet.text, sheet.number)
            assert(now or old.first ~= sheet.first)
            if now then
                assert(now == told or now.sheets ~= told.sheets)
                told, renewed = now, renewed + 1
                assert(told.sheets[place].number == sheet.number)
            end
        end
    end
    if is_reshaped then
        told = codec.unpack_sheets(text, get, decode, told)
    end
    told.parted = told.policy.plain
end

-- Those of some sheets of the late one, first to last, all at once.
local function edit(from, to, make)
    local edits = {}
    for i = from, to do
        local sheet = late.sheets[i]
        for number = 1, sheet.n do
            local id = sheet:peer(number).id
            by_id[id] = make and assert(codec.instance(decode, id, make)) or nil
            edits[id] = by_id[id] and line_of(by_id[id]) or false
        end
    end
    local made, gone
    text, made, gone = codec.edit_sheets(text, get, next_number, nil, edits, 1,
                                         2)
    keep(made, gone)
end
local function read_all()
    repeat until read_late(9)
    check_sheets(late)
    assert(pack(late, 1) == pack(app_of_model(), 1))
end
local at_rest = #late.sheets
-- One waits, and others before it leave; then it is the last one, and nearly all
-- before it leave.
edit(6, 6, '["2","10.1.2.3:80",1]')
read_late(0)
edit(3, 5)
read_late(0)
t.say(#late.sheets - at_rest, " ", late.waits)
read_all()
local last = #late.sheets
edit(last, last, '["3","10.1.2.3:80",1]')
read_late(0)
t.say(late.waits == last)
edit(3, last)
edit(1, 1, '["3","10.1.2.3:80",1]')
read_late(0)
read_all()
-- All of another weight.
edit(1, 1, '["4","10.1.2.3:80",7]')
read_late(9)
read_all()

told = codec.unpack_sheets(text, get, decode)
local reshaped = 0
for round = 2, 400 do
    local edits, new_policy, last = {}, nil, math.random(20000)
    for _ = 1, math.random(10) == 1 and 400 or math.random(0, 4) do
        -- Here and there, or one after the other; less and less of them.
        last = math.random(4) == 1 and math.random(20000) or last + 1
        local id = ("shop-%05d"):format(last)
        by_id[id] = math.random(400) > round and instance(id, round) or nil
        edits[id] = by_id[id] and line_of(by_id[id]) or false
    end
    if math.random(15) == 1 then
        -- Many leave, or come, at once.
        local from, is_gone = math.random(20000), math.random(2) == 1
        for i = from, from + 6000, 10 do
            local id = ("shop-%05d"):format(i)
            if is_gone then
                by_id[id], edits[id] = nil, false
            else
                by_id[id] = instance(id, round)
                edits[id] = line_of(by_id[id])
            end
        end
    end
    if round == 390 then
        for id in pairs(by_id) do
            by_id[id], edits[id] = nil, false
        end
    end
    if math.random(20) == 1 then
        new_policy = codec.policy(decode, ('{"rev":"%d"%s}'):format(round,
            math.random(2) == 1 and ',"slow_start_ms":1000' or ""))
        policy = new_policy
    end
    local gone, is_reshaped, pauses = nil, nil, 0
    text, made, gone, is_reshaped = codec.edit_sheets(text, get, next_number, new_policy,
                                         edits, round, 1, function()
        pauses = pauses + 1
        -- Whoever runs meanwhile may edit another app.
        if pauses % 7 == 0 then
            assert(codec.edit_app(another, nil, other_edits, 7, 1) == edited)
        end
    end)
    assert(text, made)
    for _ in pairs(edits) do
        pauses = pauses - 2
    end
    assert(pauses >= 2 + #gone)
    keep(made, gone)
    assert(codec.stamp(text) == round)

    tell(made, is_reshaped)
    assert(pack(told, round) == pack(app_of_model(), round))
    reshaped = reshaped + (is_reshaped and 1 or 0)
    if round % 4 == 0 then
        check_sheets(told)
    end
    read_late(math.random(0, 3))
    if round % 5 == 0 then
        repeat until read_late(9)
        assert(pack(late, round) == pack(app_of_model(), round))
    end
    local app, asof, v, count = codec.unpack_sheets(text, get, decode, before)
    assert(asof == round and v == 1)
    assert(pack(app, round) == pack(app_of_model(), round), "round " .. round)
    if round % 4 == 0 then
        check_sheets(app)
    end
    read, kept = read + count, kept + (app == before and 1 or 0)
    before = app

    local listed = 0
    for _, number in ipairs(codec.sheet_numbers(text)) do
        assert(sheets[number], "no sheet " .. number)
        assert(#sheets[number] <= 3500, "a sheet of " .. #sheets[number])
        listed = listed + 1
    end
    for _ in pairs(sheets) do
        listed = listed - 1
    end
    assert(listed == 0, "a sheet too many")
end
t.say(read < 400 * 12, " ", kept > 20, " ", waited > 20, " ",
      failed > 20)
t.say(reshaped > 20, " ", reshaped < 200, " ", renewed > 200)

by_id["shop-1"] = instance("shop-1", 500)
local edits = { ["shop-1"] = line_of(by_id["shop-1"]) }
text, made = codec.edit_sheets(text, get, next_number, nil, edits, 500, 1)
t.say(codec.unpack_sheets(text, get, decode, before))
t.say(codec.edit_sheets(text, get, next_number, nil, edits, 500, 1))
keep(made, {})
t.say(#codec.peers_of(codec.unpack_sheets(text, get, decode, before))
      == #app_of_model().peers)
t.say(codec.edit_sheets("a 1 1 shop 1 ewma 1 1\n", get, next_number))
--- response_body
nil
1 waits
2 is whole
-3 3
true
true true true true
true true true
nila sheet is missing, or is none
nila sheet is missing
true
nilnot a large app



=== a line that was made without decoding is the one that decoding gives
--- without: start
--- at_once
--- timeout: 20
--- lua
local quick = require("pointsman.codec.quick")
local instance = require("pointsman.codec.instance")
local line_of = require("pointsman.codec.lines").of
local decode = require("cjson.safe").decode

local function slow(id, raw)
    local peer = instance.read(decode, id, raw)
    return peer and line_of(peer)
end
local function any(list)
    return list[math.random(#list)]
end
local function octet()
    return any { "0", "1", "9", "10", "99", "100", "127", "199", "200", "249",
                 "250", "255", "256", "260", "300", "999", "1000", "01", "00",
                 "", "-1", " 1", "1 " }
end
local function host()
    return math.random(4) > 1 and "10.1.2." .. math.random(0, 255)
           or any { octet() .. ".0.0.1", "1." .. octet() .. ".2.3",
                    "1.2." .. octet() .. ".3", "1.2.3." .. octet(), "0.0.0.0",
                    "1.2.3", "1.2.3.4.5", "::1", "[::1]", "[fd00::a:1]",
                    "localhost", "1.2.3.4:5", "" }
end
local function number()
    return math.random(3) > 1 and tostring(math.random(65535))
           or any { "0", "1", "65535", "65536", "99999", "100000", "00", "01",
                    "-1", "+1", " 1", "1.0", "1e2", "0x10", "", "123456789012" }
end
local function rev()
    return math.random(3) > 1 and tostring(math.random(1e9))
           or any { "1", "0", "", "01", "999999999999999", "1000000000000000",
                    "9007199254740992", "9007199254740993",
                    "99999999999999999999", "-1", "1.5" }
end
local function extras()
    return math.random(3) > 1 and ""
           or any { ',{"zone":"eu-1"}', ',{"zone":"a"}', ',{"zone":""}',
                    ',{"zone":"a b"}', ',{"zone":"a\\\\b"}', ',{"zone":"a\\"}',
                    ',{"zone":"a\\u0041"}', ',{"zone":"ä"}', ',{"zone":1}',
                    ',{"zone":"a","down":1}', ',{"down":1,"zone":"a"}',
                    ',{"draining":1}', ',{"zone":"' .. ("z"):rep(64) .. '"}',
                    ',{"zone":"' .. ("z"):rep(65) .. '"}', ",{}", ",[]",
                    ',{"zone":"a"},1', ',{"zone":"a"}}', ',{"zone":"a","b":"c"}' }
end

math.randomseed(13)
local lines, refused, left = 0, 0, 0
for _ = 1, 50000 do
    local id = any { "shop-1", "a", "A.b_c:9", ("i"):rep(256),
                     any { ("i"):rep(257), "", "a b", "a\n" } }
    local raw = ('["%s","%s:%s",%s%s]'):format(rev(), host(), number(),
                                               number(), extras())
    if math.random(4) == 1 then
        -- A byte too many, too few, or another one.
        local at = math.random(#raw)
        raw = raw:sub(1, at - 1) .. any { "", "0", "9", '"', ",", "]", "}", " ",
                                          "\0", "\n", "\\" }
              .. raw:sub(at + math.random(0, 1))
    end
    local line, wanted = quick.line(id, raw), slow(id, raw)
    assert(not line or line == wanted, raw)
    lines = lines + (line and 1 or 0)
    refused = refused + (not wanted and 1 or 0)
    left = left + (wanted and not line and 1 or 0)
end
t.say(lines > 5000, " ", refused > 5000, " ", left > 500)
for _, raw in ipairs { "", "[", '["', '["1', '["1"', '["1",', '["1","',
                       '["1","1.1.1.1', '["1","1.1.1.1:', '["1","1.1.1.1:1',
                       '["1","1.1.1.1:1"', '["1","1.1.1.1:1",',
                       '["1","1.1.1.1:1",1', '["1","1.1.1.1:1",1,',
                       '["1","1.1.1.1:1",1,{"zone":"', 7, false } do
    t.say(quick.line("a", raw))
end
t.say(quick.line("a", '["1","1.1.1.1:1",1]'), "|",
      quick.line("a", '["17","10.0.0.255:65535",0,{"zone":"x"}]'))
--- response_body eval
"true true true\n" . "nil\n" x 17
    . "a 1 1.1.1.1 1 1 |a 17 10.0.0.255 65535 0 x\n"
