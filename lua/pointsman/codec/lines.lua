-- Instances in the cache's text form, a line each. Pure Lua; see codec.lua.
--
--     <id> <rev> <host> <port> <weight> <zone>[ <flags>]\n ...
--
-- They are sorted by id, bytewise: so one can be found, put in or taken out in
-- the text itself.

local bytes = require("pointsman.codec.bytes")
local instance = require("pointsman.codec.instance")
local quick = require("pointsman.codec.quick")

local new_table = require("table.new")

local byte = string.byte
local find = string.find
local floor = math.floor
local format = string.format
local is_less = bytes.less
local match = string.match
local pairs = pairs
local quick_line = quick.line
local read_number = bytes.number
local same_bytes = bytes.same
local skip = bytes.skip
local sort = table.sort
local sub = string.sub
local tonumber = tonumber

local NEWLINE = byte("\n")
local SPACE = byte(" ")
-- The marks of a peer that is draining, or that failed its checks.
local DRAINING, DOWN = byte("d"), byte("x")

local NOTHING = {}
local NO_SHEET = { text = "", n = 0, starts = NOTHING, live = NOTHING,
                   peers = NOTHING }

-- What _M.edit is about to join: the same list each time, unless it grew, or
-- another edit has paused.
local spare = {}
local MAX_PARTS = 300

local PEER = "^(%S+) (%d+) (%S+) (%d+) (%d+) (%S*) ?(d?x?)\n()"

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


-- The instance whose line begins at a place, and the place behind it.
local function read_peer(text, at)
    local id, rev, host, port, weight, zone, marks, behind =
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


-- Where the parts of a line are, and its numbers: its end; the places of the
-- blank after the id, of those around the host, of that before the zone, and of
-- the one before the marks (behind the line, if there are none). Nothing if
-- this is no line. No string is made.
local function places(text, at)
    local stop = find(text, "\n", at, true)
    local id_stop = find(text, " ", at, true)
    if not stop or not id_stop or id_stop > stop then
        return nil
    end
    local rev, host = read_number(text, id_stop + 1)
    local host_stop = find(text, " ", host + 1, true)
    if not host_stop or host_stop > stop then
        return nil
    end
    local port, port_stop = read_number(text, host_stop + 1)
    local weight, zone = read_number(text, port_stop + 1)
    if zone > stop then
        return nil
    end
    local marks = find(text, " ", zone + 1, true) or #text + 1
    return stop, id_stop, rev, host, host_stop, port, weight, zone, marks
end


-- The same as read_peer for a line that is one: the text has been looked at
-- before.
local function pick_peer(text, at)
    local stop, id_stop, rev, host, host_stop, port, weight, zone, marks =
        places(text, at)
    local name, its_zone = sub(text, host + 1, host_stop - 1), nil
    local zone_stop = marks < stop and marks or stop
    if zone_stop > zone + 1 then
        its_zone = sub(text, zone + 1, zone_stop - 1)
    end
    return marked({
        id = sub(text, at, id_stop - 1), rev = rev,
        addr = name .. ":" .. port,
        host = name, port = port, weight = weight, zone = its_zone,
    }, marks < stop and byte(text, marks + 1) == DRAINING,
       marks < stop and byte(text, stop - 1) == DOWN)
end


-- Of a line in whose place another one was: if only revision and zone differ,
-- the instance has these now, and the place behind the line is returned. `stop`
-- is the place behind the old one, which has no marks. (After a reading that
-- found a sheet missing, the instance may be newer than its old line.)
local function renew(peer, text, at, old_text, from, stop)
    local id_size = #peer.id + 1
    if at + id_size > #text
            or not same_bytes(text, at, old_text, from, id_size) then
        return nil
    end
    local rev, rest = read_number(text, at + id_size)
    local _, old_rest = read_number(old_text, from + id_size)
    local zone = peer.zone or ""
    -- Up to the zone.
    local size = stop - 1 - #zone - old_rest
    local zone_at = rest + size
    if size < 1 or byte(old_text, old_rest + size - 1) ~= SPACE
            or zone_at > #text
            or not same_bytes(text, rest, old_text, old_rest, size) then
        return nil
    end
    local newline = skip(text, zone_at, zone)
    if not newline or byte(text, newline) ~= NEWLINE then
        newline = find(text, "\n", zone_at, true)
        zone = sub(text, zone_at, newline - 1)
        -- Marks.
        if find(zone, " ", 1, true) then
            return nil
        end
        peer.zone = zone ~= "" and zone or nil
    end
    peer.rev = rev
    return newline + 1
