-- The cache's text form of records. Pure Lua; see codec.lua.
--
--     r <asof> <v> <rev> <deeper>\n
--       /\t<app>=<weight>\n   or, for a route that is not plain, its JSON\n
--     a <asof> <v> <name> <rev> <balance> <retries> <fail_timeout_ms>\n
--       <JSON>\n              of a policy that has other fields than those
--       <id> <rev> <host> <port> <weight> <zone>[ <flags>]\n ...
--     n <asof> <v>\n
--
-- Names hold neither blanks nor control characters, so that the separators
-- cannot occur in them. Instances are sorted by id, bytewise: so one can be
-- found, put in or taken out in the text itself.

local bytes = require("pointsman.codec.bytes")
local policies = require("pointsman.codec.policy")
local routes = require("pointsman.codec.route")

local new_table = require("table.new")

local byte = string.byte
local concat = table.concat
local find = string.find
local floor = math.floor
local format = string.format
local match = string.match
local min = math.min
local pairs = pairs
local same_bytes = bytes.same
local sort = table.sort
local sub = string.sub
local tonumber = tonumber
local type = type

local BRACE = byte("{")
local NEWLINE = byte("\n")
local SPACE = byte(" ")
local ZERO, NINE = byte("0"), byte("9")
-- The marks of a peer that is draining, or that failed its checks.
local DRAINING, DOWN = byte("d"), byte("x")

local DEEPER_TEXT = { [true] = "1", [false] = "0" }
local DEEPER = { ["1"] = true, ["0"] = false }

local APP = "^a (%d+) (%d+) (%S+) (%d+) (%S+) (%d+) (%d+)\n()"
local PEER = "^(%S+) (%d+) (%S+) (%d+) (%d+) (%S*) ?(d?x?)\n()"

-- From so many instances on, it pays to compare with the text before.
local MIN_KEPT = 32
-- Lines that are compared at once, at most.
local MAX_RUN = 256


local function ends_well(text)
    return type(text) == "string" and byte(text, -1) == NEWLINE
end


local function flags(peer)
    if not peer.draining and not peer.down then
        return ""
    end
    return (peer.draining and " d" or " ") .. (peer.down and "x" or "")
end


local function peer_line(peer)
    return format("%s %.0f %s %.0f %.0f %s%s", peer.id, peer.rev, peer.host,
                  peer.port, peer.weight, peer.zone or "", flags(peer))
end


local function app_header(name, policy, asof, v)
    local line = format("a %.0f %.0f %s %.0f %s %.0f %.0f", asof, v, name,
                        policy.rev, policy.balance, policy.retries,
                        floor(policy.fail_timeout * 1000 + 0.5))
    if policy.json then
        return line .. "\n" .. policy.json
    end
    return line
end


-- (To set a field to nil would make room for it.)
local function marked(peer, draining, down)
    if draining then
        peer.draining = true
    end
    if down then
        peer.down = true
    end
    return peer
end


-- A number of at least one digit, and the place behind it.
local function read_number(text, at)
    local number, from, digit = 0, at, byte(text, at)
    while digit and digit >= ZERO and digit <= NINE do
        number = number * 10 + digit - ZERO
        at = at + 1
        digit = byte(text, at)
    end
    return at > from and number or nil, at
end


-- Whether this field stands at a place; the place behind it.
local function skip_field(text, at, field)
    local behind = at + #field
    if behind <= #text and same_bytes(text, at, field, 1, #field) then
        return behind
    end
end


-- Of a line that may be that of an instance as it was read before, with another
-- revision, weight, zone or other marks: the place behind it and these, or nil.
-- What is as it was is taken from there: to make strings that look alike is
-- what reading costs, see codec/bytes.lua.
local function reread_peer(text, at, old)
    local rev, port, weight
    at = skip_field(text, at, old.id)
    if not at or byte(text, at) ~= SPACE then
        return nil
    end
    rev, at = read_number(text, at + 1)
    if not rev or byte(text, at) ~= SPACE then
        return nil
    end
    at = skip_field(text, at + 1, old.host)
    if not at or byte(text, at) ~= SPACE then
        return nil
    end
    port, at = read_number(text, at + 1)
    if port ~= old.port or byte(text, at) ~= SPACE then
        return nil
    end
    weight, at = read_number(text, at + 1)
    if not weight or byte(text, at) ~= SPACE then
        return nil
    end

    at = at + 1
    local stop, zone = at, nil
    local mark = byte(text, stop)
    while mark ~= SPACE and mark ~= NEWLINE do
        stop = stop + 1
        mark = byte(text, stop)
    end
    if stop > at then
        zone = old.zone
        if not zone or skip_field(text, at, zone) ~= stop then
            zone = sub(text, at, stop - 1)
        end
    end
    stop = mark == SPACE and stop + 1 or stop
    local draining = byte(text, stop) == DRAINING
    stop = draining and stop + 1 or stop
    local down = byte(text, stop) == DOWN
    stop = down and stop + 1 or stop
    if byte(text, stop) ~= NEWLINE then
        return nil
    end
    return stop + 1, rev, weight, zone, draining, down
