-- The record of each request that is sent to an instance: what was decided for
-- it, and which attempt is under way. All phases that have a request.
--
-- A main request's record is found by the address of nginx's request, which
-- stays the same when the request jumps to another location and its ngx.ctx is
-- lost. Records are reused, so a request makes no garbage. The log phase closes
-- the record. One that no log phase has closed is never trusted: the rewrite
-- and balancer phases begin it again.
--
-- A subrequest has no log phase. Its record is in its own ngx.ctx and dies with
-- it; nothing counts it as in flight.

local in_flight = require("pointsman.request.in_flight")
local variables = require("pointsman.request.variables")
local verdict = require("pointsman.health.verdict")

local base = require("resty.core.base")
local ffi = require("ffi")

local cast = ffi.cast
local finish = in_flight.finish
local get_request = base.get_request
local is_subrequest = variables.is_subrequest
local ngx = ngx
local now = ngx.now
local pairs = pairs
local start_time = ngx.req.start_time
local tonumber = tonumber
local var = ngx.var

local CLOSED, ROUTED, DECIDED, SENT, ANSWERED = 0, 1, 2, 3, 4
-- What leads to an error page of the user's.
local FAILED = 502
-- Closed records above so many are let go, once a second.
local MAX_IDLE = 4096

local records, n_records = {}, 0
-- Requests of which it is certain that they had no log phase.
local lost = 0

local handed_over


local function new_record()
    return {
        state = CLOSED, identity = false, is_sub = false,
        app = false, rule = false, peer = false, load = false,
        tried = {}, n_tried = 0, tries = 1, began = 0,
        -- See choice.note.
        pin = false, session = false, key = false,
        location = false, is_upgrade = false, probing = false, cut = false,
        -- Whether the app may have changed, see cache.renew.
        is_unsure = false,
        -- The path for the app.
        uri = false,
    }
end


local function address()
    return tonumber(cast("uintptr_t", get_request()))
end


-- Tells this request from others that had its address.
local function identity()
    return var.connection .. " " .. var.connection_requests
end


local function reset(record)
    if record.load then
        finish(record.load)
        record.load = false
    end
    record.state = CLOSED
    record.app, record.rule, record.peer = false, false, false
    record.pin, record.session, record.key = false, false, false
    record.probing, record.cut = false, false
    record.location, record.is_upgrade = false, false
    record.is_unsure = false
    for i = 1, record.n_tried do
        record.tried[i] = nil
    end
    record.n_tried = 0
end


-- A record that is still open belongs to an earlier pass of this request (an
-- error page of the user's that leads back), or to a request that had no log
-- phase.
local function take_over(record)
    if record.state == SENT and not record.is_sub then
        if record.began < start_time() then
            lost = lost + 1
        else
            verdict.ended(record, FAILED)
        end
    end
    reset(record)
    return record
end


local function current()
    if is_subrequest() then
        local ctx = ngx.ctx
        local record = ctx.pointsman
        if not record then
            record = new_record()
            record.is_sub = true
            ctx.pointsman = record
        end
        return record
    end
    local at = address()
    local record = records[at]
    if not record then
        record = new_record()
        records[at], n_records = record, n_records + 1
    end
    return record
end


local _M = {
    -- syntax: record = record.current()
    -- In a retry pass and in header_filter_by_lua: that of this request.
    current = current,
}


-- syntax: record.route(app, time)
-- In rewrite_by_lua of a main request that goes to a plain app: the balancer
-- phase uses the app as it is, if it follows at once. Later it looks again.
function _M.route(app, time)
    local record = current()
    if record.state ~= CLOSED then
        take_over(record)
    end
    record.state, record.app, record.began = ROUTED, app, time
end


-- syntax: record = record.decide(app, rule?)
-- In rewrite_by_lua: keeps a decision for the balancer phase.
function _M.decide(app, rule)
    local record = take_over(current())
    record.state, record.began = DECIDED, now()
    record.app, record.rule = app, rule or false
    record.identity = not record.is_sub and identity()
    return record
end


-- syntax: record = record.first_pass(time)
-- In balancer_by_lua: that of this request, with `app` if the rewrite phase has
-- decided on one.
function _M.first_pass(time)
    local record = current()
    if record.state == DECIDED then
        if record.identity and record.identity ~= identity() then
            take_over(record)
        end
    elseif record.state ~= ROUTED or record.began ~= time then
        take_over(record)
    end
    return record
end


-- syntax: ok = record.inherit(record)
-- In balancer_by_lua of a subrequest without a decision: if it is nginx's
-- update of a cached page in the background, it takes over what was decided for
-- the client's request. (It is a copy of that, has no rewrite phase, and is in
-- the same location. Decided again by the path for the app, it could go to
-- another one.)
function _M.inherit(record)
    local its_identity, uri = identity(), var.uri
    for _, main in pairs(records) do
        if main.state == DECIDED and main.identity == its_identity
                and main.uri == uri then
            record.app, record.rule = main.app, main.rule
            record.pin, record.session = main.pin, main.session
            record.key = main.key
            return true
        end
    end
    return false
end


-- syntax: record.sent(record, time)
-- In balancer_by_lua, once the first instance is chosen.
function _M.sent(record, time)
    record.state, record.began = SENT, time
end


-- syntax: record.answer(app?, rule?)
-- In rewrite_by_lua: the edge answers by itself, by a rule or for an app.
function _M.answer(app, rule)
    local record = take_over(current())
    record.state, record.began = ANSWERED, now()
    record.app, record.rule = app or false, rule or false
end


-- syntax: record, was_sent = record.open()
-- In log_by_lua: the record, if the request was routed; nil otherwise. To be
-- closed.
function _M.open()
    local record = records[address()]
    if not record or record.state == CLOSED then
        return nil
    elseif record.state == SENT then
        return record, true
    elseif record.began < start_time() then
        -- Of another request, which had no log phase.
        reset(record)
        return nil
    end
    return record, false
end


_M.close = reset


-- syntax: record.hand_over(record)
-- In rewrite_by_lua, right before ngx.exec, which enters the named location at
-- once. A subrequest's ngx.ctx does not survive that.
function _M.hand_over(record)
    handed_over = record
end


-- syntax: record = record.receive()
-- In rewrite_by_lua of the named location. Nil: nobody has sent it here.
function _M.receive()
    local record = handed_over
    handed_over = nil
    if not record then
        return nil
    elseif record.is_sub then
        ngx.ctx.pointsman = record
    elseif record ~= current() then
        return nil
    end
    return record
end


-- syntax: n = record.lost()
-- How many requests of this worker ended without a log phase, at least.
function _M.lost()
    return lost
end


-- syntax: record.purge()
-- From a timer.
function _M.purge()
    if n_records <= MAX_IDLE then
        return
    end
    for at, record in pairs(records) do
        if record.state == CLOSED then
            records[at], n_records = nil, n_records - 1
        end
    end
end


return _M
