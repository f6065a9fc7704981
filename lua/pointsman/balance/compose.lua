-- The picker that an app's policy asks for, as one object with one `pick`. Pure
-- Lua, all phases.
--
-- An app with nothing but a round has the bare picker: what it does not use
-- costs it nothing.

local chash = require("pointsman.balance.chash")
local ewma = require("pointsman.balance.ewma")
local least_conn = require("pointsman.balance.least_conn")
local random = require("pointsman.balance.random")
local round_robin = require("pointsman.balance.round_robin")
local warm = require("pointsman.balance.warm")
local zone = require("pointsman.balance.zone")

local new_table = require("table.new")

local error = error
local pairs = pairs
local pcall = pcall
local type = type

local BY_NAME = {
    round_robin = round_robin.new, least_conn = least_conn.new,
    ewma = ewma.new, random = random.new, hash = chash.new,
}


-- A picker whose state can be taken over; else the seed.
local function of_shape(previous, shape, seed)
    if type(previous) == "table" and previous.shape ~= shape then
        return seed
    end
    return previous
end


local function may_get_requests(peer, even_down)
    return peer.weight > 0 and not peer.draining
           and (even_down or not peer.down)
end


local function those_of(peers, even_down)
    local list, n = new_table(#peers, 0), 0
    for i = 1, #peers do
        local peer = peers[i]
        if may_get_requests(peer, even_down) then
            n = n + 1
            list[n] = peer
        end
    end
    return list, n
end


local _M = {}


-- syntax: live, n = compose.live(peers, even?)
-- Who may get new requests, and how many; `even`: it is known that all may. If
-- all that are not draining failed their checks, the checks are not believed:
-- all of those are used.
function _M.live(peers, even)
    if even then
        return peers, #peers
    end
    local live, n = those_of(peers, false)
    if n == 0 then
        return those_of(peers, true)
    end
    return live, n
end


-- syntax: picker = compose.new(policy, peers, previous, options)
-- `previous` is the picker before, or a random number; its state is taken over
-- where the policy still asks for a picker of that kind, else `options.seed`
-- takes its place. Options: `flight` (for least_conn, ewma and random), `zone`
-- (the edge's own), `now` (seconds; for slow_start), `seed`, `even` (that all
-- peers have the same weight).
--
-- To pick: picker:pick(skip?, request?), where `request.now` (seconds; for ewma
-- and slow_start) and `request.key` (for hash) are read. One table can be used
-- for all requests. Where there is a method `observe`, it wants to be told of
-- answers: picker:observe(id, seconds, now).
function _M.new(policy, peers, previous, options)
    local balance, slow_start = policy.balance, policy.slow_start
    local own_zone = policy.prefer_zone and options.zone or nil
    local make = BY_NAME[balance]
    local inner = options
    local shape = balance

    if slow_start then
        shape = shape .. " warm"
        local bare = make
        inner = {
            flight = options.flight, zone = options.zone, now = options.now,
            slow_start = slow_start, by_key = balance == "hash",
            even = options.even,
        }
        function make(list, before, opts)
            return warm.new(bare, list, before, opts)
        end
    end
    if own_zone then
        shape = shape .. " in " .. own_zone
    end
    previous = of_shape(previous, shape, options.seed)

    local picker
    if own_zone then
        picker = zone.new(make, peers, previous, inner)
    else
        picker = make(peers, previous, inner)
    end
    picker.shape = shape
    return picker
end


-- What a pick may change: all that a picker has but the instances, and what
-- counts their requests.
local function save(part, saved)
    local fields = {}
    saved[part] = fields
    for name, value in pairs(part) do
        fields[name] = value
        if type(value) == "table" and name ~= "peers" and name ~= "flight"
                and not saved[value] then
            save(value, saved)
        end
    end
end


-- syntax: value = compose.peek(picker, call, argument)
-- What `call(argument)` returns, which may pick. Afterwards the picker is as it
-- was before: its next pick will be the same.
function _M.peek(picker, call, argument)
    local saved = {}
    save(picker, saved)
    local ok, value = pcall(call, argument)
    for part, fields in pairs(saved) do
        for name in pairs(part) do
            if fields[name] == nil then
                part[name] = nil
            end
        end
        for name, old in pairs(fields) do
            part[name] = old
        end
    end
    if not ok then
        error(value, 0)
    end
    return value
end


-- syntax: yes = compose.is_warming(picker, id, now)
-- Whether an instance gets a part of its share only, by slow_start.
function _M.is_warming(picker, id, now)
    local inner = picker.near and (picker.is_near[id] and picker.near
                                   or picker.far) or picker
    local since = inner.born and inner.born[id]
    return since ~= nil and now - since < inner.slow_start
end


return _M
