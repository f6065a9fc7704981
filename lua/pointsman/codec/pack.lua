-- The cache's text form of records. Pure Lua; see codec/records.lua.
--
--     r <asof> <v> <deeper> <app> <weight>\n    a plain route
--     r <asof> <v> <JSON>\n                     any other route
--     a <asof> <v> <name>\n                     an app,
--       <JSON>\n                                its policy ("-": the defaults),
--       ...                                     a line for each instance
--     n <asof> <v>\n                            no route
--
-- Plain routes have no JSON because there may be a million of them: with JSON
-- each would take the next larger slot of the shared dict, twice the memory.
-- Names hold neither blanks nor control characters.

local check = require("pointsman.codec.check")
local instance = require("pointsman.codec.instance")
local policies = require("pointsman.codec.policy")
local routes = require("pointsman.codec.route")

local new_table = require("table.new")

local byte = string.byte
local check_id = check.id
local concat = table.concat
local find = string.find
local floor = math.floor
local format = string.format
local line_of = instance.line
local match = string.match
local pairs = pairs
local pcall = pcall
local read_line = instance.read_line
local sort = table.sort
local sub = string.sub
local require = require
local tonumber = tonumber

local APP = "^a (%d+) (%d+) (%S+)\n([^\n]*)\n()"
local DEFAULTS = "-"
local NEWLINE = byte("\n")
-- Where nothing has changed, so many lines are compared at once.
local BLOCK = 32
local NOTHING = { peers = {}, text = "", starts = {} }

local DEEPER_TEXT = { [true] = "1", [false] = "0" }
local DEEPER = { ["1"] = true, ["0"] = false }


local function app_head(name, policy_line, asof, v)
    return format("a %.0f %.0f %s\n%s\n", asof, v, name, policy_line)
end


local function policy_line(policy)
    return policy.json or DEFAULTS
end


local function read_policy(json, line, before)
    local raw = line ~= DEFAULTS and line or nil
    if before and before.json == raw then
        return before
    end
    return policies.read(json, raw)
end


-- Whether n bytes of two texts, each from a place on, are the same (0), or
-- which of them comes first (below 0: the former).
local function compare(a, at, b, from, n)
    local x, y = sub(a, at, at + n - 1), sub(b, from, from + n - 1)
    return x == y and 0 or x < y and -1 or 1
end


-- The same without making strings. LuaJIT finds a string by a hash of its
-- length and a few of its bytes: lines that look alike have the same by the
-- hundred, and then each string that is made costs microseconds. (Where the
-- pure modules are tested there is no FFI.)
local has_ffi, ffi = pcall(require, "ffi")
if has_ffi then
    ffi.cdef [[
    int pointsman_memcmp(const void *a, const void *b, size_t n)
        __asm__("memcmp");
    ]]
    local C, cast = ffi.C, ffi.cast

    function compare(a, at, b, from, n)
        return C.pointsman_memcmp(cast("const char *", a) + (at - 1),
                                  cast("const char *", b) + (from - 1), n)
    end
end


-- Whether the lines that begin at a place are the ith and those after it, so
-- many in all, of an older text.
local function are_lines(text, at, before, i, count)
    local from, stop = before.starts[i], before.starts[i + count]
    return stop and at + stop - from <= #text + 1
           and compare(text, at, before.text, from, stop - from) == 0
end


local function may_get_requests(peer)
    return peer.weight > 0 and not peer.draining and not peer.down
end


-- The weight of all peers, if all may get requests and have the same.
local function even_weight(peers)
    local weight = peers[1] and peers[1].weight
    for i = 1, #peers do
        local peer = peers[i]
        if not may_get_requests(peer) or peer.weight ~= weight then
            return nil
        end
    end
    return weight
end