end


-- Of policies that need no JSON.
local function is_same(a, b)
    return not b.json and a.rev == b.rev and a.balance == b.balance
           and a.retries == b.retries and a.fail_timeout == b.fail_timeout
end


-- The instance whose line begins at a place, and the place behind it. `old` is
-- one that may have the same id; with `in_place` it is brought up to date, as
-- long as that leaves a round over the instances as it is.
local function read_peer(text, at, old, in_place)
    local behind, rev, weight, zone, draining, down
    if old then
        behind, rev, weight, zone, draining, down = reread_peer(text, at, old)
    end
    if not behind then
        local id, host, port, marks
        id, rev, host, port, weight, zone, marks, behind =
            match(text, PEER, at)
        if not id then
            return nil
        end
        return marked({
            id = id, rev = tonumber(rev), addr = host .. ":" .. port,
            host = host, port = tonumber(port), weight = tonumber(weight),
            zone = zone ~= "" and zone or nil,
        }, byte(marks) == DRAINING, byte(marks, -1) == DOWN), behind
    end

    if in_place and weight == old.weight
            and draining == (old.draining or false)
            and down == (old.down or false) then
        old.rev, old.zone = rev, zone
        return old, behind
    end
    return marked({
        id = old.id, rev = rev, addr = old.addr, host = old.host,
        port = old.port, weight = weight, zone = zone,
    }, draining, down), behind
end


