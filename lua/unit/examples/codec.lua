-- luacheck: globals json
-- How long it takes to bring one change into an app's text, and to read it.
--
--     cargo run --release -p pointsman-lua-tests --example run -- \
--         lua/unit/examples/codec.lua

local codec = require "pointsman.codec.records"
local line_of = require("pointsman.codec.instance").line


local function instance(i, rev)
    return codec.instance(json, string.format("shop-%05d", i), string.format(
        '["%d","10.1.%d.%d:8080",100]', rev, i / 256, i % 256))
end


local function app_of(n)
    local peers = {}
    for i = 1, n do
        peers[i] = instance(i, i)
    end
    return { name = "shop", policy = codec.policy(json), peers = peers }
end


local function best_of(times, run)
    local best = math.huge
    for i = 1, times do
        collectgarbage()
        local start = os.clock()
        run(i)
        best = math.min(best, os.clock() - start)
    end
    return best * 1000
end


for _, n in ipairs { 10, 100, 1000, 5000 } do
    local text = codec.pack_app(app_of(n), 7, 1)
    local before
    local function show(what, ms)
        print(string.format("%5d instances  %-30s %8.3f ms", n, what, ms))
    end
    show("read all", best_of(20, function()
        before = codec.unpack_app(text, json)
    end))

    show("read, put one in, sort, write", best_of(20, function(i)
        local app = codec.unpack_app(text, json)
        local by_id = {}
        for _, peer in ipairs(app.peers) do
            by_id[peer.id] = peer
        end
        local one = instance(i * 7 % n, 100 + i)
        by_id[one.id] = one
        app.peers = {}
        for _, peer in pairs(by_id) do
            app.peers[#app.peers + 1] = peer
        end
        codec.sort_peers(app.peers)
        codec.pack_app(app, 8, 1)
    end))

    for _, changes in ipairs { 1, 10, 100 } do
        if codec.edit_app then
            local texts = {}
            for round = 1, 20 do
                local edits = {}
                for i = 1, changes do
                    local one = instance((i * 37 + round) % n, 100 + round)
                    edits[one.id] = line_of(one)
                end
                texts[round] = edits
            end
            show(changes .. " changed in the text", best_of(20, function(i)
                texts[i] = codec.edit_app(text, nil, texts[i], 8, 1)
            end))
            show(changes .. " changed, read what is new",
                 best_of(20, function(i)
                codec.unpack_app(texts[i], json, before)
            end))
        end
    end
end
