-- The apps that the worker itself keeps, decoded (part of L1, see routes.lua),
-- each with its picker. All phases; nothing here yields.
--
-- An app is checked against its stripe when the generation has moved, and read
-- from L2 again if the stripe has moved too. That happens when a route is
-- looked up, never in a pick.

local codec = require("pointsman.codec.records")
local compose = require("pointsman.balance.compose")
local dicts = require("pointsman.cache.dicts")
local ejection = require("pointsman.health.ejection")
local flight = require("pointsman.request.in_flight")
local revalidation = require("pointsman.cache.revalidation")
local versions = require("pointsman.cache.versions")

local cjson = require("cjson.safe")

local app_stripe = versions.app_stripe
local crc32 = ngx.crc32_short
local decode = cjson.decode
local ejected_of = ejection.of
local is_over = revalidation.is_over
local max = math.max
local min = math.min
local ngx_now = ngx.now
local pairs = pairs
local read = versions.read
local stamp = codec.stamp
local unpack_app = codec.unpack_app

local REVAL, LIVE = versions.REVAL, versions.LIVE
-- The generation of what needs revalidation: never the current one, so that the
-- next request looks again.
local STALE = -1
-- An app without instances may be gone for good. So long it is kept.
local EMPTY_SECONDS = 60

-- Where rounds begin: each worker at another instance.
local seed = ""
local picker_options = {}
local l2 = dicts.apps
local apps = {}

-- What the version counters were when the generation last moved.
local gen, reval, live, window = -1, 0, false, 0


-- A record of an older revalidation may have missed a change. While the feed
-- follows the table Redis can be asked; otherwise it is the best that there is.
local function is_stale(record_reval)
    return live and record_reval ~= reval
end


-- The same once requests must wait for Redis's answer.
local function is_expired(record_reval)
    return is_stale(record_reval) and is_over(window)
end


local function fill_app(app, record)
    local name, peers, policy = record.name, record.peers, record.policy
    local pickable
    pickable, app.live = compose.live(peers, record.even)
    app.record, app.peers, app.policy = record, peers, policy
    app.plain = policy.plain
    app.requests = app.requests or 0
    if flight.is_needed(policy) then
        app.flight = app.flight
                     or { of = function(peer) return flight.of(app, peer) end }
    end
    picker_options.flight = app.flight
    picker_options.even = record.even
    picker_options.now = ngx_now()
    picker_options.seed = crc32(seed .. name)
    app.picker = compose.new(policy, pickable,
                             app.picker or picker_options.seed, picker_options)
    -- No instance is tried twice. (nginx adds a try of its own when an idle
    -- connection turns out to have been closed.)
    app.tries = max(1, min(1 + policy.retries, app.live))
    return app
end


-- Reads an app from L2, into `app` if there is one: all routes that lead to it
-- see the change, and its picker goes on where it was.
local function load_app(name, app)
    local stripe = app_stripe(name)
    local seen = read(stripe)
    versions.fence()
    local text = l2:get(name)
    local _, text_reval = stamp(text or "")
    if not text_reval or is_expired(text_reval) then
        return nil
    end
    -- In the window each request looks whether Redis's answer has come; until
    -- then there is nothing to be read.
    if not app or seen ~= app.seen or text_reval ~= app.reval then
        local record = unpack_app(text, decode, app and app.record)
        if not record then
            return nil
        end
        -- Another app of its stripe may have changed instead.
        if not app or app.record ~= record then
            app = fill_app(app or { name = name }, record)
        end
    end
    app.reval, app.stripe, app.seen = text_reval, stripe, seen
    app.ejected = ejected_of(name)
    app.gen = is_stale(text_reval) and STALE or gen
    return app
end


local function valid_app(app)
    if app.gen == gen then
        return true
    elseif is_stale(app.reval) or read(app.stripe) ~= app.seen then
        return load_app(app.name, app) ~= nil
    end
    app.ejected = ejected_of(app.name)
    app.gen = gen
    return true
end


local function get_app(name)
    local app = apps[name]
    if app then
        return valid_app(app) and app or nil
    end
    app = load_app(name)
    apps[name] = app
    return app
end


-- The worker's own, or one made of what L2 has, which is not kept.
local function peek_app(name)
    local app = apps[name]
    if app and valid_app(app) then
        return app
    end
    local text = l2:get(name)
    local record = text and unpack_app(text, decode)
    if not record then
        return nil
    end
    app = fill_app({ name = name }, record)
    app.ejected = ejected_of(name)
    return app
end


local _M = {
    EMPTY_SECONDS = EMPTY_SECONDS,
    -- The generation of what needs revalidation.
    STALE = STALE,
    -- syntax: yes = known_apps.is_stale(reval)
    is_stale = is_stale,
    -- syntax: yes = known_apps.is_expired(reval)
    is_expired = is_expired,
    -- syntax: app = known_apps.get(name)
    -- As routes.find describes it. Nil if it is not in L2, or expired there.
    get = get_app,
    -- syntax: app = known_apps.peek(name)
    -- The same for a dry run: nothing is kept, and one that expired will do.
    peek = peek_app,
    -- syntax: yes = known_apps.is_valid(app)
    -- Whether it may be used; it is read again if need be.
    is_valid = valid_app,
    -- syntax: app = known_apps.fill(app, record)
    -- Of a record of codec.unpack_app. The app is not kept.
    fill = fill_app,
}


-- syntax: known_apps.init(settings)
-- In init_worker_by_lua.
function _M.init(settings)
    seed = ngx.worker.pid() .. " " .. ngx_now() .. " "
    picker_options.zone = settings.zone
end


-- syntax: known_apps.advance(generation)
-- The generation has moved.
function _M.advance(moved)
    gen = moved
    reval = read(REVAL)
    live = read(LIVE) == 1
    window = revalidation.window()
end


-- syntax: ok = known_apps.put(name, text)
-- Puts an app's text into L2.
function _M.put(name, text)
    return l2:put(name, text, codec.is_empty(text) and EMPTY_SECONDS or nil)
end


-- syntax: known_apps.prune(used)
-- Forgets apps that are not in this set of names.
function _M.prune(used)
    for name in pairs(apps) do
        if not used[name] then
            apps[name] = nil
        end
    end
end


-- syntax: known_apps.forget_counters()
-- See metrics/apps.lua.
function _M.forget_counters()
    for _, app in pairs(apps) do
        app.counters = nil
    end
end


-- syntax: n = known_apps.count()
function _M.count()
    local n = 0
    for _ in pairs(apps) do
        n = n + 1
    end
    return n
end


return _M