end


-- What is to be used of an instance whose line is another one now: with
-- `in_place` the old one, if it is the same in all that concerns a round.
local function succeed(old, peer, in_place)
    if old.host ~= peer.host or old.port ~= peer.port then
        return peer
    end
    peer.addr = old.addr
    if old.weight ~= peer.weight or old.draining ~= peer.draining
            or old.down ~= peer.down then
        return peer
    end
    if in_place then
        old.rev, old.zone = peer.rev, peer.zone
    elseif old.rev ~= peer.rev or old.zone ~= peer.zone then
        return peer
    end
    return old
end


-- The first one from `i` on whose id is not less than this one.
local function place_among(peers, i, id)
    while peers[i] and peers[i].id < id do
        i = i + 1
    end
    return i
end


local function read_all(text, at)
    local peers, starts, n = {}, {}, 0
    while at <= #text do
        local peer, behind = read_peer(text, at)
        if not peer then
            return nil
        end
        n = n + 1
        peers[n], starts[n] = peer, at
        at = behind
    end
    starts[n + 1] = at
    return peers, n, starts, false
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
        if stop and is_less(text, at, stop, id) then
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


local function sorted(edits)
    local ids, n = {}, 0
    for id in pairs(edits) do
        n = n + 1
        ids[n] = id
    end
    if n > 1 then
        sort(ids)
    end
    return ids
end


local _M = {}


-- syntax: line = lines.of(peer)
_M.of = peer_line


-- syntax: line, err = lines.from(json, id, raw)
-- That of an instance's record in Redis; see instance.read.
function _M.from(json, id, raw)
    local line = quick_line(id, raw)
    if line then
        return line
    end
    local peer, err = instance.read(json, id, raw)
    if not peer then
        return nil, err
    end
    return peer_line(peer)
end


-- syntax: peers, n, starts, as_before = lines.read(text, at, before?,
--                                                  in_place?)
-- The instances, how many there are, where the line of each begins (and, behind
-- the last one, where they end), and whether they are those of before, one and
-- all. Nil if this is no such text. before = { text =, peers =, starts = } of
-- an older text: instances whose line is as before are those that were read
-- then. With `in_place`, those of them that have changed in nothing that
-- concerns a round are brought up to date.
--
-- Nearly all lines are as before or differ in revision and zone: for these no
-- string is made, and there is no loop but the one over the lines. So LuaJIT
-- compiles it as one.
function _M.read(text, at, before, in_place)
    if not before or not before.text then
        return read_all(text, at)
    end
    local old, old_text, old_starts = before.peers, before.text, before.starts
    local old_n, last = #old, #text
    local peers, starts = new_table(old_n, 0), new_table(old_n + 1, 0)
    local n, i, as_before = 0, 1, true
    while at <= last do
        local peer, behind = old[i], nil
        if peer then
            local from, stop = old_starts[i], old_starts[i + 1]
            local size = stop - from
            if at + size <= last + 1
                    and same_bytes(text, at, old_text, from, size) then
                behind = at + size
            elseif in_place and not peer.draining and not peer.down then
                behind = renew(peer, text, at, old_text, from, stop)
            end
        end
        if behind then
            i = i + 1
        else
            local now
            now, behind = read_peer(text, at)
            if not now then
                return nil
            end
            i = place_among(old, i, now.id)
            peer = old[i]
            if peer and peer.id == now.id then
                now = succeed(peer, now, in_place)
                i = i + 1
            end
            as_before = as_before and now == peer
            peer = now
        end
        n = n + 1
        peers[n], starts[n] = peer, at
        at = behind
    end
    starts[n + 1] = at
    return peers, n, starts, as_before and n == old_n
end


-- syntax: peer = lines.peer(text, at)
-- The instance whose line begins at that place of a text that lines.scan has
-- been through.
_M.peer = pick_peer