-- Instances whose line is as before are those that were read before. Lines are
-- compared by runs: the run grows with each one that is the same, and shrinks
-- with each one that is not, down to a line, which is then read.
--
-- Returns the instances, how many there are, where the line of each begins, and
-- whether they are those of before, one and all.
local function read_peers(text, at, before, in_place)
    local last = #text
    local old, old_n, old_text, old_starts = nil, 0, nil, nil
    if before and before.text then
        old, old_n = before.peers, #before.peers
        old_text, old_starts = before.text, before.starts
    end
    local peers, starts = new_table(old_n, 0), new_table(old_n, 0)
    local n, i, run = 0, 1, 1
    local as_before = old ~= nil
    while at <= last do
        local same, shift, behind = 0, 0, at
        run = min(run, old_n - i + 1)
        while run > 0 and same == 0 do
            local from = old_starts[i]
            local length = (old_starts[i + run] or #old_text + 1) - from
            if at + length - 1 <= last
                    and same_bytes(text, at, old_text, from, length) then
                same, shift, behind = run, at - from, at + length
            end
            run = same > 0 and min(run * 4, MAX_RUN) or floor(run / 4)
        end
        for j = i, i + same - 1 do
            n = n + 1
            peers[n], starts[n] = old[j], old_starts[j] + shift
        end
        i = i + same
        if same == 0 then
            local peer
            peer, behind = read_peer(text, at, old and old[i], in_place)
            if not peer then
                return nil
            end
            as_before = as_before and peer == old[i]
            n = n + 1
            peers[n], starts[n] = peer, at
            while i <= old_n and old[i].id <= peer.id do
                i = i + 1
            end
            run = 1
        end
        at = behind
    end
    return peers, n, starts, as_before and n == old_n
end


-- The place of the first line whose id is not less than this one: lines are
-- sorted. The place behind the end if there is none.
local function place_of(text, from, id)
    local low, high = from, #text + 1
    while low < high do
        local middle = floor((low + high) / 2)
        local at = middle
        if at > from then
            at = find(text, "\n", at - 1, true) + 1
        end
        local stop = find(text, " ", at, true)
        if stop and sub(text, at, stop - 1) < id then
            low = at + 1
        else
            high = middle
        end
    end
    if low > from then
        return find(text, "\n", low - 1, true) + 1
    end
    return from
end


local _M = {}


-- syntax: text = pack.route(route, asof, v)
function _M.route(route, asof, v)
    local head = format("r %.0f %.0f %.0f %s\n", asof, v, route.rev,
                        DEEPER_TEXT[route.deeper] or "-")
    if route.json then
        return head .. route.json .. "\n"
    end
    local to = route.rules[1].to[1]
    return head .. format("/\t%s=%.0f\n", to.app, to.weight)
end


-- syntax: route, asof, v = pack.read_route(text, json)
-- nil and an error for a text that pack.route did not make.
function _M.read_route(text, json)
    local asof, v, rev, deeper, at
    if ends_well(text) then
        asof, v, rev, deeper, at =
            match(text, "^r (%d+) (%d+) (%d+) ([01-])\n()")
    end
    if not asof then
        return nil, "not a packed route"
    end

    local route, err
    if byte(text, at) == BRACE then
        if not json then
            return nil, "no decoder for this route"
        end
        route, err = routes.read(json, sub(text, at, -2))
        if not route then
            return nil, err
        end
    else
        local app, weight = match(text, "^/\t([^\t\n=]+)=(%d+)\n$", at)
        if not app then
            return nil, "not a packed route"
        end
        route = {
            rev = tonumber(rev), deeper = DEEPER[deeper], plain = true,
            rules = { { path = "/", to = { { app = app,
                                             weight = tonumber(weight) } } } },
        }
    end
    return route, tonumber(asof), tonumber(v)
end


-- syntax: text = pack.app(app, asof, v)
-- app = { name =, policy =, peers = { peer, ... } }, the peers sorted by id.
function _M.app(app, asof, v)
    local out = { app_header(app.name, app.policy, asof, v) }
    local peers = app.peers
    for i = 1, #peers do
        out[i + 1] = peer_line(peers[i])
    end
    out[#out + 1] = ""
    return concat(out, "\n")
end


-- syntax: app, asof, v = pack.read_app(text, json, before?)
-- nil and an error for a text that pack.app did not make. Of `before`, what
-- this function returned for an older text, all is taken that is the same. If
-- the policy is a plain one and nothing changed that concerns which instances
-- are used and where they are, that one is brought up to date and returned.
function _M.read_app(text, json, before)
    local asof, v, name, rev, balance, retries, fail_timeout_ms, at
    if ends_well(text) then
        asof, v, name, rev, balance, retries, fail_timeout_ms, at =
            match(text, APP)
    end
    if not asof then
        return nil, "not a packed app"
    end
    if before and before.text == text then
        return before, tonumber(asof), tonumber(v)
    end

    local policy, err
    if byte(text, at) == BRACE then
        if not json then
            return nil, "no decoder for this app"
        end
        local stop = find(text, "\n", at, true)
        local line = sub(text, at, stop - 1)
        if before and before.policy.json == line then
            policy = before.policy
        else
            policy, err = policies.read(json, line)
        end
        if not policy then
            return nil, err
        end
        at = stop + 1
    else
        policy = policies.new(tonumber(rev), balance, tonumber(retries),
                              tonumber(fail_timeout_ms) / 1000)
        if before and is_same(policy, before.policy) then
            policy = before.policy
        end
    end

    local in_place = policy.plain and before and before.policy == policy
    local peers, n, starts, as_before = read_peers(text, at, before, in_place)
    if not peers then
        return nil, "not a packed app"
    elseif in_place and as_before then
        before.text, before.starts = text, starts
        return before, tonumber(asof), tonumber(v)
    end
    local app = { name = name, policy = policy, peers = peers }
    if n >= MIN_KEPT then
        app.text, app.starts = text, starts
    end
    return app, tonumber(asof), tonumber(v)
end


-- syntax: text, err = pack.edit_app(text, policy?, edits, asof, v)
-- The text of an app with another policy, if one is given, and other instances:
-- edits = { [id] = peer, or false for one that is gone }. It costs as much as
-- there are edits, and a copy of the text.
function _M.edit_app(text, policy, edits, asof, v)
    local name, rest, at
    if ends_well(text) then
        name, rest, at = match(text, "^a %d+ %d+ (%S+)( [^\n]+\n)()")
    end
    if not name then
        return nil, "not a packed app"
    end

    local from = at
    if byte(text, at) == BRACE then
        from = find(text, "\n", at, true) + 1
    end
    local head
    if policy then
        head = app_header(name, policy, asof, v) .. "\n"
    else
        head = format("a %.0f %.0f %s", asof, v, name) .. rest
               .. sub(text, at, from - 1)
    end
    local parts, n = { 1, 0, head }, 3

    local ids = {}
    for id in pairs(edits) do
        ids[#ids + 1] = id
    end
    sort(ids)
    for i = 1, #ids do
        local id = ids[i]
        local place = place_of(text, from, id)
        parts[n + 1], parts[n + 2] = from, place - 1
        from = place
        if place <= #text
                and sub(text, place, place + #id) == id .. " " then
            from = find(text, "\n", place, true) + 1
        end
        parts[n + 3] = edits[id] and peer_line(edits[id]) .. "\n" or ""
        n = n + 3
    end
    parts[n + 1], parts[n + 2], parts[n + 3] = from, #text, ""
    return bytes.join(text, parts, n + 3)
end


-- syntax: text = pack.negative(asof, v)
function _M.negative(asof, v)
    return format("n %.0f %.0f\n", asof, v)
end


-- syntax: asof, v = pack.read_negative(text)
-- nil and an error for a text that pack.negative did not make.
function _M.read_negative(text)
    local asof, v
    if ends_well(text) then
        asof, v = match(text, "^n (%d+) (%d+)\n$")
    end
    if not asof then
        return nil, "not a packed negative"
    end
    return tonumber(asof), tonumber(v)
end


-- syntax: asof, v = pack.stamp(text)
-- Of any of these texts.
function _M.stamp(text)
    local asof, v
    if ends_well(text) then
        asof, v = match(text, "^[ran] (%d+) (%d+)[ \n]")
    end
    if not asof then
        return nil, "not a packed record"
    end
    return tonumber(asof), tonumber(v)
end


return _M
