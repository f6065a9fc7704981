-- What becomes of a request: the rules of its route, compiled once and asked
-- for each request. Pure Lua, all phases; no tables are made for a request.
--
-- `req` is an object of functions, one for all requests: path() (decoded and
-- normalised, as nginx's $uri), method(), client() (an address), random() (of
-- [0, 1)), and header, cookie and query, each (name, accept?, by?): the first
-- value for which accept(value, by) is true, or nil. For redirects scheme(),
-- host() (no port), authority() (the Host header as it came), uri() (the path
-- as it came), args() (nil or text).

local location = require("pointsman.routing.rules.location")
local split = require("pointsman.routing.rules.split")
local test = require("pointsman.routing.rules.test")

local byte = string.byte
local holds = test.holds
local ipairs = ipairs
local leads_elsewhere = location.leads_elsewhere
local pairs = pairs
local sort = table.sort
local sub = string.sub

local SLASH = byte("/")


-- Names and values in turn: an order that does not change, and no iterator.
local function flat(set)
    local names, out = {}, {}
    for name in pairs(set) do
        names[#names + 1] = name
    end
    sort(names)
    for i, name in ipairs(names) do
        out[2 * i - 1], out[2 * i] = name, set[name]
    end
    return out
end


local function edits(given)
    if not given or not (given.set or given.remove) then
        return nil
    end
    return { set = flat(given.set or {}), remove = given.remove or {} }
end


-- A copy, in which the path is as a browser would send it.
local function redirect_of(given)
    return given and {
        status = given.status, scheme = given.scheme, host = given.host,
        path = given.path and location.canonical(given.path),
    }
end


local function compile_rule(given, number)
    local headers = given.headers or {}
    local when
    if given.when then
        when = {}
        for i, condition in ipairs(given.when) do
            when[i] = test.compile(condition)
        end
    end
    local rule = {
        -- What it is called in logs.
        name = number .. " " .. given.path,
        path = given.path,
        -- "/" begins every path; of others the border is a slash or the end.
        length = given.path == "/" and 0 or #given.path,
        when = when,
        redirect = redirect_of(given.redirect),
        maintenance = given.maintenance,
        rewrite = given.rewrite,
        request_headers = edits(headers.request),
        response_headers = edits(headers.response),
    }
    if given.to then
        rule.split = split.compile(given.to, given.split_by)
    end
    -- Whether more is asked than to send the request to an app as it is.
    rule.full = not given.to or rule.rewrite ~= nil
                or rule.request_headers ~= nil or rule.response_headers ~= nil
    return rule
end


local function has_path(rule, path)
    local length = rule.length
    if length > 0 then
        local border = byte(path, length + 1)
        return (not border or border == SLASH)
               and sub(path, 1, length) == rule.path
    end
    return true
end


local function fits(rule, path, req)
    if not has_path(rule, path) then
        return false
    end
    local when = rule.when
    if when then
        for i = 1, #when do
            if not holds(when[i], req) then
                return false
            end
        end
    end
    local redirect = rule.redirect
    return not redirect or leads_elsewhere(redirect, req)
end


local _M = {}


-- syntax: names = rules.apps(rules)
-- The apps that they send requests to, each once.
function _M.apps(given)
    local names, seen = {}, {}
    for _, rule in ipairs(given) do
        for _, to in ipairs(rule.to or {}) do
            if not seen[to.app] then
                seen[to.app] = true
                names[#names + 1] = to.app
            end
        end
    end
    return names
end


-- syntax: yes = rules.have_paths(rules)
-- Whether one is for a part of the paths.
function _M.have_paths(given)
    for _, rule in ipairs(given) do
        if rule.path ~= "/" then
            return true
        end
    end
    return false
end


-- syntax: compiled = rules.compile(rules)
-- `rules` as codec.route() returns them: judged, the longest path first.
function _M.compile(given)
    local out = {}
    for i, rule in ipairs(given) do
        out[i] = compile_rule(rule, i)
    end
    return out
end


-- syntax: rule = rules.find(compiled, req)
-- The first one that fits; nil if none does. It has `full` and `name` (see
-- above), and one of `redirect` = { status = }, `maintenance` = {
-- retry_after_s =, body =, content_type = }, or a target (see below); and
-- perhaps `request_headers` and `response_headers` = { set = { name, value,
-- name, value, ... }, remove = { name, ... } }.
--
-- A redirect that leads to where the request came from is passed over: else
-- {"redirect":{"scheme":"https"}} would send https for ever to itself.
function _M.find(compiled, req)
    local path = req.path()
    for i = 1, #compiled do
        local rule = compiled[i]
        if fits(rule, path, req) then
            return rule
        end
    end
    return nil
end


local function conditions_of(rule, path, req)
    local list = { { on = "path", is = rule.path, value = path,
                     matches = has_path(rule, path) } }
    for i, condition in ipairs(rule.when or {}) do
        list[i + 1] = test.describe(condition, req)
    end
    if rule.redirect then
        list[#list + 1] = {
            on = "redirect", is = "leads elsewhere",
            value = location.url(rule.redirect, req),
            matches = leads_elsewhere(rule.redirect, req) and true or false,
        }
    end
    return list
end


-- syntax: steps = rules.trace(compiled, req)
-- What rules.find looks at, up to the rule that fits: for each rule { number =,
-- matches =, conditions = { { on =, is =, value =, matches = }, ... } }.
function _M.trace(compiled, req)
    local path, steps = req.path(), {}
    for i = 1, #compiled do
        local rule = compiled[i]
        steps[i] = { number = i, matches = fits(rule, path, req),
                     conditions = conditions_of(rule, path, req) }
        if steps[i].matches then
            break
        end
    end
    return steps
end


-- syntax: facts = rules.describe(rule, req, app, how, usable)
-- How rules.target came to its app, see rules/split.lua.
_M.describe = split.describe


-- syntax: app, how = rules.target(rule, req, usable?, session_of?, apps?)
-- The app to which a request goes. A target that is forced comes first, then
-- the side of the session: session_of(targets, apps, usable), which returns an
-- app or nil; targets of weight 0 are not among them. In the split, apps are
-- left out for which `usable(app)` is false. nil: all of them.
_M.target = split.choose


-- syntax: path = rules.path(rule, path)
-- The path for the app: `rewrite` takes the place of what the rule matched.
function _M.path(rule, path)
    local rewrite = rule.rewrite
    if not rewrite then
        return path
    end
    local rest = sub(path, rule.length + 1)
    if rewrite == "/" then
        return rest == "" and "/" or rest
    end
    return rewrite .. rest
end


-- syntax: url = rules.location(rule, req)
-- Where a rule with a redirect leads to.
function _M.location(rule, req)
    return location.url(rule.redirect, req)
end


return _M
