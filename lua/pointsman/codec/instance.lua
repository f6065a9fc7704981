-- An instance's record in Redis: ["<rev>","<addr>",<weight>,{<extras>}?], and
-- its line in the cache's text form:
--
--     <id> <rev> <host>:<port> <weight>[d][x][ <zone>]
--
-- d: draining, x: failed its checks. Pure Lua; see codec/records.lua.

local addresses = require("pointsman.codec.address")
local check = require("pointsman.codec.check")
local record = require("pointsman.codec.record")

local address = addresses.read
local check_id = check.id
local check_rev = check.rev
local check_weight = check.weight
local check_zone = check.zone
local decode = record.decode
local format = string.format
local match = string.match
local sort = table.sort
local tonumber = tonumber
local type = type

local LINE = "^(%S+) (%d+) ((%S+):(%d+)) (%d+)(d?)(x?) ?(%S*)\n"


-- draining and down are 1 where they hold, and not there else.
local function flag(value)
    if value == nil then
        return true, nil
    end
    return value == 1, true
end


local _M = {}


-- syntax: peer, err = instance.read(json, id, raw)
-- Extras that are not known say nothing that an edge must obey.
function _M.read(json, id, raw)
    if not check_id(id) then
        return nil, "bad instance: bad id"
    end
    local value, err = decode(json, raw, "instance")
    if not value then
        return nil, err
    end

    local rev = check_rev(value[1])
    if not rev then
        return nil, "bad instance: bad rev"
    end
    local host, port = address(value[2])
    if not host then
        return nil, "bad instance: bad address"
    end
    local weight = check_weight(value[3])
    if not weight then
        return nil, "bad instance: bad weight"
    end
    local peer = {
        id = id, rev = rev, addr = value[2], host = host, port = port,
        weight = weight,
    }

    local extras = value[4]
    if extras == nil then
        return peer
    end
    if type(extras) ~= "table" then
        return nil, "bad instance: bad extras"
    end
    if extras.zone ~= nil then
        peer.zone = check_zone(extras.zone)
        if not peer.zone then
            return nil, "bad instance: bad zone"
        end
    end
    local ok
    ok, peer.draining = flag(extras.draining)
    if not ok then
        return nil, "bad instance: bad draining"
    end
    ok, peer.down = flag(extras.down)
    if not ok then
        return nil, "bad instance: bad down"
    end
    return peer
end


-- syntax: line = instance.line(peer)
function _M.line(peer)
    return format("%s %.0f %s %.0f%s%s%s%s", peer.id, peer.rev, peer.addr,
                  peer.weight, peer.draining and "d" or "",
                  peer.down and "x" or "", peer.zone and " " or "",
                  peer.zone or "")
end


-- syntax: peer = instance.read_line(text, at)
-- The instance whose line begins there; nil if it is none.
function _M.read_line(text, at)
    local id, rev, addr, host, port, weight, draining, down, zone =
        match(text, LINE, at)
    if not id then
        return nil
    end
    return {
        id = id, rev = tonumber(rev), addr = addr, host = host,
        port = tonumber(port), weight = tonumber(weight),
        zone = zone ~= "" and zone or nil,
        draining = draining ~= "" or nil, down = down ~= "" or nil,
    }
end


local function by_id(a, b)
    return a.id < b.id
end


-- syntax: peers = instance.sort(peers)
function _M.sort(peers)
    sort(peers, by_id)
    return peers
end


return _M
