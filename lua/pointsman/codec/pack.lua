-- The cache's text form of records. Pure Lua; see codec.lua.
--
--     r <asof> <v> <rev> <deeper>\n
--       /\t<app>=<weight>\n   or, for a route that is not plain, its JSON\n
--     a <asof> <v> <name> <rev> <balance> <retries> <fail_timeout_ms>\n
--       <JSON>\n              of a policy that has other fields than those
--       ...                   the instances, see lines.lua
--     n <asof> <v>\n
--
-- Names hold neither blanks nor control characters, so that the separators
-- cannot occur in them. A large app has another form, see sheets.lua.

local bytes = require("pointsman.codec.bytes")
local head = require("pointsman.codec.head")
local lines = require("pointsman.codec.lines")
local routes = require("pointsman.codec.route")

local byte = string.byte
local concat = table.concat
local edit_lines = lines.edit
local ends_well = head.ends_well
local format = string.format
local line_of = lines.of
local match = string.match
local read_lines = lines.read
local read_number = bytes.number
local sub = string.sub
local tonumber = tonumber

local BRACE, BLANK, NEWLINE = byte("{ \n", 1, 3)
local ZERO, NINE = byte("09", 1, 2)
local KINDS = { [byte("r")] = true, [byte("a")] = true, [byte("n")] = true,
                [byte("l")] = true }

local DEEPER_TEXT = { [true] = "1", [false] = "0" }
local DEEPER = { ["1"] = true, ["0"] = false }

-- From so many instances on, it pays to compare with the text before.
local MIN_KEPT = 32


local function number_at(text, at)
    local digit = byte(text, at)
    if digit and digit >= ZERO and digit <= NINE then
        return read_number(text, at)
    end
end


local _M = {}


-- syntax: text = pack.route(route, asof, v)
function _M.route(route, asof, v)
    local front = format("r %.0f %.0f %.0f %s\n", asof, v, route.rev,
                        DEEPER_TEXT[route.deeper] or "-")
    if route.json then
        return front .. route.json .. "\n"
    end
    local to = route.rules[1].to[1]
    return front .. format("/\t%s=%.0f\n", to.app, to.weight)
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
    local out = { head.of("a", app.name, app.policy, asof, v) }
    local peers = app.peers
    for i = 1, #peers do
        out[2 * i], out[2 * i + 1] = line_of(peers[i]), "\n"
    end
    return concat(out)
end


-- syntax: app, asof, v = pack.read_app(text, json, before?)
-- nil and an error for a text that pack.app did not make. Of `before`, what
-- this function returned for an older text, all is taken that is the same. If
-- the policy is a plain one and nothing changed that concerns which instances
-- are used and where they are, that one is brought up to date and returned.
function _M.read_app(text, json, before)
    local its, err = head.read(text, "a", json, before and before.policy)
    if not its then
        return nil, err
    end
    local asof, v, policy = its.asof, its.v, its.policy
    if before and before.text == text then
        return before, asof, v
    end

    local in_place = policy.plain and before and before.policy == policy
    local peers, n, starts, as_before =
        read_lines(text, its.at, before, in_place)
    if not peers then
        return nil, "not a packed app"
    elseif in_place and as_before then
        before.text, before.starts = text, starts
        return before, asof, v
    end
    local app = { name = its.name, policy = policy, peers = peers }
    if n >= MIN_KEPT then
        app.text, app.starts = text, starts
    end
    return app, asof, v
end


-- syntax: text, err = pack.edit_app(text, policy?, edits, asof, v)
-- The text of an app with another policy, if one is given, and other instances:
-- edits = { [id] = line, or false for one that is gone }. It costs as much as
-- there are edits, and a copy of the text.
function _M.edit_app(text, policy, edits, asof, v)
    local front, kept, from = head.renew(text, "a", policy, asof, v)
    if not front then
        return nil, "not a packed app"
    end
    return edit_lines(text, from, front, edits, kept)
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
    local asof, v, at
    if ends_well(text) and KINDS[byte(text)] and byte(text, 2) == BLANK then
        asof, at = number_at(text, 3)
    end
    if asof and byte(text, at) == BLANK then
        v, at = number_at(text, at + 1)
    end
    local behind = v and byte(text, at)
    if behind ~= BLANK and behind ~= NEWLINE then
        return nil, "not a packed record"
    end
    return asof, v
end


return _M