-- An instance whose line is as it was is the one that was read then: of 5,000
-- instances, of which a few have changed, few are made again, or looked at.
-- Both lists are sorted by id. Returns also where the lines begin, whether all
-- are as they were, and `even`, see pack.read_app.
local function read_peers(text, at, before)
    local old, old_starts, even = before.peers, before.starts, before.even
    local peers, starts = new_table(#old, 0), new_table(#old + 1, 0)
    local n, i, is_same = 0, 1, true
    while at <= #text do
        if are_lines(text, at, before, i, BLOCK) then
            local shift = at - old_starts[i]
            for j = i, i + BLOCK - 1 do
                n = n + 1
                peers[n], starts[n] = old[j], old_starts[j] + shift
            end
            i = i + BLOCK
            at = old_starts[i] + shift
        else
            local peer
            n = n + 1
            starts[n] = at
            if are_lines(text, at, before, i, 1) then
                peer, i = old[i], i + 1
            else
                is_same = false
                peer = read_line(text, at)
                if not peer then
                    return nil
                end
                while old[i] and old[i].id <= peer.id do
                    i = i + 1
                end
                -- Those before it may have gone.
                if i > 1 and are_lines(text, at, before, i - 1, 1) then
                    peer = old[i - 1]
                end
                even = may_get_requests(peer) and peer.weight == even and even
            end
            peers[n] = peer
            at = find(text, "\n", at, true) + 1
        end
    end
    starts[n + 1] = at
    return peers, starts, is_same and n == #old, even or even_weight(peers)
end


-- Whether the line at a place begins with an id (0), or comes before (below 0)
-- or after the one that does. There is nothing but lines that are longer.
local function order_of(text, at, id)
    local left = #text - at + 1
    return left < #id and 1 or compare(text, at, id, 1, #id)
end


-- Where the line that begins with an id begins, or would, at `at` or behind it,
-- where a line begins. They are sorted.
local function seek(text, at, id)
    local low, high = at, at
    -- Edits are often neighbours.
    if order_of(text, at, id) < 0 then
        high = #text + 1
    end
    while low < high do
        local middle = floor((low + high) / 2)
        while middle > low and byte(text, middle - 1) ~= NEWLINE do
            middle = middle - 1
        end
        if order_of(text, middle, id) < 0 then
            low = find(text, "\n", middle, true) + 1
        else
            high = middle
        end
    end
    return low
end


local _M = {}


-- syntax: text = pack.route(route, asof, v)
function _M.route(route, asof, v)
    if route.json then
        return format("r %.0f %.0f %s\n", asof, v, route.json)
    end
    local to = route.rules[1].to[1]
    return format("r %.0f %.0f %s %s %.0f\n", asof, v,
                  DEEPER_TEXT[route.deeper] or "-", to.app, to.weight)
end


-- syntax: route, asof, v = pack.read_route(text, json)
-- nil and an error for a text that pack.route did not make. A plain route comes
-- back without its revision.
function _M.read_route(text, json)
    local asof, v, rest = match(text, "^r (%d+) (%d+) (.*)\n$")
    if not asof then
        return nil, "not a packed route"
    end
    local deeper, app, weight = match(rest, "^([01-]) (%S+) (%d+)$")
    local route, err
    if app then
        route = {
            deeper = DEEPER[deeper], plain = true,
            rules = { { path = "/", to = { { app = app,
                                             weight = tonumber(weight) } } } },
        }
    else
        route, err = routes.read(json, rest)
        if not route then
            return nil, err
        end
    end
    return route, tonumber(asof), tonumber(v)
end


-- syntax: text = pack.app(app, asof, v)
-- app = { name =, policy =, peers = { peer, ... } }, the peers sorted by id.
function _M.app(app, asof, v)
    local out = { app_head(app.name, policy_line(app.policy), asof, v) }
    local peers = app.peers
    for i = 1, #peers do
        out[2 * i], out[2 * i + 1] = line_of(peers[i]), "\n"
    end
    return concat(out)
end


-- syntax: app, asof, v = pack.read_app(text, json, before?)
-- nil and an error for a text that pack.app did not make. Of `before`, what
-- this function returned for an older text, all is taken that is the same: it
-- is returned itself if nothing has changed. `app.even`: the weight of all
-- instances, if all of them may get requests and have the same.
function _M.read_app(text, json, before)
    local asof, v, name, line, at = match(text, APP)
    if not asof then
        return nil, "not a packed app"
    end
    local policy, err = read_policy(json, line, before and before.policy)
    if not policy then
        return nil, err
    end
    local peers, starts, is_same, even = read_peers(text, at, before or NOTHING)
    if not peers then
        return nil, "not a packed app"
    end
    local app = before
    if not before or not is_same or before.policy ~= policy then
        app = { name = name, policy = policy, peers = peers, text = text,
                starts = starts, even = even }
    end
    return app, tonumber(asof), tonumber(v)
end


-- syntax: text, err = pack.edit_app(text, policy?, edits, asof, v)
-- The text of an app with another policy, if one is given, and other instances:
-- edits = { [id] = line, or false for one that is gone }. Of the lines only the
-- ids are looked at, and what stands between two edits is copied as it is.
function _M.edit_app(text, policy, edits, asof, v)
    local _, _, name, line, at = match(text, APP)
    if not name then
        return nil, "not a packed app"
    end
    local ids, n = {}, 0
    for id in pairs(edits) do
        -- What is no id could be the begin of a line.
        if check_id(id) then
            n = n + 1
            ids[n] = id
        end
    end
    sort(ids)

    local out = { app_head(name, policy and policy_line(policy) or line, asof,
                           v) }
    local from = at
    for i = 1, n do
        -- A blank comes before all that an id may have.
        local id = ids[i] .. " "
        at = seek(text, at, id)
        out[#out + 1] = sub(text, from, at - 1)
        if edits[ids[i]] then
            out[#out + 1] = edits[ids[i]]
            out[#out + 1] = "\n"
        end
        if order_of(text, at, id) == 0 then
            at = find(text, "\n", at, true) + 1
        end
        from = at
    end
    out[#out + 1] = sub(text, from)
    return concat(out)
end


-- syntax: yes = pack.is_empty(text)
-- Whether it is the text of an app without instances.
function _M.is_empty(text)
    return find(text, "^a[^\n]*\n[^\n]*\n$") ~= nil
end


-- syntax: text = pack.negative(asof, v)
function _M.negative(asof, v)
    return format("n %.0f %.0f\n", asof, v)
end


-- syntax: asof, v = pack.stamp(text)
-- Of any of these texts; nothing for another one.
function _M.stamp(text)
    local asof, v = match(text, "^[arn] (%d+) (%d+)[ \n]")
    if asof then
        return tonumber(asof), tonumber(v)
    end
end


return _M