-- syntax: sheet, as_before = lines.scan(text, before?, in_place?, by_line?)
-- What there is in a text of lines, which are not read yet: sheet = { text =,
-- n = how many instances, starts = where the line of each begins (and, behind
-- the last one, where they end), live = the numbers of those that may get
-- requests, weight = theirs (0 if it differs, nil if there are none), peers =
-- by number, those of `before` whose line is as it was }. Nil if this is no
-- such text.
--
-- `as_before`: the instances are those of before, one and all. `in_place` is
-- that of lines.read; with `by_line` each one may have another line, but for
-- its id, weight and marks.
--
-- As above, no string is made, and there is one loop. A line that is as it was
-- is not looked into.
function _M.scan(text, before, in_place, by_line)
    local old = before or NO_SHEET
    local old_text, old_starts, old_peers = old.text, old.starts, old.peers
    local old_n, old_live, last = old.n, old.live, #text
    local starts, live = new_table(old_n + 1, 0), new_table(#old_live, 0)
    local peers = new_table(old_n, 0)
    -- What the weight of a line is that is live and as it was; if they differ,
    -- each must be looked at.
    local old_weight = old.weight ~= 0 and old.weight or nil
    local n, live_n, old_live_n, weight, at, as_before = 0, 0, 0, nil, 1, true
    while at <= last do
        n = n + 1
        starts[n] = at
        local peer, is_live, its_weight
        local from, old_stop = 0, 0
        local is_known, was_live = n <= old_n, old_live[old_live_n + 1] == n
        if was_live then
            old_live_n = old_live_n + 1
        end
        if is_known then
            peer, from = old_peers[n], old_starts[n]
            old_stop = old_starts[n + 1]
        end
        local behind = at + old_stop - from
        local is_same = is_known and behind <= last + 1
                        and same_bytes(text, at, old_text, from,
                                       old_stop - from)
        if is_same and (old_weight or not was_live) then
            peers[n], is_live, its_weight = peer, was_live, old_weight
        else
            local stop, id_stop, _, _, _, _, read_weight, _, marks =
                places(text, at)
            if not stop then
                return nil
            end
            behind = stop + 1
            is_live, its_weight = read_weight > 0 and marks > stop, read_weight
            if is_same or not is_known then
                peers[n] = peer
            elseif in_place and peer and not peer.draining and not peer.down
                    and renew(peer, text, at, old_text, from, old_stop) then
                peers[n] = peer
            else
                local size = id_stop + 1 - at
                as_before = as_before and by_line and size <= old_stop - from
                            and same_bytes(text, at, old_text, from, size)
            end
        end
        if is_live then
            live_n = live_n + 1
            live[live_n] = n
            as_before = as_before and old_live[live_n] == n
            if not weight then
                weight = its_weight
            elseif weight ~= its_weight then
                weight = 0
            end
        end
        at = behind
    end
    starts[n + 1] = at
    as_before = as_before and n == old_n and live_n == #old_live
                and weight == old.weight
    return { text = text, n = n, starts = starts, live = live, weight = weight,
             peers = peers }, as_before
end


-- syntax: text = lines.edit(text, from, front, edits, kept?, pause?)
-- `front`, what stands from `kept` on, and the lines that begin at `from` with
-- other instances: edits = { [id] = line, or false for one that is gone }. It
-- costs as much as there are edits, and a copy of the text; `pause` is called
-- at each of them.
function _M.edit(text, from, front, edits, kept, pause)
    local parts = spare or {}
    spare = nil
    parts[1], parts[2], parts[3] = 1, 0, front
    local n, at = 3, kept or from

    local ids = sorted(edits)
    for i = 1, #ids do
        local id = ids[i]
        local place = place_of(text, from, id)
        parts[n + 1], parts[n + 2] = at, place - 1
        at = place
        local behind = skip(text, place, id)
        if behind and byte(text, behind) == SPACE then
            at = find(text, "\n", behind, true) + 1
        end
        parts[n + 3] = edits[id] and edits[id] .. "\n" or ""
        n, from = n + 3, at
        if pause then
            pause()
        end
    end
    parts[n + 1], parts[n + 2], parts[n + 3] = at, #text, ""
    local joined = bytes.join(text, parts, n + 3)
    spare = n <= MAX_PARTS and parts or {}
    return joined
end


return _M
