-- Which app of a rule's targets gets a request. Pure Lua; see rules.lua.
--
-- A stable split is weighted rendezvous hashing (see picker/chash.lua) of the
-- user's value and the apps' names: when weights change, users only move to the
-- app that gained, and where an app is left out, only its users move. The hash
-- is another one than that which picks an instance, so that the users of one
-- side are spread over all of its instances.

local hash = require("pointsman.balance.hash")
local test = require("pointsman.routing.rules.test")
local values = require("pointsman.routing.values")

local bit = require("bit")

local bxor = bit.bxor
local hash_of = hash.of
local holds = test.holds
local is_not_empty = values.is_not_empty
local log = math.log
local mix = hash.mix
local unit = hash.unit

local SEED = 0x73706c69

-- Which targets of the split at hand were found unusable: left_out[i] == turn.
-- A table for each request would be garbage for each request.
local left_out, turn = {}, 0


local function by_hash(targets, key)
    local best, highest = nil, 0
    for i = 1, #targets do
        local target = targets[i]
        if left_out[i] ~= turn then
            local h = unit(mix(bxor(key, target.hash)))
            local score = -target.weight / log(h)
            if score > highest then
                best, highest = i, score
            end
        end
    end
    return best
end


local function by_chance(targets, random)
    local total = 0
    for i = 1, #targets do
        if left_out[i] ~= turn then
            total = total + targets[i].weight
        end
    end
    local at, last = random * total, nil
    for i = 1, #targets do
        if left_out[i] ~= turn then
            last = i
            at = at - targets[i].weight
            if at < 0 then
                break
            end
        end
    end
    return last
end


local _M = {}


-- syntax: split = split.compile(to, split_by?)
function _M.compile(to, split_by)
    local targets, forced, apps = {}, {}, {}
    for i = 1, #to do
        local given = to[i]
        apps[i] = given.app
        if given.weight > 0 then
            targets[#targets + 1] = {
                app = given.app, weight = given.weight,
                hash = hash_of(given.app),
            }
        end
        if given.force then
            forced[#forced + 1] = {
                app = given.app, condition = test.compile(given.force),
            }
        end
    end
    local by = split_by and (split_by.client and "client"
                             or split_by.header and "header" or "cookie")
    return {
        targets = targets, forced = forced, apps = apps, by = by,
        name = by and split_by[by],
    }
end


-- syntax: app, how = split.choose(rule, req, usable?, session_of?, apps?)
-- how: "force", "session", "hash" or "random"; nil if there is but one target.
function _M.choose(rule, req, usable, session_of, apps)
    local self = rule.split
    local forced = self.forced
    for i = 1, #forced do
        if holds(forced[i].condition, req) then
            return forced[i].app, "force"
        end
    end

    local targets = self.targets
    local n = #targets
    if n == 1 then
        local app = targets[1].app
        return (not usable or usable(app)) and app or nil
    end
    local side = session_of and session_of(targets, apps, usable)
    if side then
        return side, "session"
    end

    turn = turn + 1
    local value = self.by and req[self.by](self.name, is_not_empty)
    local key = value and hash_of(value, SEED)
    for _ = 1, n do
        local i = key and by_hash(targets, key)
                  or by_chance(targets, req.random())
        local app = targets[i].app
        if not usable or usable(app) then
            return app, key and "hash" or "random"
        end
        left_out[i] = turn
    end
    return nil
end


-- syntax: facts = split.describe(rule, req, app, how, usable)
-- How choose() came to its app: { app =, by =, value =, share =, shares = };
-- nil if there is but one target. A share is of the targets that can be used,
-- and weights 0 have none.
function _M.describe(rule, req, app, how, usable)
    local self = rule.split
    if not how then
        return nil
    end
    local by, value = how, nil
    if how == "hash" then
        by = self.by .. (self.by == "client" and "" or " " .. self.name)
        value = req[self.by](self.name, is_not_empty)
    elseif how == "force" then
        for i = 1, #self.forced do
            local forced = self.forced[i]
            if forced.app == app and holds(forced.condition, req) then
                local facts = test.describe(forced.condition, req)
                by, value = "force " .. facts.on, facts.value
                break
            end
        end
    end
    local total, shares = 0, {}
    for i = 1, #self.targets do
        local target = self.targets[i]
        if usable(target.app) then
            total = total + target.weight
        end
    end
    for i = 1, #self.targets do
        local target = self.targets[i]
        shares[target.app] = usable(target.app) and target.weight / total or 0
    end
    return { app = app, by = by, value = value, share = shares[app],
             shares = shares }
end


return _M
