use TestPointsman;

run_edge_tests();

__DATA__

=== a text that was edited is the text of what it is of
--- without: start
--- at_once
--- lua
local codec = require("pointsman.codec.records")
local decode = require("cjson.safe").decode
local line_of = require("pointsman.codec.instance").line

local function instance(id, rev)
    local extras = { "", "", "", ',{"zone":"a"}', ',{"draining":1}',
                     ',{"zone":"b","down":1}' }
    return assert(codec.instance(decode, id, ('["%d","10.1.%d.%d:%d",%d%s]')
        :format(rev, math.random(250), math.random(250), math.random(65535),
                math.random(100), extras[math.random(#extras)])))
end

-- Neighbours that look alike, and ids that begin like others.
local function random_id()
    return ("shop-%04d"):format(math.random(600))
           .. (math.random(20) == 1 and "-x" or "")
end

math.randomseed(11)
local by_id = {}
for _ = 1, 400 do
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
for round = 2, 100 do
    local edits = {}
    for _ = 1, math.random(8) == 1 and 60 or math.random(0, 4) do
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
t.say(reused > 100 * 200)
--- response_body
true
