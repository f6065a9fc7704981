-- Instances in the cache's text form, a line each. Pure Lua; see codec.lua.
--
--     <id> <rev> <host> <port> <weight> <zone>[ <flags>]\n ...
--
-- They are sorted by id, bytewise: so one can be found, put in or taken out in
-- the text itself.

local bytes = require("pointsman.codec.bytes")

local new_table = require("table.new")

local byte = string.byte
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

local NEWLINE = byte("\n")
local SPACE = byte(" ")
local ZERO, NINE = byte("0"), byte("9")
-- The marks of a peer that is draining, or that failed its checks.
local DRAINING, DOWN = byte("d"), byte("x")

local PEER = "^(%S+) (%d+) (%S+) (%d+) (%d+) (%S*) ?(d?x?)\n()"

-- Lines that are compared at once, at most.
local MAX_RUN = 256


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


-- syntax: line = lines.of(peer)
_M.of = peer_line


-- syntax: peers, n, starts, as_before = lines.read(text, at, before?,
--                                                  in_place?)
-- The instances, how many there are, where the line of each begins, and whether
-- they are those of before, one and all. Nil if this is no such text. before =
-- { text =, peers =, starts = } of an older text: instances whose line is as
-- before are those that were read then. With `in_place`, those of them that
-- have changed in nothing that concerns a round are brought up to date.
--
-- Lines are compared by runs: the run grows with each one that is the same, and
-- shrinks with each one that is not, down to a line, which is then read.
function _M.read(text, at, before, in_place)
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


-- syntax: text = lines.edit(text, from, head, edits)
-- The head, and the lines that begin at `from` with other instances:
-- edits = { [id] = peer, or false for one that is gone }. It costs as much as
-- there are edits, and a copy of the text.
function _M.edit(text, from, head, edits)
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


return _M
